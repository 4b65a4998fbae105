"""Between a terminal and its line: what comes is parsed where it comes, what is typed waits until the line takes it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from PySide6.QtCore import QObject, QTimer, Signal

from app.consoles.terminal import Terminal, keys

PART = 16 * 1024
"""Bytes that are given to a line at once; a long text is pasted in such parts."""
PART_MS = 20


class Line(Protocol):
    """What a terminal can be attached to: a LineSession, for example.

    `feed(data)` is called on the console loop; what it returns is awaited there before more is read. `write` returns
    False where the line takes nothing.
    """

    def attach(self, feed: Callable[[bytes], Awaitable[object] | None], /) -> Callable[[], None]: ...
    def write(self, data: bytes, /) -> bool: ...
    def resize(self, columns: int, rows: int, /) -> None: ...


class Wire(QObject):
    """`came`: there is something new to show; told once until `seen` is called."""

    came = Signal()

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.terminal = Terminal(write=self._answer)
        self.line: Line | None = None
        self._detach: Callable[[], None] = _nothing
        self._told = False
        self._waiting = bytearray()
        self._parts = QTimer(self, interval=PART_MS)
        self._parts.timeout.connect(self._write)

    def attach(self, line: Line | None) -> None:
        """Hear and talk to this line from now on."""
        self._detach()
        self.line, self._detach = line, _nothing
        self._waiting.clear()
        self._parts.stop()
        if line is not None:
            line.resize(*self.terminal.size)
            self._detach = line.attach(self.feed)

    def feed(self, data: bytes) -> Coroutine[Any, Any, None]:
        """Take in what the line says."""
        return self._take(data)

    async def _take(self, data: bytes) -> None:
        await self.terminal.absorb(data)
        if not self._told and self.line is not None:
            self._told = True
            self.came.emit()

    def seen(self) -> None:
        """What came so far is being shown."""
        self._told = False

    def send(self, data: bytes) -> None:
        """Write after what waits already."""
        self._waiting += data
        if not self._parts.isActive():
            self._write()

    def paste(self, text: str) -> None:
        """As if it was typed, framed where the program asked for that."""
        self.send(keys.pasted(text, self.terminal.modes))

    def resize(self, cols: int, rows: int) -> tuple[int, int]:
        """Tell terminal and line. Returns the size that it became."""
        size = self.terminal.resize(cols, rows)
        if self.line is not None:
            self.line.resize(*size)
        return size

    def _answer(self, data: bytes) -> None:
        """What the terminal itself says; on the console loop."""
        if self.line is not None:
            self.line.write(data)

    def _write(self) -> None:
        if self.line is None or not self._waiting or not self.line.write(bytes(self._waiting[:PART])):
            self._waiting.clear()
        del self._waiting[:PART]
        (self._parts.start if self._waiting else self._parts.stop)()


def _nothing() -> None:
    pass
