"""The encodings made of tiles: Hextile, TRLE and ZRLE (RFC 6143 7.7.4 to 7.7.6)."""

from __future__ import annotations

from struct import unpack

import numpy as np

from app.consoles.rfb.framebuffer import OPAQUE, Box, Framebuffer, Words
from app.consoles.rfb.inflate import Inflater
from app.consoles.rfb.pixels import Data, bgr, indexed
from app.consoles.rfb.simple import bounded
from app.consoles.rfb.wire import Wire
from backends.errors import Invalid

TURN_AT = 1024
"""Pixels across after which other work has its turn: small tiles of many rectangles take their time."""
RAW, BACKGROUND, FOREGROUND, SUBRECTS, COLOURED = 1, 2, 4, 8, 16


class Short(Exception):
    """The data end within a tile."""


class Hextile:
    """Tiles of 16 by 16: a background, and rectangles on it."""

    async def decode(self, wire: Wire, box: Box, target: Framebuffer) -> None:
        x, y, width, height = box
        colours = [int(OPAQUE), int(OPAQUE)]
        for top in range(0, height, 16):
            band = np.empty((min(16, height - top), width), dtype="<u4")
            for left in range(0, width, 16):
                if left % TURN_AT == 0:
                    await wire.turn()
                while True:
                    try:
                        wire.advance(hextile(wire.ready, band[:, left : left + 16], colours))
                        break
                    except Short:
                        await wire.more()
            target.put(x, y + top, band)


def hextile(data: memoryview, tile: Words, colours: list[int]) -> int:
    """Decode one tile; returns how many bytes it took. Raises Short.

    `colours`: background and foreground, which the next tile inherits.
    """
    if not data:
        raise Short
    kind, place = data[0], 1
    rows, columns = tile.shape
    if kind & RAW:
        size = int(rows * columns * 4)
        if len(data) < 1 + size:
            raise Short
        tile[:] = np.frombuffer(data[1 : 1 + size], dtype="<u4").reshape(rows, columns) | OPAQUE
        return 1 + size
    background, foreground = colours
    end, step = 1 + sum(4 for bit in (BACKGROUND, FOREGROUND) if kind & bit), 6 if kind & COLOURED else 2
    if len(data) < end + 1 and (kind & SUBRECTS or len(data) < end):
        raise Short
    if kind & BACKGROUND:
        background = _colour(data, place)
        place += 4
    if kind & FOREGROUND:
        foreground = _colour(data, place)
    place = end
    if kind & SUBRECTS:
        place, end = place + 1, place + 1 + data[place] * step
        if len(data) < end:
            raise Short
    tile[:] = background
    for at in range(place, end, step):
        if step == 6:
            foreground = _colour(data, at)
        where, size = data[at + step - 2], data[at + step - 1]
        left, top = where >> 4, where & 15
        tile[top : top + (size & 15) + 1, left : left + (size >> 4) + 1] = foreground
    colours[:] = background, foreground
    return end


def _colour(data: memoryview, at: int) -> int:
    return 0xFF000000 | data[at] | data[at + 1] << 8 | data[at + 2] << 16


class Trle:
    """Tiles of 16 by 16, each packed the way that suits it, on the wire as they are."""

    async def decode(self, wire: Wire, box: Box, target: Framebuffer) -> None:
        x, y, width, height = box
        tiles = Tiles("TRLE", inherits=True)
        for top in range(0, height, 16):
            band = np.empty((min(16, height - top), width), dtype="<u4")
            for left in range(0, width, 16):
                if left % TURN_AT == 0:
                    await wire.turn()
                while True:
                    try:
                        wire.advance(tiles.decode(bytes(wire.ready[:2048]), 0, band[:, left : left + 16]))
                        break
                    except Short:
                        await wire.more()
            target.put(x, y + top, band)


class Zrle:
    """Tiles of 64 by 64, packed like TRLE's, all of a rectangle in one zlib stream."""

    def __init__(self) -> None:
        self._inflater = Inflater("ZRLE")

    async def decode(self, wire: Wire, box: Box, target: Framebuffer) -> None:
        x, y, width, height = box
        (length,) = unpack(">I", await wire.take(4))
        most = width * height * 4 + (width // 64 + 1) * (height // 64 + 1) * 385
        data = await self._inflater.read(wire, bounded(length, most), most)
        tiles = Tiles("ZRLE", inherits=False)
        place = 0
        for top in range(0, height, 64):
            band = np.empty((min(64, height - top), width), dtype="<u4")
            for left in range(0, width, 64):
                try:
                    place = tiles.decode(data, place, band[:, left : left + 64])
                except Short:
                    raise Invalid("The screen's server sent fewer pixels than its rectangle has") from None
            target.put(x, y + top, band)
            await wire.turn()


class Tiles:
    """Decodes the tiles of one rectangle. `inherits`: a tile may use the palette of the one before."""

    def __init__(self, name: str, *, inherits: bool) -> None:
        self._name = name
        self._inherits = inherits
        self._palette: Words = np.empty(0, dtype="<u4")

    def decode(self, data: Data, place: int, tile: Words) -> int:
        """Decode the tile that begins at `place`; returns where the next one does.

        Raises Short where the data end too early, Invalid for what no tile can be.
        """
        if place >= len(data):
            raise Short
        kind = data[place]
        place += 1
        rows, columns = tile.shape
        if kind == 0:
            end = _end(data, place, rows * columns * 3)
            tile[:] = bgr(data, place, rows * columns).reshape(rows, columns)
            return end
        if kind == 1:
            end = _end(data, place, 3)
            tile[:] = int.from_bytes(data[place:end], "little") | 0xFF000000
            return end
        if kind == 128:
            return _runs(data, place, tile, self._name)
        place = self._colours(data, place, kind)
        if kind <= 127:
            return self._packed(data, place, tile)
        return self._palette_runs(data, place, tile)

    def _colours(self, data: Data, place: int, kind: int) -> int:
        """Read a tile's palette, or keep the last one's."""
        if kind in (127, 129) and self._inherits and len(self._palette):
            if kind == 127 and len(self._palette) > 16:
                raise Invalid(f"The screen's server packs a {self._name} tile with a palette that is too large for it")
            return place
        count = kind if kind <= 16 else kind - 128
        if 17 <= kind <= 127 or kind == 129:
            raise Invalid(f"The screen's server sent a {self._name} tile of an unknown kind, {kind}")
        end = _end(data, place, 3 * count)
        self._palette = bgr(data, place, count)
        return end

    def _packed(self, data: Data, place: int, tile: Words) -> int:
        rows, columns = tile.shape
        count = len(self._palette)
        bits = 1 if count <= 2 else 2 if count <= 4 else 4
        across = (columns * bits + 7) // 8
        end = _end(data, place, rows * across)
        packed = np.frombuffer(data, np.uint8, rows * across, place).reshape(rows, across)
        full = np.full(1 << bits, OPAQUE, dtype="<u4")
        full[:count] = self._palette
        tile[:] = indexed(packed, bits, columns, full)
        return end

    def _palette_runs(self, data: Data, place: int, tile: Words) -> int:
        area, filled = tile.size, 0
        indices: list[int] = []
        lengths: list[int] = []
        try:
            while filled < area:
                index, length = data[place], 1
                place += 1
                if index & 128:
                    index &= 127
                    while (part := data[place]) == 255 and length < area:
                        length += 255
                        place += 1
                    length += part
                    place += 1
                indices.append(index)
                lengths.append(length)
                filled += length
        except IndexError:
            raise Short from None
        if filled != area or max(indices) >= len(self._palette):
            raise Invalid(f"The screen's server sent a {self._name} tile that does not fit together")
        tile[:] = np.repeat(self._palette.take(indices), lengths).reshape(tile.shape)
        return place


def _end(data: Data, place: int, size: int) -> int:
    if len(data) < place + size:
        raise Short
    return place + size


def _runs(data: Data, place: int, tile: Words, name: str) -> int:
    """Plain runs: a pixel, and how often. Those below 256 pixels are all 4 bytes long and are taken at once."""
    left = tile.size
    parts: list[Words] = []
    while left:
        count = min(left, (len(data) - place) // 4)
        lengths = np.frombuffer(data, np.uint8, count * 4, place)[3::4]
        long = np.flatnonzero(lengths == 255)
        count = int(long[0]) if len(long) else count
        ends = np.cumsum(lengths[:count], dtype=np.int64) + np.arange(1, count + 1)
        count = min(count, int(np.searchsorted(ends, left)) + 1)
        if count:
            left -= int(ends[count - 1])
            pixels = np.frombuffer(data, "<u4", count, place) | OPAQUE  # also hides the length behind each
            parts.append(np.repeat(pixels, lengths[:count].astype(np.int64) + 1))
            place += 4 * count
        if left > 0:
            colour = bgr(data, place, 1) if len(data) >= place + 3 else None
            length, place = _length(data, place + 3, left)
            if colour is None:
                raise Short
            left -= length
            parts.append(np.repeat(colour, length))
        if left < 0:
            raise Invalid(f"The screen's server sent a {name} tile that does not fit together")
    tile[:] = np.concatenate(parts).reshape(tile.shape)
    return place


def _length(data: Data, place: int, most: int) -> tuple[int, int]:
    """The length of a run, and where the next one begins. Stops reading when it is over `most`."""
    length = 1
    try:
        while (part := data[place]) == 255 and length <= most:
            length += 255
            place += 1
    except IndexError:
        raise Short from None
    return length + part, place + 1
