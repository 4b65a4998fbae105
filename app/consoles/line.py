"""A text line to a VM that follows it: its serial port, what the platform kept of it, or SSH to the guest."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from app.consoles.follow import Session, only_without_hindrance
from app.consoles.news import SessionEvent, SessionState, What
from backends.consoles import Console, ConsoleKind, Door
from backends.errors import Unreachable, Unsupported
from backends.model import Vm

if TYPE_CHECKING:
    from app.consoles.loop import ConsoleLoop
    from app.consoles.world import World

PIECE = 64 * 1024
"""Bytes that are read at once; nothing more is read until the terminal has taken them."""
UNSENT = 4 * 2**20
"""Bytes that may wait to be sent to a line that does not take them."""
RESET = b"\x1bc\x1b[3J"
"""Clears the terminal and its history: kept output is read anew from its beginning."""

Feed = Callable[[bytes], Awaitable[object] | None]


class LineSession(Session):
    """A serial line. What it says goes to the one terminal that is attached; without one nothing is read.

    `attach(feed)`: `feed(data)` is called on the console loop with at most PIECE bytes. What it returns, where that is
    not None, is awaited there before the next piece is read: that is the back-pressure.
    """

    def __init__(self, services: World, loop: ConsoleLoop, uid: str, console: Console | None = None) -> None:
        super().__init__(services, loop, uid, console)
        self._feed: Feed | None = None
        self._attached: asyncio.Event | None = None
        self._wire: _Wire | None = None
        self._size = (80, 24)
        self.kept = ""
        """What the platform kept of the output, where that is all there is."""

    @property
    def interactive(self) -> bool:
        """False where it is text that the platform kept: nothing can be typed, `refresh` reads it anew."""
        return self._console is None or self._console.kind != ConsoleKind.OUTPUT

    def attach(self, feed: Feed) -> Callable[[], None]:
        """Give what the line says to `feed` from now on; the returned function ends that, and reading with it."""
        self._feed = feed
        self._console_loop.call(self._reattached)

        def detach() -> None:
            if self._feed is feed:
                self._feed = None

        return detach

    def write(self, data: bytes) -> bool:
        """Type into the line. False where that is not possible: it is not LIVE, the connection is read-only, or
        the line has not taken what was written before."""
        wire = self._wire
        if (
            self.state != SessionState.LIVE
            or wire is None
            or self.read_only
            or wire.taken - wire.sent + len(data) > UNSENT
        ):
            return False
        wire.taken += len(data)
        self._console_loop.call(wire.send, data)
        return True

    def resize(self, columns: int, rows: int) -> None:
        """The terminal's size in cells. A serial line has no way to pass it on; SSH has."""
        self._size = (columns, rows)

    def refresh(self) -> None:
        """Read anew what the platform kept of the output."""
        self.retry()

    # Inside

    def _pick(self, offers: Sequence[Console]) -> Console:
        lines = [console for console in offers if console.kind == ConsoleKind.SERIAL]
        lines += [console for console in offers if console.kind == ConsoleKind.OUTPUT]
        if not lines:
            raise Unsupported(f"{self.name} has no serial line", object_name=self.name, cure="add a serial port to it")
        return only_without_hindrance(lines, self.name)

    def _dark(self, vm: Vm) -> bool:
        # What a machine said last is read when it has ended.
        return self.interactive and super()._dark(vm)

    async def _serve(self, door: Door) -> None:
        try:
            if door.console.kind == ConsoleKind.OUTPUT:
                await self._show_kept(door)
            elif door.socket is None:
                raise Unsupported(f"{self.name}: this console opens in an external viewer only")
            else:
                await self._talk(door.socket)
        finally:
            self._wire = None
            door.close()

    async def _talk(self, sock: socket.socket) -> None:
        """Read and write until the stream ends. Raises Unreachable then."""
        wire = self._wire = _Wire(sock)
        self._came(time.perf_counter())
        try:
            await self._console_loop.do(self._pump, wire)
        finally:
            self._lost(wire.ended_at or time.perf_counter())

    async def _pump(self, wire: _Wire) -> None:
        """On the console loop."""
        loop = asyncio.get_running_loop()
        sending = loop.create_task(wire.serve(), name="console line")
        try:
            while data := await loop.sock_recv(wire.sock, PIECE):
                await self._fed(data)
            raise Unreachable(f"the line to {self.name} ended", object_name=self.name)
        except OSError as error:
            raise Unreachable(f"the line to {self.name} broke: {error.strerror}", object_name=self.name) from None
        finally:
            wire.ended_at = time.perf_counter()
            sending.cancel()
            await asyncio.wait({sending})

    async def _fed(self, data: bytes) -> None:
        """Hand a piece to the terminal, and wait until it is taken. On the console loop."""
        while (feed := self._feed) is None:
            self._attached = asyncio.Event()
            await self._attached.wait()
        taking = feed(data)
        if taking is not None:
            await taking

    def _reattached(self) -> None:
        if self._attached is not None:
            self._attached.set()

    async def _show_kept(self, door: Door) -> None:
        """Show kept output, and again whenever it is asked for, until the VM is another."""
        facts = self._facts()
        self._came(time.perf_counter())
        while True:
            self.kept = door.text
            text = door.text.replace("\r\n", "\n").replace("\n", "\r\n").encode()
            pieces = [text[at : at + PIECE] for at in range(0, len(text), PIECE)]
            for piece in (RESET, *pieces):
                await self._console_loop.do(self._fed, piece)
            await self._changed_from(facts)
            if not self._asked or self.ref is None:
                return
            self._asked = False
            door = await self._door(self.ref)
            self._came(time.perf_counter())
            self._tell(SessionEvent(What.STATUS))


class _Wire:
    """The sending half of a line: what is typed goes out in order. `send` and `serve` belong to the console loop.

    `taken` counts bytes on the session's loop, `sent` on the console loop.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.taken = 0
        self.sent = 0
        self.ended_at: float | None = None
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()

    def send(self, data: bytes) -> None:
        self._queue.put_nowait(data)

    async def serve(self) -> None:
        """Until it is cancelled; a line that breaks is noticed by the reading half."""
        loop = asyncio.get_running_loop()
        while True:
            data = await self._queue.get()
            try:
                await loop.sock_sendall(self.sock, data)
            except OSError:
                return
            self.sent += len(data)
