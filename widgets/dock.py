"""The lower pane: tasks, events, alerts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QButtonGroup, QHBoxLayout, QPushButton, QStackedWidget, QVBoxLayout, QWidget

from widgets import format as fmt
from widgets.eventlog import Alerts, EventLog
from widgets.parts import tool
from widgets.tasksdock import TasksDock

if TYPE_CHECKING:
    from app.services import Services


class Dock(QWidget):
    """Three panes behind three words; the words carry the counts."""

    opened = Signal(object)

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("dock")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setMinimumHeight(34)
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
            made.clicked.connect(lambda checked, name=name: self.show_pane(name))
            group.addButton(made)
            head.addWidget(made)
            self.buttons[name] = made
            self._stack.addWidget(pane)
        head.addStretch(1)
        self._clear = tool("list-x", "Clear what has ended", self._clear_ended)
        head.addWidget(self._clear)
        self.tasks.counted.connect(lambda number: self._count("tasks", number))
        self.alerts.counted.connect(lambda number: self._count("alerts", number))
        self.events.opened.connect(self.opened)
        self.alerts.opened.connect(self.opened)
        self._count("tasks", len(self.tasks.rows()))
        self.show_pane("tasks")

    @property
    def pane(self) -> str:
        return next(name for name, pane in self._panes.items() if pane is self._stack.currentWidget())

    def show_pane(self, name: str) -> None:
        self.buttons[name].setChecked(True)
        self._stack.setCurrentWidget(self._panes[name])
        self._clear.setVisible(name != "events")

    def close_down(self) -> None:
        for pane in (self.tasks, self.events, self.alerts):
            pane.close_down()

    def _clear_ended(self) -> None:
        self.tasks.clear_ended()
        self.alerts.dismiss_ended()

    def _count(self, name: str, number: int) -> None:
        self.buttons[name].setText(f"{name.upper()} {fmt.count(number)}" if number else name.upper())
        self.buttons[name].setAccessibleName(f"{name.capitalize()}, {fmt.count(number)}")
