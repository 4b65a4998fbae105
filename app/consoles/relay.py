"""A line for another process of the same user: a socket in a private folder, for the one who comes."""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from backends.errors import Unreachable, Unsupported

if TYPE_CHECKING:
    from app.consoles.line import LineSession
    from app.consoles.loop import ConsoleLoop

COME_S = 10.0
"""Who has not come by then is not waited for."""
LONGEST_FOLDER = 70
"""Unix sockets have some 100 bytes for their path."""


class Relay:
    """Carries a LineSession's bytes to and from a unix socket, on the console loop.

    `open` gives the socket's path, `ended` waits until the other process hangs up. Raises Unsupported where there are
    no unix sockets.
    """

    def __init__(self, session: LineSession, loop: ConsoleLoop) -> None:
        self._session = session
        self._loop = loop
        self._folder: Path | None = None
        self._listener: socket.socket | None = None

    def open(self) -> str:
        if sys.platform == "win32":
            raise Unsupported("a serial line in a terminal is not possible on Windows", cure="use the window")
        base = tempfile.gettempdir()
        self._folder = Path(tempfile.mkdtemp(prefix="causeway-", dir=base if len(base) < LONGEST_FOLDER else "/tmp"))
        path = str(self._folder / "line.sock")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        self._listener.bind(path)
        self._listener.listen(1)
        return path

    async def ended(self) -> None:
        """Until the other process has hung up. Raises Unreachable where it never came."""
        try:
            await self._loop.do(self._carry, asyncio.get_running_loop())
        finally:
            self.close()

    def close(self) -> None:
        """Remove the socket. Idempotent."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    async def _carry(self, session_loop: asyncio.AbstractEventLoop) -> None:
        """On the console loop."""
        assert self._listener is not None
        loop = asyncio.get_running_loop()
        try:
            peer, _ = await asyncio.wait_for(loop.sock_accept(self._listener), COME_S)
        except TimeoutError:
            raise Unreachable(f"nobody came for the line within {COME_S:g} s") from None
        with peer:
            detach = self._session.attach(lambda data: loop.sock_sendall(peer, data))
            try:
                while data := await loop.sock_recv(peer, 4096):
                    session_loop.call_soon_threadsafe(self._session.write, data)
            except ConnectionError:
                return
            finally:
                detach()
