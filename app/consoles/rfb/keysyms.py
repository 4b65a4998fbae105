"""Text as keys: X11 keysyms, and the PC scan codes of a US keyboard (XT set 1).

Source: X11's keysymdef.h (Unicode rule: 0x01000000 + code point), QEMU's extended key event in rfbproto.
"""

from __future__ import annotations

from dataclasses import dataclass

SHIFT_L = 0xFFE1
CONTROL_L = 0xFFE3
ALT_L = 0xFFE9
RETURN = 0xFF0D
TAB = 0xFF09
BACKSPACE = 0xFF08
ESCAPE = 0xFF1B
DELETE = 0xFFFF

_CONTROLS = {"\n": RETURN, "\r": RETURN, "\t": TAB, "\b": BACKSPACE, "\x1b": ESCAPE, "\x7f": DELETE}
_ROWS = {0x29: "`", 0x02: "1234567890-=", 0x10: "qwertyuiop[]", 0x1E: "asdfghjkl;'", 0x2B: "\\zxcvbnm,./", 0x39: " "}
_SHIFTED = dict(zip('~!@#$%^&*()_+{}:"|<>?', "`1234567890-=[];'\\,./", strict=True))
_CODES = {char: first + place for first, row in _ROWS.items() for place, char in enumerate(row)}

SCANCODES: dict[int, int] = {
    ESCAPE: 0x01, BACKSPACE: 0x0E, TAB: 0x0F, RETURN: 0x1C, CONTROL_L: 0x1D, SHIFT_L: 0x2A, 0xFFE2: 0x36,
    ALT_L: 0x38, 0xFFE5: 0x3A, **{0xFFBE + number: 0x3B + number for number in range(10)},
    0xFFC8: 0x57, 0xFFC9: 0x58, 0xFF7F: 0x45, 0xFF14: 0x46, 0xFFE4: 0xE01D, 0xFFEA: 0xE038, 0xFE03: 0xE038,
    0xFF61: 0xE037, 0xFF13: 0xE046, 0xFF50: 0xE047, 0xFF52: 0xE048, 0xFF55: 0xE049, 0xFF51: 0xE04B,
    0xFF53: 0xE04D, 0xFF57: 0xE04F, 0xFF54: 0xE050, 0xFF56: 0xE051, 0xFF63: 0xE052, DELETE: 0xE053,
    0xFFEB: 0xE05B, 0xFFEC: 0xE05C, 0xFF67: 0xE05D, 0xFF8D: 0xE01C, 0xFFAF: 0xE035,
}  # fmt: skip
"""Keys without a character: keysym -> scan code (0xE000 for the extended ones)."""


@dataclass(frozen=True, slots=True)
class Stroke:
    """One character as keys: its keysym, the key's scan code (0: no such key on a US keyboard), with Shift or not."""

    keysym: int
    scancode: int
    shift: bool


def keysym(char: str) -> int:
    """The keysym of one character."""
    if char in _CONTROLS:
        return _CONTROLS[char]
    code = ord(char)
    return code if 0x20 <= code <= 0x7E or 0xA0 <= code <= 0xFF else 0x01000000 + code


def stroke(char: str) -> Stroke:
    """How one character is typed on a US keyboard."""
    symbol = keysym(char)
    if char in _CONTROLS:
        return Stroke(symbol, SCANCODES[symbol], False)
    shift = char in _SHIFTED or ("A" <= char <= "Z")
    return Stroke(symbol, _CODES.get(_SHIFTED.get(char, char.lower() if shift else char), 0), shift)


def strokes(text: str) -> list[Stroke]:
    """Text as keys, a line end (\\n, \\r\\n or \\r) as one Return."""
    return [stroke(char) for char in text.replace("\r\n", "\n")]
