"""The mouse over a terminal: it selects, scrolls and opens links, or is the program's, where that asked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QPointF, Qt, QTimer, QUrl
from PySide6.QtGui import QClipboard, QDesktopServices, QGuiApplication, QMouseEvent, QWheelEvent

from app.consoles.terminal import Mode, Place, keys
from app.consoles.terminal.keys import Button, Motion
from app.consoles.terminal.modes import MICE
from widgets import format as fmt
from widgets.consoles.select import Unit
from widgets.consoles.typed import BUTTONS, held

if TYPE_CHECKING:
    from widgets.consoles.terminal import TerminalView

NOTCH = 120
ROWS = 3
"""Rows that one step of the wheel scrolls."""
CREEP_MS = 40
_M = Qt.KeyboardModifier


class Mousing(QObject):
    """Shift keeps the mouse from the program."""

    def __init__(self, view: TerminalView) -> None:
        super().__init__(view)
        self._view = view
        self._drawing = False
        self._clicks = 0
        self._last: tuple[int, Place] = (0, (0, 0))
        self._down = Button.NONE
        self._over = (-1, -1)
        self._wheel = 0
        self._at = QPointF()
        self._creep = QTimer(self, interval=CREEP_MS)
        self._creep.timeout.connect(self._crept)

    def place(self, at: QPointF, *, edge: bool = False) -> Place:
        """The cell at a point, or the edge between cells that is nearest."""
        view = self._view
        x, y = view.in_cells(at)
        column = min(max(int(x + 0.5) if edge else int(x // 1), 0), view.shown.cols - (not edge))
        return view.shown.start + min(max(int(y // 1), 0), view.shown.height - 1), column

    def press(self, event: QMouseEvent) -> None:
        view, at = self._view, event.position()
        if self._report(event, Motion.PRESS):
            return
        if event.button() == Qt.MouseButton.MiddleButton:
            clipboard = QGuiApplication.clipboard()
            if clipboard.supportsSelection():
                view.paste(clipboard.text(QClipboard.Mode.Selection))
        elif event.button() == Qt.MouseButton.LeftButton:
            if event.modifiers() & _M.ControlModifier and self._open(at):
                return
            self._begin(event, at)

    def _begin(self, event: QMouseEvent, at: QPointF) -> None:
        view, cell = self._view, self.place(at)
        timestamp, last = self._last
        again = cell == last and event.timestamp() - timestamp < QGuiApplication.styleHints().mouseDoubleClickInterval()
        self._clicks = self._clicks % 3 + 1 if again else 1
        self._last = (event.timestamp(), cell)
        self._drawing = True
        if event.modifiers() & _M.ShiftModifier and view.selection.begun and not again:
            view.selection.draw(self.place(at, edge=view.selection.unit in (Unit.CELLS, Unit.BLOCK)))
            return
        unit = Unit(self._clicks)
        if event.modifiers() & _M.AltModifier and self._clicks == 1:
            unit = Unit.BLOCK
        view.selection.begin(self.place(at, edge=unit in (Unit.CELLS, Unit.BLOCK)), unit, view.shown.epoch)

    def move(self, event: QMouseEvent) -> None:
        self._at = event.position()
        if self._drawing:
            self._draw()
            outside = not self._view.viewport().rect().contains(self._at.toPoint())
            (self._creep.start if outside else self._creep.stop)()
            return
        cell = self.place(self._at)
        if cell == self._over:
            return
        self._over = cell
        self._report(event, Motion.MOVE)
        self.hover(event.modifiers())

    def release(self, event: QMouseEvent) -> None:
        if not self._drawing:
            self._report(event, Motion.RELEASE)
            return
        if event.button() == Qt.MouseButton.LeftButton:
            self._drawing = False
            self._creep.stop()
            clipboard = QGuiApplication.clipboard()
            text = self._view.selection.text()
            if text and clipboard.supportsSelection():
                clipboard.setText(text, QClipboard.Mode.Selection)

    def wheel(self, event: QWheelEvent) -> None:
        """The program's, or cursor keys for a full-screen program, or the scroll-back's; with Ctrl the text's size."""
        view = self._view
        self._wheel += event.angleDelta().y()
        steps, self._wheel = int(self._wheel / NOTCH), self._wheel - int(self._wheel / NOTCH) * NOTCH
        if not steps:
            return
        if event.modifiers() & _M.ControlModifier:
            view.zoom(steps)
        elif not view.shown.modes.isdisjoint(MICE) and not event.modifiers() & _M.ShiftModifier:
            button = Button.WHEEL_UP if steps > 0 else Button.WHEEL_DOWN
            row, column = self.place(event.position())
            data = keys.mouse(button, Motion.PRESS, column, row - view.shown.top, held(event.modifiers()),
                              view.shown.modes)  # fmt: skip
            view.send(data * abs(steps))
        elif view.shown.on_alternate and Mode.WHEEL_KEYS in view.shown.modes:
            name = "up" if steps > 0 else "down"
            view.send(keys.key(name, keys.NONE, view.shown.modes) * ROWS * abs(steps))
        else:
            view.scroll_to(view.shown.start - ROWS * steps)

    def hover(self, modifiers: Qt.KeyboardModifier) -> None:
        """Underline the link under the mouse; with Ctrl the hand says that a click opens it."""
        view = self._view
        address, spans = view.terminal.link(self._over) if self._over[0] >= 0 else ("", [])
        if (address, spans) != view.link:
            view.link = (address, spans)
            view.viewport().setToolTip(fmt.tip(f"{address}\nCtrl+click opens it") if opens(address) else "")
            view.repaint_all()
        hand = bool(modifiers & _M.ControlModifier and opens(address))
        view.viewport().setCursor(Qt.CursorShape.PointingHandCursor if hand else Qt.CursorShape.IBeamCursor)

    def left(self) -> None:
        """The mouse is elsewhere."""
        self._over = (-1, -1)
        self.hover(_M.NoModifier)

    def _open(self, at: QPointF) -> bool:
        address, _ = self._view.terminal.link(self.place(at))
        return opens(address) and QDesktopServices.openUrl(QUrl(address))

    def _report(self, event: QMouseEvent, motion: Motion) -> bool:
        """Tell the program, if it asked for the mouse."""
        view = self._view
        if (
            view.shown.modes.isdisjoint(MICE)
            or event.modifiers() & _M.ShiftModifier
            or view.shown.start < view.shown.top
        ):
            return False
        button = self._down if motion == Motion.MOVE else BUTTONS.get(event.button(), Button.NONE)
        if motion != Motion.MOVE:
            if button == Button.NONE:
                return False
            self._down = button if motion == Motion.PRESS else Button.NONE
        row, column = self.place(event.position())
        view.send(keys.mouse(button, motion, column, row - view.shown.top, held(event.modifiers()), view.shown.modes))
        return True

    def _draw(self) -> None:
        selection = self._view.selection
        selection.draw(self.place(self._at, edge=selection.unit in (Unit.CELLS, Unit.BLOCK)))

    def _crept(self) -> None:
        """The mouse is held beyond an edge: scroll that way."""
        up = self._at.y() < 0
        if up or self._at.y() > self._view.viewport().height():
            self._view.scroll_to(self._view.shown.start + (-1 if up else 1))
            self._draw()


def opens(address: str) -> bool:
    """Only what a browser shows; a program can name any scheme in a link."""
    return QUrl(address).scheme() in ("http", "https")
