"""The wall: only what is in sight is asked, never too many at once, and trouble is said on its tile."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

import widgets.consoles.wall
from backends.model import Kind, PowerState, Ref
from tests.app.consoles.conftest import vms
from tests.widgets.consoles.conftest import opened, running
from tests.widgets.standin import until
from widgets.consoles.page import ConsoleTab
from widgets.consoles.wall import ENTRY, WallTab
from widgets.window import Window


def wall(window: Window, refs: tuple[Ref, ...] = ()) -> WallTab:
    window.verbs.wall(refs)
    tab = window.tabs.currentWidget()
    assert isinstance(tab, WallTab)
    return tab


def said(tab: WallTab, name: str) -> str:
    """What the tile of a VM says to a screen reader."""
    rows = range(tab.entries.rowCount())
    index = next(tab.entries.index(row) for row in rows if tab.entries.index(row).data() == name)
    return str(index.data(Qt.ItemDataRole.AccessibleTextRole))


async def test_all_screens_come_alive_and_trouble_is_said(window: Window) -> None:
    tab = wall(window)
    assert tab.entries.rowCount() == 12
    tab.step_size(-1)
    assert len(tab.visible_uids()) == 12
    lit = [vm for vm in vms(window.services) if vm.state == PowerState.RUNNING and not vm.name.startswith("ldap-")]
    identity = window.services.identity

    def pictures() -> int:
        return sum(not thumb.image.isNull() for thumb in tab.entries.thumbs.values())

    await until(lambda: pictures() >= len(lit), 20)
    for vm in lit:
        thumb = tab.entries.thumbs[identity.uid_of(vm.ref)]
        assert max(thumb.image.width() - tab.delegate.size.width(), 0) == 0
    off = next(vm for vm in vms(window.services) if vm.state == PowerState.OFF)
    assert said(tab, off.name) == f"{off.name}, off, off"
    assert identity.uid_of(off.ref) not in tab.entries.thumbs
    locked = next(vm for vm in vms(window.services) if vm.name.startswith("ldap-"))
    await until(lambda: "password" in said(tab, locked.name), 20)
    assert not tab.grab().isNull()


async def test_only_what_is_in_sight_is_asked(window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    tab = wall(window)
    for _ in range(3):
        tab.step_size(1)
    assert not tab._larger.isEnabled()
    shown = tab.visible_uids()
    assert 0 < len(shown) < tab.entries.rowCount()
    await until(lambda: tab.entries.thumbs, 10)
    for _ in range(40):
        tab._tick()
    assert set(tab.entries.thumbs) <= set(shown)
    bar = tab.list.verticalScrollBar()
    bar.setValue(bar.maximum())
    later = tab.visible_uids()
    assert set(later) != set(shown)
    monkeypatch.setattr(widgets.consoles.wall, "KEEP_S", -1.0)
    await until(lambda: set(tab.entries.thumbs) <= set(later), 10)
    window.show_overview()
    assert not tab._timer.isActive()


async def test_connections_are_bounded(window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(widgets.consoles.wall, "MOST_OPEN", 2)
    tab = wall(window)
    await until(lambda: len(tab.entries.thumbs) == 2, 10)
    for _ in range(40):
        tab._tick()
        assert len(tab.entries.thumbs) <= 2


async def test_a_click_opens_the_console(window: Window) -> None:
    tab = wall(window, tuple(vm.ref for vm in vms(window.services)[:3]))
    assert tab.entries.rowCount() == 3
    index = tab.entries.index(0)
    vm = tab.entries.vm(str(index.data(ENTRY)))
    assert vm is not None
    QTest.mouseClick(tab.list.viewport(), Qt.MouseButton.LeftButton, pos=tab.list.visualRect(index).center())
    opened_tab = window.tabs.currentWidget()
    assert isinstance(opened_tab, ConsoleTab)
    assert opened_tab.ref == vm.ref


async def test_a_wall_of_a_host_and_of_a_search(window: Window) -> None:
    host = next(item.ref for item in window.services.inventory.of("a", Kind.HOST))
    here = [vm.name for vm in vms(window.services) if vm.parent == host]
    assert wall(window, (host,)).entries.rowCount() == len(here)
    window.search.edit.setText("web")
    tab = wall(window)
    found = {window.services.identity.ref_of(uid) for uid in tab.entries.uids}
    assert found == {ref for ref in window.services.search.match("web") or () if ref.kind == Kind.VM}
    assert found
    window.search.edit.setText("nothing like it")
    assert wall(window).empty.isVisible()


async def test_the_console_beside_the_wall_is_another_connection(window: Window) -> None:
    ref = running(window.services)
    _panel, view = await opened(window, ref)
    tab = wall(window, (ref,))
    uid = window.services.identity.uid_of(ref)
    await until(lambda: uid in tab.entries.thumbs and tab.entries.thumbs[uid].live, 20)
    assert view.live
    window.close_tab(window.tabs.currentIndex())
    assert view.live
