"""The picture of a screen, as decoders fill it and painters read it."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]
Bytes = NDArray[np.uint8]
Box = tuple[int, int, int, int]
"""x, y, width, height in pixels."""

OPAQUE = np.uint32(0xFF000000)


class Framebuffer:
    """`pixels` is (height, width, 4) bytes in the order B, G, R, 255: QImage.Format_RGB32 on a little-endian machine.

    `words` is the same memory as one uint32 a pixel. Both are replaced by `resize`, so a reader takes `pixels` once,
    under `lock`, and keeps that array for as long as it uses its memory. The console thread writes under `lock`, for
    some ms at most at a time; an update of several rectangles is several writes. `serial` rises with every change.
    """

    def __init__(self, width: int = 0, height: int = 0) -> None:
        self.lock = threading.Lock()
        self.serial = 0
        self._allocate(width, height)

    def _allocate(self, width: int, height: int) -> None:
        self.words: Words = np.full((height, width), OPAQUE, dtype="<u4")
        self.pixels: Bytes = self.words.view(np.uint8).reshape(height, width, 4)

    @property
    def width(self) -> int:
        return int(self.words.shape[1])

    @property
    def height(self) -> int:
        return int(self.words.shape[0])

    def resize(self, width: int, height: int) -> None:
        """A new size in pixels; what both sizes have in common is kept, the rest is black."""
        with self.lock:
            old = self.words
            self._allocate(width, height)
            rows, columns = min(height, old.shape[0]), min(width, old.shape[1])
            self.words[:rows, :columns] = old[:rows, :columns]
            self.serial += 1

    def put(self, x: int, y: int, words: NDArray[Any]) -> None:
        """Write opaque pixels (rows, columns) at x, y."""
        rows, columns = words.shape
        with self.lock:
            self.words[y : y + rows, x : x + columns] = words
            self.serial += 1

    def fill(self, box: Box, colour: int) -> None:
        """One opaque colour, 0xFFRRGGBB, all over a rectangle."""
        x, y, width, height = box
        with self.lock:
            self.words[y : y + height, x : x + width] = colour
            self.serial += 1

    def copy(self, box: Box, source_x: int, source_y: int) -> None:
        """Move pixels from source_x, source_y to `box`; the two may overlap."""
        x, y, width, height = box
        with self.lock:
            moved = self.words[source_y : source_y + height, source_x : source_x + width]
            self.words[y : y + height, x : x + width] = moved
            self.serial += 1
