"""What every tab is to the window: a key, a name, the object it is about, and how news reach it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from app.inventory import Delta
from backends.model import Object, Ref, Sample

if TYPE_CHECKING:
    from app.tasks import Task
    from widgets.frame import Frame


class Tab(QWidget):
    """One tab. `uid` is that of the VM that it hangs on ("" for what is no VM); nothing here asks a server on the
    UI's time."""

    renamed = Signal()

    def __init__(self, window: Frame, key: str, ref: Ref, symbol: str, uid: str = "") -> None:
        super().__init__(window)
        self.window_, self.services = window, window.services
        self.key, self.ref, self.symbol, self.uid = key, ref, symbol, uid
        self.name = ""

    def show_name(self, name: str) -> None:
        if name != self.name:
            self.name = name
            self.setAccessibleName(name)
            self.renamed.emit()

    def follow(self, ref: Ref) -> None:
        """The VM lives elsewhere now."""
        if ref != self.ref:
            self.ref = ref
            self.refresh()

    def concerns(self, delta: Delta) -> bool:
        """Whether news touch what is shown here."""
        return any(item.ref == self.ref or item.parent == self.ref for part in _parts(delta) for item in part)

    def refresh(self) -> None:
        """Show the object as it is now."""

    def metered(self, samples: dict[Ref, Sample]) -> None:
        """New readings came."""

    def task_changed(self, task: Task) -> None:
        """A task changed."""

    def chosen(self) -> None:
        """Its tab was clicked."""

    def close_down(self) -> None:
        """The tab is being closed."""


def _parts(delta: Delta) -> tuple[tuple[Object, ...], ...]:
    return delta.added, delta.changed, delta.removed
