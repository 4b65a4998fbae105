"""The first tab: one card per site with what runs there, and what needs somebody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QKeyEvent, QMouseEvent
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QWidget

from app.inventory import Delta
from app.tasks import Task
from backends.model import Ref, Section
from widgets import format as fmt
from widgets.details.page import Page, site_ref
from widgets.details.site import ROLE, WORD
from widgets.parts import Card, Elided, Facts, Pill, Sign, clear, label

if TYPE_CHECKING:
    from app.connections import Connection
    from widgets.frame import Frame

SECTION_ICON = {Section.LOCAL: "server", Section.PRIVATE: "database", Section.PUBLIC: "cloud"}
REFRESH_MS = 500
CARD_PX = 300
SHOWN = 6


class SiteCard(Card):
    """One site. A click, Enter or Space opens it."""

    def __init__(self, window: Frame, name: str) -> None:
        super().__init__("")
        self._window, self.site = window, name
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.title.hide()
        self._sign = Sign("server", "text", self)
        self._name = label(name, "strong", self)
        self._state = Pill("", "muted", self)
        self._mark = Pill("", "muted", self)
        self.head.insertWidget(0, self._sign)
        self.head.insertWidget(1, self._name)
        self.head.insertStretch(2, 1)
        self.head.addWidget(self._mark)
        self.head.addWidget(self._state)
        counts = QHBoxLayout()
        self._count = label("", "cardValue", self)
        self._rest = Elided("", "muted", self)
        counts.addWidget(self._count)
        counts.addWidget(self._rest, 1)
        self.body.addLayout(counts)
        self._note = Elided("", "muted", self)
        self.body.addWidget(self._note)

    def show_site(self, site: Connection) -> None:
        word = str(site.state)
        count = self._window.tally.site(site.name)
        self._sign.show_as(SECTION_ICON.get(site.section, "server"), "text")
        self._state.show_as(WORD.get(word, word), ROLE.get(word, "muted"))
        mark = "production" if site.production else "read-only" if site.read_only else ""
        self._mark.show_as(mark, "bad" if site.production else "muted")
        self._mark.setVisible(bool(self._mark.text()))
        self._count.setText(fmt.counted(count.vms, "VM"))
        states = sorted(count.states.items(), key=lambda item: -item[1])
        self._rest.setText(", ".join(f"{fmt.count(number)} {state}" for state, number in states if number))
        self._note.setText(site.error or f"{site.title}, {site.uri}")
        self.setAccessibleName(f"{site.name}, {WORD.get(word, word)}, {self._count.text()}, {self._rest.text()}")

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        self._open()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self._open()
        else:
            super().keyPressEvent(event)

    def _open(self) -> None:
        self._window.open_ref(site_ref(self.site))


class OverviewPage(Page):
    """All sites at a glance. Redrawn twice a second at most."""

    def __init__(self, window: Frame) -> None:
        super().__init__(window, "overview", Ref("", site_ref("").kind, ""), "layout-dashboard")
        self.show_name("Overview")
        self._cards: dict[str, SiteCard] = {}
        self._columns = 0
        host = QWidget(self)
        self._grid = QGridLayout(host)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(14)
        self.body.addWidget(host)
        row = QHBoxLayout()
        row.setSpacing(14)
        tasks, alerts = Card("Tasks"), Card("Alerts")
        self._tasks, self._alerts = Facts(), Facts()
        for card, table in ((tasks, self._tasks), (alerts, self._alerts)):
            card.body.addWidget(table)
            card.body.addStretch(1)
            row.addWidget(card, 1)
        self.body.addLayout(row)
        self.body.addStretch(1)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(REFRESH_MS)
        self._timer.timeout.connect(self.refresh)
        self._timer.start()

    def concerns(self, delta: Delta) -> bool:
        self.soon()
        return False

    def task_changed(self, task: Task) -> None:
        self.soon()

    def soon(self) -> None:
        if not self._timer.isActive():
            self._timer.start()

    def refresh(self) -> None:
        sites = self.services.connections.all()
        tally = self.window_.tally
        self.show_facts(
            [fmt.counted(len(sites), "site"), fmt.counted(tally.vms, "VM"), f"{fmt.count(tally.running)} running"]
        )
        names = [site.name for site in sites]
        if names != list(self._cards):
            clear(self._grid)
            self._cards = {name: SiteCard(self.window_, name) for name in names}
            self._columns = 0
        for site in sites:
            self._cards[site.name].show_site(site)
        self._lay()
        active = [task for task in self.services.tasks.all() if task.active]
        self._tasks.show_rows(
            [(fmt.clock(task.created), task.title, str(task.state)) for task in active[:SHOWN]], "nothing runs"
        )
        lines = self.window_.alert_lines()
        self._alerts.show_rows([(fmt.clock(line.when), line.text) for line in lines[:SHOWN]], "all is well")

    def resizeEvent(self, event: object) -> None:
        self._lay()

    def _lay(self) -> None:
        """As many columns as fit."""
        columns = max(1, (self.width() - 40) // CARD_PX)
        if columns == self._columns:
            return
        self._columns = columns
        for card in self._cards.values():
            self._grid.removeWidget(card)
        for column in range(self._grid.columnCount()):
            self._grid.setColumnStretch(column, 1 if column < columns else 0)
        for number, card in enumerate(self._cards.values()):
            self._grid.addWidget(card, number // columns, number % columns)
        for column in range(columns):
            self._grid.setColumnStretch(column, 1)
