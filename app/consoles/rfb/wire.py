"""The bytes of one connection: buffered both ways, inside TLS once that is asked for."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from typing import cast

from backends.errors import Invalid, Unreachable

CAPACITY = 256 << 10
"""Bytes read ahead at most: what fits a core's cache."""
UNSENT = 16 << 20
"""Bytes that may wait for a server that does not read; then it is as good as gone."""
CONGESTED = 64 << 10
TURN = 0.008
"""Seconds of work before other tasks of the loop have a turn."""


class Wire:
    """Reads are coroutines that mostly do not suspend; `send` never does.

    Every read raises Unreachable when the stream ends. `sent` is called each time that everything is sent.
    """

    def __init__(self, sock: socket.socket, sent: Callable[[], None] = lambda: None) -> None:
        self._socket = sock
        with contextlib.suppress(OSError):  # only TCP has it: a key must not wait for the last one's receipt
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._loop = asyncio.get_running_loop()
        self._buffer = memoryview(bytearray(CAPACITY))
        self._start = self._end = 0
        self._unsent = bytearray()
        self._writer: asyncio.Task[None] | None = None
        self._sent = sent
        self._tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._cipher = memoryview(b"")
        self._turn = time.monotonic() + TURN
        self._shut = False
        self.received = 0
        """Bytes so far, as they came."""

    # Reading

    @property
    def ready(self) -> memoryview:
        """What is already here. Valid until the next read."""
        return self._buffer[self._start : self._end]

    def advance(self, count: int) -> None:
        """Take `count` bytes off `ready`."""
        self._start += count

    async def more(self) -> None:
        """At least one more byte in `ready`."""
        if self._start:
            left = self._end - self._start
            self._buffer[:left] = self._buffer[self._start : self._end]
            self._start, self._end = 0, left
        self._end += await self._receive(self._buffer[self._end :])

    async def take(self, count: int) -> memoryview:
        """Exactly `count` bytes. Valid until the next read. Whoever calls has bounded `count`."""
        if count > CAPACITY:
            large = memoryview(bytearray(count))
            await self.into(large)
            return large
        while self._end - self._start < count:
            await self.more()
        self._start += count
        return self._buffer[self._start - count : self._start]

    async def into(self, target: memoryview) -> None:
        """Fill `target`, straight from the socket as far as that goes."""
        have = min(self._end - self._start, len(target))
        target[:have] = self._buffer[self._start : self._start + have]
        self._start += have
        while have < len(target):
            if len(target) - have < CAPACITY // 4:
                rest = await self.take(len(target) - have)
                target[have:] = rest
                return
            have += await self._receive(target[have:])

    async def turn(self) -> None:
        """Let the loop's other tasks work, when this one has for long enough. Raises Unreachable after `shut`: what
        was read ahead can be work for an hour."""
        if self._shut:
            raise Unreachable("The screen's server ended the connection")
        if time.monotonic() > self._turn:
            await asyncio.sleep(0)
            self._turn = time.monotonic() + TURN

    async def _receive(self, target: memoryview) -> int:
        await self.turn()
        count = await (self._receive_plain(target) if self._tls is None else self._receive_tls(self._tls, target))
        if not count:
            raise Unreachable("The screen's server ended the connection")
        return count

    async def _receive_plain(self, target: memoryview) -> int:
        try:
            count = await self._loop.sock_recv_into(self._socket, target)
        except OSError as error:
            raise Unreachable(f"The connection to the screen broke: {error.strerror or error}") from error
        self.received += count
        return count

    async def _receive_tls(self, tls: ssl.SSLObject, target: memoryview) -> int:
        while True:
            try:
                # With a buffer it returns a count; typeshed only knows the other way.
                return cast(int, tls.read(len(target), target))
            except ssl.SSLWantReadError:
                self._flush()
                if not await self._feed():
                    return 0
            except ssl.SSLZeroReturnError:
                return 0
            except ssl.SSLError as error:
                raise Invalid(f"The screen's server broke its encryption: {error.reason or error}") from error

    async def _feed(self) -> int:
        """More of the server's records for TLS; 0 at the end of the stream."""
        count = await self._receive_plain(self._cipher)
        self._incoming.write(self._cipher[:count])
        return count

    # TLS

    async def encrypt(self, context: ssl.SSLContext, host: str | None) -> ssl.SSLObject:
        """From here on everything is inside TLS. Raises ssl.SSLError where that fails."""
        self._cipher = memoryview(bytearray(CAPACITY))
        self._incoming.write(self.ready)
        self._start = self._end = 0
        tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._put(self._outgoing.read())
                if not await self._feed():
                    raise Unreachable("The screen's server ended the connection while it began to encrypt") from None
            except ssl.SSLError:
                self._put(self._outgoing.read())
                raise
        self._put(self._outgoing.read())
        self._tls = tls
        return tls

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._put(self._outgoing.read())

    # Writing

    @property
    def congested(self) -> bool:
        """The server reads slower than there is to say."""
        return len(self._unsent) > CONGESTED

    def send(self, data: bytes) -> None:
        """Send, now or when the server reads again. A connection that is broken shows when it is read from."""
        if self._tls is not None:
            self._tls.write(data)
            self._flush()
        else:
            self._put(data)

    def _put(self, data: bytes) -> None:
        if not self._unsent:
            with contextlib.suppress(OSError):  # would block: the writer sends it; broken: the reader sees it
                data = data[self._socket.send(data) :]
        self._unsent += data
        if len(self._unsent) > UNSENT:
            self._unsent.clear()
            self.shut()
        elif self._unsent and self._writer is None:
            self._writer = self._loop.create_task(self._drain(), name="rfb writer")

    async def _drain(self) -> None:
        try:
            while self._unsent:
                part = bytes(self._unsent[:CAPACITY])
                await self._loop.sock_sendall(self._socket, part)
                del self._unsent[: len(part)]
        except OSError:
            self._unsent.clear()
        finally:
            self._writer = None
        self._sent()

    def shut(self) -> None:
        """Hang up: the read that waits ends with Unreachable."""
        self._shut = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    async def close(self) -> None:
        """Hang up and give the socket back. No read may be waiting."""
        writer = self._writer
        if writer is not None:
            writer.cancel()
            await asyncio.wait([writer])
        self._socket.close()
