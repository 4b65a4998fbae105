"""Events and alerts as tables: when, how bad, what. A double click or Enter opens what a line is about."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt, QTimer, Signal
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QStackedLayout, QTableView, QWidget

from app.tasks import Task, TaskState
from backends.model import Kind, Level, Ref, now
from widgets import format as fmt
from widgets.icons import icon
from widgets.parts import label

if TYPE_CHECKING:
    from app.connections import Connection
    from app.events import Event
    from app.services import Services

KEPT = 2000
COALESCE_MS = 100
SIGNS = {
    Level.RED: ("circle-x", "bad", "failed"),
    Level.AMBER: ("circle-alert", "warn", "look"),
    Level.INFO: ("info", "muted", "info"),
}
BROKEN = {TaskState.FAILED: "failed", TaskState.UNKNOWN: "outcome unknown", TaskState.INTERRUPTED: "interrupted"}
TROUBLE = ("retrying", "auth-needed", "auth_needed", "failed")


@dataclass(frozen=True, slots=True)
class Line:
    """One row of either table."""

    when: datetime
    level: Level
    text: str
    cure: str = ""
    ref: Ref | None = None


class Lines(QAbstractTableModel):
    """Rows of (time, what), newest first."""

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
        return 0 if parent.isValid() else 2

    def data(self, index: QModelIndex | QPersistentModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        line = self._lines[index.row()]
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


class LineView(QWidget):
    """A table of lines, or a sentence where there are none."""

    opened = Signal(object)

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
        self._table.activated.connect(self._activate)
        note = label(empty, "empty", self)
        note.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._stack = QStackedLayout(self)
        self._stack.addWidget(note)
        self._stack.addWidget(self._table)

    def show_lines(self, lines: list[Line]) -> None:
        self.model.show_lines(lines)
        self._stack.setCurrentIndex(1 if lines else 0)

    def _activate(self, index: QModelIndex) -> None:
        ref = self.model.line(index.row()).ref
        if ref is not None:
            self.opened.emit(ref)


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


class Alerts(LineView):
    """What needs somebody: sites that are not well, tasks that ended badly or wait."""

    counted = Signal(int)

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__("Alerts", "All is well: every site answers, no task failed.", parent)
        self._services = services
        self._seen: set[str] = set()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(COALESCE_MS)
        self._timer.timeout.connect(self.refresh)
        self._unsubscribe = (
            services.connections.subscribe(lambda connection: self._soon()),
            services.tasks.subscribe(lambda task: self._soon()),
        )
        self._soon()

    def close_down(self) -> None:
        self._timer.stop()
        for end in self._unsubscribe:
            end()

    def dismiss_ended(self) -> None:
        """Tasks that failed have been seen; what still waits for a decision stays."""
        self._seen = {task.id for task in self._services.tasks.all() if task.state == TaskState.FAILED}
        self.refresh()

    def lines(self) -> list[Line]:
        found = [line for item in self._services.connections.all() if (line := self._of_site(item))]
        found += [line for task in self._services.tasks.all() if (line := self._of_task(task))]
        return sorted(found, key=lambda line: line.when, reverse=True)

    def refresh(self) -> None:
        lines = self.lines()
        self.show_lines(lines)
        self.counted.emit(len(lines))

    def _soon(self) -> None:
        if not self._timer.isActive():
            self._timer.start()

    @staticmethod
    def _of_site(item: Connection) -> Line | None:
        if str(item.state) not in TROUBLE:
            return None
        level = Level.AMBER if str(item.state) == "retrying" else Level.RED
        text = f"{item.name}: {item.error or 'does not answer'}"
        return Line(item.since or now(), level, text, item.cure, Ref(item.name, Kind.CONNECTION, item.name))

    def _of_task(self, task: Task) -> Line | None:
        if task.state not in BROKEN or task.id in self._seen:
            return None
        level = Level.RED if task.state == TaskState.FAILED else Level.AMBER
        text = f"{task.title}: {task.error or BROKEN[task.state]}"
        return Line(task.ended or task.created, level, text, task.cure, task.ref)
