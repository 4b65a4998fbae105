"""What is selected and current, by key: it outlives that rows come and go, and goes along with a VM that moves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QItemSelection, QItemSelectionModel
from PySide6.QtWidgets import QTableView

from backends.model import Kind, Ref
from widgets.tree.forest import Key

if TYPE_CHECKING:
    from widgets.tree.model import Rows

FOLLOWED = 500
"""Of more selected VMs than that, none is looked for elsewhere."""
Select = QItemSelectionModel.SelectionFlag


@dataclass(frozen=True, slots=True)
class Mark:
    """A row as it was chosen, with what it stood below. `uid` is the VM's name for life and `place` where that was
    then; empty for others."""

    node: int
    parent: int
    key: Key
    uid: str = ""
    place: Ref | None = None


class Marks:
    """The selection as the user made it. Qt alone would select the neighbour of a row that goes."""

    def __init__(self, view: QTableView, rows: Rows) -> None:
        self._view, self._rows = view, rows
        self._identity = rows.services.identity
        self._selected: list[Mark] = []
        self._current: Mark | None = None

    def note_selected(self, rows: Iterable[int]) -> None:
        """The user selected these rows."""
        rows = list(rows)
        self._selected = [mark for row in rows if (mark := self._mark(row, follow=len(rows) <= FOLLOWED))]

    def note_current(self, row: int) -> None:
        """The keyboard went to this row; -1: to none."""
        self._current = self._mark(row, follow=True)

    def put_back(self) -> None:
        """After the rows changed: select what was selected, where it is shown, and nothing else."""
        view, nodes = self._view, self._rows.rows
        wanted = {node for mark in self._selected if (node := self._node(mark)) is not None}
        current = self._node(self._current) if self._current is not None else None
        here = view.currentIndex().row()
        lost = here < 0 or (current is not None and current != nodes[here])
        if not lost and wanted == {nodes[index.row()] for index in view.selectionModel().selectedRows()}:
            return
        selection = QItemSelection()
        for row, node in enumerate(nodes):
            if node in wanted or node == current:
                index = self._rows.index(row, 0)
                if node in wanted:
                    selection.select(index, index)
                if node == current:
                    view.selectionModel().setCurrentIndex(index, Select.NoUpdate)
        view.selectionModel().select(selection, Select.ClearAndSelect)

    def follow(self) -> bool:
        """Go along with VMs that live elsewhere by now and have a row there. Whether one did."""
        self._selected, before = [self._moved(mark) for mark in self._selected], self._selected
        if self._selected == before:
            return False
        if self._current is not None:
            self._current = self._moved(self._current)
        forest = self._rows.forest
        for mark in set(self._selected) - set(before):
            for above in forest.ancestors(mark.node):
                forest.set_open(above, True)
        return True

    def _mark(self, row: int, *, follow: bool) -> Mark | None:
        rows = self._rows
        key = rows.key(row)
        if key is None:
            return None
        node = rows.rows[row]
        parent = rows.forest.parent[node]
        if not follow or not isinstance(key, Ref) or key.kind != Kind.VM or key not in rows.inventory:
            return Mark(node, parent, key)
        uid = self._identity.uid_of(key)
        return Mark(node, parent, key, uid, self._identity.ref_of(uid))

    def _node(self, mark: Mark) -> int | None:
        """A node's number is given to another once it is free: only with its key it is the same."""
        keys = self._rows.forest.keys
        same = mark.node < len(keys) and keys[mark.node] == mark.key
        return mark.node if same else self._rows.forest.node(mark.key)

    def _moved(self, mark: Mark) -> Mark:
        """The mark of where its VM is now; the same one while nothing is known of that."""
        if not mark.uid:
            return mark
        forest, here = self._rows.forest, self._identity.ref_of(mark.uid)
        key = mark.key if here in (None, mark.place) else here
        node = self._node(mark) if key == mark.key else forest.node(key)
        if node is None or (key, forest.parent[node]) == (mark.key, mark.parent):
            return mark
        return Mark(node, forest.parent[node], key, mark.uid, here)
