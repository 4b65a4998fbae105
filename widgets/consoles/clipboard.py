"""One clipboard for desktop and guest, while the guest's screen has the keyboard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from PySide6.QtCore import QObject
from PySide6.QtGui import QGuiApplication

if TYPE_CHECKING:
    from app.consoles import ScreenSession

MOST = 1 << 20
"""Characters; more is not offered to a guest, nor taken from one."""


class Guest(Protocol):
    """The view of a guest's screen, as far as the clipboard needs it. It is a widget, too."""

    session: ScreenSession | None
    view_only: bool

    @property
    def takes_input(self) -> bool: ...

    def hasFocus(self) -> bool: ...


class SharedClipboard(QObject):
    """Text goes both ways, and only while the view has the keyboard: no other guest sees what is copied."""

    def __init__(self, view: Guest) -> None:
        super().__init__(view)
        self._view = view
        self._known = ""
        self.on = True
        QGuiApplication.clipboard().dataChanged.connect(self.focused)

    def set_on(self, on: bool) -> None:
        self.on = on
        self.focused()

    def focused(self) -> None:
        """Offer the desktop's text to the guest, where it is new."""
        if not self.on or not self._view.hasFocus() or not self._view.takes_input or self._view.session is None:
            return
        text = QGuiApplication.clipboard().text()
        if text and text != self._known and len(text) <= MOST:
            self._known = text
            self._view.session.cut_text(text)

    def from_guest(self, text: str) -> None:
        """The guest has new text."""
        if self.on and text and self._view.hasFocus() and not self._view.view_only and len(text) <= MOST:
            self._known = text
            QGuiApplication.clipboard().setText(text)
