"""The flat rows on the screen, moved through and dragged like a tree."""

from __future__ import annotations

import time
from collections.abc import Callable

from PySide6.QtCore import QEvent, QItemSelection, QItemSelectionModel, QModelIndex, QPoint, Qt, QTimer, Signal
from PySide6.QtGui import (
    QAccessible,
    QContextMenuEvent,
    QDrag,
    QDragEnterEvent,
    QDragLeaveEvent,
    QDragMoveEvent,
    QDropEvent,
    QFocusEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QResizeEvent,
)
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from backends.model import Kind, Ref
from widgets import theme
from widgets.tree import access
from widgets.tree.delegate import CHEVRON, CONSOLE_PX, SECTION_PX, Delegate
from widgets.tree.drop import Grip, Holding
from widgets.tree.forest import Key
from widgets.tree.grouping import Grouping
from widgets.tree.live import Live
from widgets.tree.marks import Marks
from widgets.tree.model import MIME, Rows

HOVER_OPEN_MS = 600
TYPING_S = 1.0
Select = QItemSelectionModel.SelectionFlag


class View(QTableView):
    """Keyboard, mouse, selection over resets, and the drag."""

    opened = Signal(object)
    chosen = Signal(list)
    hint_clicked = Signal(object)
    menu_wanted = Signal(QPoint)
    delete_wanted = Signal()
    console_wanted = Signal(object)
    """The Ref of the VM whose console button was clicked."""
    shown_changed = Signal()
    face: access.TreeFace | None = None
    """What a screen reader sees of it, once one asked: it may ask while the view is being made."""

    def __init__(self, rows: Rows, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.rows = rows
        self.live = Live(rows, rows.services)
        self.holding: Holding | None = None
        self.hovered = -1
        self.cut: frozenset[Ref] = frozenset()
        self.nothing = ""
        """What is said across the tree where a search finds nothing."""
        self._grip: Grip | None = None
        self._typed, self._typed_at = "", 0.0
        self._kept: int | None = None
        """Where it was scrolled to, while the rows change."""
        self._marks = Marks(self, rows)
        self._word = ""
        self._chosen: list[Ref] = []
        self._pressed, self._untold, self._quiet = False, False, False
        self._tall: set[int] = set()
        self._hover_timer = QTimer(self, singleShot=True, interval=HOVER_OPEN_MS)
        self._hover_timer.timeout.connect(self._open_hovered)
        self.keys = self._made_keys()
        self._set_up()
        rows.visible = self.visible_rows
        self.setModel(rows)
        self.painter = Delegate(self)
        self.setItemDelegate(self.painter)
        rows.about_to_sync.connect(self._keep)
        rows.synced.connect(self._put_back)
        rows.modelReset.connect(self._size_sections)
        rows.turned.connect(self._on_turned)
        self.selectionModel().selectionChanged.connect(lambda *_: self._on_selected())
        self.verticalScrollBar().valueChanged.connect(lambda _: self.shown_changed.emit())
        self._size_sections()

    def _set_up(self) -> None:
        self.horizontalHeader().hide()
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.horizontalHeader().setMinimumSectionSize(1)
        header = self.verticalHeader()
        header.hide()
        header.setMinimumSectionSize(1)
        header.setDefaultSectionSize(theme.ROW_PX)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)
        self.setCornerButtonEnabled(False)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFrameShape(QTableView.Shape.NoFrame)
        self.setMouseTracking(True)
        self.setDragEnabled(True)
        self.setAcceptDrops(True)
        self.setDropIndicatorShown(False)
        self.setDragDropMode(QAbstractItemView.DragDropMode.DragDrop)
        self.setAutoScrollMargin(24)
        self.setWordWrap(False)
        self.setAccessibleName("Virtual machines")
        self.setAccessibleDescription("A tree. Left and right close and open a row, Enter opens its details.")

    @property
    def tells_place(self) -> bool:
        """Whether VM rows say where they are, because the tree does not."""
        return self.rows.planting.grouping != Grouping.PLACE

    def visible_rows(self) -> range:
        """The rows on the screen."""
        first = self.rowAt(0)
        if first < 0:
            return range(0)
        last = self.rowAt(self.viewport().height() - 1)
        return range(first, (last if last >= 0 else len(self.rows.rows) - 1) + 1)

    def selected_rows(self) -> list[int]:
        return sorted(index.row() for index in self.selectionModel().selectedRows())

    def selected(self) -> list[Ref]:
        """What is selected, from top to bottom, each once."""
        keys = (self.rows.key(row) for row in self.selected_rows())
        return list(dict.fromkeys(key for key in keys if isinstance(key, Ref)))

    def go_to(self, key: Key) -> bool:
        """Make a row current, opening what it stands below. False where it is not known."""
        forest = self.rows.forest
        node = forest.node(key)
        if node is None or not forest.passes(node):
            return False
        for above in forest.ancestors(node):
            forest.set_open(above, True)
        self.rows.sync()
        row = self.rows.row(key)
        if row is None:
            return False
        self.setCurrentIndex(self.rows.index(row, 0))
        self.scrollTo(self.rows.index(row, 0))
        return True

    def is_held(self, ref: Ref) -> bool:
        return ref in self.cut or (self.holding is not None and ref in self.holding.refs)

    def set_word(self, word: str) -> None:
        """The plain word of the search, marked in the names."""
        self._word = word.casefold()
        self.viewport().update()

    def word_in(self, name: str) -> tuple[int, int] | None:
        """Where the searched word is in a name."""
        at = name.casefold().find(self._word) if self._word else -1
        return None if at < 0 else (at, at + len(self._word))

    def toggle(self, row: int) -> None:
        node = self.rows.rows[row]
        if self.rows.forest.has_children(node):
            self.rows.set_open(node, not self.rows.forest.is_open(node))

    def edit_row(self, row: int) -> None:
        """Rename a VM in place."""
        index = self.rows.index(row, 0)
        if self.rows.flags(index) & Qt.ItemFlag.ItemIsEditable:
            self.setCurrentIndex(index)
            self.edit(index)

    # what Qt asks for

    def currentChanged(self, current: QModelIndex, previous: QModelIndex) -> None:
        # QTableView would tell screen readers of the cell of a table.
        QAbstractItemView.currentChanged(self, current, previous)
        if self._kept is None:
            self._marks.note_current(current.row())
        if QAccessible.isActive() and current.isValid():
            access.tell_current(self, current.row())

    def selectionChanged(self, selected: QItemSelection, deselected: QItemSelection) -> None:
        QAbstractItemView.selectionChanged(self, selected, deselected)
        if QAccessible.isActive():
            access.tell_selected(self, selected, deselected)

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        if self.nothing:
            painter = QPainter(self.viewport())
            painter.setPen(theme.colour("muted"))
            below = self.visualRect(self.rows.index(len(self.rows.rows) - 1, 0)).bottom() + 24
            room = self.viewport().rect().adjusted(24, below, -24, 0)
            painter.drawText(room, Qt.AlignmentFlag.AlignHCenter | Qt.TextFlag.TextWordWrap, self.nothing)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        row, plain = self.currentIndex().row(), Qt.KeyboardModifier.KeypadModifier | Qt.KeyboardModifier.ShiftModifier
        key = Qt.Key.Key_Return if event.key() == Qt.Key.Key_Enter else event.key()
        found = self.keys.get(Qt.Key(key))
        if event.modifiers() & ~plain or row < 0 or found is None or self.state() == self.State.EditingState:
            super().keyPressEvent(event)
        else:
            found[1](row)

    def _made_keys(self) -> dict[Qt.Key, tuple[str, Callable[[int], None]]]:
        """What the tree's own keys do to the current row, in words and in deed."""
        return {
            Qt.Key.Key_Right: ("Open the row, then go into it", lambda row: self._sideways(row, True)),
            Qt.Key.Key_Left: ("Close the row, then go to what it stands below", lambda row: self._sideways(row, False)),
            Qt.Key.Key_Return: ("Show the details", self.activate),
            Qt.Key.Key_F2: ("Rename in place", self.edit_row),
            Qt.Key.Key_Delete: ("Delete what is selected", lambda _: self.delete_wanted.emit()),
            Qt.Key.Key_Menu: ("Menu of what is selected", lambda _: self.menu_wanted.emit(self._menu_place())),
            Qt.Key.Key_Escape: ("Put back what was cut", lambda _: self.set_cut(())),
        }

    def _menu_place(self) -> QPoint:
        return self.viewport().mapToGlobal(self.visualRect(self.currentIndex()).center())

    def keyboardSearch(self, search: str) -> None:
        """Typing jumps to the next row whose name begins so."""
        at = time.monotonic()
        fresh = at - self._typed_at > TYPING_S
        self._typed = search.casefold() if fresh else self._typed + search.casefold()
        self._typed_at = at
        rows, names, count = self.rows.rows, self.rows.forest.names, len(self.rows.rows)
        start = max(self.currentIndex().row(), 0) + (1 if len(self._typed) == 1 else 0)
        for step in range(count):
            row = (start + step) % count
            if names[rows[row]].casefold().startswith(self._typed):
                self.setCurrentIndex(self.rows.index(row, 0))
                return

    def mousePressEvent(self, event: QMouseEvent) -> None:
        row = self.rowAt(event.position().toPoint().y())
        if event.button() == Qt.MouseButton.LeftButton and row >= 0:
            if self._on_chevron(row, event.position().toPoint().x()):
                self.toggle(row)
                return
            key = self.rows.key(row)
            if isinstance(key, str) and key.startswith("hint:"):
                self.hint_clicked.emit(key)
                return
            if row == self.hovered and self._on_console(row, event.position().toPoint().x()):
                self.console_wanted.emit(key)
                return
            # It may become a drag, which must not bring up another page: a click is told when it ends.
            self._pressed = True
        super().mousePressEvent(event)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        super().mouseReleaseEvent(event)
        if event.button() == Qt.MouseButton.LeftButton:
            self._pressed = False
            if self._untold:
                self._untold, self._chosen = False, []
            self._tell_chosen()

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        row = self.rowAt(event.position().toPoint().y())
        if event.button() == Qt.MouseButton.LeftButton and row >= 0:
            if self._on_chevron(row, event.position().toPoint().x()):
                self.toggle(row)
            else:
                self.activate(row)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        at = event.position().toPoint()
        self._hover(self.rowAt(at.y()))
        tip = "Open its console (Ctrl+O)" if self._on_console(self.hovered, at.x()) else ""
        if self.viewport().toolTip() != tip:
            self.viewport().setToolTip(tip)
        super().mouseMoveEvent(event)

    def leaveEvent(self, event: QEvent) -> None:
        self._hover(-1)
        super().leaveEvent(event)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        self.menu_wanted.emit(event.globalPos())

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.shown_changed.emit()

    def focusInEvent(self, event: QFocusEvent) -> None:
        if not self.currentIndex().isValid() and len(self.rows.rows) > 1:
            self.selectionModel().setCurrentIndex(self.rows.index(1, 0), Select.NoUpdate)
        super().focusInEvent(event)

    # cut, and the drag

    def set_cut(self, refs: tuple[Ref, ...] | list[Ref]) -> None:
        """Mark VMs as cut: paste moves them."""
        self.cut = frozenset(refs)
        self.viewport().update()

    def startDrag(self, actions: Qt.DropAction) -> None:
        refs = self.rows.vms(self.selected_rows())
        if refs:
            drag = self.hold(refs)
            drag.exec(Qt.DropAction.MoveAction | Qt.DropAction.CopyAction, Qt.DropAction.MoveAction)
            self.let_go()
            self._pressed, self._untold, self._chosen = False, True, self.selected()

    def hold(self, refs: list[Ref]) -> QDrag:
        """Take VMs in the hand. `let_go` ends it."""
        drag = QDrag(self)
        drag.setMimeData(self.rows.mimeData([self.rows.index(row, 0) for row in self.selected_rows()]))
        self.holding = Holding(self.rows, refs, self.viewport().update)
        self._grip = Grip(self, self.rows, refs)
        drag.setPixmap(self._grip.picture())
        drag.setHotSpot(QPoint(-14, -10))
        self._grip.begin()
        return drag

    def let_go(self) -> None:
        """Nothing is held any more."""
        self._hover_timer.stop()
        if self.holding is not None:
            self.holding.let_go()
        if self._grip is not None:
            self._grip.close()
            self._grip.deleteLater()
        self.holding = self._grip = None
        self.viewport().update()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if self.holding is not None and event.mimeData().hasFormat(MIME):
            event.acceptProposedAction()
        else:
            event.ignore()

    def dragMoveEvent(self, event: QDragMoveEvent) -> None:
        if self.holding is None:
            event.ignore()
            return
        super().dragMoveEvent(event)
        row = self.rowAt(event.position().toPoint().y())
        copy = bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier)
        self._hold_over(row, copy)
        event.setDropAction(Qt.DropAction.CopyAction if copy else Qt.DropAction.MoveAction)
        event.accept()

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:
        super().dragLeaveEvent(event)
        if self.holding is not None:
            self._hold_over(-1, self.holding.copy)

    def dropEvent(self, event: QDropEvent) -> None:
        row = self.rowAt(event.position().toPoint().y())
        self.stopAutoScroll()
        self.setState(self.State.NoState)
        if self.holding is not None and row >= 0:
            copy = bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier)
            action = Qt.DropAction.CopyAction if copy else Qt.DropAction.MoveAction
            self.rows.dropMimeData(event.mimeData(), action, -1, -1, self.rows.index(row, 0))
        event.setDropAction(Qt.DropAction.IgnoreAction)
        event.accept()

    def _hold_over(self, row: int, copy: bool) -> None:
        assert self.holding is not None
        over = self.rows.target(row)
        changed = (over, copy) != (self.holding.over, self.holding.copy)
        if over != self.holding.over:
            self._hover_timer.start()
        self.holding.over, self.holding.copy = over, copy
        if changed:
            if self._grip is not None:
                self._grip.say(None if over is None else self.holding.judge(over), copy)
            self.viewport().update()

    def _open_hovered(self) -> None:
        node = self.holding.over if self.holding is not None else None
        if node is not None and self.rows.forest.has_children(node) and not self.rows.forest.is_open(node):
            self.rows.set_open(node, True)

    # inside

    def _on_chevron(self, row: int, x: int) -> bool:
        node = self.rows.rows[row]
        key = self.rows.key(row)
        if not self.rows.forest.has_children(node) or (isinstance(key, str) and key.startswith(("section:", "by:"))):
            return False
        left = self.painter.shift(node) + CHEVRON
        return left - 6 <= x <= left + 17

    def activate(self, row: int) -> None:
        key = self.rows.key(row)
        if isinstance(key, Ref):
            self.opened.emit(self.rows.place(self.rows.rows[row]) if key.kind != Kind.VM else key)
        elif isinstance(key, str) and key.startswith("hint:"):
            self.hint_clicked.emit(key)
        else:
            self.toggle(row)

    def _sideways(self, row: int, right: bool) -> None:
        node, forest = self.rows.rows[row], self.rows.forest
        if forest.has_children(node) and forest.is_open(node) != right and node not in forest.roots:
            self.rows.set_open(node, right)
        elif right and forest.has_children(node) and row + 1 < len(self.rows.rows):
            self.setCurrentIndex(self.rows.index(row + 1, 0))
        elif not right:
            above = next((node for node in forest.ancestors(node) if node not in forest.melted), None)
            place = None if above is None or above in forest.roots else self.rows.row(forest.keys[above] or "")
            if place is not None:
                self.setCurrentIndex(self.rows.index(place, 0))

    def _on_turned(self, key: Key) -> None:
        row = self.rows.row(key)
        if QAccessible.isActive() and row is not None:
            access.tell_turned(self, row)

    def _on_console(self, row: int, x: int) -> bool:
        """Whether a point is on the button that a row shows below the mouse."""
        key = self.rows.key(row)
        return isinstance(key, Ref) and key.kind == Kind.VM and x >= self.viewport().width() - CONSOLE_PX

    def _hover(self, row: int) -> None:
        if row != self.hovered:
            old, self.hovered = self.hovered, row
            for each in (old, row):
                if each >= 0:
                    self.viewport().update(self.visualRect(self.rows.index(each, 0)))

    def follow(self) -> None:
        """Selected VMs that moved stay selected, where they are now. No page comes up for that."""
        if self._pressed or self.holding is not None or not self._marks.follow():
            return
        self._quiet = True
        self.rows.sync()
        self._keep()
        self._marks.put_back()
        self._kept, self._chosen, self._quiet = None, self.selected(), False
        self.scrollTo(self.currentIndex())

    def _keep(self) -> None:
        self._kept = self.verticalScrollBar().value()

    def _put_back(self) -> None:
        """After the rows changed: selection and place as they were."""
        if self.face is not None:
            self.face.forget_rows()
        self._size_sections()
        if self._kept is None:
            return
        self._marks.put_back()
        self.verticalScrollBar().setValue(self._kept)
        self._kept = None
        self._tell_chosen()
        self.shown_changed.emit()

    def _on_selected(self) -> None:
        if self._kept is None:
            self._marks.note_selected(self.selected_rows())
            self._tell_chosen()

    def _tell_chosen(self) -> None:
        chosen = self.selected()
        if chosen != self._chosen and not self._pressed and not self._quiet:
            self._chosen = chosen
            self.chosen.emit(chosen)

    def _size_sections(self) -> None:
        """Section rows are higher. Qt keeps heights by row number, so they are set anew when rows moved."""
        header = self.verticalHeader()
        wanted = {row for row in self.rows.forest.root_rows if row < len(self.rows.rows)}
        for row in self._tall - wanted:
            if row < len(self.rows.rows):
                header.resizeSection(row, theme.ROW_PX)
        for row in wanted:
            header.resizeSection(row, SECTION_PX)
        self._tall = wanted
