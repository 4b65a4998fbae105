"""F1: every key that does something, read off the shortcuts and key tables that are really there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeyEvent, QKeySequence, QShortcut
from PySide6.QtWidgets import QDialog, QHBoxLayout, QLineEdit, QVBoxLayout, QWidget

from widgets.keys import PART
from widgets.parts import Card, fit, label, scrolled

if TYPE_CHECKING:
    from widgets.tree import Tree

STEP_PX = 40
PARTS = ("Virtual machines", "Tree", "Sites", "Window", "Consoles", "Program")
"""In this order; what names another part comes after them."""


@dataclass(frozen=True, slots=True)
class Key:
    """One line of the sheet: where it works, what it does, and the key as it stands on the keyboard."""

    part: str
    text: str
    key: str


class Keyed(Protocol):
    """The window, with the tree, which has keys of its own; its shortcuts are among the children that it has."""

    tree: Tree


def bound(window: Keyed) -> list[Key]:
    """The keys that work in a window now: its shortcuts, and the tree's own."""
    native = QKeySequence.SequenceFormat.NativeText
    found = [
        Key(str(made.property(PART)), made.whatsThis(), made.key().toString(native))
        for made in window.findChildren(QShortcut)
        if made.whatsThis()
    ]
    keys = window.tree.view.keys.items()
    found += [Key("Tree", text, QKeySequence(key).toString(native)) for key, (text, _) in keys]
    order = {part: number for number, part in enumerate(PARTS)}
    return sorted(dict.fromkeys(found), key=lambda key: order.get(key.part, len(PARTS)))


class _Line(QWidget):
    def __init__(self, key: Key) -> None:
        super().__init__()
        self.words = f"{key.text} {key.key}".casefold()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 2, 0, 2)
        text = label(key.text, "", self)
        text.setWordWrap(True)
        row.addWidget(text, 1)
        row.addWidget(label(key.key, "key", self), 0, Qt.AlignmentFlag.AlignTop)
        self.setAccessibleName(f"{key.text}: {key.key}")


class KeySheet(QDialog):
    """All of them by where they work; typing leaves those that fit. It blocks nothing; Esc closes it."""

    def __init__(self, window: Keyed) -> None:
        super().__init__(window)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("Keyboard shortcuts")
        fit(self, 760, 620)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(20, 16, 20, 14)
        outer.setSpacing(12)
        self.edit = QLineEdit(self)
        self.edit.setPlaceholderText("Find a key or what it does")
        self.edit.setAccessibleName("Find a key or what it does")
        self.edit.setClearButtonEnabled(True)
        self.edit.textChanged.connect(self._filter)
        outer.addWidget(self.edit)
        self._cards: list[tuple[Card, list[_Line]]] = []
        keys = bound(window)
        for part in dict.fromkeys(key.part for key in keys):
            card, lines = Card(part), [_Line(key) for key in keys if key.part == part]
            for line in lines:
                card.body.addWidget(line)
            self._cards.append((card, lines))
        inner = QWidget(self)
        self._nothing = label("", "muted", inner)
        self._nothing.hide()
        column = QVBoxLayout(inner)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(self._columns())
        column.addWidget(self._nothing)
        column.addStretch(1)
        self._area = scrolled(inner)
        outer.addWidget(self._area, 1)
        note = label(
            "In a console nearly all keys are the guest's; its own commands are in Ctrl+K and its menu.", "small"
        )
        note.setWordWrap(True)
        outer.addWidget(note)

    def _columns(self) -> QHBoxLayout:
        """The cards in two columns, each below the shorter one."""
        row = QHBoxLayout()
        row.setSpacing(12)
        columns = [QVBoxLayout(), QVBoxLayout()]
        lengths = [0, 0]
        for column in columns:
            column.setSpacing(12)
            row.addLayout(column, 1)
        for card, lines in self._cards:
            shorter = lengths.index(min(lengths))
            columns[shorter].addWidget(card)
            lengths[shorter] += len(lines) + 2
        for column in columns:
            column.addStretch(1)
        return row

    def texts(self) -> list[str]:
        """What is shown now, from top to bottom."""
        return [line.accessibleName() for _, lines in self._cards for line in lines if not line.isHidden()]

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """What the field does not need scrolls."""
        bar = self._area.verticalScrollBar()
        steps = {
            Qt.Key.Key_Down: STEP_PX,
            Qt.Key.Key_Up: -STEP_PX,
            Qt.Key.Key_PageDown: bar.pageStep(),
            Qt.Key.Key_PageUp: -bar.pageStep(),
        }
        if event.key() in steps:
            bar.setValue(bar.value() + steps[Qt.Key(event.key())])
        elif event.key() == Qt.Key.Key_F1:
            self.reject()
        else:
            super().keyPressEvent(event)

    def _filter(self, text: str) -> None:
        words = text.casefold().split()
        for card, lines in self._cards:
            for line in lines:
                line.setVisible(all(word in line.words for word in words))
            card.setVisible(any(not line.isHidden() for line in lines))
        self._nothing.setText(f"No key does “{text.strip()}”")
        self._nothing.setVisible(not self.texts())
