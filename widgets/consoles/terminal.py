"""A terminal on the screen: paints what its engine holds, and sends what keyboard and mouse do down a line."""

from __future__ import annotations

import time
from typing import Any

from PySide6.QtCore import QEvent, QPointF, QRect, QRectF, Qt, QTimer, Signal
from PySide6.QtGui import (
    QAccessible,
    QContextMenuEvent,
    QFocusEvent,
    QGuiApplication,
    QInputMethodEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QResizeEvent,
    QShowEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QAbstractScrollArea, QFrame, QWidget

from app.consoles.terminal import Mode, Span, View, keys
from app.consoles.terminal.modes import MICE
from widgets import theme
from widgets.consoles.asking import Asking
from widgets.consoles.find import Find
from widgets.consoles.ink import Cells, Ink
from widgets.consoles.mousing import Mousing
from widgets.consoles.offers import offers
from widgets.consoles.paper import PAD, paint
from widgets.consoles.select import Selection
from widgets.consoles.shortcuts import done_here, takes
from widgets.consoles.typed import typed
from widgets.consoles.wire import Line, Wire

FONT_PX = 14
SMALLEST_PX, LARGEST_PX = 7, 40
FRAME_MS = 16
SETTLE_MS = 60
"""The view must have kept its size for so long before the line is told."""
SPEAK_MS = 300
"""So long after the last change a screen reader is told."""
HELD_MS = 150
"""A program that asks for no painting until its picture is whole (mode 2026) gets so long."""
_M = Qt.KeyboardModifier


class TerminalView(QAbstractScrollArea):
    """A terminal with scroll-back. Whoever made the line opens and closes it.

    Ctrl+Shift+C and V copy and paste, Ctrl+Shift+F searches, Ctrl with plus, minus and 0 sizes the text, Shift with
    page keys scrolls. Keys with Ctrl+Shift, Ctrl+Tab and F11 stay the window's; all others go down the line.
    """

    title_changed = Signal(str)
    rang = Signal()
    resized = Signal(int, int)
    """The size in cells is another."""
    painted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.wire = Wire(self)
        self.terminal = self.wire.terminal
        self.shown: View = self.terminal.view()
        """What was painted last."""
        self.selection = Selection(self.terminal, self.repaint_all)
        self.read_only = False
        """Nothing typed or pasted goes down the line."""
        self.link: tuple[str, list[Span]] = ("", [])
        """The address under the mouse."""
        self.px = FONT_PX
        self.ink = Ink()
        self.cells = Cells(self.px, self.devicePixelRatioF())
        self._start: int | None = None
        self._held_since = 0.0
        self.lit = True
        self.composed = ""
        self._dress()
        self.finder = Find(self)
        self.asking = Asking(self, self.terminal)
        self.mousing = Mousing(self)
        self._timers()
        self._restyle()
        theme.on_change(self._restyle)

    def _dress(self) -> None:
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOn)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAttribute(Qt.WidgetAttribute.WA_InputMethodEnabled)
        self.setAccessibleName("Terminal")
        self.viewport().setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.viewport().setMouseTracking(True)
        self.viewport().setCursor(Qt.CursorShape.IBeamCursor)
        self.verticalScrollBar().valueChanged.connect(self._scrolled)

    def _timers(self) -> None:
        self._frame = QTimer(self, singleShot=True, timerType=Qt.TimerType.PreciseTimer)
        self._frame.timeout.connect(self.refresh)
        self._settle = QTimer(self, singleShot=True, interval=SETTLE_MS)
        self._settle.timeout.connect(self.fit)
        self._blink = QTimer(self)
        self._blink.timeout.connect(self._on_blink)
        self._speak = QTimer(self, singleShot=True, interval=SPEAK_MS)
        self._speak.timeout.connect(self.speak)
        self.wire.came.connect(self._on_came)

    # The line

    def attach(self, line: Line | None) -> None:
        """Show this line, or none. What was shown before stays in the scroll-back."""
        self.wire.attach(line)

    def send(self, data: bytes) -> None:
        """Type: what is hidden above comes back into view."""
        if data and not self.read_only:
            self.show_row(None)
            self.wire.send(data)

    def paste(self, text: str) -> None:
        """As if it was typed; all lines at once."""
        if text and not self.read_only:
            self.show_row(None)
            self.wire.paste(text)

    def copy(self) -> None:
        """What is selected, to the clipboard."""
        if text := self.selection.text():
            QGuiApplication.clipboard().setText(text)

    def select_all(self) -> None:
        last = self.shown.top + self.shown.height - 1
        self.selection.all(self.shown.first, last, self.shown.cols, self.shown.epoch)

    def clear_history(self) -> None:
        """Forget what has scrolled off."""
        self.terminal.clear_history()
        self.selection.clear()
        self._start = None
        self.refresh()

    def reset(self) -> None:
        """As new, for when a program left it in a bad state."""
        self.terminal.reset()
        self.refresh()

    # What is shown

    def _on_came(self) -> None:
        if not self._frame.isActive():
            self._frame.start(FRAME_MS)

    def refresh(self) -> None:
        """Read the engine, and paint the rows that are others."""
        self.wire.seen()
        if self._is_held():
            return
        old, self.shown = self.shown, self.terminal.view(self._start)
        new = self.shown
        if self._start is not None and (new.epoch != old.epoch or new.start >= new.top):
            self._start = None
            self.shown = new = self.terminal.view()
        if new.epoch != self.selection.epoch or self._is_overwritten(old, new):
            self.selection.clear()
        if self._start is not None:
            self._start = new.start
        self._set_scroll_bar(new)
        if (new.title, new.bells) != (old.title, old.bells):
            self._tell(old, new)
        self.finder.renew()
        self._mark_dirty(old, new)
        self.asking.look()
        if QAccessible.isActive():
            self._speak.start()

    def speak(self) -> None:
        """Give those who cannot see it the text of the screen."""
        self.setAccessibleDescription(self.terminal.display().rstrip())

    def _is_held(self) -> bool:
        """Whether the program is in the middle of a picture."""
        if Mode.HELD not in self.terminal.modes:
            self._held_since = 0.0
            return False
        now = time.monotonic()
        self._held_since = self._held_since or now
        if now - self._held_since > HELD_MS / 1000:
            return False
        self._frame.start(FRAME_MS)
        return True

    def _tell(self, old: View, new: View) -> None:
        if new.title != old.title:
            self.title_changed.emit(new.title)
        if new.bells > old.bells:
            self.rang.emit()

    def _mark_dirty(self, old: View, new: View) -> None:
        """Have the rows painted that are others."""
        marked = self.selection.span is not None or not self.finder.isHidden() or self.link[1]
        moved = (old.start, old.epoch) != (new.start, new.epoch)
        modes = Mode.REVERSE in old.modes ^ new.modes
        if (moved and marked) or modes or old.styles is not new.styles or len(old.rows) != len(new.rows):
            self.repaint_all()
            return
        for number, row in enumerate(new.rows):
            if row != old.rows[number]:
                self._update_row(number)
        for view in (old, new):
            if view.cursor is not None and (moved or old.cursor != new.cursor):
                self._update_row(view.cursor[0] - view.start)

    def _is_overwritten(self, old: View, new: View) -> bool:
        """Whether selected text that was in view is another now."""
        span = self.selection.span
        if span is None:
            return False
        first = max(span.start[0], old.start, new.start)
        last = min(span.end[0] + 1, old.start + len(old.rows), new.start + len(new.rows))
        return (
            first < last
            and old.rows[first - old.start : last - old.start] != new.rows[first - new.start : last - new.start]
        )

    def _update_row(self, number: int) -> None:
        top = PAD + number * self.cells.height
        self.viewport().update(QRect(0, int(top), self.viewport().width(), int(self.cells.height) + 2))

    def repaint_all(self) -> None:
        self.viewport().update()

    def show_row(self, row: int | None) -> None:
        """Bring a row into view; None: the screen itself."""
        if row is None:
            if self._start is not None:
                self._start = None
                self.refresh()
            return
        start, height = self.shown.start, self.shown.height
        if not start <= row < start + height:
            self.scroll_to(row - height // 2)

    def scroll_to(self, start: int) -> None:
        """Show the rows from this number on."""
        self._start = start if start < self.shown.top else None
        self.refresh()

    def _scrolled(self, value: int) -> None:
        if self.shown.first + value != self.shown.start:
            self.scroll_to(self.shown.first + value)

    def _set_scroll_bar(self, view: View) -> None:
        bar = self.verticalScrollBar()
        bar.blockSignals(True)
        bar.setRange(0, view.top - view.first)
        bar.setPageStep(view.height)
        bar.setValue(view.start - view.first)
        bar.blockSignals(False)

    # Size and look

    def zoom(self, steps: int) -> None:
        """Text larger or smaller by so many pixels; 0: as usual."""
        self.px = min(max(self.px + steps, SMALLEST_PX), LARGEST_PX) if steps else FONT_PX
        self._measure()
        self.fit()

    def _measure(self) -> None:
        self.cells = Cells(self.px, self.devicePixelRatioF())
        self.verticalScrollBar().setSingleStep(1)
        self.repaint_all()

    def _restyle(self) -> None:
        self.ink.restyle()
        self.terminal.set_colours(self.ink.text, self.ink.ground)
        self.repaint_all()

    def fit(self) -> None:
        """As many cells as there is room for; the line is told."""
        room = self.viewport().size()
        cols = int((room.width() - 2 * PAD) / self.cells.width)
        rows = int((room.height() - 2 * PAD) / self.cells.height)
        if (cols, rows) == self.terminal.size or not self.isVisible():
            return
        size = self.wire.resize(cols, rows)
        self.resized.emit(*size)
        self.refresh()
        self.repaint_all()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._settle.start()
        self.finder.place()
        self.asking.place()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self.cells.ratio != self.devicePixelRatioF():
            self._measure()
        self._settle.start()

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.DevicePixelRatioChange:
            self._measure()
            self._settle.start()
        if event.type() == QEvent.Type.ShortcutOverride and isinstance(event, QKeyEvent) and takes(event):
            event.accept()
            return True
        return super().event(event)

    # Painting

    def paintEvent(self, event: QPaintEvent) -> None:
        self.terminal.painting = True
        painter = QPainter(self.viewport())
        paint(painter, self, event.region())
        painter.end()
        self.terminal.painting = False
        self.painted.emit()

    def _on_blink(self) -> None:
        steady = self.shown.cursor_shape in (2, 4, 6)
        self.lit = steady or not self.lit
        if self.shown.cursor is not None:
            self._update_row(self.shown.cursor[0] - self.shown.start)

    def _light(self) -> None:
        """The cursor is on now, and blinks as the desktop says."""
        self.lit = True
        period = QGuiApplication.styleHints().cursorFlashTime()
        if period > 1 and self.hasFocus():
            self._blink.start(period // 2)
        else:
            self._blink.stop()
        self.repaint_all()

    # Keyboard

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if done_here(self, event) or not takes(event):
            return
        self._light()
        self.mousing.hover(event.modifiers())
        self.send(typed(event, self.terminal.modes))

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        self.mousing.hover(event.modifiers())

    def focusNextPrevChild(self, following: bool) -> bool:
        """Tab is the program's; Ctrl+Tab leaves."""
        return False

    def focusInEvent(self, event: QFocusEvent) -> None:
        self._focused(b"\x1b[I")

    def focusOutEvent(self, event: QFocusEvent) -> None:
        self._focused(b"\x1b[O")

    def _focused(self, report: bytes) -> None:
        self._light()
        if Mode.FOCUS in self.terminal.modes and not self.read_only:
            self.wire.send(report)

    def inputMethodEvent(self, event: QInputMethodEvent) -> None:
        """Dead keys, compose sequences and input methods."""
        self.composed = event.preeditString()
        if event.commitString():
            self.send(keys.text(event.commitString()))
        self.repaint_all()
        event.accept()

    def inputMethodQuery(self, query: Qt.InputMethodQuery) -> Any:
        cursor, cells = self.shown.cursor, self.cells
        if query == Qt.InputMethodQuery.ImCursorRectangle and cursor is not None:
            at = QPointF(PAD + cursor[1] * cells.width, PAD + (cursor[0] - self.shown.start) * cells.height)
            return QRectF(at, at + QPointF(cells.width, cells.height)).toRect()
        if query == Qt.InputMethodQuery.ImHints:
            return (Qt.InputMethodHint.ImhNoAutoUppercase | Qt.InputMethodHint.ImhNoPredictiveText).value
        return super().inputMethodQuery(query)

    # Mouse

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        """Not where the right button is the program's."""
        if self.terminal.modes.isdisjoint(MICE) or event.modifiers() & _M.ShiftModifier:
            offers(self).popup(event.globalPos())

    def in_cells(self, at: QPointF) -> tuple[float, float]:
        """A point of the viewport in cells."""
        return (at.x() - PAD) / self.cells.width, (at.y() - PAD) / self.cells.height

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self.mousing.press(event)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        self.mousing.press(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        self.mousing.move(event)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        self.mousing.release(event)

    def wheelEvent(self, event: QWheelEvent) -> None:
        self.mousing.wheel(event)

    def leaveEvent(self, event: QEvent) -> None:
        self.mousing.left()
