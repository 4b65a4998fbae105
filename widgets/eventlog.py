"""What happened as a table: when, how bad, what, what can be done. Enter opens what a line is about."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, QPoint, Qt, QTimer, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QMenu, QStackedLayout, QTableView, QWidget

from backends.model import Level, Ref
from widgets import format as fmt
from widgets import theme
from widgets.icons import icon
from widgets.parts import label

if TYPE_CHECKING:
    from app.events import Event
    from app.services import Services

KEPT = 2000
COALESCE_MS = 100
SIGNS = {
    Level.RED: ("circle-x", "bad", "failed"),
    Level.AMBER: ("circle-alert", "warn", "look"),
    Level.INFO: ("info", "muted", "info"),
}
ACTIONS = 2
"""Columns of what can be done, at the right; a menu has all of it."""
ACTION_PX = 108


@dataclass(frozen=True, slots=True)
class Line:
    """One row of either table."""

    when: datetime
    level: Level
    text: str
    cure: str = ""
    ref: Ref | None = None
    subject: str = ""
    """The task or site that it is about."""
    actions: tuple[str, ...] = ()
    """What can be done about it, in words; the first is the natural one."""


class Lines(QAbstractTableModel):
    """Rows of (time, what, what can be done), newest first."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._lines: list[Line] = []

    def show_lines(self, lines: list[Line]) -> None:
        if lines != self._lines:
            self.beginResetModel()
            self._lines = lines
            self.endResetModel()

    def line(self, row: int) -> Line:
        return self._lines[row]

    def rowCount(self, parent: QModelIndex | QPersistentModelIndex = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self._lines)

    def columnCount(self, parent: QModelIndex | QPersistentModelIndex = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else 2 + ACTIONS

    def data(self, index: QModelIndex | QPersistentModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        line = self._lines[index.row()]
        if index.column() > 1:
            return _action(line, index.column() - 2, role)
        symbol, tint, word = SIGNS[line.level]
        if role == Qt.ItemDataRole.DisplayRole:
            if index.column() == 0:
                return fmt.clock(line.when)
            return f"{line.text} – {line.cure}" if line.cure else line.text
        if role == Qt.ItemDataRole.DecorationRole and index.column() == 1:
            return icon(symbol, tint)
        if role in (Qt.ItemDataRole.AccessibleTextRole, Qt.ItemDataRole.ToolTipRole):
            text = f"{word}, {fmt.age(line.when)}: {line.text}" + (f"\n{line.cure}" if line.cure else "")
            return fmt.tip(text) if role == Qt.ItemDataRole.ToolTipRole else text
        return None


def _action(line: Line, number: int, role: int) -> object:
    """A word to click on."""
    if number >= len(line.actions):
        return None
    if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
        return line.actions[number]
    if role == Qt.ItemDataRole.ForegroundRole:
        return theme.colour("link")
    return None


class LineView(QWidget):
    """A table of lines, or a sentence where there are none."""

    opened = Signal(object)
    acted = Signal(object, str)
    """The line, and the word of what is to be done about it."""

    def __init__(self, name: str, empty: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = Lines(self)
        self._table = QTableView(self)
        self._table.setModel(self.model)
        self._table.setAccessibleName(name)
        self._table.setShowGrid(False)
        self._table.setFrameShape(QTableView.Shape.NoFrame)
        self._table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self._table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self._table.setTabKeyNavigation(False)
        self._table.verticalHeader().hide()
        self._table.verticalHeader().setDefaultSectionSize(26)
        self._table.horizontalHeader().hide()
        self._table.setColumnWidth(0, 120)
        self._table.horizontalHeader().setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        for column in range(2, 2 + ACTIONS):
            self._table.setColumnWidth(column, ACTION_PX)
        self._table.activated.connect(self._activate)
        self._table.clicked.connect(self._click)
        self._table.setMouseTracking(True)
        self._table.entered.connect(self._point)
        self._table.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self._table.customContextMenuRequested.connect(self._menu)
        note = label(empty, "empty", self)
        note.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._stack = QStackedLayout(self)
        self._stack.addWidget(note)
        self._stack.addWidget(self._table)

    def show_lines(self, lines: list[Line]) -> None:
        self.model.show_lines(lines)
        most = max((len(line.actions) for line in lines), default=0)
        for number in range(ACTIONS):
            self._table.setColumnHidden(2 + number, number >= most)
        self._stack.setCurrentIndex(1 if lines else 0)

    def actions(self, line: Line) -> tuple[str, ...]:
        """All that can be done about a line."""
        return (*line.actions, *(["Open"] if line.ref is not None else []))

    def act(self, line: Line, word: str) -> None:
        if word == "Open":
            self.opened.emit(line.ref)
        else:
            self.acted.emit(line, word)

    def _activate(self, index: QModelIndex) -> None:
        line = self.model.line(index.row())
        if self._word(index):
            return  # The click did it.
        if line.ref is not None:
            self.opened.emit(line.ref)

    def _word(self, index: QModelIndex) -> str:
        """The action below the mouse."""
        line, number = self.model.line(index.row()), index.column() - 2
        return line.actions[number] if 0 <= number < len(line.actions) else ""

    def _click(self, index: QModelIndex) -> None:
        if word := self._word(index):
            self.act(self.model.line(index.row()), word)

    def _point(self, index: QModelIndex) -> None:
        shape = Qt.CursorShape.PointingHandCursor if self._word(index) else Qt.CursorShape.ArrowCursor
        self._table.viewport().setCursor(shape)

    def _menu(self, at: QPoint) -> None:
        index = self._table.indexAt(at)
        if not index.isValid():
            return
        line = self.model.line(index.row())
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        for word in self.actions(line):
            menu.addAction(word, lambda word=word: self.act(line, word))
        menu.addAction(
            "Copy the text", lambda: QGuiApplication.clipboard().setText(f"{line.text}\n{line.cure}".strip())
        )
        menu.popup(self._table.viewport().mapToGlobal(at))


class EventLog(LineView):
    """What happened, newest first; drawn at most ten times a second."""

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__("Events", "Nothing has happened yet.", parent)
        self._lines: deque[Line] = deque(maxlen=KEPT)
        for event in services.events:
            self._take(event)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(COALESCE_MS)
        self._timer.timeout.connect(lambda: self.show_lines(list(self._lines)))
        self._unsubscribe = services.events.subscribe(self._came)
        self.show_lines(list(self._lines))

    def close_down(self) -> None:
        self._timer.stop()
        self._unsubscribe()

    def about(self, ref: Ref) -> list[Line]:
        """The lines about one object, newest first."""
        return [line for line in self._lines if line.ref == ref]

    def _came(self, event: Event) -> None:
        self._take(event)
        if not self._timer.isActive():
            self._timer.start()

    def _take(self, event: Event) -> None:
        self._lines.appendleft(Line(event.when, event.level, event.text, ref=event.ref))
