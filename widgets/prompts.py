"""Small questions in windows of their own that block nothing: a word to type, a deletion to confirm."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QCompleter, QDialog, QHBoxLayout, QLineEdit, QVBoxLayout, QWidget

from widgets.parts import Check, Sign, button, label

NAMED = 12
"""Objects that a confirmation names; the rest is counted."""


class Prompt(QDialog):
    """A dialog without its own loop: shown, and gone when it is closed. Esc closes it."""

    def __init__(self, title: str, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setMinimumWidth(420)
        self.body = QVBoxLayout(self)
        self.body.setContentsMargins(20, 18, 20, 16)
        self.body.setSpacing(10)
        heading = label(title, "heading", self)
        heading.setWordWrap(True)
        self.body.addWidget(heading)

    def add_buttons(self, text: str, run: Callable[[], None], *, danger: bool = False) -> None:
        """Cancel, and the one that does it. Enter does it, but where that is a danger: there it cancels."""
        row = self.row = QHBoxLayout()
        row.addStretch(1)
        self.cancel = button("Cancel", self.reject)
        row.addWidget(self.cancel)
        self.go = button(text, run)
        (self.cancel if danger else self.go).setDefault(True)
        self.go.setObjectName("danger" if danger else "primary")
        row.addWidget(self.go)
        self.body.addSpacing(4)
        self.body.addLayout(row)


class AskText(Prompt):
    """Asks for one line. `done` gets it; `why_not(text)` gives the reason why it will not do."""

    def __init__(
        self,
        title: str,
        field: str,
        text: str,
        done: Callable[[str], None],
        parent: QWidget,
        *,
        known: Sequence[str] = (),
        why_not: Callable[[str], str] = lambda text: "",
        help: str = "",
    ) -> None:
        super().__init__(title, parent)
        self._done, self._why_not = done, why_not
        self.body.addWidget(label(field, "small", self))
        self.edit = QLineEdit(text, self)
        self.edit.setAccessibleName(field)
        self.edit.selectAll()
        if known:
            completer = QCompleter(list(known), self)
            completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
            self.edit.setCompleter(completer)
        self.body.addWidget(self.edit)
        self._note = label(help, "muted", self)
        self._note.setWordWrap(True)
        self._help = help
        self.body.addWidget(self._note)
        self.add_buttons("OK", self._accept)
        self.edit.textChanged.connect(self._judge)
        self._judge(text)
        self.edit.setFocus()

    def _judge(self, text: str) -> None:
        reason = self._why_not(text.strip())
        self.go.setEnabled(not reason)
        self._note.setText(reason or self._help)
        self._note.setVisible(bool(reason or self._help))

    def _accept(self) -> None:
        self._done(self.edit.text().strip())
        self.accept()


class Confirm(Prompt):
    """Names what would go. `typed` must be typed first (production); `option` is a box to tick."""

    def __init__(
        self,
        title: str,
        names: Sequence[str],
        text: str,
        action: str,
        done: Callable[[bool], None],
        parent: QWidget,
        *,
        option: str = "",
        option_note: str = "",
        typed: str = "",
    ) -> None:
        super().__init__(title, parent)
        self._done, self._typed = done, typed
        listed = "\n".join(f"•  {name}" for name in names[:NAMED])
        if len(names) > NAMED:
            listed += f"\nand {len(names) - NAMED} more"
        if listed:
            self.body.addWidget(label(listed, "", self, copy=True))
        note = label(text, "muted", self)
        note.setWordWrap(True)
        self.body.addWidget(note)
        self.box = Check(option, self)
        self.box.setVisible(bool(option))
        self.box.setToolTip(option_note)
        self.body.addWidget(self.box)
        self.edit = QLineEdit(self)
        self.edit.setVisible(bool(typed))
        if typed:
            warn = QHBoxLayout()
            warn.addWidget(Sign("shield-alert", "warn", self))
            warn.addWidget(label(f"This is production. Type {typed} to go on.", "", self), 1)
            self.body.addLayout(warn)
            self.edit.setPlaceholderText(typed)
            self.edit.setAccessibleName(f"Type {typed} to go on")
            self.body.addWidget(self.edit)
        self.add_buttons(action, self._accept, danger=True)
        self.edit.textChanged.connect(self._judge)
        self._judge()
        # Who has typed the name means it: Enter does it.
        self.go.setDefault(bool(typed))
        (self.edit if typed else self.cancel).setFocus()

    def _judge(self) -> None:
        self.go.setEnabled(not self._typed or self.edit.text().strip() == self._typed)

    def _accept(self) -> None:
        self._done(self.box.isChecked())
        self.accept()
