"""NBD client in plain Python: fixed newstyle, structured replies, block status, many requests under way at once.

Source: the NBD protocol document, https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
"""

from __future__ import annotations

import io
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from backends.disks import Extent, Handle
from backends.errors import BackendError, Denied, Invalid, NotFound, QuotaExceeded, Unreachable

MAGIC = b"NBDMAGICIHAVEOPT"
OPTION, OPTION_REPLY = 0x49484156454F5054, 0x3E889045565A9
REQUEST, SIMPLE, STRUCTURED = 0x25609513, 0x67446698, 0x668E33EF
OPT_STARTTLS, OPT_GO, OPT_STRUCTURED, OPT_META = 5, 7, 8, 10
ACK, INFO, META = 1, 3, 4
READ, WRITE, DISC, FLUSH, ZEROES, STATUS = 0, 1, 2, 3, 6, 7
CHUNK_DATA, CHUNK_HOLE, CHUNK_STATUS, CHUNK_ERROR = 1, 2, 5, 0x8000
CAN_FLUSH, CAN_ZERO = 1 << 2, 1 << 6
ZERO = 1 << 1
"""In base:allocation: the range reads as zeros."""
BASE = "base:allocation"
BLOCK = 1 << 20
PARALLEL = 8
STEP = 1 << 30
"""How much of the disk one block-status request asks for."""
MOST_WORDS = 16 << 20
"""No answer of a server is longer in bytes, beside the data that was asked for."""
MOST_REPLIES = 1000
SILENCE_S = 120.0
"""A server that owes answers may say nothing for so long."""
FLUSH_S = 900.0
"""The same while it writes its caches to a slow disk."""
ERRNO: dict[int, type[BackendError]] = {1: Denied, 22: Invalid, 28: QuotaExceeded, 108: Unreachable}


@dataclass(slots=True)
class _Pending:
    """A request under way: what has come back of it."""

    offset: int
    data: bytearray
    patience: float
    sent: float = field(default_factory=time.monotonic)
    extents: list[tuple[int, int]] = field(default_factory=list)
    error: BackendError | None = None
    done: threading.Event = field(default_factory=threading.Event)


class _Wire(io.RawIOBase):
    """What comes in on a socket. A time-out of the socket is only passed on where `overdue` says so."""

    def __init__(self, sock: socket.socket, overdue: Callable[[], bool]) -> None:
        self._socket = sock
        self._overdue = overdue

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            try:
                return self._socket.recv_into(buffer)
            except TimeoutError:
                if self._overdue():
                    raise


class NbdConnection:
    """One export of an NBD server, `nbd://host:port/export` or `nbd+unix:///export?socket=PATH`.

    Safe from several threads: requests are sent as they come, one thread of ours takes the replies in.
    Raises NotFound for an unknown export, Unreachable where the server does not answer or goes away: within `timeout`
    seconds at the start, and later when it has been silent for `silence` seconds while it owed answers.
    """

    def __init__(
        self, uri: str, *, tls: ssl.SSLContext | None = None, timeout: float = 30.0, silence: float = SILENCE_S
    ) -> None:
        self.uri = uri
        self._send = threading.Lock()
        self._pending: dict[int, _Pending] = {}
        self._last = 0
        self._broken: BackendError | None = None
        self._silence = silence
        self._heard = 0.0
        self._agreed = False
        self.size = 0
        self.flags = 0
        self._status = False
        try:
            self._socket, export, host = _dial(uri, timeout)
        except OSError as error:
            raise Unreachable(f"the NBD server does not answer: {error}") from None
        self._file = self._listen()
        try:
            self._negotiate(export, host, tls)
            self._socket.settimeout(silence)
            self._agreed = True
        except BaseException as error:
            self._file.close()
            self._socket.close()
            if isinstance(error, OSError | EOFError | struct.error):
                raise Unreachable(f"the NBD server does not answer: {error}") from None
            raise
        self._receiver = threading.Thread(target=self._receive, name="nbd", daemon=True)
        self._receiver.start()

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self._request(READ, offset, length, answer=length).data)

    def write(self, offset: int, data: bytes) -> None:
        self._request(WRITE, offset, len(data), payload=data)

    def zero(self, offset: int, length: int) -> None:
        """Make a range read as zeros; by plain writes where the server has no better way."""
        if self.flags & CAN_ZERO:
            for at in range(offset, offset + length, STEP):
                self._request(ZEROES, at, min(STEP, offset + length - at))
            return
        for at in range(offset, offset + length, BLOCK):
            self.write(at, bytes(min(BLOCK, offset + length - at)))

    def flush(self) -> None:
        if self.flags & CAN_FLUSH:
            self._request(FLUSH, 0, 0)

    def extents(self) -> Iterator[Extent]:
        """Data and zeros, neighbours of one kind joined; one data extent where the server cannot tell."""
        if not self._status:
            yield Extent(0, self.size)
            return
        offset, start, data = 0, 0, None
        while offset < self.size:
            found = self._request(STATUS, offset, min(STEP, self.size - offset)).extents
            if not found:
                raise BackendError("the NBD server tells nothing about the disk's extents")
            for length, flags in found:
                if not length:
                    raise BackendError("the NBD server tells of an extent of no bytes")
                kind = not flags & ZERO
                if data is not None and kind != data:
                    yield Extent(start, offset - start, data)
                    start = offset
                data = kind
                offset = min(offset + length, self.size)
        if data is not None and offset > start:
            yield Extent(start, offset - start, data)

    def close(self) -> None:
        with suppress(OSError):
            with self._send:
                self._socket.sendall(struct.pack(">IHHQQI", REQUEST, 0, DISC, 0, 0, 0))
            self._socket.shutdown(socket.SHUT_RDWR)
        self._receiver.join(5)
        with suppress(OSError):
            self._file.close()
            self._socket.close()

    def _listen(self) -> io.BufferedReader:
        return io.BufferedReader(_Wire(self._socket, self._overdue))

    def _overdue(self) -> bool:
        """Whether the server owes an answer and has been silent for too long."""
        if not self._agreed:
            return True
        now = time.monotonic()
        return any(now - max(item.sent, self._heard) >= item.patience for item in list(self._pending.values()))

    def _negotiate(self, export: str, host: str, tls: ssl.SSLContext | None) -> None:
        if self._take(16) != MAGIC:
            raise Invalid("this is no NBD server of today")
        self._take(2)
        self._socket.sendall(struct.pack(">I", 3))
        if tls is not None:
            if self._option(OPT_STARTTLS)[0][0] != ACK:
                raise Denied("the NBD server has no TLS")
            self._socket = tls.wrap_socket(self._socket, server_hostname=host)
            self._file = self._listen()
        if self._option(OPT_STRUCTURED)[0][0] == ACK:
            name, query = export.encode(), BASE.encode()
            body = struct.pack(">I", len(name)) + name + struct.pack(">II", 1, len(query)) + query
            self._status = any(kind == META for kind, _ in self._option(OPT_META, body))
        name = export.encode()
        for kind, body in self._option(OPT_GO, struct.pack(">I", len(name)) + name + struct.pack(">H", 0)):
            if kind >> 31:
                raise NotFound(f"the NBD server has no export {export!r}", object_name=export)
            if kind == INFO and body[:2] == b"\0\0":
                self.size, self.flags = struct.unpack(">QH", body[2:12])

    def _option(self, option: int, body: bytes = b"") -> list[tuple[int, bytes]]:
        self._socket.sendall(struct.pack(">QII", OPTION, option, len(body)) + body)
        replies: list[tuple[int, bytes]] = []
        while True:
            _magic, _option, kind, length = struct.unpack(">QIII", self._take(20))
            if length > MOST_WORDS or len(replies) > MOST_REPLIES:
                raise Invalid("the NBD server answers without end")
            replies.append((kind, self._take(length)))
            if kind == ACK or kind >> 31:
                return replies

    def _request(self, command: int, offset: int, length: int, *, payload: bytes = b"", answer: int = 0) -> _Pending:
        patience = max(FLUSH_S, self._silence) if command == FLUSH else self._silence
        pending = _Pending(offset, bytearray(answer), patience)
        with self._send:
            if self._broken is not None:
                raise self._broken
            self._last += 1
            self._pending[self._last] = pending
            try:
                self._socket.sendall(struct.pack(">IHHQQI", REQUEST, 0, command, self._last, offset, length))
                if payload:
                    self._socket.sendall(payload)
            except OSError as error:
                # Half a request may be out: nothing that comes after it would be understood.
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
                raise Unreachable(f"the NBD server went away: {error}") from None
        pending.done.wait()
        if pending.error is not None:
            raise pending.error
        return pending

    def _receive(self) -> None:
        try:
            while True:
                self._reply()
        except Exception as error:
            # Whatever the server sent: whoever waits for an answer must not wait for ever.
            known = isinstance(error, OSError | EOFError | ValueError)
            reason = "it does not answer any more" if isinstance(error, TimeoutError) else str(error)
            broken = Unreachable(f"the NBD server went away: {reason if known else 'it speaks nonsense'}")
            with self._send:
                self._broken = broken
                left, self._pending = list(self._pending.values()), {}
            for pending in left:
                pending.error = broken
                pending.done.set()

    def _reply(self) -> None:
        (magic,) = struct.unpack(">I", self._take(4))
        self._heard = time.monotonic()
        if magic == SIMPLE:
            errno, handle = struct.unpack(">IQ", self._take(12))
            pending = self._pending[handle]
            if errno:
                pending.error = _error(errno, "")
            elif pending.data:
                pending.data[:] = self._take(len(pending.data))
            last = True
        elif magic == STRUCTURED:
            flags, kind, handle, length = struct.unpack(">HHQI", self._take(16))
            pending = self._pending[handle]
            if length > len(pending.data) + MOST_WORDS:
                raise EOFError("it answers more than was asked for")
            body = self._take(length)
            _chunk(pending, kind, body)
            last = bool(flags & 1)
        else:
            raise EOFError("it speaks nonsense")
        if last:
            del self._pending[handle]
            pending.done.set()

    def _take(self, count: int) -> bytes:
        found = self._file.read(count)
        if len(found) < count:
            raise EOFError("it closed the connection")
        return found


class NbdSource:
    """An NBD export as a DiskSource."""

    block = BLOCK
    parallel = PARALLEL

    def __init__(self, uri: str, size: int | None = None) -> None:
        self._connection = NbdConnection(uri)
        self.size = self._connection.size if size is None else min(size, self._connection.size)

    def extents(self) -> Iterator[Extent]:
        for extent in self._connection.extents():
            if extent.offset >= self.size:
                return
            yield Extent(extent.offset, min(extent.length, self.size - extent.offset), extent.data)

    def read(self, offset: int, length: int) -> bytes:
        return self._connection.read(offset, length)

    def handle(self) -> Handle | None:
        return Handle(nbd=self._connection.uri)

    def close(self) -> None:
        self._connection.close()


class NbdSink:
    """An NBD export as a DiskSink. `fresh`: it is new, so that zeros need not be sent. Its id is its URI."""

    block = BLOCK
    parallel = PARALLEL

    def __init__(self, uri: str, size: int, *, fresh: bool = False) -> None:
        self._connection = NbdConnection(uri)
        self.size = size
        self._fresh = fresh
        if self._connection.size < size:
            self._connection.close()
            raise QuotaExceeded(f"the NBD export has {self._connection.size} bytes, {size} are needed")

    def resume_at(self, journaled: int) -> int:
        return 0 if self._fresh else min(journaled, self.size)

    def write(self, offset: int, data: bytes) -> None:
        if offset + len(data) > self.size:
            raise Invalid(f"a write of {len(data)} bytes at {offset} ends beyond the disk's {self.size} bytes")
        self._connection.write(offset, data)

    def zero(self, offset: int, length: int) -> None:
        if not self._fresh:
            self._connection.zero(offset, length)

    def flush(self) -> None:
        self._connection.flush()

    def commit(self) -> str:
        self.flush()
        self._connection.close()
        return self._connection.uri

    def abort(self) -> None:
        self._connection.close()

    def handle(self) -> Handle | None:
        return Handle(nbd=self._connection.uri, empty=self._fresh)


def unix_uri(path: str, export: str = "") -> str:
    return f"nbd+unix:///{quote(export)}?socket={quote(path)}"


def _dial(uri: str, timeout: float) -> tuple[socket.socket, str, str]:
    parts = urlsplit(uri)
    export = unquote(parts.path.lstrip("/"))
    if parts.scheme == "nbd+unix":
        if not hasattr(socket, "AF_UNIX"):
            raise Invalid("this system has no unix sockets")
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(timeout)
        try:
            made.connect(parse_qs(parts.query)["socket"][0])
        except BaseException:
            made.close()
            raise
        return made, export, "localhost"
    if parts.scheme not in ("nbd", "nbds"):
        raise Invalid(f"{uri!r} is no NBD URI")
    made = socket.create_connection((parts.hostname or "localhost", parts.port or 10809), timeout)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made, export, parts.hostname or "localhost"


def _chunk(pending: _Pending, kind: int, body: bytes) -> None:
    """Take one structured chunk in."""
    if kind == CHUNK_DATA:
        (offset,) = struct.unpack(">Q", body[:8])
        at = offset - pending.offset
        if not 0 <= at <= at + len(body) - 8 <= len(pending.data):
            raise EOFError("it answers with data that was not asked for")
        pending.data[at : at + len(body) - 8] = body[8:]
    elif kind == CHUNK_STATUS:
        pending.extents += [
            (struct.unpack(">I", body[i : i + 4])[0], struct.unpack(">I", body[i + 4 : i + 8])[0])
            for i in range(4, len(body), 8)
        ]
    elif kind & CHUNK_ERROR:
        errno, length = struct.unpack(">IH", body[:6])
        pending.error = _error(errno, body[6 : 6 + length].decode(errors="replace"))


def _error(errno: int, text: str) -> BackendError:
    return ERRNO.get(errno, BackendError)(f"the NBD server refused: {text or f'error {errno}'}")
