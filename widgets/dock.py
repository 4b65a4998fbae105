"""The lower pane: tasks, events, alerts. Where nothing runs it is its head alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import QApplication, QButtonGroup, QHBoxLayout, QPushButton, QStackedWidget, QVBoxLayout, QWidget

from widgets import format as fmt
from widgets.alerts import Alerts
from widgets.eventlog import EventLog
from widgets.parts import Elided, set_symbol, tool
from widgets.tasksdock import TasksDock

if TYPE_CHECKING:
    from app.services import Services

HEAD_PX = 34
LINES_PX = 132
"""What events and alerts ask for."""
MOST_ROWS = 3
"""Of tasks; more are scrolled to."""
READ_MS = 20_000
"""How long what has ended stays in view."""


class Dock(QWidget):
    """Three panes behind three words; the words carry the counts.

    It unfolds when a task begins and folds up some time after the last one has ended, unless it was unfolded by hand:
    then it stays. A click on the word of the pane that is shown folds it too.
    """

    opened = Signal(object)
    folding = Signal(bool)
    """It was folded up (True) or unfolded."""
    asked = Signal()
    """What it has to show became more or less."""

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("dock")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.folded, self.by_hand = True, False
        self._quiet = QTimer(self, singleShot=True, interval=READ_MS)
        self._quiet.timeout.connect(self._fold_when_left)
        self.tasks, self.events, self.alerts = TasksDock(services), EventLog(services), Alerts(services)
        self._panes: dict[str, QWidget] = {"tasks": self.tasks, "events": self.events, "alerts": self.alerts}
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        head = QHBoxLayout()
        head.setContentsMargins(11, 5, 10, 3)
        head.setSpacing(4)
        column.addLayout(head)
        self._stack = QStackedWidget(self)
        column.addWidget(self._stack, 1)
        group = QButtonGroup(self)
        self.buttons: dict[str, QPushButton] = {}
        for name, pane in self._panes.items():
            made = QPushButton(name.upper(), self)
            made.setObjectName("dockTab")
            made.setCheckable(True)
            made.setAccessibleName(name.capitalize())
            made.clicked.connect(lambda checked, name=name: self._clicked(name))
            group.addButton(made)
            head.addWidget(made)
            self.buttons[name] = made
            self._stack.addWidget(pane)
        self._newest = Elided("", "small", self)
        self._newest.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        head.addSpacing(8)
        head.addWidget(self._newest, 1)
        self._clear = tool("list-x", "Clear what has ended", self._clear_ended)
        self._fold = tool("chevron-up", "Show the lower pane", self._turn)
        for made in (self._clear, self._fold):
            head.addWidget(made)
        self.tasks.counted.connect(self._count_tasks)
        self.alerts.counted.connect(lambda number: self._count("alerts", number))
        self.events.opened.connect(self.opened)
        self.alerts.opened.connect(self.opened)
        self.show_pane("tasks")
        self._show_fold()
        self._count_tasks(len(self.tasks.rows()))

    @property
    def pane(self) -> str:
        return next(name for name, pane in self._panes.items() if pane is self._stack.currentWidget())

    def show_pane(self, name: str) -> None:
        self.buttons[name].setChecked(True)
        self._stack.setCurrentWidget(self._panes[name])
        self._clear.setVisible(name != "events" and not self.folded)
        self.asked.emit()

    def wanted(self) -> int:
        """The height at which all is seen that should be, in pixels; the least is that of one line."""
        rows = self.tasks.rows()[:MOST_ROWS] if self.pane == "tasks" else []
        return HEAD_PX + (sum(row.sizeHint().height() for row in rows) or (56 if self.pane == "tasks" else LINES_PX))

    def unfold(self, *, by_hand: bool = True) -> None:
        """Show more than the head; `by_hand`: until it is folded by hand."""
        if by_hand:
            self.by_hand = True
            self._quiet.stop()
        if self.folded:
            self.folded = False
            self._show_fold()
            self.folding.emit(False)

    def fold(self) -> None:
        """Leave the head, with the newest task in a few words."""
        self.by_hand = False
        self._quiet.stop()
        if not self.folded:
            self.folded = True
            self._show_fold()
            self.folding.emit(True)

    def close_down(self) -> None:
        self._quiet.stop()
        for pane in (self.tasks, self.events, self.alerts):
            pane.close_down()

    def _clear_ended(self) -> None:
        self.tasks.clear_ended()
        self.alerts.dismiss_ended()

    def _clicked(self, name: str) -> None:
        if name == self.pane and not self.folded:
            self.fold()
        else:
            self.unfold()
        self.show_pane(name)

    def _turn(self) -> None:
        self.unfold() if self.folded else self.fold()

    def _show_fold(self) -> None:
        self._stack.setVisible(not self.folded)
        self._clear.setVisible(not self.folded and self.pane != "events")
        self._newest.setText(self.tasks.newest() if self.folded else "")
        set_symbol(self._fold, "chevron-up" if self.folded else "chevron-down", "muted")
        name = "Show the lower pane" if self.folded else "Fold the lower pane up"
        self._fold.setToolTip(name)
        self._fold.setAccessibleName(name)

    def _count_tasks(self, number: int) -> None:
        """Tasks came, changed or went: what runs is in view, what has ended for a while."""
        self._count("tasks", number)
        if self.tasks.busy():
            self._quiet.stop()
            self.unfold(by_hand=False)
        elif not self.folded and not self.by_hand and not self._quiet.isActive():
            self._quiet.start()
        self._newest.setText(self.tasks.newest() if self.folded else "")
        self.asked.emit()

    def _fold_when_left(self) -> None:
        """Nothing folds up below the mouse or the keyboard."""
        focus = QApplication.focusWidget()
        if self.underMouse() or (focus is not None and self.isAncestorOf(focus)):
            self._quiet.start()
        else:
            self.fold()

    def _count(self, name: str, number: int) -> None:
        self.buttons[name].setText(f"{name.upper()} {fmt.count(number)}" if number else name.upper())
        self.buttons[name].setAccessibleName(f"{name.capitalize()}, {fmt.count(number)}")
