"""A terminal in a window on a line whose far end a test holds."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator

import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import (
    QKeyEvent,
    QMouseEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.consoles.loop import ConsoleLoop
from widgets import theme
from widgets.consoles.terminal import TerminalView

K, M, B = Qt.Key, Qt.KeyboardModifier, Qt.MouseButton


CTRL_SHIFT = M.ControlModifier | M.ShiftModifier


class SocketLine:
    """A line as LineSession is one, over a socket; `far` is the program's end."""

    def __init__(self) -> None:
        self.loop = ConsoleLoop()
        self._near, self.far = socket.socketpair()
        self._near.setblocking(False)
        self.far.settimeout(30)
        self.sizes: list[tuple[int, int]] = []
        self.takes = True

    def attach(self, feed: Callable[[bytes], Awaitable[object] | None]) -> Callable[[], None]:
        reading = self.loop.run(self._read(feed))
        return lambda: reading.cancel() and None

    async def _read(self, feed: Callable[[bytes], Awaitable[object] | None]) -> None:
        while data := await asyncio.get_running_loop().sock_recv(self._near, 65536):
            taking = feed(data)
            if taking is not None:
                await taking

    def write(self, data: bytes) -> bool:
        if self.takes:
            self._near.setblocking(True)
            self._near.sendall(data)
            self._near.setblocking(False)
        return self.takes

    def resize(self, columns: int, rows: int) -> None:
        self.sizes.append((columns, rows))

    def got(self, count: int) -> bytes:
        """The next bytes at the far end."""
        data = b""
        while len(data) < count:
            data += self.far.recv(count - len(data))
        return data

    def close(self) -> None:
        asyncio.run(self.loop.close())
        self._near.close()
        self.far.close()


@pytest.fixture
def line() -> Iterator[SocketLine]:
    made = SocketLine()
    yield made
    made.close()


@pytest.fixture
def view(qtbot: QtBot, qapp: QApplication, line: SocketLine) -> TerminalView:
    """A terminal of 60 x 12 that has the keyboard."""
    theme.apply(qapp, theme.Mode.LIGHT)
    made = TerminalView()
    qtbot.addWidget(made)
    cells = made.cells
    made.resize(round(60.5 * cells.width) + 12 + made.verticalScrollBar().sizeHint().width(),
                round(12.5 * cells.height) + 12)  # fmt: skip
    made.show()
    made.attach(line)
    made.activateWindow()
    made.setFocus()
    qtbot.waitUntil(lambda: made.terminal.size[1] == 12)
    assert made.terminal.size[0] == 60
    return made


def say(qtbot: QtBot, view: TerminalView, line: SocketLine, data: bytes) -> None:
    """Have the program say something, and wait until it is shown."""
    line.far.sendall(data + b"\x1b]2;%d\x07" % id(data))
    qtbot.waitUntil(lambda: view.shown.title == str(id(data)))


def at(view: TerminalView, column: float, row: float) -> QPoint:
    """The middle of a cell."""
    return QPointF(6 + (column + 0.5) * view.cells.width, 6 + (row + 0.5) * view.cells.height).toPoint()


def click(view: TerminalView, where: QPoint, times: int) -> None:
    """As quickly as a hand does: QTest waits between clicks."""
    for number in range(times):
        for kind in (QEvent.Type.MouseButtonPress, QEvent.Type.MouseButtonRelease):
            event = QMouseEvent(kind, QPointF(where), QPointF(where), B.LeftButton, B.LeftButton, M.NoModifier)
            event.setTimestamp(1_000_000 * times + 100 * number)
            QApplication.sendEvent(view.viewport(), event)


def press(view: TerminalView, key: Qt.Key, mods: Qt.KeyboardModifier = M.NoModifier, text: str = "") -> None:
    QApplication.sendEvent(view, QKeyEvent(QEvent.Type.KeyPress, key, mods, text))


def wheel(view: TerminalView, steps: int, mods: Qt.KeyboardModifier = M.NoModifier) -> None:
    where = QPointF(at(view, 3, 2))
    event = QWheelEvent(
        where, where, QPoint(), QPoint(0, 120 * steps), B.NoButton, mods, Qt.ScrollPhase.NoScrollPhase, False
    )
    QApplication.sendEvent(view.viewport(), event)


def painted(view: TerminalView) -> set[int]:
    """The colours of the first row."""
    image = view.viewport().grab().toImage()
    scale = view.devicePixelRatioF()
    rows = range(round(6 * scale), round((6 + view.cells.height) * scale))
    return {image.pixel(x, y) & 0xFFFFFF for y in rows for x in range(round(60 * view.cells.width * scale))}
