"""Where VMs could go: every place with its verdict, to choose from by arrow keys and Enter, or by a click."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem, QWidget

from backends.model import Kind, Ref
from widgets import format as fmt
from widgets import theme
from widgets.icons import icon

if TYPE_CHECKING:
    from app.migration.plan import Verdict
    from app.services import Services

SLICE_S = 0.006
"""How long the loop is held at a time while places are judged."""
NAME_PX = 240
KINDS = (Kind.HOST, Kind.ZONE)
LOOKS = {"green": ("circle-check", "ok"), "amber": ("circle-alert", "warn"), "red": ("circle-x", "bad")}


def places(services: Services, refs: Sequence[Ref], to: Ref | None) -> list[tuple[str, Ref]]:
    """Hosts, zones and whole connections by name, without the one where the VMs are; `to` is always among them."""
    here = {vm.parent for ref in refs if (vm := services.inventory.vm(ref)) is not None}
    found = []
    for site in services.connections.all():
        inside = [item.ref for item in services.inventory.children(site.name, None) if item.ref.kind in KINDS]
        for place in inside or [Ref(site.name, Kind.CONNECTION, site.name)]:
            if place != to and here == {place}:
                continue
            found.append((place_name(services, place), place))
    if to is not None and all(place != to for _, place in found):
        found.append((place_name(services, to), to))
    return found


def place_name(services: Services, ref: Ref) -> str:
    """kvm-a, or aws-prod / eu-west-1."""
    item = services.inventory.get(ref)
    name = item.name if item is not None else ref.id
    return name if name == ref.connection else f"{ref.connection} / {name}"


class Targets(QTableWidget):
    """One row per place. The first green one is current once all are judged, unless somebody went elsewhere."""

    chosen = Signal(object)
    """The Ref to go to."""

    def __init__(
        self, services: Services, refs: Sequence[Ref], found: Sequence[tuple[str, Ref]], parent: QWidget | None = None
    ) -> None:
        super().__init__(len(found), 2, parent)
        self._services, self._refs, self._places = services, list(refs), [place for _, place in found]
        self._verdicts: dict[int, Verdict] = {}
        self._copy, self._touched = False, False
        self._timer = QTimer(self, singleShot=True)
        self._timer.timeout.connect(self._judge_some)
        self.setAccessibleName("Places to go to")
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.horizontalHeader().hide()
        self.horizontalHeader().setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        self.setColumnWidth(0, NAME_PX)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(30)
        for row, (name, _) in enumerate(found):
            self.setItem(row, 0, QTableWidgetItem(name))
            self.setItem(row, 1, QTableWidgetItem("…"))
            self.item(row, 0).setToolTip(fmt.tip(name))
        if found:
            self.setCurrentCell(0, 0)
        self.cellClicked.connect(lambda row, _: self.chosen.emit(self._places[row]))

    def judge(self, copy: bool) -> None:
        """Ask for every verdict, a few milliseconds at a time."""
        self._copy, self._verdicts = copy, {}
        self._timer.start(0)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter takes the marked place, and presses no button."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            if self.currentRow() >= 0:
                self.chosen.emit(self._places[self.currentRow()])
            return
        self._touched = True
        super().keyPressEvent(event)

    def _judge_some(self) -> None:
        until = time.perf_counter() + SLICE_S
        for row in range(len(self._verdicts), len(self._places)):
            self._show(row, self._services.migrations.quick(self._refs, self._places[row], copy=self._copy))
            if time.perf_counter() > until:
                self._timer.start(0)
                return
        best = next((row for row, verdict in self._verdicts.items() if verdict.colour == "green"), None)
        if best is not None and not self._touched:
            self.setCurrentCell(best, 0)

    def _show(self, row: int, verdict: Verdict) -> None:
        self._verdicts[row] = verdict
        symbol, role = LOOKS[verdict.colour]
        text = f"{verdict.text} – {verdict.cure}" if verdict.cure else verdict.text
        item = self.item(row, 1)
        item.setIcon(icon(symbol, role))
        item.setForeground(theme.colour(role))
        item.setText(text)
        item.setToolTip(fmt.tip(text))
        item.setData(Qt.ItemDataRole.AccessibleTextRole, f"{verdict.colour}: {text}")
