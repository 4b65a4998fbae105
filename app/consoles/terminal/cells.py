"""Cells as code points: one for a narrow character, two (the second is FILLER) for a wide one.

A character with combining marks is one code point too: a number of plane 16, which is private use, with a table. So a
row is one str whose length is its width. Widths are those of the wcwidth library.
"""

from __future__ import annotations

import re
from functools import lru_cache

from wcwidth import wcwidth

FILLER = "\0"
CLUSTER = 0x100000
"""The first code point that stands for a cluster. What the line sends from there on is shown as a replacement."""
MARKS = 8
"""A cluster has at most so many marks: more are dropped."""

NARROW = re.compile("[ -~\u00a0-\u02ff\u0370-\u0482\u048a-\u0590\u1e00-\u200a\u2010-\u2027\u202f-\u205f\u2070-\u20cf"
                    "\u2100-\u2319\u2400-\u25fc\u2800-\u28ff]+")  # fmt: skip
WIDE = re.compile("[\u3041-\u3096\u30a1-\u30ff\u3400-\u4dbf\u4e00-\ua48c\uac00-\ud7a3\uf900-\ufaff\uff01-\uff60]+")

LINES = {ord(plain): drawn for plain, drawn in zip("`abcdefghijklmnopqrstuvwxyz{|}~_", "◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·\u00a0", strict=True)}  # noqa: E501  # fmt: skip
"""DEC Special Graphics (VT100 user guide, table 3-9)."""
POUND = {ord("#"): "£"}


@lru_cache(8192)
def width(character: str) -> int:
    """0, 1 or 2 cells; -1 for what is no character at all."""
    return wcwidth(character)


class Clusters:
    """Base characters with their marks, by number. Full means that further marks are dropped, nothing else."""

    LIMIT = 0xFFFE

    def __init__(self) -> None:
        self._all: list[str] = []
        self._numbers: dict[str, str] = {}

    def joined(self, cell: str, mark: str) -> str:
        """The cell with one more mark on it."""
        whole = self.spelled(cell)
        if len(whole) > MARKS:
            return cell
        whole += mark
        found = self._numbers.get(whole)
        if found is None:
            if len(self._all) >= self.LIMIT:
                return cell
            found = self._numbers[whole] = chr(CLUSTER + len(self._all))
            self._all.append(whole)
        return found

    def spelled(self, cell: str) -> str:
        """The characters that one cell shows."""
        return self._all[ord(cell) - CLUSTER] if ord(cell) >= CLUSTER else cell

    def plain(self, text: str) -> str:
        """Cells as text: fillers dropped, clusters spelled out."""
        if text.isascii():
            return text.replace(FILLER, "")
        text = text.replace(FILLER, "")
        return "".join(map(self.spelled, text)) if max(text, default="") >= chr(CLUSTER) else text

    def cells(self, text: str) -> str:
        """Text as cells, as far as its clusters are known: what a search looks for."""
        found: list[str] = []
        for character in text:
            cells = width(character)
            if cells == 0 and found:
                at = -2 if found[-1] == FILLER and len(found) > 1 else -1
                found[at] = self._numbers.get(self.spelled(found[at]) + character, found[at])
            elif cells > 0:
                found.append(character)
                if cells == 2:
                    found.append(FILLER)
        return "".join(found)
