"""A way to the cloud that a test can take away: connections are passed on, cut, or refused."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

CHUNK = 65_536


class Relay:
    """127.0.0.1:`port`, passed on to `target` (host and port) while it is open. The port stays the same for life."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener: socket.socket | None = None
        self._lines: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._after = 0
        self.cuts = 0
        """How many connections are still to be cut."""
        self.port = 0
        self.open()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        """Take connections (again)."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(64)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def close(self) -> None:
        """Refuse connections from now on, and cut those that there are."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self._lock:
            lines, self._lines = self._lines, set()
        for line in lines:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def cut(self, count: int, after: int) -> None:
        """The next `count` connections that carry more than `after` bytes to the cloud end there, in the middle."""
        with self._lock:
            self.cuts, self._after = count, after

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                try:
                    far = socket.create_connection(self._target)
                except OSError:
                    near.close()
                    continue
                with self._lock:
                    self._lines |= {near, far}
                for one, other in ((near, far), (far, near)):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    threading.Thread(target=self._carry, args=(one, other, one is near), daemon=True).start()

    def _ends(self, carried: int) -> bool:
        with self._lock:
            ends = self.cuts > 0 and carried > self._after
            self.cuts -= ends
            return ends

    def _carry(self, one: socket.socket, other: socket.socket, up: bool) -> None:
        with suppress(OSError):
            carried = 0
            while data := one.recv(CHUNK):
                carried += len(data)
                if up and self._ends(carried):
                    one.shutdown(socket.SHUT_RDWR)
                    break
                other.sendall(data)
        with suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._lines.discard(one)
        one.close()
