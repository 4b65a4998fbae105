"""Small pieces that every view is made of: cards, pills, labels, buttons, tables of facts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLayout,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QStyle,
    QStyleOptionButton,
    QStylePainter,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from backends.model import PowerState
from widgets import format as fmt
from widgets import theme
from widgets.icons import dress, pixmap

STATE_ROLE = {
    PowerState.RUNNING: "ok",
    PowerState.PAUSED: "warn",
    PowerState.SUSPENDED: "warn",
    PowerState.CRASHED: "bad",
    PowerState.STARTING: "accent",
    PowerState.STOPPING: "accent",
    PowerState.MIGRATING: "accent",
}
"""The role of a state's pill; what is not here is muted."""


FRAME = QSize(8, 44)
"""What a window manager may put around a window; it is known only after the first show."""


def label(text: str = "", name: str = "", parent: QWidget | None = None, *, copy: bool = False) -> QLabel:
    """A plain-text label; `name` is its style, `copy` lets its text be selected."""
    made = QLabel(text, parent)
    made.setTextFormat(Qt.TextFormat.PlainText)
    if name:
        made.setObjectName(name)
    if copy:
        made.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
    return made


def button(text: str, run: Callable[[], object], symbol: str = "", tip: str = "") -> QPushButton:
    """A push button with a picture before its word."""
    made = QPushButton()
    if symbol:
        set_symbol(made, symbol)
    set_words(made, text)
    made.setToolTip(tip)
    made.setAutoDefault(False)
    made.clicked.connect(lambda: run())
    return made


def tool(symbol: str, name: str, run: Callable[[], object]) -> QToolButton:
    """A button that is only a picture; `name` is what screen readers and the tip say."""
    made = QToolButton()
    set_symbol(made, symbol, "muted")
    made.setAutoRaise(True)
    made.setToolTip(name)
    made.setAccessibleName(name)
    made.clicked.connect(lambda: run())
    return made


def set_symbol(made: QPushButton | QToolButton, symbol: str, role: str = "text") -> None:
    """Give a button its picture."""
    made.setIconSize(QSize(16, 16))
    dress(made, symbol, role)


def set_words(made: QPushButton, text: str) -> None:
    """Give a button its words, a little away from its picture."""
    made.setText(text if made.icon().isNull() else f" {text}")
    made.setAccessibleName(text.rstrip("…"))


def fit(made: QWidget, width: int, height: int) -> None:
    """Size a window, but never beyond its screen: a frame of the window manager has room too."""
    room = made.screen().availableSize()
    made.resize(min(width, room.width() - FRAME.width()), min(height, room.height() - FRAME.height()))


def clear(layout: QLayout) -> None:
    """Take everything out of a layout."""
    while (item := layout.takeAt(0)) is not None:
        if (widget := item.widget()) is not None:
            widget.hide()
            widget.deleteLater()
        elif (inner := item.layout()) is not None:
            clear(inner)


class Combo(QComboBox):
    """A choice with its arrow in the theme's colour. `data` of the items may be any value."""

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._values: list[object] = []
        self.setAccessibleName(name)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(10)

    def fill(self, items: Sequence[tuple[str, object]], current: object = None) -> None:
        """Show these instead; `current` is chosen where it is one of them, else the first."""
        self.clear()
        self.addItems([text for text, _ in items])
        self._values = [value for _, value in items]
        self.choose(current)

    def choose(self, value: object) -> None:
        self.setCurrentIndex(self._values.index(value) if value in self._values else 0 if self._values else -1)

    def chosen(self) -> object:
        """The value of what is chosen; None where nothing is."""
        row = self.currentIndex()
        return self._values[row] if 0 <= row < len(self._values) else None

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        painter = QPainter(self)
        arrow = pixmap("chevron-down", "muted", 14, self.devicePixelRatioF())
        painter.drawPixmap(self.width() - 22, (self.height() - 14) // 2, arrow)


class Check(QCheckBox):
    """A box to tick whose edge is seen in both themes, with the focus on its edge."""

    def paintEvent(self, event: QPaintEvent) -> None:
        option = QStyleOptionButton()
        self.initStyleOption(option)
        painter = QStylePainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        place = self.style().subElementRect(QStyle.SubElement.SE_CheckBoxIndicator, option, self)
        on, lit = self.isChecked(), self.hasFocus() or self.underMouse()
        edge = "line" if not self.isEnabled() else "accent" if on or lit else "muted"
        painter.setPen(QPen(theme.colour(edge), 2 if self.hasFocus() and not on else 1))
        painter.setBrush(theme.colour("accent" if on and self.isEnabled() else "pane"))
        painter.drawRoundedRect(QRectF(place).adjusted(0.5, 0.5, -0.5, -0.5), 4, 4)
        if on:
            tick = pixmap("check", "on_accent" if self.isEnabled() else "muted", 12, self.devicePixelRatioF())
            painter.drawPixmap(place.center().x() - 5, place.center().y() - 5, tick)
        words = QStyleOptionButton(option)
        words.rect = self.style().subElementRect(QStyle.SubElement.SE_CheckBoxContents, option, self)
        painter.drawControl(QStyle.ControlElement.CE_CheckBoxLabel, words)
        if on and self.hasFocus():
            painter.setPen(QPen(theme.colour("link"), 1))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(QRectF(place).adjusted(-0.5, -0.5, 0.5, 0.5), 5, 5)


class Sign(QLabel):
    """A small picture."""

    def __init__(self, symbol: str, role: str = "text", parent: QWidget | None = None, side: int = 16) -> None:
        super().__init__(parent)
        self._symbol, self._role, self._side = symbol, role, side
        self.setFixedSize(side, side)
        self.draw()
        theme.on_change(self.draw)

    def show_as(self, symbol: str, role: str) -> None:
        if (symbol, role) != (self._symbol, self._role):
            self._symbol, self._role = symbol, role
            self.draw()

    def draw(self) -> None:
        self.setPixmap(pixmap(self._symbol, self._role, self._side, self.devicePixelRatioF()))


class Pill(QLabel):
    """A word on a rounded ground; `role` is ok, warn, bad, accent or muted."""

    def __init__(self, text: str = "", role: str = "muted", parent: QWidget | None = None) -> None:
        super().__init__(text, parent)
        self.setObjectName("pill")
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setProperty("role", role)

    def show_as(self, text: str, role: str) -> None:
        if self.text() != text:
            self.setText(text)
            self.setVisible(bool(text))
        if self.property("role") != role:
            self.setProperty("role", role)
            self.style().unpolish(self)
            self.style().polish(self)


class Elided(QLabel):
    """A label that gives way: its text ends in an ellipsis where there is no room, the tip has all of it."""

    def __init__(self, text: str = "", name: str = "", parent: QWidget | None = None) -> None:
        super().__init__(text, parent)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        if name:
            self.setObjectName(name)

    def setText(self, text: str) -> None:
        super().setText(text)
        self.setToolTip(fmt.tip(text))

    def minimumSizeHint(self) -> QSize:
        return QSize(24, super().minimumSizeHint().height())

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setPen(self.palette().color(self.foregroundRole()))
        room = self.contentsRect()
        text = self.fontMetrics().elidedText(self.text(), Qt.TextElideMode.ElideRight, room.width())
        painter.drawText(room, self.alignment() | Qt.AlignmentFlag.AlignVCenter, text)


class Card(QFrame):
    """A rounded pane with a small title, a value at its right, and a body."""

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("card")
        self.setAccessibleName(title)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(14, 12, 14, 12)
        outer.setSpacing(6)
        self.head = QHBoxLayout()
        self.head.setSpacing(6)
        self.title = Elided(title.upper(), "cardTitle", self)
        self.value = label("", "cardValue", self)
        self.head.addWidget(self.title, 1)
        self.head.addWidget(self.value)
        outer.addLayout(self.head)
        self.body = QVBoxLayout()
        self.body.setSpacing(4)
        outer.addLayout(self.body, 1)


class Facts(QWidget):
    """Rows of columns with lines between; numbers at the right. `head` may be empty."""

    def __init__(self, head: tuple[str, ...] = (), right: Iterable[int] = (), parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._head, self._right = head, frozenset(right)
        self._rows: list[tuple[str, ...]] | None = None
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(12)
        self._grid.setVerticalSpacing(0)

    def show_rows(self, rows: list[tuple[str, ...]], empty: str = "") -> None:
        """Show `rows`, or the sentence `empty` where there are none. The same rows again cost nothing."""
        if rows == self._rows:
            return
        self._rows = rows
        clear(self._grid)
        for line in range(self._grid.rowCount()):
            self._grid.setRowMinimumHeight(line, 0)
        if not rows:
            note = label(empty, "muted", self)
            note.setWordWrap(True)
            self._grid.addWidget(note, 0, 0)
            return
        line = 0
        for number, row in enumerate(((self._head,) if self._head else ()) + tuple(rows)):
            if number:
                rule = QFrame(self)
                rule.setObjectName("rule")
                rule.setFixedHeight(1)
                self._grid.addWidget(rule, line, 0, 1, len(row))
                line += 1
            for column, text in enumerate(row):
                self._grid.addWidget(self._cell(text, column, head=bool(self._head) and number == 0), line, column)
            self._grid.setRowMinimumHeight(line, 28)
            line += 1
        self._grid.setColumnStretch(1 if len(rows[0]) > 1 else 0, 1)

    def _cell(self, text: str, column: int, *, head: bool) -> QLabel:
        if column == 1 and 1 not in self._right:
            cell: QLabel = Elided(text, "small" if head else "", self)
        else:
            cell = label(text, "small" if head else "", self, copy=not head)
        if column in self._right:
            cell.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return cell


def busy_bar(parent: QWidget) -> QProgressBar:
    """A thin line that runs while something is looked at; hidden at first, its room is kept."""
    made = QProgressBar(parent)
    made.setRange(0, 0)
    made.setFixedHeight(3)
    made.setTextVisible(False)
    keep = made.sizePolicy()
    keep.setRetainSizeWhenHidden(True)
    made.setSizePolicy(keep)
    made.hide()
    return made


def scrolled(inner: QWidget) -> QScrollArea:
    """`inner` in a frame-less area that scrolls up and down only."""
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(inner)
    area.setObjectName("page")
    inner.setObjectName("pageBody")
    return area
