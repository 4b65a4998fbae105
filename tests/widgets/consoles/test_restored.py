"""Consoles in windows of their own and walls are there again at the next start, as they were left."""

from __future__ import annotations

from tests.app.consoles.conftest import vms
from tests.widgets.consoles.conftest import opened, running
from tests.widgets.standin import until
from widgets.consoles.wall import WallTab
from widgets.window import Window


async def test_windows_and_walls_are_as_they_were_left(window: Window) -> None:
    panel, _ = await opened(window, running(window.services))
    panel.wanted.emit("window")
    (own,) = window.consoles.windows
    own.resize(700, 500)
    chosen = [vm.ref for vm in vms(window.services)[:3]]
    window.consoles.wall(chosen)
    window.search.edit.setText("web")
    window.consoles.wall([])
    window.search.edit.clear()
    kept = window.state()
    other = Window(window.services)
    try:
        other.restore({**kept, "tabs": ["window:nobody AAAA", "wall:nonsense", *kept["tabs"]]})  # type: ignore[misc]
        other.filled()
        (again,) = other.consoles.windows
        assert (again.panel.uid, again.size()) == (panel.uid, own.size())
        await until(lambda: again.panel.screen_view is not None and again.panel.screen_view.live, 20)
        walls = [tab for tab in other.tabs.pages() if isinstance(tab, WallTab)]
        assert [wall.entries.rowCount() for wall in walls] == [3, len(window.services.search.match("web") or ())]
        assert other.tabs.page() is walls[-1], "what was in front is in front"
        again.close()
        assert not any(key.startswith("window:") for key in other.state()["tabs"])  # type: ignore[attr-defined]
    finally:
        await other.close_down()
        other.deleteLater()
