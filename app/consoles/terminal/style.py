"""How a cell looks: colours, attributes, the link it is part of; and SGR, which sets them (ECMA-48 8.3.117, xterm).

A style has a number in its terminal's table, and a row keeps its cells' numbers as the code points of a str: such rows
are cut and joined by the same quick operations as their text, and a row that is all default keeps none.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

DEFAULT = -1
RGB = 0x1000000
"""Colours: DEFAULT, 0 to 255 from the palette, or RGB | 0xrrggbb."""

BOLD, DIM, ITALIC, BLINK, INVERSE, INVISIBLE, STRIKE, OVERLINE = (1 << bit for bit in range(8))
LINE_SHIFT = 8
LINE = 7 << LINE_SHIFT
"""Where the flags keep the kind of underline: 0 none, 1 single, 2 double, 3 curly, 4 dotted, 5 dashed (SGR 4:n)."""

_ON = {1: BOLD, 2: DIM, 3: ITALIC, 5: BLINK, 6: BLINK, 7: INVERSE, 8: INVISIBLE, 9: STRIKE, 53: OVERLINE}
_OFF = {
    22: BOLD | DIM,
    23: ITALIC,
    24: LINE,
    25: BLINK,
    27: INVERSE,
    28: INVISIBLE,
    29: STRIKE,
    55: OVERLINE,
}


class Style(NamedTuple):
    """`under` is the underline's colour (DEFAULT: as the text), `link` an address from OSC 8 or ""."""

    fg: int = DEFAULT
    bg: int = DEFAULT
    under: int = DEFAULT
    flags: int = 0
    link: str = ""


PLAIN = Style()


class Styles:
    """The numbers of the styles in use. Number 0 is PLAIN. `all` only grows until `renew` starts a new list."""

    LIMIT = 0x8000

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.all: list[Style] = [PLAIN]
        self._numbers: dict[Style, int] = {PLAIN: 0}
        self._sgr: dict[tuple[int, str], int] = {}
        self._blank: dict[int, int] = {0: 0}

    @property
    def full(self) -> bool:
        return len(self.all) >= self.LIMIT

    def number(self, style: Style) -> int:
        """The number of a style; a full table falls back to 0 until it is renewed."""
        found = self._numbers.get(style)
        if found is None:
            if self.full:
                return 0
            found = self._numbers[style] = len(self.all)
            self.all.append(style)
        return found

    def sgr(self, number: int, parameters: str) -> int:
        """The style that SGR with these parameters makes of another."""
        key = (number, parameters)
        found = self._sgr.get(key)
        if found is None:
            if len(self._sgr) > 4096:
                self._sgr.clear()
            found = self._sgr[key] = self.number(after_sgr(self.all[number], parameters))
        return found

    def blank(self, number: int) -> int:
        """What erased cells look like while a style is on: its ground alone."""
        found = self._blank.get(number)
        if found is None:
            if len(self._blank) > 4096:
                self._blank = {0: 0}
            found = self._blank[number] = self.number(Style(bg=self.all[number].bg))
        return found

    def linked(self, number: int, link: str) -> int:
        return self.number(self.all[number]._replace(link=link))

    def renew(self, used: Iterable[int]) -> dict[int, int]:
        """Keep only these numbers. Returns old -> new; whoever holds the old list may go on reading it."""
        old = self.all
        self._begin()
        return {number: self.number(old[number]) for number in {0, *used}}


@lru_cache(4096)
def numbers(parameters: str) -> tuple[int, ...]:
    """A CSI sequence's parameters; missing ones are 0, subparameters are dropped, sizes and counts are bounded."""
    return tuple(bounded(part.partition(":")[0]) for part in parameters.split(";")[:32]) if parameters else (0,)


def bounded(digits: str) -> int:
    return min(int(digits[:6]), 65535) if digits.isdigit() else 0


def after_sgr(style: Style, parameters: str) -> Style:
    """Apply one SGR sequence. What is unknown is ignored; its link stays."""
    fg, bg, under, flags, link = style
    parts = parameters.split(";")[:64]
    index = 0
    while index < len(parts):
        head, *rest = parts[index].split(":")
        code = bounded(head)
        index += 1
        if code in (38, 48, 58):
            if rest:
                colour = _colour(rest)
            else:
                width = {5: 2, 2: 4}.get(bounded(parts[index]) if index < len(parts) else 0, 1)
                colour = _colour(parts[index : index + width])
                index += width
            if colour is not None:
                fg, bg, under = (
                    colour if code == 38 else fg,
                    colour if code == 48 else bg,
                    colour if code == 58 else under,
                )
        elif code == 0:
            fg, bg, under, flags = DEFAULT, DEFAULT, DEFAULT, 0
        elif code == 4 or code == 21:
            kind = 2 if code == 21 else bounded(rest[0]) if rest else 1
            flags = flags & ~LINE | (kind if kind <= 5 else 1) << LINE_SHIFT
        elif code in _ON:
            flags |= _ON[code]
        elif code in _OFF:
            flags &= ~_OFF[code]
        elif 30 <= code <= 37 or 90 <= code <= 97:
            fg = code - 30 if code < 90 else code - 82
        elif 40 <= code <= 47 or 100 <= code <= 107:
            bg = code - 40 if code < 100 else code - 92
        elif code == 39:
            fg = DEFAULT
        elif code == 49:
            bg = DEFAULT
        elif code == 59:
            under = DEFAULT
    return Style(fg, bg, under, flags, link)


def _colour(parts: list[str]) -> int | None:
    """5;n, 2;r;g;b or 2:space:r:g:b. None where it is none."""
    values = [bounded(part) for part in parts]
    if values[:1] == [5] and len(values) >= 2 and values[1] <= 255:
        return values[1]
    if values[:1] == [2] and len(values) >= 4:
        red, green, blue = values[-3:] if len(values) == 4 else values[2:5]
        if max(red, green, blue) <= 255:
            return RGB | red << 16 | green << 8 | blue
    return None


def sgr_of(style: Style) -> str:
    """The parameters that make PLAIN into this style (DECRQSS)."""
    found = ["0"]
    found += [str(code) for code, flag in _ON.items() if code != 6 and style.flags & flag]
    kind = (style.flags & LINE) >> LINE_SHIFT
    if kind:
        found.append("4" if kind == 1 else f"4:{kind}")
    for colour, base, name in ((style.fg, 30, 38), (style.bg, 40, 48), (style.under, None, 58)):
        if colour == DEFAULT:
            continue
        if colour & RGB:
            found.append(f"{name}:2::{colour >> 16 & 255}:{colour >> 8 & 255}:{colour & 255}")
        elif base is None or colour > 15:
            found.append(f"{name}:5:{colour}")
        else:
            found.append(str(colour + base if colour < 8 else colour + base + 52))
    return ";".join(found)
