"""What a client asks for, and what it tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from app.consoles.rfb.framebuffer import Box, Bytes


class Encoding(IntEnum):
    """How pixels may come, by their numbers in the protocol."""

    RAW = 0
    COPY_RECT = 1
    HEXTILE = 5
    ZLIB = 6
    TIGHT = 7
    TRLE = 15
    ZRLE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class RfbOptions:
    """`encodings`: in order of preference. `quality` 0..9: how good Tight's JPEG is to be; None: no JPEG, every pixel
    exact. `compress` 0..9: how hard the server is to compress. The defaults suit a quick network; on this machine
    (Encoding.COPY_RECT, Encoding.RAW) costs both sides the least. `shared`: others may stay connected.
    `view_only`: send no key, no pointer, no clipboard and no wish for another size.
    """

    shared: bool = True
    view_only: bool = False
    encodings: tuple[Encoding, ...] = (
        Encoding.COPY_RECT,
        Encoding.TIGHT,
        Encoding.ZRLE,
        Encoding.HEXTILE,
        Encoding.ZLIB,
        Encoding.TRLE,
        Encoding.RAW,
    )
    quality: int | None = 8
    compress: int = 1


class RfbEvents(Protocol):
    """Whoever wants to know. All are called on the console loop, and must return at once."""

    def resized(self, width: int, height: int) -> None:
        """The framebuffer has a new size: all of it is to be painted anew."""

    def damaged(self, boxes: Sequence[Box]) -> None:
        """An update is complete: these rectangles changed."""

    def cursor(self, pixels: Bytes | None, hot_x: int, hot_y: int) -> None:
        """The pointer's new shape: (height, width, 4) bytes B, G, R, A, premultiplied; None: it is not to be seen."""

    def bell(self) -> None: ...

    def clipboard(self, text: str) -> None:
        """The guest has new text on its clipboard; lines end in \\n."""

    def leds(self, state: int) -> None:
        """The keyboard's lights: 1 scroll lock, 2 num lock, 4 caps lock."""

    def name(self, text: str) -> None:
        """The desktop's name."""
