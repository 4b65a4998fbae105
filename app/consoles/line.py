"""A text line to a VM that follows it: its serial port, what the platform kept of it, or SSH to the guest."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from app.consoles.follow import Session, SessionState, only_without_hindrance
from backends.consoles import Console, ConsoleKind, Door
from backends.errors import Unsupported

if TYPE_CHECKING:
    from app.consoles.loop import ConsoleLoop
    from app.services import Services

PIECE = 64 * 1024
"""Bytes that are read at once; nothing more is read until the terminal has taken them."""

Feed = Callable[[bytes], Awaitable[object] | None]


class LineSession(Session):
    """A serial line. What it says goes to the one terminal that is attached; without one nothing is read.

    `attach(feed)`: `feed(data)` is called on the console loop with at most PIECE bytes. What it returns, where that is
    not None, is awaited there before the next piece is read: that is the back-pressure.
    """

    def __init__(self, services: Services, loop: ConsoleLoop, uid: str, console: Console | None = None) -> None:
        super().__init__(services, loop, uid, console)
        self._feed: Feed | None = None
        self._attached: asyncio.Event | None = None
        self._writer: Callable[[bytes], None] | None = None
        self._size = (80, 24)

    @property
    def live_text(self) -> bool:
        """False where it is text that the platform kept: nothing can be typed, `refresh` reads it anew."""
        return self._console is None or self._console.kind != ConsoleKind.OUTPUT

    def attach(self, feed: Feed) -> Callable[[], None]:
        """Give what the line says to `feed`; the returned function ends that, and reading with it."""
        self._feed = feed
        self._console_loop.call(self._reattached)

        def detach() -> None:
            if self._feed is feed:
                self._feed = None

        return detach

    def write(self, data: bytes) -> None:
        """Type into the line. Dropped while it is not LIVE, and on a read-only connection."""
        if self.state == SessionState.LIVE and self._writer is not None and not self.read_only:
            self._console_loop.call(self._writer, data)

    def resize(self, columns: int, rows: int) -> None:
        """The terminal's size in cells; a serial line has no way to pass it on, SSH has."""
        self._size = (columns, rows)

    def refresh(self) -> None:
        """Read anew what the platform kept of the output."""
        self.retry()

    # Inside

    def _reattached(self) -> None:
        if self._attached is not None:
            self._attached.set()

    def _pick(self, offers: Sequence[Console]) -> Console:
        lines = [console for console in offers if console.kind == ConsoleKind.SERIAL]
        lines += [console for console in offers if console.kind == ConsoleKind.OUTPUT]
        if not lines:
            raise Unsupported(f"{self.name} has no serial line", object_name=self.name, cure="add a serial port to it")
        return only_without_hindrance(lines, self.name)

    async def _serve(self, door: Door) -> None:
        raise NotImplementedError
