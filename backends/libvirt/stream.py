"""A serial line of a running VM: a libvirt stream, pumped into one half of a pair of sockets by libvirt's event thread.

It is no asyncio pump, because libvirt tells only its own event loop when a stream can be read; there both ends are
watched, and no byte changes threads.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import libvirt

from backends.errors import Conflict
from backends.libvirt import picture
from backends.libvirt.client import Conn
from backends.pump import CHUNK, pair

FAR_GONE = libvirt.VIR_STREAM_EVENT_ERROR | libvirt.VIR_STREAM_EVENT_HANGUP
NEAR_GONE = libvirt.VIR_EVENT_HANDLE_ERROR | libvirt.VIR_EVENT_HANDLE_HANGUP
WOULD_BLOCK = -2
"""What libvirt answers where a socket would raise BlockingIOError."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A line that was opened: our end of it, the end that is pumped, and what is set once the daemon knows that the
    line has ended (before that, another cannot be opened)."""

    near: socket.socket
    pumped: socket.socket
    released: threading.Event


def open_line(conn: Conn, uuid: str, alias: str, force: bool) -> Opened:
    """Open a VM's serial line. Blocking; for worker threads.

    Raises Conflict where another session holds the line and `force` was not asked for.
    """
    domain = picture.domain(conn, uuid)
    stream = conn.newStream(libvirt.VIR_STREAM_NONBLOCK)
    try:
        domain.openConsole(alias or None, stream, libvirt.VIR_DOMAIN_CONSOLE_FORCE if force else 0)
    except libvirt.libvirtError as error:
        if "Active console session" in str(error):
            raise Conflict(
                f"{domain.name()}: another session has its serial line open",
                object_name=domain.name(),
                cure="take it over: the other session ends",
            ) from None
        raise
    ours, theirs = pair()
    try:
        return Opened(ours, theirs, _Line(stream, theirs).released)
    except libvirt.libvirtError:
        ours.close()
        theirs.close()
        stream.abort()
        raise


class _Line:
    """Both ends, each held up while the other takes nothing. Once made it is touched in the event thread only."""

    def __init__(self, stream: Any, near: socket.socket) -> None:
        self._stream = stream
        self._near = near
        self._inwards = b""
        self._outwards = b""
        self._far_ended = False
        self._over = False
        self.released = threading.Event()
        self._lock = threading.Lock()
        """Held while it is made: the event thread may have something for it before that is done."""
        with self._lock:
            self._watch = libvirt.virEventAddHandle(
                near.fileno(), libvirt.VIR_EVENT_HANDLE_READABLE, self._on_near, None
            )
            try:
                stream.eventAddCallback(libvirt.VIR_STREAM_EVENT_READABLE | FAR_GONE, self._on_far, None)
            except libvirt.libvirtError:
                libvirt.virEventRemoveHandle(self._watch)
                raise

    def _on_far(self, _stream: Any, events: int, _opaque: None) -> None:
        with self._lock:
            if self._over:
                return
            try:
                if events & libvirt.VIR_STREAM_EVENT_READABLE and not self._inwards:
                    data = self._stream.recv(CHUNK)
                    if data == b"":
                        self._far_ended = True
                    elif data != WOULD_BLOCK:
                        self._inwards = data
                elif events & FAR_GONE:
                    self._far_ended = True
                self._move()
            except (libvirt.libvirtError, OSError):
                self._end()

    def _on_near(self, _watch: int, _fd: int, events: int, _opaque: None) -> None:
        with self._lock:
            if self._over:
                return
            try:
                if events & libvirt.VIR_EVENT_HANDLE_READABLE and not self._outwards:
                    self._outwards = self._near.recv(CHUNK)
                    if not self._outwards:
                        self._end()
                        return
                elif events & NEAR_GONE:
                    self._end()
                    return
                self._move()
            except BlockingIOError:
                return
            except (libvirt.libvirtError, OSError):
                self._end()

    def _move(self) -> None:
        """Hand on what can be handed on, and wait for the rest."""
        if self._outwards and not self._far_ended:
            sent = self._stream.send(self._outwards)
            self._outwards = self._outwards[max(0, sent) :]
        if self._inwards:
            with suppress(BlockingIOError):
                self._inwards = self._inwards[self._near.send(self._inwards) :]
        if self._far_ended and not self._inwards:
            self._end()
            return
        near = libvirt.VIR_EVENT_HANDLE_WRITABLE if self._inwards else 0
        near |= 0 if self._outwards else libvirt.VIR_EVENT_HANDLE_READABLE
        libvirt.virEventUpdateHandle(self._watch, near)
        if not self._far_ended:
            far = libvirt.VIR_STREAM_EVENT_WRITABLE if self._outwards else 0
            far |= 0 if self._inwards else libvirt.VIR_STREAM_EVENT_READABLE
            self._stream.eventUpdateCallback(far | FAR_GONE)

    def _end(self) -> None:
        """Both ends are over. The daemon is told in a thread of its own, because that waits for its answer."""
        self._over = True
        libvirt.virEventRemoveHandle(self._watch)
        with suppress(libvirt.libvirtError):
            self._stream.eventRemoveCallback()
        self._near.close()
        stream, self._stream = self._stream, None
        work = (stream, self._far_ended, self.released)
        threading.Thread(target=_release, args=work, name="libvirt-line", daemon=True).start()


def _release(stream: Any, ended: bool, released: threading.Event) -> None:
    try:
        if ended:
            stream.finish()
        else:
            stream.abort()
    except libvirt.libvirtError:
        return
    finally:
        released.set()
