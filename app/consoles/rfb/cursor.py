"""The pointer's shape, in the three ways that servers send it."""

from __future__ import annotations

from struct import unpack

import numpy as np

from app.consoles.rfb.framebuffer import OPAQUE, Bytes, Words
from app.consoles.rfb.wire import Wire
from backends.errors import Invalid

RICH, X11, ALPHA = -239, -240, -314
LARGEST = 1024
"""Pixels of a pointer's side at most."""


async def read(wire: Wire, kind: int, width: int, height: int) -> Bytes | None:
    """(height, width, 4) bytes B, G, R, A, premultiplied; None where there is no pointer to be seen."""
    if max(width, height) > LARGEST:
        raise Invalid(f"The screen's server sent a pointer of {width}x{height} pixels")
    words: Words
    if kind == ALPHA:
        (encoding,) = unpack(">i", await wire.take(4))
        if encoding:
            raise Invalid(f"The screen's server sent a pointer in an encoding, {encoding}, that is none for pointers")
        rgba = np.frombuffer(await wire.take(width * height * 4), np.uint8).reshape(height, width, 4)
        shape: Bytes = np.ascontiguousarray(rgba[:, :, [2, 1, 0, 3]])
    elif kind == RICH:
        data = bytes(await wire.take(width * height * 4))
        words = np.frombuffer(data, "<u4").reshape(height, width) | OPAQUE
        shape = _masked(words, await _bits(wire, width, height))
    else:
        if not width * height:
            return None
        colours = await wire.take(6)
        first, second = (int.from_bytes(colours[at : at + 3], "big") | 0xFF000000 for at in (0, 3))
        bitmap = await _bits(wire, width, height)
        words = np.where(bitmap, np.uint32(first), np.uint32(second)).astype("<u4")
        shape = _masked(words, await _bits(wire, width, height))
    return shape if shape.size else None


async def _bits(wire: Wire, width: int, height: int) -> Bytes:
    across = (width + 7) // 8
    packed = np.frombuffer(await wire.take(across * height), np.uint8).reshape(height, across)
    return np.unpackbits(packed, axis=1)[:, :width]


def _masked(words: Words, mask: Bytes) -> Bytes:
    return np.ascontiguousarray(words * mask).astype("<u4").view(np.uint8).reshape(*words.shape, 4)
