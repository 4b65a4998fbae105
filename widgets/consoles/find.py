"""The search in a terminal: a small bar over its corner, and what it has found so far."""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Protocol

from PySide6.QtCore import QEvent, QObject, Qt, QTimer
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLineEdit, QWidget

from app.consoles.terminal import Span
from widgets import format as fmt
from widgets import theme
from widgets.parts import label, tool

if TYPE_CHECKING:
    from app.consoles.terminal import Terminal, View

MOST = 10_000
"""So many places are looked for."""
SLICE_S = 0.004
DELAY_MS = 120


class Searched(Protocol):
    """The terminal's view that is searched. It is a widget, too: the strip stands over it."""

    terminal: Terminal
    shown: View

    def viewport(self) -> QWidget: ...

    def show_row(self, row: int | None) -> None: ...

    def repaint_all(self) -> None: ...


class Find(QFrame):
    """Ctrl+Shift+F opens it, Escape closes it; Enter goes up to older places, Shift+Enter down."""

    def __init__(self, view: Searched) -> None:
        super().__init__(view)
        self._view = view
        self.spans: list[Span] = []
        """What was found, in order."""
        self.current: Span | None = None
        self._before: int | None = None
        self._epoch = 0
        self.setObjectName("card")
        self.edit = QLineEdit(self)
        self.edit.setPlaceholderText("Search the scroll-back")
        self.edit.setAccessibleName("Search the scroll-back")
        self.edit.setClearButtonEnabled(True)
        self.edit.setMinimumWidth(180)
        self.edit.installEventFilter(self)
        self.count = label("", "muted", self)
        self.count.setMinimumWidth(96)
        self.count.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        line = QHBoxLayout(self)
        line.setContentsMargins(8, 6, 6, 6)
        line.setSpacing(4)
        line.addWidget(self.edit, 1)
        line.addWidget(self.count)
        line.addWidget(tool("chevron-up", "Previous (Enter)", self.previous))
        line.addWidget(tool("chevron-down", "Next (Shift+Enter)", self.next))
        line.addWidget(tool("x", "Close (Esc)", self.close_bar))
        self._steps = QTimer(self, interval=0)
        self._steps.timeout.connect(self._step)
        self._delay = QTimer(self, singleShot=True, interval=DELAY_MS)
        self._delay.timeout.connect(self.start)
        self.edit.textChanged.connect(lambda _text: self._delay.start())
        self.hide()

    def open(self) -> None:
        self.show()
        self.place()
        self.raise_()
        self.edit.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.edit.selectAll()
        self.start()

    def close_bar(self) -> None:
        self._steps.stop()
        self._delay.stop()
        self.spans, self.current = [], None
        self.hide()
        self._view.setFocus(Qt.FocusReason.OtherFocusReason)
        self._view.repaint_all()

    def place(self) -> None:
        """In the upper right corner."""
        room = self._view.viewport().width() - 16
        self.resize(min(room, 420), self.sizeHint().height())
        self.move(self._view.viewport().width() - self.width() - 8, 8)

    def start(self) -> None:
        """Search anew, the newest rows first."""
        self._delay.stop()
        self.spans, self.current, self._before = [], None, None
        self._epoch = self._view.shown.epoch
        if self.edit.text():
            self._steps.start()
        self._say()
        self._view.repaint_all()

    def renew(self) -> None:
        """New text has come: look at the newest piece again."""
        if self.isHidden() or not self.edit.text():
            return
        if self._view.shown.epoch != self._epoch:
            self.start()
            return
        found, start = self._view.terminal.search(self.edit.text())
        self.spans[bisect_left(self.spans, (start, 0), key=_start) :] = found
        oldest = bisect_left(self.spans, (self._view.shown.first, 0), key=_start)
        del self.spans[:oldest]
        if self.current not in self.spans:
            self.current = None
        self._say()

    def previous(self) -> None:
        """Up, to the older one; at the oldest from the end again."""
        if self.spans:
            at = bisect_left(self.spans, self._from(), key=_start) - 1
            self._go(self.spans[at])

    def next(self) -> None:
        if self.spans:
            at = bisect_right(self.spans, self._from(), key=_start)
            self._go(self.spans[at % len(self.spans)])

    def in_row(self, row: int) -> list[Span]:
        """What is found in a row."""
        first = bisect_left(self.spans, row, key=_last_row)
        found = []
        for span in self.spans[first : first + 1000]:
            if span.start[0] > row:
                break
            found.append(span)
        return found

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                if self._delay.isActive():
                    self.start()
                (self.next if event.modifiers() & Qt.KeyboardModifier.ShiftModifier else self.previous)()
                return True
            if event.key() == Qt.Key.Key_Escape:
                self.close_bar()
                return True
        return super().eventFilter(watched, event)

    def _from(self) -> tuple[int, int]:
        if self.current is not None:
            return self.current.start
        return self._view.shown.start + self._view.shown.height, 0

    def _go(self, span: Span) -> None:
        self.current = span
        self._view.show_row(span.start[0])
        self._view.repaint_all()
        self._say()

    def _step(self) -> None:
        """Some milliseconds of search."""
        end = time.perf_counter() + SLICE_S
        while time.perf_counter() < end:
            found, before = self._view.terminal.search(self.edit.text(), self._before)
            self.spans[:0] = found
            self._before = before
            if before <= self._view.terminal.first or len(self.spans) >= MOST:
                self._steps.stop()
                break
        if self.current is None and self.spans:
            self.previous()
        self._say()
        self._view.repaint_all()

    def _say(self) -> None:
        """3 of 12, counted from the newest."""
        if not self.edit.text():
            self.count.setText("")
            return
        more = "+" if self._steps.isActive() or len(self.spans) >= MOST else ""
        total = fmt.count(len(self.spans)) + more
        if self.current is None:
            self.count.setText("nothing found" if not self.spans and not more else total)
        else:
            at = len(self.spans) - bisect_left(self.spans, self.current.start, key=_start)
            self.count.setText(f"{fmt.count(at)} of {total}")
        none = not self.spans and not more
        self.edit.setStyleSheet(f"border-color: {theme.tokens().bad};" if none else "")


def _start(span: Span) -> tuple[int, int]:
    return span.start


def _last_row(span: Span) -> int:
    return span.end[0]
