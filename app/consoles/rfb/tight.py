"""Tight: fill, palette, gradient, plain and JPEG, over four zlib streams (rfbproto, "Tight Encoding")."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import numpy as np

from app.consoles.rfb.framebuffer import Box, Framebuffer, Words
from app.consoles.rfb.inflate import Inflater
from app.consoles.rfb.pixels import indexed, rgb
from app.consoles.rfb.simple import in_bands
from app.consoles.rfb.wire import Wire
from backends.errors import Invalid

FILL, JPEG = 8, 9
PLAIN, PALETTE, GRADIENT = 0, 1, 2
UNCOMPRESSED = 12
"""Data of fewer bytes than this come as they are."""
AT_ONCE = 2 << 20
"""Pixels of a JPEG at most that this thread decodes: some 20 ms of work. A larger one takes another thread."""
Rows = Callable[[int, int], Words]
"""From the first row and how many to their pixels."""
GRADIENT_MOST = 1 << 20
"""Pixels of a gradient rectangle at most: some 50 ms of work. Servers cut theirs into some 65,000 pixels."""


class Tight:
    """The streams live as long as the connection; the server says when one begins anew."""

    def __init__(self) -> None:
        self._streams = [Inflater("Tight") for _ in range(4)]
        self._scratch = bytearray()

    async def decode(self, wire: Wire, box: Box, target: Framebuffer) -> None:
        (control,) = await wire.take(1)
        for number, stream in enumerate(self._streams):
            if control >> number & 1:
                stream.reset()
        kind = control >> 4
        if kind == FILL:
            red, green, blue = await wire.take(3)
            target.fill(box, 0xFF000000 | red << 16 | green << 8 | blue)
        elif kind == JPEG:
            picture = await self._jpeg(wire, box)
            await in_bands(wire, box, target, lambda top, rows: picture[top : top + rows])
        elif kind < FILL:
            (how,) = await wire.take(1) if kind & 4 else (PLAIN,)
            await in_bands(wire, box, target, await self._basic(wire, box, self._streams[kind & 3], how))
        else:
            raise Invalid(f"The screen's server sent a Tight rectangle of an unknown kind, {kind}")

    async def _basic(self, wire: Wire, box: Box, stream: Inflater, how: int) -> Rows:
        _, _, width, height = box
        if how == PALETTE:
            return await self._palette(wire, box, stream)
        if how not in (PLAIN, GRADIENT):
            raise Invalid(f"The screen's server sent a Tight rectangle with an unknown filter, {how}")
        if how == GRADIENT and width * height > GRADIENT_MOST:
            raise Invalid(f"The screen's server sent a Tight gradient of {width}x{height} pixels, which is too large")
        data = await self._data(wire, stream, width * height * 3)
        if how == GRADIENT:
            picture = gradient(data, width, height)
            return lambda top, rows: picture[top : top + rows]
        return lambda top, rows: rgb(data, 3 * width * top, width * rows).reshape(rows, width)

    async def _palette(self, wire: Wire, box: Box, stream: Inflater) -> Rows:
        _, _, width, height = box
        (last,) = await wire.take(1)
        count = last + 1
        palette = rgb(bytes(await wire.take(3 * count)), 0, count)
        if count <= 2:
            across = (width + 7) // 8
            data = await self._data(wire, stream, across * height)
            packed = np.frombuffer(data, np.uint8).reshape(height, across)
            pair = np.resize(palette, 2)
            return lambda top, rows: indexed(packed[top : top + rows], 1, width, pair)
        data = await self._data(wire, stream, width * height)
        indices = np.frombuffer(data, np.uint8).reshape(height, width)

        def coloured(top: int, rows: int) -> Words:
            band = indices[top : top + rows]
            if band.size and int(band.max()) >= count:
                raise Invalid("The screen's server names a colour that its palette has not")
            return palette.take(band, mode="wrap")

        return coloured

    async def _data(self, wire: Wire, stream: Inflater, size: int) -> bytes | bytearray:
        """`size` bytes of pixels, from the stream."""
        if size < UNCOMPRESSED:
            return bytes(await wire.take(size))
        data = await stream.read(wire, await self._length(wire), size)
        if len(data) != size:
            raise Invalid("The screen's server sent fewer pixels than its rectangle has")
        return data

    async def _length(self, wire: Wire) -> int:
        """A length in one to three bytes of 7, 7 and 8 bits."""
        (first,) = await wire.take(1)
        if first < 128:
            return int(first)
        (second,) = await wire.take(1)
        if second < 128:
            return first & 127 | second << 7
        (third,) = await wire.take(1)
        return first & 127 | (second & 127) << 7 | third << 14

    async def _jpeg(self, wire: Wire, box: Box) -> Words:
        import simplejpeg

        _, _, width, height = box
        data = bytes(await wire.take(await self._length(wire)))
        try:
            rows, columns, _, _ = simplejpeg.decode_jpeg_header(data, strict=False)
            if (columns, rows) != (width, height):
                raise Invalid(f"The screen's server sent a picture of {columns}x{rows} for {width}x{height} pixels")
            if len(self._scratch) < width * height * 4:
                self._scratch = bytearray(width * height * 4)
            decode = partial(simplejpeg.decode_jpeg, data, colorspace="BGRA", buffer=self._scratch, strict=False)
            picture = decode() if width * height <= AT_ONCE else await asyncio.to_thread(decode)
        except KeyError as error:
            raise Invalid("The screen's server sent a JPEG with colours of no known kind") from error
        except ValueError as error:
            raise Invalid(f"The screen's server sent a broken JPEG: {error}") from error
        words: Words = picture.view("<u4").reshape(height, width)
        return words


def gradient(data: bytes | bytearray, width: int, height: int) -> Words:
    """Each byte is the difference to what its neighbours to the left and above make expect.

    A pixel needs those before it, but not the others of its diagonal, which are therefore done at once.
    """
    across = width + 1
    padded = np.zeros((height + 1, across, 3), dtype=np.int16)
    padded[1:, 1:] = np.frombuffer(data, np.uint8).reshape(height, width, 3)
    flat = padded.reshape(-1, 3)
    for diagonal in range(width + height - 1):
        top = max(0, diagonal - width + 1)
        bottom = min(height - 1, diagonal)
        first = (top + 1) * across + diagonal - top + 1
        last = (bottom + 1) * across + diagonal - bottom + 2

        def near(back: int, first: int = first, last: int = last) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
            return flat[first - back : last - back : width]

        expected = near(1) + near(across)
        expected -= near(across + 1)
        np.clip(expected, 0, 255, out=expected)
        expected += near(0)
        near(0)[:] = expected & 255
    done = padded[1:, 1:].astype(np.uint8).tobytes()
    return rgb(done, 0, width * height).reshape(height, width)
