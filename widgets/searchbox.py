"""The search field: finished `key:value` terms are chips, the rest is typed, and what may follow is offered."""

from __future__ import annotations

import re
from typing import Protocol

from PySide6.QtCore import QEvent, QObject, QRect, QStringListModel, Qt, Signal
from PySide6.QtGui import QKeyEvent, QKeySequence, QMouseEvent, QPainter, QPaintEvent, QPen, QResizeEvent
from PySide6.QtWidgets import QCompleter, QFrame, QHBoxLayout, QLabel, QLineEdit, QToolButton, QWidget

from app.search import TEXT_KEYS
from widgets import icons, theme
from widgets.keys import bind

HEIGHT_PX = 32
HINTS = ("Search", "Search: web  state:running", "Search: web  state:running  group:web  cpu>80")
AROUND_PX, SIGN_PX = 108, 60
"""What stands beside the text: sign, key, margins; and without the key."""
_KEYS = "|".join(TEXT_KEYS)
_CHIP = re.compile(rf'(?:^|(?<=\s))(-?(?:{_KEYS}):(?:"[^"]+"|[^\s"]+))(?=\s)')


class Finder(Protocol):
    """What the field needs of the search."""

    def complete(self, text: str) -> list[str]: ...


class Chip(QToolButton):
    """One finished term. A click takes it back into the text."""

    def __init__(self, term: str) -> None:
        super().__init__()
        self.term = term
        self.setText(term)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setToolTip("Click to change, Backspace to take it back")
        self.setAccessibleName(f"Condition {term}")
        self.restyle()

    def restyle(self) -> None:
        """After a change of theme."""
        t = theme.tokens()
        self.setStyleSheet(
            f"QToolButton {{ color: {t.link}; background: {t.accent_bg}; border: none; border-radius: 4px;"
            f" padding: 1px 6px; font-size: {theme.SMALL_PX}px; font-weight: 500; }}"
        )


class Keycap(QLabel):
    """The shortcut, as it stands on the keys."""

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(theme.colour("line"), 1))
        painter.setBrush(theme.colour("pane"))
        painter.drawRoundedRect(self.rect().adjusted(0, 0, -1, -1), 4, 4)
        painter.setPen(theme.colour("muted"))
        painter.setFont(theme.font(theme.CAPTION_PX))
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, self.text())


class SearchBox(QFrame):
    """Ctrl+F goes here, Escape empties it. `changed` carries the whole query, chips included.

    `left` goes on to what was found: True (Return) opens the first of it, False (Down) only goes there.
    """

    changed = Signal(str)
    left = Signal(bool)

    def __init__(self, search: Finder, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._search = search
        self._chips: list[Chip] = []
        self._said = ""
        self.setFixedHeight(HEIGHT_PX)
        self.edit = QLineEdit(placeholderText=HINTS[-1])
        self.edit.setAccessibleName("Search")
        self.edit.setFrame(False)
        self._icon = QLabel()
        self._keycap = Keycap("Ctrl F")
        self._keycap.setFixedSize(42, 18)
        self._line = QHBoxLayout(self)
        self._line.setContentsMargins(11, 0, 8, 0)
        self._line.setSpacing(6)
        self._line.addWidget(self._icon)
        self._line.addWidget(self.edit, 1)
        self._line.addWidget(self._keycap)
        self._offers = QStringListModel(self)
        self._completer = QCompleter(self._offers, self)
        self._completer.setCompletionMode(QCompleter.CompletionMode.UnfilteredPopupCompletion)
        self._completer.activated.connect(self._on_chosen)
        self._completer.popup().setObjectName("offers")
        self._completer.setWidget(self.edit)
        self.edit.textEdited.connect(self._on_edited)
        self.edit.returnPressed.connect(self._on_return)
        self.edit.installEventFilter(self)
        self.setFocusProxy(self.edit)
        bind(self, QKeySequence.StandardKey.Find, "Search", "Window", self.go)
        theme.on_change(self.restyle)
        self.restyle()

    def go(self) -> None:
        """Type here now."""
        self.edit.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.edit.selectAll()

    def text(self) -> str:
        """The whole query."""
        return " ".join([*(chip.term for chip in self._chips), self.edit.text().strip()]).strip()

    def set_text(self, text: str) -> None:
        """Replace the query."""
        self._drop_chips()
        rest = self._take_chips(f"{text} ")
        self.edit.setText(rest.strip())
        self._say()

    def restyle(self) -> None:
        """After a change of theme."""
        t = theme.tokens()
        self.setStyleSheet(
            f"SearchBox {{ background: {t.pane2}; border: 1px solid {t.line}; border-radius: 7px; }}"
            f"SearchBox QLineEdit {{ background: transparent; border: none; padding: 0; }}"
        )
        self._icon.setPixmap(icons.pixmap("search", "muted", 15, self.devicePixelRatioF()))
        for chip in self._chips:
            chip.restyle()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self.edit and event.type() == QEvent.Type.KeyPress:
            assert isinstance(event, QKeyEvent)
            if event.key() == Qt.Key.Key_Backspace and self._chips and self.edit.cursorPosition() == 0:
                if not self.edit.hasSelectedText():
                    self._take_back(self._chips[-1])
                    return True
            elif event.key() == Qt.Key.Key_Escape and self.text():
                self.set_text("")
                return True
            elif event.key() == Qt.Key.Key_Down and not self._completer.popup().isVisible():
                self._offer()
                if not self._completer.popup().isVisible():
                    self.left.emit(False)
                return True
        return super().eventFilter(watched, event)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self.edit.setFocus(Qt.FocusReason.MouseFocusReason)

    def _on_edited(self, text: str) -> None:
        rest = self._take_chips(text)
        if rest != text:
            self.edit.setText(rest)
        self._offer() if rest and not rest.endswith(" ") else self._completer.popup().hide()
        self._say()

    def _on_return(self) -> None:
        popup = self._completer.popup()
        if self.text() and not (popup.isVisible() and popup.currentIndex().isValid()):
            popup.hide()
            self.left.emit(True)

    def _on_chosen(self, query: str) -> None:
        """What was chosen is a finished term, unless its value is still missing."""
        rest = self._take_chips(query if query.endswith((":", ">")) else f"{query} ")
        self.edit.setText(rest.lstrip())
        self._say()

    def _offer(self) -> None:
        self._offers.setStringList(self._search.complete(self.edit.text()))
        if self._offers.rowCount():
            self._completer.complete(QRect(-6, 0, 260, self.edit.height() + 12))
        else:
            self._completer.popup().hide()

    def _say(self) -> None:
        query = self.text()
        self.edit.setPlaceholderText("" if self._chips else "Search: web  state:running  group:web  cpu>80")
        if query != self._said:
            self._said = query
            self.changed.emit(query)

    def _take_chips(self, text: str) -> str:
        """Make chips of the finished terms in a text; returns the rest."""
        for match in _CHIP.finditer(text):
            chip = Chip(match[1])
            chip.clicked.connect(lambda _checked=False, chip=chip: self._take_back(chip))
            self._chips.append(chip)
            self._line.insertWidget(len(self._chips), chip)
            chip.show()
        return re.sub(r"\s{2,}", " ", _CHIP.sub("", text)).lstrip() if _CHIP.search(text) else text

    def _take_back(self, chip: Chip) -> None:
        self._remove(chip)
        self.edit.setText(f"{chip.term} {self.edit.text()}".rstrip())
        self.edit.setCursorPosition(len(chip.term))
        self.edit.setFocus()
        self._say()

    def _remove(self, chip: Chip) -> None:
        self._chips.remove(chip)
        self._line.removeWidget(chip)
        chip.hide()
        chip.deleteLater()

    def _drop_chips(self) -> None:
        for chip in tuple(self._chips):
            self._remove(chip)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Where it is narrow, typing comes before the hint at the keys, and the hint is one that is seen whole."""
        super().resizeEvent(event)
        self._keycap.setVisible(self.width() > 260)
        room = self.width() - (AROUND_PX if self.width() > 260 else SIGN_PX)
        fits = [hint for hint in HINTS if self.edit.fontMetrics().horizontalAdvance(hint) <= room]
        self.edit.setPlaceholderText(fits[-1] if fits else HINTS[0])
