"""Compressed data of a stream that lives as long as the connection, with a limit on what it may become."""

from __future__ import annotations

import sys
import zlib

from app.consoles.rfb.wire import Wire
from backends.errors import Invalid

PIECE = 128 << 10
"""Compressed bytes that are taken at a time."""
SLICE = 1 << 20
"""What they become at most before other work has its turn: some milliseconds."""


class Inflater:
    """One zlib stream; `name` says whose, for messages."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._stream = zlib.decompressobj()

    def reset(self) -> None:
        """The server starts this stream anew."""
        self._stream = zlib.decompressobj()

    async def read(self, wire: Wire, length: int, limit: int) -> bytes | bytearray:
        """Read `length` compressed bytes and return what they become: at most `limit` bytes.

        Raises Invalid where it is more (a zlib bomb), or no zlib data at all.
        """
        if length <= PIECE and limit <= SLICE:
            return self.piece(await wire.take(length), limit)
        became = bytearray()
        while length:
            data: memoryview | bytes = await wire.take(min(length, PIECE))
            length -= len(data)
            while True:
                part = self.piece(data, limit - len(became), SLICE)
                became += part
                data = self._stream.unconsumed_tail
                await wire.turn()
                if self._stream.eof or (len(part) < SLICE and not data):
                    break
        return became

    def piece(self, data: memoryview | bytes, limit: int, most: int = sys.maxsize) -> bytes:
        """The next compressed bytes, and what they become: `most` bytes now, what is left stays in the stream."""
        if self._stream.eof:
            raise Invalid(f"The screen's server sent {self._name} data after the end of its stream")
        try:
            # One byte more than allowed: so that zlib also takes in the marks after the last byte that counts.
            became = self._stream.decompress(data, min(limit + 1, most))
        except zlib.error as error:
            raise Invalid(f"The screen's server sent broken {self._name} data: {error}") from error
        if len(became) > limit:
            raise Invalid(f"The screen's server sent {self._name} data that becomes more than the {limit} bytes it may")
        return became
