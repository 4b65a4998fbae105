"""Ctrl+K: every command and every VM and host by a few letters, with their shortcuts."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from PySide6.QtCore import QAbstractListModel, QEvent, QModelIndex, QObject, QPersistentModelIndex, QRect, QSize, Qt
from PySide6.QtGui import QKeyEvent, QPainter
from PySide6.QtWidgets import (
    QFrame,
    QLineEdit,
    QListView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QVBoxLayout,
)

from backends.model import Kind, Ref
from widgets import theme
from widgets.commands import Command
from widgets.frame import Frame
from widgets.icons import pixmap
from widgets.menu import ObjectMenu, Stocked
from widgets.parts import label

WIDTH, ROW, ROWS = 620, 34, 11
MOST = 60
KIND_WORDS = {Kind.VM: "VM", Kind.HOST: "host", Kind.ZONE: "zone"}
OPENABLE = {Kind.VM: "monitor", Kind.HOST: "server", Kind.ZONE: "map-pin"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: what it is called, what is said beside it, what it does."""

    text: str
    icon: str
    run: Callable[[], None]
    hint: str = ""
    reason: str = ""


def score(query: str, text: str) -> int:
    """How well `query` fits `text`, 0 for not at all: letters in order, more for word starts and neighbours."""
    if not query:
        return 1
    lower = text.lower()
    at = lower.find(query)
    if at >= 0:
        start = at == 0 or not lower[at - 1].isalnum()
        return 1000 + (500 if start else 0) - len(text)
    points, position, last = 0, 0, -2
    for letter in query:
        if letter == " ":
            continue
        position = lower.find(letter, position)
        if position < 0:
            return 0
        points += 12 if position == last + 1 else 10 if position == 0 or not lower[position - 1].isalnum() else 1
        last = position
        position += 1
    return points if points >= 5 * len(query.replace(" ", "")) else 0


def best(query: str, entries: Iterable[Entry], most: int = MOST) -> list[Entry]:
    """The fitting entries, best first; equal ones stay in their order."""
    query = query.strip().lower()
    rated = ((score(query, entry.text), -number, entry) for number, entry in enumerate(entries))
    return [
        entry for _, _, entry in heapq.nlargest(most, (item for item in rated if item[0]), key=lambda item: item[:2])
    ]


class Entries(QAbstractListModel):
    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._entries: list[Entry] = []

    def show_entries(self, entries: list[Entry]) -> None:
        self.beginResetModel()
        self._entries = entries
        self.endResetModel()

    def entry(self, row: int) -> Entry:
        return self._entries[row]

    def rowCount(self, parent: QModelIndex | QPersistentModelIndex = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self._entries)

    def data(self, index: QModelIndex | QPersistentModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        entry = self._entries[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return entry.text
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return ", ".join(word for word in (entry.text, entry.hint, entry.reason) if word)
        return None


class EntryDelegate(QStyledItemDelegate):
    """Picture, text, and at the right the shortcut or the reason why not."""

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> QSize:
        return QSize(WIDTH - 20, ROW)

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        model = index.model()
        assert isinstance(model, Entries)
        entry, room = model.entry(index.row()), option.rect
        if option.state & QStyle.StateFlag.State_Selected:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(theme.colour("accent_bg"))
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.drawRoundedRect(room.adjusted(4, 1, -4, -1), 6, 6)
        role = "muted" if entry.reason else "text"
        picture = pixmap(entry.icon, role, 16, painter.device().devicePixelRatioF())
        painter.drawPixmap(room.x() + 14, room.y() + (ROW - 16) // 2, picture)
        aside = entry.reason or entry.hint
        painter.setFont(theme.font(theme.SMALL_PX))
        painter.setPen(theme.colour("muted"))
        right = QRect(room.right() - 252, room.y(), 240, ROW)
        painter.drawText(right, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, aside)
        painter.setFont(theme.font())
        painter.setPen(theme.colour(role))
        taken = painter.fontMetrics().horizontalAdvance(aside)
        left = QRect(room.x() + 42, room.y(), room.width() - 70 - taken, ROW)
        text = painter.fontMetrics().elidedText(entry.text, Qt.TextElideMode.ElideRight, left.width())
        painter.drawText(left, Qt.AlignmentFlag.AlignVCenter, text)


class Chosen(Frame, Stocked, Protocol):
    """The window, with its commands and what they act on."""

    menu: ObjectMenu

    def selection(self) -> list[Ref]:
        """What commands act on."""


class Palette(QFrame):
    """Over the window, gone with Esc, Enter or a click elsewhere."""

    def __init__(self, window: Chosen) -> None:
        super().__init__(window, Qt.WindowType.Popup)
        self.setObjectName("palette")
        self.setAccessibleName("Command palette")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._window = window
        box = QVBoxLayout(self)
        box.setContentsMargins(1, 1, 1, 6)
        box.setSpacing(4)
        self.edit = QLineEdit(self)
        self.edit.setPlaceholderText("Type a command, a VM or a host")
        self.edit.setAccessibleName("Type a command, a VM or a host")
        self.edit.installEventFilter(self)
        self.edit.textChanged.connect(self._filter)
        box.addWidget(self.edit)
        self.entries = Entries(self)
        self.list = QListView(self)
        self.list.setModel(self.entries)
        self.list.setItemDelegate(EntryDelegate(self.list))
        self.list.setUniformItemSizes(True)
        self.list.setFrameShape(QFrame.Shape.NoFrame)
        self.list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.list.setAccessibleName("Matches")
        self.list.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.list.clicked.connect(self._run)
        box.addWidget(self.list)
        self.nothing = label("", "muted", self)
        self.nothing.setAlignment(Qt.AlignmentFlag.AlignCenter)
        box.addWidget(self.nothing)
        self._refs = window.selection()
        self._commands = [
            self._of_command(command) for command in window.commands.values() if command.id != "app.palette"
        ]
        self._filter("")
        self.resize(WIDTH, 52 + ROW * ROWS)
        corner = window.mapToGlobal(window.rect().topLeft())
        self.move(corner.x() + (window.width() - WIDTH) // 2, corner.y() + 56)

    def showEvent(self, event: QEvent) -> None:
        self.edit.setFocus()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            step = {Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1, Qt.Key.Key_PageDown: 10, Qt.Key.Key_PageUp: -10}
            if event.key() in step:
                row = self.list.currentIndex().row() + step[Qt.Key(event.key())]
                last = self.entries.rowCount() - 1
                self.list.setCurrentIndex(self.entries.index(max(0, min(last, row))))
                return True
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                self._run(self.list.currentIndex())
                return True
        return False

    def _filter(self, text: str) -> None:
        found = best(text, self._commands)
        if text.strip():
            found = [*found[:8], *self._objects(text)] if len(found) > 8 else [*found, *self._objects(text)]
        self.entries.show_entries(found)
        self.list.setVisible(bool(found))
        self.nothing.setVisible(not found)
        self.nothing.setText(f"Nothing is called “{text.strip()}”: no command, VM or host")
        self.list.setCurrentIndex(self.entries.index(0))

    def _objects(self, text: str) -> list[Entry]:
        """VMs and hosts that the search finds; it is quick at any size."""
        refs = self._window.services.search.match(text.strip()) or set()
        items = [self._window.services.inventory.get(ref) for ref in heapq.nsmallest(MOST, refs)]
        return best(
            "",
            [
                Entry(
                    item.name,
                    OPENABLE[item.ref.kind],
                    self._opening(item.ref),
                    f"{KIND_WORDS[item.ref.kind]} on {item.ref.connection}",
                )
                for item in items
                if item is not None and item.ref.kind in OPENABLE
            ],
        )

    def _opening(self, ref: Ref) -> Callable[[], None]:
        return lambda: self._window.open_ref(ref)

    def _of_command(self, command: Command) -> Entry:
        """A command by its name and what it acts on: Shut down web-01."""
        text, subject = command.text, command.subject()
        if subject:
            stem = text.removesuffix("…")
            text = f"{stem} {subject}{text[len(stem) :]}"
        return Entry(text, command.icon, lambda: self._act(command.run), command.shortcut, command.why_not())

    def _act(self, run: Callable[[], None]) -> None:
        """Run a command for what its entry names: the keyboard's place may be another one by now."""
        self._window.menu.refs = self._refs
        try:
            run()
        finally:
            self._window.menu.refs = None

    def _run(self, index: QModelIndex) -> None:
        if not index.isValid():
            return
        entry = self.entries.entry(index.row())
        self.close()
        if entry.reason:
            self._window.toasts.tell("info", f"{entry.text}: {entry.reason}")
        else:
            entry.run()
