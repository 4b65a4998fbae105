"""The strip that asks before a program in a terminal may fill the clipboard (OSC 52)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QAbstractScrollArea, QFrame, QHBoxLayout

from widgets import format as fmt
from widgets.parts import Elided, button, tool

if TYPE_CHECKING:
    from app.consoles.terminal import Terminal


class Asking(QFrame):
    """Nothing reaches the clipboard unless the button is pressed."""

    def __init__(self, view: QAbstractScrollArea, terminal: Terminal) -> None:
        super().__init__(view)
        self._view, self._terminal = view, terminal
        self._wanted = ""
        self.setObjectName("card")
        line = QHBoxLayout(self)
        line.setContentsMargins(10, 6, 6, 6)
        line.setSpacing(8)
        self.words = Elided("", "", self)
        line.addWidget(self.words, 1)
        self.allow = button("Copy", self._copy, "copy")
        line.addWidget(self.allow)
        line.addWidget(tool("x", "Do not copy", self.hide))
        self.hide()

    def look(self) -> None:
        """Ask if a program wants it since the last time."""
        wanted = self._terminal.take_clipboard()
        if wanted is None:
            return
        self._wanted = wanted
        self.words.setText(f"The program wants to copy {fmt.counted(len(wanted), 'character')}: {wanted[:80]!r}")
        self.setAccessibleName(self.words.text())
        self.show()
        self.place()
        self.raise_()

    def place(self) -> None:
        """Along the lower edge."""
        room = self._view.viewport().size()
        self.resize(min(room.width() - 16, 640), self.sizeHint().height())
        self.move(8, room.height() - self.height() - 8)

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self._wanted)
        self.hide()
        self._view.setFocus()
