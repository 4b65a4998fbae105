"""Compressed data of a stream that lives as long as the connection, with a limit on what it may become."""

from __future__ import annotations

import zlib

from app.consoles.rfb.wire import Wire
from backends.errors import Invalid

PIECE = 128 << 10


class Inflater:
    """One zlib stream; `name` says whose, for messages."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._stream = zlib.decompressobj()

    def reset(self) -> None:
        """The server starts this stream anew."""
        self._stream = zlib.decompressobj()

    async def read(self, wire: Wire, length: int, limit: int) -> bytes:
        """Read `length` compressed bytes and return what they become: at most `limit` bytes.

        Raises Invalid where it is more (a zlib bomb), or no zlib data at all.
        """
        if length <= PIECE:
            return self.piece(await wire.take(length), limit)
        pieces = []
        while length:
            piece = self.piece(await wire.take(min(length, PIECE)), limit)
            pieces.append(piece)
            limit -= len(piece)
            length -= min(length, PIECE)
        return b"".join(pieces)

    def piece(self, data: memoryview | bytes, limit: int) -> bytes:
        """The next compressed bytes, and what they become."""
        if self._stream.eof:
            raise Invalid(f"The screen's server sent {self._name} data after the end of its stream")
        try:
            # One byte more than allowed: so that zlib also takes in the marks after the last byte that counts.
            became = self._stream.decompress(data, limit + 1)
        except zlib.error as error:
            raise Invalid(f"The screen's server sent broken {self._name} data: {error}") from error
        if len(became) > limit:
            raise Invalid(f"The screen's server sent {self._name} data that becomes more than the {limit} bytes it may")
        return became
