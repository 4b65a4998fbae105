"""VMs as a table: name, state, size, address. Enter or a double click opens one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, QPoint, Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView

from backends.model import Vm
from widgets import format as fmt
from widgets import theme
from widgets.icons import icon
from widgets.parts import STATE_ROLE

if TYPE_CHECKING:
    from widgets.frame import Frame

HEAD = ("Name", "State", "vCPU", "Memory", "Address", "Group")
NUMBERS = (2, 3)
WIDTHS = (130, 100, 64, 90, 130, 110)
"""Of the columns, in pixels; the first has at least that."""
ROWS_SHOWN = 12
STATE_ICON = {"running": "play", "off": "square", "paused": "pause", "suspended": "pause", "crashed": "circle-x"}


class VmRows(QAbstractTableModel):
    """The rows; only what changed is announced."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._vms: list[Vm] = []

    def show_vms(self, vms: list[Vm]) -> None:
        """Rows in their order by name; a reset only where VMs came or went."""
        vms = sorted(vms, key=lambda vm: vm.name)
        if [vm.ref for vm in vms] != [vm.ref for vm in self._vms]:
            self.beginResetModel()
            self._vms = vms
            self.endResetModel()
            return
        old, self._vms = self._vms, vms
        for row, (before, after) in enumerate(zip(old, vms, strict=True)):
            if before != after:
                self.dataChanged.emit(self.index(row, 0), self.index(row, len(HEAD) - 1))

    def vm(self, row: int) -> Vm:
        return self._vms[row]

    def rowCount(self, parent: QModelIndex | QPersistentModelIndex = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self._vms)

    def columnCount(self, parent: QModelIndex | QPersistentModelIndex = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(HEAD)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return HEAD[section]
        if role == Qt.ItemDataRole.TextAlignmentRole:
            side = Qt.AlignmentFlag.AlignRight if section in NUMBERS else Qt.AlignmentFlag.AlignLeft
            return side | Qt.AlignmentFlag.AlignVCenter
        return None

    def data(self, index: QModelIndex | QPersistentModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        vm, column = self._vms[index.row()], index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            address = vm.addresses[0] if vm.addresses else ""
            return (vm.name, str(vm.state), str(vm.vcpus), fmt.size(vm.memory_bytes), address, vm.group)[column]
        if role == Qt.ItemDataRole.DecorationRole and column == 0:
            return icon(STATE_ICON.get(str(vm.state), "monitor"), STATE_ROLE.get(vm.state, "muted"))
        if role == Qt.ItemDataRole.ForegroundRole and column == 1:
            return theme.colour(STATE_ROLE.get(vm.state, "muted"))
        if role == Qt.ItemDataRole.TextAlignmentRole and column in NUMBERS:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        if role == Qt.ItemDataRole.AccessibleTextRole and column == 0:
            return f"{vm.name}, {vm.state}"
        return None


class VmTable(QTableView):
    """The view; as high as its rows, up to a dozen."""

    def __init__(self, window: Frame) -> None:
        super().__init__()
        self._window = window
        self._rows = VmRows(self)
        self.setModel(self._rows)
        self.setAccessibleName("Virtual machines")
        self.setShowGrid(False)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setTabKeyNavigation(False)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(26)
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        self.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.horizontalHeader().setHighlightSections(False)
        for column, width in enumerate(WIDTHS):
            self.setColumnWidth(column, width)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.customContextMenuRequested.connect(self._menu)
        self.activated.connect(lambda index: window.open_ref(self._rows.vm(index.row()).ref))
        self.show_vms([])

    def show_vms(self, vms: list[Vm]) -> None:
        self._rows.show_vms(vms)
        self.setFixedHeight(34 + 26 * max(1, min(ROWS_SHOWN, len(vms))))

    def resizeEvent(self, event: QResizeEvent) -> None:
        """As many columns as are seen whole."""
        super().resizeEvent(event)
        room = self.viewport().width() - WIDTHS[0]
        for column, width in enumerate(WIDTHS[1:], 1):
            room -= width
            self.setColumnHidden(column, room < 0)

    def _menu(self, at: QPoint) -> None:
        rows = {index.row() for index in self.selectedIndexes()}
        if rows:
            self._window.popup_menu(self.viewport().mapToGlobal(at), [self._rows.vm(row).ref for row in sorted(rows)])
