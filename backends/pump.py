"""Moves bytes between what is no socket (an SSH channel, a websocket) and one half of a pair of sockets.

Whoever opens a door gets the other half: a plain socket, whatever is behind it.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Protocol

CHUNK = 1 << 16
"""Bytes that are taken at once, and about as many wait on either side."""
CLOSE_S = 5.0


class Far(Protocol):
    """The end that is no socket. Errors of any of these end the pump.

    `read` gives b"" at the end of the stream; `write` returns when there is room for more; `close` hangs up.
    """

    async def read(self) -> bytes: ...
    async def write(self, data: bytes) -> None: ...
    async def close(self) -> None: ...


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected, non-blocking sockets: one to give away, one to pump."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


def hung_up(end: socket.socket) -> bool:
    """Whether the other half of a pair was closed, which whoever serves this one may not have seen yet."""
    try:
        return end.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


async def pump(near: socket.socket, far: Far) -> None:
    """Carry bytes both ways until one end is over; then the other ends too, with what was under way delivered.

    A side that takes nothing holds up the other: nothing is kept here beyond a few chunks. `near` is closed here.
    """
    reader, writer = await asyncio.open_connection(sock=near, limit=CHUNK)

    async def inwards() -> None:
        while data := await far.read():
            writer.write(data)
            await writer.drain()

    async def outwards() -> None:
        while data := await reader.read(CHUNK):
            await far.write(data)

    ways = (asyncio.create_task(inwards()), asyncio.create_task(outwards()))
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        writer.close()
        with suppress(OSError, TimeoutError):
            await asyncio.wait_for(far.close(), CLOSE_S)
        with suppress(OSError):
            await writer.wait_closed()
