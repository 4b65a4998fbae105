"""The welcome comes when the window is there and there is nothing to show in it."""

from __future__ import annotations

from PySide6.QtWidgets import QApplication

from tests.widgets.standin import Services, ended
from widgets.firstrun import FirstRun
from widgets.window import Window


async def test_it_comes_once_the_window_is_there_and_only_where_nothing_is_connected(qapp: QApplication) -> None:
    for empty in (True, False):
        services = Services(empty=empty)
        window = Window(services)  # type: ignore[arg-type]
        window.show()
        QApplication.processEvents()
        assert window.findChild(FirstRun) is None
        window.filled()
        welcome = window.findChild(FirstRun)
        assert (welcome is not None and welcome.isVisible()) == empty
        await ended(window)
