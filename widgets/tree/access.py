"""What a screen reader is told: the flat rows are a tree, each with its level, and whether it is open.

Qt would tell of a table. Qt keeps every interface that was asked for until it is told that it is gone, and does not
hold the Python object behind it: so they are held here, and dropped when the rows change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QItemSelection, QItemSelectionModel, QModelIndex, QObject, QPoint, QRect
from PySide6.QtGui import (
    QAccessible,
    QAccessibleActionInterface,
    QAccessibleAttributesInterface,
    QAccessibleEvent,
    QAccessibleInterface,
    QAccessibleSelectionInterface,
    QAccessibleStateChangeEvent,
)
from PySide6.QtWidgets import QAccessibleWidget
from shiboken6 import VoidPtr, getCppPointer

from widgets.tree import words

if TYPE_CHECKING:
    from widgets.tree.view import View

TOLD = 20
"""Of a large selection only so many rows are told one by one."""
LEVEL = getattr(QAccessible.Attribute, "Level", None)
"""Qt knows it from 6.11 on; before that it is in the description."""
Select = QItemSelectionModel.SelectionFlag
NOTHING = VoidPtr(0)


def pointer(part: Level | Doing | Chosen) -> VoidPtr:
    """What `interface_cast` has to give: Qt would take Python's objects, and None, for C++ objects and crash."""
    return VoidPtr(getCppPointer(part)[0])


class Level(QAccessibleAttributesInterface):
    """How deep a row is, counted from 1."""

    def __init__(self, row: RowFace) -> None:
        super().__init__()
        self._row = row

    def attributeKeys(self) -> list[QAccessible.Attribute]:
        return [LEVEL]

    def attributeValue(self, key: QAccessible.Attribute) -> object:
        return self._row.level() if key == LEVEL else None


class Doing(QAccessibleActionInterface):
    """What can be done to a row: go to it, open its details, open and close it."""

    def __init__(self, row: RowFace) -> None:
        super().__init__()
        self._row = row

    def actionNames(self) -> list[str]:
        names = [self.setFocusAction(), self.pressAction()]
        return [*names, self.toggleAction()] if self._row.has_children() else names

    def doAction(self, name: str) -> None:
        view, row = self._row.view, self._row.row
        if name == self.setFocusAction():
            view.setCurrentIndex(view.rows.index(row, 0))
        elif name == self.pressAction():
            view.activate(row)
        elif name == self.toggleAction():
            view.toggle(row)

    def keyBindingsForAction(self, name: str) -> list[str]:
        return ["Return"] if name == self.pressAction() else []


class RowFace(QAccessibleInterface):
    """One row."""

    def __init__(self, view: View, row: int) -> None:
        super().__init__()
        self.view, self.row = view, row
        self._level, self._doing = Level(self), Doing(self)

    @property
    def node(self) -> int:
        return self.view.rows.rows[self.row]

    def level(self) -> int:
        return self.view.rows.forest.depth(self.node) + 1

    def has_children(self) -> bool:
        return self.view.rows.forest.has_children(self.node)

    def isValid(self) -> bool:
        return self.row < len(self.view.rows.rows)

    def object(self) -> QObject | None:
        return None

    def parent(self) -> QAccessibleInterface:
        return QAccessible.queryAccessibleInterface(self.view)

    def child(self, index: int) -> QAccessibleInterface | None:
        return None

    def childAt(self, x: int, y: int) -> QAccessibleInterface | None:
        return None

    def childCount(self) -> int:
        return 0

    def indexOfChild(self, child: QAccessibleInterface) -> int:
        return -1

    def role(self) -> QAccessible.Role:
        return QAccessible.Role.TreeItem

    def text(self, kind: QAccessible.Text) -> str:
        if not self.isValid():
            return ""
        if kind == QAccessible.Text.Name:
            return words.said(self.view.rows, self.node)
        if kind == QAccessible.Text.Description:
            return f"level {self.level()}"
        return ""

    def setText(self, kind: QAccessible.Text, text: str) -> None:
        """A VM is renamed by F2, not from here."""

    def rect(self) -> QRect:
        place = self.view.visualRect(self.view.rows.index(self.row, 0))
        return QRect(self.view.viewport().mapToGlobal(place.topLeft()), place.size())

    def state(self) -> QAccessible.State:
        state = QAccessible.State()
        if not self.isValid():
            state.invalid = True
            return state
        forest = self.view.rows.forest
        state.selectable = state.focusable = True
        state.expandable = self.has_children()
        state.expanded = self.has_children() and forest.is_open(self.node)
        state.collapsed = self.has_children() and not forest.is_open(self.node)
        state.selected = self.view.selectionModel().isRowSelected(self.row, QModelIndex())
        state.focused = self.view.hasFocus() and self.view.currentIndex().row() == self.row
        state.offscreen = self.row not in self.view.visible_rows()
        return state

    def interface_cast(self, kind: QAccessible.InterfaceType) -> VoidPtr:
        if kind == QAccessible.InterfaceType.AttributesInterface and LEVEL is not None:
            return pointer(self._level)
        return pointer(self._doing) if kind == QAccessible.InterfaceType.ActionInterface else NOTHING


class Chosen(QAccessibleSelectionInterface):
    """The selected rows."""

    def __init__(self, face: TreeFace) -> None:
        super().__init__()
        self._face = face

    def selectedItemCount(self) -> int:
        return len(self._face.view.selected_rows())

    def selectedItems(self) -> list[QAccessibleInterface]:
        return [self._face.row(row) for row in self._face.view.selected_rows()]

    def isSelected(self, child: QAccessibleInterface) -> bool:
        return self._face.indexOfChild(child) in self._face.view.selected_rows()

    def select(self, child: QAccessibleInterface) -> bool:
        return self._turn(child, Select.Select)

    def unselect(self, child: QAccessibleInterface) -> bool:
        return self._turn(child, Select.Deselect)

    def selectAll(self) -> bool:
        self._face.view.selectAll()
        return True

    def clear(self) -> bool:
        self._face.view.clearSelection()
        return True

    def _turn(self, child: QAccessibleInterface, how: Select) -> bool:
        view, row = self._face.view, self._face.indexOfChild(child)
        if row >= 0:
            view.selectionModel().select(view.rows.index(row, 0), how | Select.Rows)
        return row >= 0


class TreeFace(QAccessibleWidget):
    """The whole tree: its children are the rows that are open, from top to bottom."""

    def __init__(self, view: View) -> None:
        super().__init__(view, QAccessible.Role.Tree)
        self.view = view
        self._rows: dict[int, RowFace] = {}
        self._chosen = Chosen(self)

    def row(self, row: int) -> RowFace:
        if row not in self._rows:
            self._rows[row] = RowFace(self.view, row)
        return self._rows[row]

    def forget_rows(self) -> None:
        """The rows are others now."""
        faces, self._rows = self._rows, {}
        for face in faces.values():
            QAccessible.deleteAccessibleInterface(QAccessible.uniqueId(face))

    def childCount(self) -> int:
        # It may be asked before the view has its rows.
        return len(self.view.rows.rows) if self.view.model() is not None else 0

    def child(self, index: int) -> QAccessibleInterface | None:
        return self.row(index) if 0 <= index < self.childCount() else None

    def indexOfChild(self, child: QAccessibleInterface) -> int:
        return child.row if isinstance(child, RowFace) else -1

    def childAt(self, x: int, y: int) -> QAccessibleInterface | None:
        return self.child(self.view.rowAt(self.view.viewport().mapFromGlobal(QPoint(x, y)).y()))

    def focusChild(self) -> QAccessibleInterface | None:
        return self.child(self.view.currentIndex().row()) if self.view.hasFocus() else None

    def interface_cast(self, kind: QAccessible.InterfaceType) -> VoidPtr:
        return pointer(self._chosen) if kind == QAccessible.InterfaceType.SelectionInterface else NOTHING


def face(key: str, widget: QObject) -> QAccessibleInterface | None:
    """Qt asks this for everything on the screen; only a tree is ours."""
    from widgets.tree.view import View

    if not isinstance(widget, View):
        return None
    widget.face = TreeFace(widget)
    return widget.face


def tell_current(view: View, row: int) -> None:
    if view.hasFocus():
        _tell(QAccessibleEvent(view, QAccessible.Event.Focus), row)


def tell_selected(view: View, selected: QItemSelection, deselected: QItemSelection) -> None:
    kinds = ((selected, QAccessible.Event.SelectionAdd), (deselected, QAccessible.Event.SelectionRemove))
    for selection, kind in kinds:
        rows = [row for part in selection for row in range(part.top(), min(part.bottom(), part.top() + TOLD) + 1)]
        for row in rows[:TOLD]:
            _tell(QAccessibleEvent(view, kind), row)


def tell_turned(view: View, row: int) -> None:
    """A row was opened or closed."""
    changed = QAccessible.State()
    changed.expanded = changed.collapsed = True
    _tell(QAccessibleStateChangeEvent(view, changed), row)


def _tell(event: QAccessibleEvent, row: int) -> None:
    event.setChild(row)
    QAccessible.updateAccessibility(event)


QAccessible.installFactory(face)
