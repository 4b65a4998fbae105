"""What a client says, as bytes (RFC 6143 7.5 and rfbproto's extensions)."""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack

PIXEL_FORMAT = pack(">BxxxBBBBHHHBBBxxx", 0, 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
"""32 bits a pixel, in memory B, G, R and a byte of no meaning: what painters take as it is."""


def encodings(numbers: Sequence[int]) -> bytes:
    return pack(f">BxH{len(numbers)}i", 2, len(numbers), *numbers)


def update_request(incremental: bool, width: int, height: int) -> bytes:
    return pack(">BBHHHH", 3, incremental, 0, 0, width, height)


def key(keysym: int, down: bool) -> bytes:
    return pack(">BBxxI", 4, down, keysym)


def qemu_key(keysym: int, down: bool, scancode: int) -> bytes:
    """QEMU's extended key event: extended scan codes have bit 7 set instead of a prefix."""
    code = scancode & 0x7F | (0x80 if scancode >> 8 == 0xE0 else 0)
    return pack(">BBHII", 255, 0, down, keysym, code)


def pointer(x: int, y: int, buttons: int, *, extended: bool) -> bytes:
    """`extended`: the server knows more than 7 buttons."""
    if extended and buttons >> 7:
        return pack(">BBHHB", 5, buttons & 0x7F | 0x80, x, y, buttons >> 7 & 0xFF)
    return pack(">BBHH", 5, buttons & 0x7F, x, y)


def cut_text(text: str) -> bytes:
    """The plain clipboard knows Latin-1 only: what else there is becomes a question mark."""
    data = text.encode("latin-1", "replace")
    return pack(">BxxxI", 6, len(data)) + data


def extended_cut(data: bytes) -> bytes:
    """A message of the extended clipboard: its length is negative."""
    return pack(">Bxxxi", 6, -len(data)) + data


def continuous(enable: bool, width: int, height: int) -> bytes:
    return pack(">BBHHHH", 150, enable, 0, 0, width, height)


def fence(flags: int, payload: bytes) -> bytes:
    return pack(">BxxxIB", 248, flags, len(payload)) + payload


def desktop_size(width: int, height: int, screen: int, flags: int) -> bytes:
    """One screen, all over the desktop."""
    return pack(">BxHHBx", 251, width, height, 1) + pack(">IHHHHI", screen, 0, 0, width, height, flags)
