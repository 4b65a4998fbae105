"""What all tabs of details have in common: title, state, facts, a banner, and a body that scrolls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout, QWidget

from backends.model import Kind, Object, Origin, Ref
from widgets import format as fmt
from widgets.parts import Pill, Sign, label, scrolled
from widgets.tab import Tab

if TYPE_CHECKING:
    from widgets.frame import Frame

NARROW = 660
TIGHT = 540
"""Below this width each card has a line of its own."""
APART, UNBROKEN = "     ", "\N{NO-BREAK SPACE}"
WIDE = 880
"""From this width on, cards stand three in a row."""


def freshness(window: Frame, item: Object) -> str:
    """How far the values of an object can be trusted: live, by event; 2 s ago; offline, seen 4 min ago."""
    site = window.services.connections.get(item.ref.connection)
    if site is None or str(site.state) != "ready":
        return f"offline, seen {fmt.age(item.seen)}"
    if item.origin == Origin.EVENT:
        return "live, by event"
    if item.origin == Origin.CACHE:
        return f"from the store, seen {fmt.age(item.seen)}"
    return f"asked {fmt.age(item.seen)}"


SIGNS = {"bad": ("circle-x", "bad"), "ok": ("circle-check", "ok"), "ask": ("info", "link")}


class Banner(QFrame):
    """One line of trouble across the page, with what to do about it."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("banner")
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 8, 12, 8)
        row.setSpacing(10)
        self._sign = Sign("circle-alert", "warn", self)
        row.addWidget(self._sign, 0, Qt.AlignmentFlag.AlignTop)
        self._text = label("", "", self, copy=True)
        self._text.setWordWrap(True)
        row.addWidget(self._text, 1)
        self.hide()

    def say(self, text: str, role: str = "warn") -> None:
        self._text.setText(text)
        self.setAccessibleName(text)
        if self.property("role") != role:
            self.setProperty("role", role)
            self.style().unpolish(self)
            self.style().polish(self)
            self._sign.show_as(*SIGNS.get(role, ("circle-alert", role)))
        self.setVisible(bool(text))

    def text(self) -> str:
        return self._text.text()


class CardRow(QWidget):
    """Cards side by side where there is room, else in two columns, else below each other. `shares` are their widths."""

    def __init__(self, cards: list[tuple[QWidget, int]], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._cards = cards
        self._rows = QVBoxLayout(self)
        self._rows.setContentsMargins(0, 0, 0, 0)
        self._rows.setSpacing(14)
        self._lines = [QHBoxLayout() for _ in cards]
        for line in self._lines:
            line.setSpacing(14)
            self._rows.addLayout(line)
        self._columns = 0
        self._lay(len(cards))

    def minimumSizeHint(self) -> QSize:
        """As narrow as one card: the row never makes its page wider than there is room."""
        return QSize(max(card.minimumSizeHint().width() for card, _ in self._cards), super().minimumSizeHint().height())

    def _lay(self, columns: int) -> None:
        if columns == self._columns:
            return
        self._columns = columns
        for line in self._lines:
            while line.takeAt(0) is not None:
                pass
        for number, (card, share) in enumerate(self._cards):
            self._lines[number // columns].addWidget(card, share)

    def resizeEvent(self, event: object) -> None:
        wide = self.width() >= WIDE or (len(self._cards) < 3 and self.width() >= TIGHT)
        self._lay(len(self._cards) if wide else 2 if self.width() >= TIGHT else 1)


class Page(Tab):
    """A tab of details. Subclasses fill `self.body` and redraw in `refresh`."""

    def __init__(self, window: Frame, key: str, ref: Ref, symbol: str, uid: str = "") -> None:
        super().__init__(window, key, ref, symbol, uid)
        inner = QWidget()
        self.body = QVBoxLayout(inner)
        self.body.setContentsMargins(20, 16, 20, 20)
        self.body.setSpacing(14)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scrolled(inner))
        head = QVBoxLayout()
        head.setSpacing(4)
        self.head = QHBoxLayout()
        self.head.setSpacing(8)
        self._title = label("", "title", self, copy=True)
        self.state = Pill("", "muted", self)
        self.pills = [Pill("", "muted", self) for _ in range(3)]
        for widget in (self._title, self.state, *self.pills):
            self.head.addWidget(widget)
            widget.setVisible(widget is self._title)
        self.head.addStretch(1)
        head.addLayout(self.head)
        self._facts = label("", "muted", self, copy=True)
        self._facts.setWordWrap(True)
        head.addWidget(self._facts)
        self.body.addLayout(head)
        self.banner = Banner(self)
        self.body.addWidget(self.banner)

    def show_name(self, name: str) -> None:
        self._title.setText(name)
        super().show_name(name)

    def show_facts(self, texts: list[str]) -> None:
        """The muted words below the title, in as many lines as they need; none is broken apart."""
        self._facts.setText(APART.join(text.replace(" ", UNBROKEN) for text in texts))

    def show_pills(self, texts: list[str]) -> None:
        for number, pill in enumerate(self.pills):
            pill.show_as(texts[number] if number < len(texts) else "", "muted")
        self._fit_pills()

    def resizeEvent(self, event: object) -> None:
        self._fit_pills()

    def _fit_pills(self) -> None:
        """Where it is narrow the buttons come before the pills."""
        for pill in self.pills:
            pill.setVisible(bool(pill.text()) and self.width() >= NARROW)


def site_ref(name: str) -> Ref:
    return Ref(name, Kind.CONNECTION, name)
