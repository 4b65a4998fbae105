"""What stands over a console that is not live: why, what helps, and the button or field for it."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from widgets.parts import Sign, button, label, set_symbol, set_words

WIDTH = 420


class Notice(QFrame):
    """A card in the middle of its console. `provided` carries user and password as they were typed."""

    provided = Signal(str, str)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("card")
        self.setMaximumWidth(WIDTH)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(18, 16, 18, 16)
        outer.setSpacing(10)
        head = QHBoxLayout()
        head.setSpacing(10)
        self._sign = Sign("loader-circle", "muted", self, 20)
        self._title = label("", "heading", self, copy=True)
        self._title.setWordWrap(True)
        head.addWidget(self._sign, 0, Qt.AlignmentFlag.AlignTop)
        head.addWidget(self._title, 1)
        outer.addLayout(head)
        self._text = label("", "muted", self, copy=True)
        self._text.setWordWrap(True)
        outer.addWidget(self._text)
        self.user = QLineEdit(self)
        self.user.setPlaceholderText("User")
        self.password = QLineEdit(self)
        self.password.setPlaceholderText("Password")
        self.password.setEchoMode(QLineEdit.EchoMode.Password)
        for field in (self.user, self.password):
            field.setAccessibleName(field.placeholderText())
            field.returnPressed.connect(self._provide)
            outer.addWidget(field)
        self._asks_password = False
        self._row = QHBoxLayout()
        self._row.setSpacing(8)
        self.buttons = [button("", lambda number=number: self._press(number)) for number in range(3)]
        self._actions: list[Callable[[], object]] = []
        for made in self.buttons:
            self._row.addWidget(made)
        self._row.addStretch(1)
        outer.addLayout(self._row)
        self.hide()

    @property
    def asks(self) -> bool:
        """Whether it waits for something typed into its fields."""
        return self.isVisible() and not (self.user.isHidden() and self.password.isHidden())

    def say(
        self,
        title: str,
        text: str = "",
        sign: tuple[str, str] = ("loader-circle", "muted"),
        actions: tuple[tuple[str, str, Callable[[], object]], ...] = (),
    ) -> None:
        """Show this. `actions` are words, icon and what they do, the likeliest first."""
        self.user.hide()
        self.password.hide()
        self._show(title, text, sign, actions)

    def ask(
        self, title: str, text: str, *, user: bool, password: bool = True, words: str = "Connect", focus: bool = True
    ) -> None:
        """Show fields for user and password; Enter or the button gives them. `focus`: they take the keyboard."""
        asked = self.asks
        self.user.setVisible(user)
        self.password.setVisible(password)
        self._asks_password = password
        self._show(title, text, ("key-round", "warn"), ((words, "log-in", self._provide),))
        if focus and not asked:
            first = self.user if user and (not password or not self.user.text()) else self.password
            first.setFocus(Qt.FocusReason.OtherFocusReason)

    def _show(
        self, title: str, text: str, sign: tuple[str, str], actions: tuple[tuple[str, str, Callable[[], object]], ...]
    ) -> None:
        self._sign.show_as(*sign)
        self._title.setText(title)
        self._text.setText(text[:1].upper() + text[1:])
        self._text.setVisible(bool(text))
        self.setAccessibleName(f"{title}. {text}".strip())
        self._show_actions(actions)
        self._settle()

    def _settle(self) -> None:
        self.show()
        self.adjustSize()
        self.raise_()

    def _show_actions(self, actions: tuple[tuple[str, str, Callable[[], object]], ...]) -> None:
        self._actions = [run for _, _, run in actions]
        for number, made in enumerate(self.buttons):
            made.setVisible(number < len(actions))
            if number < len(actions):
                text, symbol, _ = actions[number]
                set_symbol(made, symbol, "on_accent" if number == 0 else "text")
                set_words(made, text)
                _as_first(made, number == 0)

    def _press(self, number: int) -> None:
        self._actions[number]()

    def _provide(self) -> None:
        if self._asks_password and not self.password.text() and not self.user.text():
            return
        user, password = self.user.text().strip(), self.password.text()
        self.password.clear()
        self.provided.emit(user, password)


def _as_first(made: QPushButton, first: bool) -> None:
    """The likeliest answer is filled with the accent."""
    made.setDefault(first)
    made.style().unpolish(made)
    made.style().polish(made)
