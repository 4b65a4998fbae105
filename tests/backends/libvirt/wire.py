"""A wire-tap between the driver and a libvirtd: it counts the calls that really go over, whatever the driver says."""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import TracebackType

REMOTE = 0x20008086
"""libvirt's program number; keepalives have their own."""
CALL = 0
HEADER = struct.Struct(">IIIII")
"""Length of the packet, program, version, procedure, type (RFC 4506; libvirt's virnetprotocol.x)."""
GET_XML = 14
GET_ALL_STATS = 344
"""Procedure numbers of libvirt's remote_protocol.x; `test_the_tap_counts` proves them."""


class Wire:
    """A unix socket at `path` (or a TCP port) that leads to `daemon`. `calls` counts procedures by their number."""

    def __init__(self, daemon: Path, path: Path | None = None) -> None:
        self.daemon = daemon
        self.path = path
        self.port = 0
        self.calls: Counter[int] = Counter()
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Wire:
        if self.path is not None:
            self._server = await asyncio.start_unix_server(self._on_client, str(self.path))
        else:
            self._server = await asyncio.start_server(self._on_client, "127.0.0.1", 0)
            self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def cut(self) -> None:
        """End every connection that goes through."""
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    async def _on_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_unix_connection(str(self.daemon))
        self._writers += [writer, forth]
        for work in (self._count(reader, forth), self._pass(back, writer)):
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _count(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readexactly(HEADER.size)
                length, program, _version, procedure, kind = HEADER.unpack(head)
                if program == REMOTE and kind == CALL:
                    self.calls[procedure] += 1
                writer.write(head + await reader.readexactly(length - HEADER.size))
                await writer.drain()
        writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()
