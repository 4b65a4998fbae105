"""Messages stand above the lower pane, also when that grows under them."""

from __future__ import annotations

from PySide6.QtCore import QPoint
from PySide6.QtWidgets import QApplication, QSplitter

from tests.widgets.standin import Services, ended, until
from widgets.toast import Toast
from widgets.window import Window


async def test_they_follow_the_pane_that_they_stand_on(qapp: QApplication) -> None:
    window = Window(Services())  # type: ignore[arg-type]
    window.show()
    window.show_dock("tasks")
    window.toasts.tell("info", "Something happened")
    (toast,) = window.findChildren(Toast)

    def above() -> bool:
        return toast.geometry().bottom() <= window.dock.mapTo(window, QPoint(0, 0)).y()

    await until(above)
    split = window.dock.parentWidget()
    assert isinstance(split, QSplitter)
    before = window.dock.height()
    split.setSizes([split.height() - before - 150, before + 150])
    await until(lambda: window.dock.height() >= before + 100)
    await until(above)
    await ended(window)
