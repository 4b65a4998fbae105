"""The visible rows as a Qt model: one flat list. Changes are gathered for 50 ms and only visible rows announced."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from PySide6.QtCore import (
    QAbstractTableModel,
    QMimeData,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    Qt,
    QTimer,
    Signal,
)

from app.inventory import Delta
from backends.model import Kind, Object, Ref
from widgets import format as fmt
from widgets.tree import words
from widgets.tree.forest import Forest, Key
from widgets.tree.grouping import PLACES, Grouping, Planting

MIME = "application/x-causeway-vms"
GATHER_MS = 50
PORTION = 256
"""So many objects are taken in at once, before the clock is looked at: far below a millisecond."""
SLICE_S = 0.006
"""How long the loop is held at a time while much has to be taken in."""
Index = QModelIndex | QPersistentModelIndex
Role = Qt.ItemDataRole


class Rows(QAbstractTableModel):
    """Row -> node of the forest. `sync` brings Qt's picture to the forest's with the smallest announcement."""

    settled = Signal()
    """Everything that came is in the rows."""
    about_to_sync = Signal()
    synced = Signal()
    turned = Signal(object)
    """The row of this key was opened or closed."""
    dropped = Signal(object, bool)
    """Held VMs were let go over this key; True: copy."""

    def __init__(self, services: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.services = services
        self.inventory = services.inventory
        self.forest = Forest()
        self.rows: list[int] = []
        self.visible: Callable[[], range] = lambda: range(0)
        self.wanted_open: set[str] = set()
        self._row_of: dict[int, int] | None = None
        self._dirty: dict[Ref, None] = {}
        self._queue: list[Ref] = []
        self._touched: set[Ref] = set()
        self._moved = False
        self._query = ""
        self._synced_at = 0.0
        self._timer = QTimer(self, singleShot=True)
        self._timer.timeout.connect(self._take_in)
        self._sorter = QTimer(self, singleShot=True)
        self._sorter.timeout.connect(self._sort_some)
        self._stops = [
            services.inventory.subscribe(self._on_delta),
            services.connections.subscribe(self._on_connection),
        ]
        self._plant(Grouping.PLACE)

    def close(self) -> None:
        """Follow the services no longer."""
        self._timer.stop()
        self._sorter.stop()
        for stop in self._stops:
            stop()
        self._stops.clear()

    def group_by(self, grouping: Grouping) -> None:
        """Arrange everything anew."""
        self.beginResetModel()
        self.rows, self._row_of = [], None
        self.endResetModel()
        self.forest = Forest()
        self._plant(grouping)

    def set_query(self, query: str) -> None:
        """Show what the search finds, and what it stands below."""
        self._query = query
        self.forest.let_through(self.services.search.match(query))
        self.sync()

    @property
    def query(self) -> str:
        return self._query

    def set_open(self, node: int, opened: bool) -> None:
        self.forest.set_open(node, opened)
        self.sync()
        self.turned.emit(self.forest.keys[node])

    def close_all(self) -> None:
        """Close every row below the roots."""
        for children in self.forest.branches.values():
            for node in children:
                self.forest.set_open(node, False)
        self.sync()

    def restore_open(self, texts: Iterable[str]) -> None:
        """Open exactly these of the rows that can be; what is not there yet is opened when it comes."""
        self.forest.open = set(self.forest.roots)
        self.wanted_open = set(texts)
        self._open_wanted()
        self.sync()

    def key(self, row: int) -> Key | None:
        return self.forest.keys[self.rows[row]] if 0 <= row < len(self.rows) else None

    def item(self, node: int) -> Object | None:
        key = self.forest.keys[node]
        return self.inventory.get(key) if isinstance(key, Ref) else None

    @property
    def busy(self) -> bool:
        """Whether something that came is not in the rows yet."""
        return bool(self._queue or self._dirty or self._moved)

    def row(self, key: Key) -> int | None:
        """The row of a key, None while it is not visible. A melted host's row is its connection's."""
        if self._row_of is None:
            self._row_of = {node: row for row, node in enumerate(self.rows)}
        node = self.forest.node(key)
        if node is not None and node in self.forest.melted:
            node = self.forest.parent[node]
        return None if node is None else self._row_of.get(node)

    def vms(self, rows: Iterable[int]) -> list[Ref]:
        """The VMs among some rows, in their order."""
        keys = (self.key(row) for row in rows)
        return list(dict.fromkeys(key for key in keys if isinstance(key, Ref) and key.kind == Kind.VM))

    def target(self, row: int) -> int | None:
        """The node that something let go over a row lands on: a VM's row stands for its place."""
        if not 0 <= row < len(self.rows):
            return None
        node = self.rows[row]
        key = self.forest.keys[node]
        if isinstance(key, Ref) and key.kind == Kind.VM:
            node = self.forest.parent[node]
            node = self.forest.parent[node] if node in self.forest.melted else node
            key = self.forest.keys[node]
        if isinstance(key, Ref):
            return node
        return node if isinstance(key, str) and key.startswith(("group:", "tag:")) else None

    def place(self, node: int) -> Ref | None:
        """The Ref that a migration to this row goes to: a melted row means its host."""
        key = self.forest.keys[node]
        for child in self.forest.branches.get(node, ()):
            below = self.forest.keys[child]
            if child in self.forest.melted and isinstance(below, Ref):
                return below
        return key if isinstance(key, Ref) else None

    def sync(self) -> None:
        """Announce what differs between the forest's rows and the ones shown."""
        new, old = self.forest.rows(), self.rows
        self._synced_at = time.monotonic()
        self._moved = False
        if new == old:
            return
        self.about_to_sync.emit()
        head = _common(old, new)
        tail = _common(old[head:][::-1], new[head:][::-1])
        gone, come = len(old) - head - tail, len(new) - head - tail
        self._row_of = None
        if gone and come:
            self.beginResetModel()
            self.rows = new
            self.endResetModel()
        elif gone:
            self.beginRemoveRows(QModelIndex(), head, head + gone - 1)
            self.rows = new
            self.endRemoveRows()
        else:
            self.beginInsertRows(QModelIndex(), head, head + come - 1)
            self.rows = new
            self.endInsertRows()
        self.synced.emit()

    def announce(self, keys: set[Ref] | None) -> None:
        """Say that these (None: all) look different now: only those of them that are visible."""
        for row in self.visible():
            if row < len(self.rows) and (keys is None or not keys.isdisjoint(self._meant(row))):
                index = self.index(row, 0)
                self.dataChanged.emit(index, index)

    def _meant(self, row: int) -> tuple[Key | None, ...]:
        """What a row stands for: a connection's also for its only host."""
        node = self.rows[row]
        place = self.place(node) if node in self.forest.branches else None
        return (self.forest.keys[node], place)

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else 1

    def flags(self, index: Index) -> Qt.ItemFlag:
        if not index.isValid() or index.row() >= len(self.rows):
            return Qt.ItemFlag(0)
        base = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsDropEnabled
        key = self.key(index.row())
        if isinstance(key, str):
            return base | Qt.ItemFlag.ItemIsSelectable if not key.startswith(("section:", "by:")) else base
        base |= Qt.ItemFlag.ItemIsSelectable
        if key is not None and key.kind == Kind.VM:
            base |= Qt.ItemFlag.ItemIsDragEnabled | Qt.ItemFlag.ItemIsEditable | Qt.ItemFlag.ItemNeverHasChildren
        return base

    def data(self, index: Index, role: int = Role.DisplayRole) -> object:
        if not index.isValid() or index.row() >= len(self.rows):
            return None
        node = self.rows[index.row()]
        if role in (Role.DisplayRole, Role.EditRole):
            return self.forest.names[node]
        if role == Role.ToolTipRole:
            return fmt.tip(words.tooltip(self, node))
        if role == Role.AccessibleTextRole:
            return words.said(self, node)
        return None

    def mimeTypes(self) -> list[str]:
        return [MIME]

    def mimeData(self, indexes: Sequence[QModelIndex]) -> QMimeData:
        """The VMs as lines of Refs, and their names as text for other programs."""
        refs = self.vms(index.row() for index in indexes)
        data = QMimeData()
        data.setData(MIME, "\n".join(map(str, refs)).encode())
        data.setText("\n".join(self.inventory.get(ref).name for ref in refs if ref in self.inventory))
        return data

    def supportedDropActions(self) -> Qt.DropAction:
        return Qt.DropAction.MoveAction | Qt.DropAction.CopyAction

    def supportedDragActions(self) -> Qt.DropAction:
        return Qt.DropAction.MoveAction | Qt.DropAction.CopyAction

    def dropMimeData(self, data: QMimeData, action: Qt.DropAction, row: int, column: int, parent: Index) -> bool:
        """Pass the wish on. Always False: a row moves only when the backend reports that the VM did."""
        node = self.target(parent.row())
        if data.hasFormat(MIME) and node is not None:
            self.dropped.emit(self.forest.keys[node], action == Qt.DropAction.CopyAction)
        return False

    def _plant(self, grouping: Grouping) -> None:
        self.planting = Planting(self.forest, grouping, self.inventory, self.services.connections)
        self._open_wanted()
        self._dirty.update(dict.fromkeys(item.ref for item in self.inventory if item.ref.kind in PLACES))
        self._moved = True
        if len(self._dirty) < 500:
            self._take_in(float("inf"))
        else:
            self.sync()
            self._timer.start(0)

    def _on_delta(self, delta: Delta) -> None:
        for items in (delta.added, delta.changed, delta.removed):
            for item in items:
                if item.ref.kind in PLACES:
                    self._dirty[item.ref] = None
        if self._dirty and not self._timer.isActive():
            self._timer.start(GATHER_MS)

    def _on_connection(self, connection: Any) -> None:
        known = len(self.forest)
        came = self.planting.connection(connection)
        if came:
            items = self.inventory.of(connection.name)
            self._dirty.update((item.ref, None) for item in items if item.ref.kind in PLACES)
            self._timer.start(0)
        # The first of a section takes the place of the hint: there are as many nodes as before.
        if came or len(self.forest) != known:
            self._open_wanted()
            self.sync()
        shown = [row for row in self.visible() if row < len(self.rows)]
        if shown:
            self.dataChanged.emit(self.index(shown[0], 0), self.index(shown[-1], 0))

    def _take_in(self, budget: float = SLICE_S) -> None:
        """Take in what changed, for a few milliseconds at most, then let the loop run."""
        until = time.perf_counter() + budget
        queue, dirty, touched = self._queue, self._dirty, self._touched
        while queue or dirty:
            if not queue:
                queue += reversed(dirty)
                dirty.clear()
            some = queue[: -PORTION - 1 : -1]
            del queue[-PORTION:]
            self._moved |= self.planting.renew(some)
            touched.update(some)
            if time.perf_counter() > until:
                break
        dirty = bool(queue or dirty)
        if self._moved and (not dirty or time.monotonic() - self._synced_at > 0.25):
            self._open_wanted()
            if self._query and not dirty:
                self.forest.let_through(self.services.search.match(self._query))
            self.sync()
            self.announce(None)
        self.announce(touched)
        touched.clear()
        if dirty:
            self._timer.start(0)
        else:
            self.settled.emit()
            self._sorter.start(0)

    def _sort_some(self, budget: float = SLICE_S) -> None:
        """What nobody has looked at yet is put in order while nothing else is to be done."""
        until = time.perf_counter() + budget
        while left := self.forest.sort_some():
            if time.perf_counter() > until:
                break
        if left:
            self._sorter.start(0)

    def _open_wanted(self) -> None:
        """Open again what was open when the window was closed last."""
        self.forest.open.update(self.forest.roots)
        for text in tuple(self.wanted_open):
            key = text if ":" in text and "/" not in text else _ref(text)
            node = self.forest.node(key) if key is not None else None
            if node is not None:
                self.forest.open.add(node)
                self.wanted_open.discard(text)


def _ref(text: str) -> Ref | None:
    try:
        return Ref.parse(text)
    except ValueError:
        return None


def _common(old: list[int], new: list[int]) -> int:
    """How many elements both begin with; compares in blocks, which Python does at C speed."""
    at, most, step = 0, min(len(old), len(new)), 4096
    while step:
        while at + step <= most and old[at : at + step] == new[at : at + step]:
            at += step
        step //= 8
    return at
