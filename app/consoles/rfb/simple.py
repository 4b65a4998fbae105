"""The plain encodings: Raw, CopyRect, Zlib."""

from __future__ import annotations

from collections.abc import Callable
from struct import unpack

import numpy as np

from app.consoles.rfb.framebuffer import OPAQUE, Box, Framebuffer, Words
from app.consoles.rfb.inflate import Inflater
from app.consoles.rfb.wire import Wire
from backends.errors import Invalid

PIECE = 64 << 10
"""Pixels that are moved at a time: small enough for the cache, large enough to be few."""


BAND = 512 << 10
"""Pixels that are decoded at a time where all of their bytes are there."""


class Raw:
    """Pixels as they are: B, G, R and a byte of no meaning."""

    def __init__(self) -> None:
        self._scratch = np.empty(PIECE, dtype="<u4")

    async def decode(self, wire: Wire, box: Box, target: Framebuffer) -> None:
        x, y, width, height = box
        step = max(1, PIECE // max(1, width))
        for top in range(0, height, step):
            rows = min(step, height - top)
            part = self._scratch[: rows * width]
            await wire.into(part.view(np.uint8).data)
            np.bitwise_or(part, OPAQUE, out=part)
            target.put(x, y + top, part.reshape(rows, width))


class CopyRect:
    """A part of the screen has moved."""

    async def decode(self, wire: Wire, box: Box, target: Framebuffer) -> None:
        source_x, source_y = unpack(">HH", await wire.take(4))
        if source_x + box[2] > target.width or source_y + box[3] > target.height:
            raise Invalid("The screen's server copies from outside of the screen")
        target.copy(box, source_x, source_y)


class Zlib:
    """Raw, compressed."""

    def __init__(self) -> None:
        self._inflater = Inflater("Zlib")

    async def decode(self, wire: Wire, box: Box, target: Framebuffer) -> None:
        _, _, width, height = box
        (length,) = unpack(">I", await wire.take(4))
        size = width * height * 4
        data = await self._inflater.read(wire, bounded(length, size), size)
        if len(data) != size:
            raise Invalid("The screen's server sent fewer pixels than its rectangle has")
        words = np.frombuffer(data, dtype="<u4").reshape(height, width)
        await in_bands(wire, box, target, lambda top, rows: words[top : top + rows] | OPAQUE)


async def in_bands(wire: Wire, box: Box, target: Framebuffer, make: Callable[[int, int], Words]) -> None:
    """Write a rectangle some rows at a time, with a turn for other work between; `make(top, rows)` gives the pixels."""
    x, y, width, height = box
    step = max(1, BAND // max(1, width))
    for top in range(0, height, step):
        target.put(x, y + top, make(top, min(step, height - top)))
        await wire.turn()


def bounded(length: int, size: int) -> int:
    """The length of compressed data, where it can be that of `size` bytes; otherwise raises Invalid."""
    if length > 2 * size + 4096:
        raise Invalid(f"The screen's server announces {length} compressed bytes for what has {size}")
    return length
