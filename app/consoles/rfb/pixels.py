"""Pixels as the server packs them, to words of 0xFFRRGGBB: the two inner loops of ZRLE and Tight, at numpy's speed."""

from __future__ import annotations

import numpy as np

from app.consoles.rfb.framebuffer import OPAQUE, Bytes, Words

Data = bytes | bytearray | memoryview

_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
_PAIRS = np.stack([np.arange(256) >> shift & 3 for shift in (6, 4, 2, 0)], axis=1).astype(np.uint8)
_NIBBLES = np.stack([np.arange(256) >> shift & 15 for shift in (4, 0)], axis=1).astype(np.uint8)
_UNPACK = {1: _BITS, 2: _PAIRS, 4: _NIBBLES}


def bgr(data: Data, offset: int, count: int) -> Words:
    """`count` pixels of three bytes B, G, R (a ZRLE CPIXEL in our format). `data` has them all."""
    words = np.empty(count, dtype="<u4")
    if count > 1:
        # Words that overlap: each takes a pixel and the next one's first byte, which the OR below covers.
        words[:-1] = np.ndarray((count - 1,), "<u4", data, offset, (3,))
    if count:
        last = offset + 3 * count
        words[-1] = data[last - 3] | data[last - 2] << 8 | data[last - 1] << 16
    return np.bitwise_or(words, OPAQUE, out=words)


def rgb(data: Data, offset: int, count: int) -> Words:
    """`count` pixels of three bytes R, G, B (a Tight TPIXEL). `data` has them all."""
    words = np.empty(count, dtype="<u4")
    if count > 1:
        words[1:] = np.ndarray((count - 1,), ">u4", data, offset + 2, (3,))
    if count:
        words[0] = data[offset] << 16 | data[offset + 1] << 8 | data[offset + 2]
    return np.bitwise_or(words, OPAQUE, out=words)


def indexed(packed: Bytes, bits: int, columns: int, palette: Words) -> Words:
    """Rows of indices of 1, 2 or 4 bits, each row padded to a byte, as colours.

    `packed`: (rows, bytes). `palette` has 2**bits entries.
    """
    wide = palette[_UNPACK[bits]].take(packed.reshape(-1), axis=0)  # a byte's pixels at once
    rows: Words = wide.reshape(packed.shape[0], -1)
    return rows[:, :columns]
