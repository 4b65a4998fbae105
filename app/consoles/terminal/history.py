"""What has scrolled off the top: up to 100,000 lines in little memory.

Rows arrive as they stood on the screen. Blocks of them are packed: wrapped rows joined to lines, text as UTF-8, styles
(where there are any) compressed. So a plain line of 80 characters costs some 81 bytes, and another width of the window
only means to count rows anew. Rows are numbered from the first that ever was; their numbers stay while old ones go.
"""

from __future__ import annotations

import re
import zlib
from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass

from app.consoles.terminal.cells import FILLER
from app.consoles.terminal.style import Style, Styles

Row = tuple[str, str, bool]
"""Cells; their styles' numbers as code points (missing ones at the end are 0); does the line go on in the next row?"""

EMPTY: Row = ("", "", False)
BLOCK = 256
"""Rows that are packed at once; a line that takes more is kept in parts."""


@dataclass(slots=True)
class Block:
    """Packed lines. `cut`: the last one goes on in the next block. `rows` is right for the width that is on."""

    start: int
    rows: int
    lines: int
    text: bytes
    styles: bytes
    table: dict[int, Style]
    cut: bool

    @property
    def cost(self) -> int:
        """Bytes, about."""
        return 200 + len(self.text) + len(self.styles) + sum(64 + len(style.link) for style in self.table.values())


class History:
    """The rows above the screen.

    lines: how many are kept. budget: bytes that they may cost; the oldest go first, whichever bound is met.
    """

    def __init__(self, styles: Styles, cols: int, lines: int = 100_000, budget: int = 128 << 20) -> None:
        self.limit = lines
        self.budget = budget
        self._styles = styles
        self._cols = cols
        self._blocks: list[Block] = []
        self._lines = 0
        self._cost = 0
        self._recent: list[Row] = []
        self._recent_start = 0
        self._unpacked: OrderedDict[int, list[Row]] = OrderedDict()

    @property
    def first(self) -> int:
        """Number of the oldest row that is kept."""
        return self._blocks[0].start if self._blocks else self._recent_start

    @property
    def end(self) -> int:
        """Number of the row after the newest: the screen's first."""
        return self._recent_start + len(self._recent)

    @property
    def cost(self) -> int:
        """Bytes held by packed lines, about."""
        return self._cost

    def push(self, row: Row) -> None:
        self._recent.append(row)
        if len(self._recent) >= 2 * BLOCK:
            self._pack_most()

    def extend(self, rows: list[Row]) -> None:
        self._recent += rows
        if len(self._recent) >= 2 * BLOCK:
            self._pack_most()

    def pop(self) -> Row | None:
        """Take the newest row back (the screen grew)."""
        if not self._recent and self._blocks:
            block = self._blocks.pop()
            self._recent = list(self._rows(block))
            self._recent_start = block.start
            self._forget(block)
        return self._recent.pop() if self._recent else None

    def clear(self) -> None:
        """Drop everything; the numbers go on."""
        end = self.end
        self._blocks.clear()
        self._unpacked.clear()
        self._recent = []
        self._recent_start, self._lines, self._cost = end, 0, 0

    def rows(self, start: int, end: int) -> list[Row]:
        """Rows by number; those that are no more are left out."""
        start, found = max(start, self.first), []
        while start < min(end, self._recent_start):
            block = self._blocks[bisect_right(self._blocks, start, key=_start) - 1]
            part = self._rows(block)[start - block.start : end - block.start]
            found += part
            start += len(part)
        if end > start:
            found += self._recent[start - self._recent_start : end - self._recent_start]
        return found

    def resize(self, cols: int) -> None:
        """Another width: lines are wrapped anew. Every row may get another number."""
        self._pack(len(self._recent))
        self._unpacked.clear()
        self._cols, at = cols, self.first
        for block in self._blocks:
            block.start = at
            block.rows = sum(map(self._height, _texts(block)))
            at += block.rows
        self._recent_start = at

    def restyle(self) -> None:
        """The styles are about to get new numbers: packed rows do not mind."""
        self._pack(len(self._recent))
        self._unpacked.clear()

    def piece(self, before: int | None, wanted: re.Pattern[str]) -> tuple[int, list[Row]]:
        """For a search backwards: the number of the first row, and the rows, of the piece that ends before a row
        (None: the newest). Rows of a piece that cannot have what is wanted are left out."""
        if before is None or before > self._recent_start or not self._blocks:
            return self._recent_start, self._recent
        block = self._blocks[max(0, bisect_right(self._blocks, before - 1, key=_start) - 1)]
        rows = self._rows(block) if wanted.search(block.text.decode()) else []
        return block.start, rows

    def _pack_most(self) -> None:
        """Pack all but the newest rows, cutting where a line ends if there is such a place."""
        while len(self._recent) >= 2 * BLOCK:
            count = BLOCK
            while count and self._recent[count - 1][2]:
                count -= 1
            self._pack(count or BLOCK)

    def _pack(self, count: int) -> None:
        rows, self._recent = self._recent[:count], self._recent[count:]
        if not rows:
            return
        texts, styles = joined(rows)
        packed, table = b"", {}
        if any(styles):
            cells = "".join(styles)
            table = {ord(number): self._styles.all[ord(number)] for number in set(cells)}
            packed = zlib.compress(cells.encode("utf-8", "surrogatepass"), 1)
        height = len(rows) if len(texts) == len(rows) else sum(map(self._height, texts))
        text = "\n".join(texts).encode()
        block = Block(self._recent_start, height, len(texts), text, packed, table, rows[-1][2])
        self._blocks.append(block)
        self._lines += block.lines
        self._cost += block.cost
        self._recent_start += height
        while self._blocks and (self._lines - self._blocks[0].lines >= self.limit or self._cost > self.budget):
            self._forget(self._blocks.pop(0))

    def _forget(self, block: Block) -> None:
        self._lines -= block.lines
        self._cost -= block.cost
        self._unpacked.pop(block.start, None)

    def _height(self, text: str) -> int:
        """How many rows a line takes."""
        if FILLER in text:
            return len(breaks(text, self._cols))
        return -(-len(text) // self._cols) or 1

    def _rows(self, block: Block) -> list[Row]:
        """A block's rows at the width that is on; the last few blocks asked for are kept unpacked."""
        found = self._unpacked.get(block.start)
        if found is not None:
            self._unpacked.move_to_end(block.start)
            return found
        texts, found, cells, at = _texts(block), [], "", 0
        if block.styles:
            cells = zlib.decompress(block.styles).decode("utf-8", "surrogatepass")
            moved = {old: self._styles.number(style) for old, style in block.table.items()}
            if any(old != new for old, new in moved.items()):
                cells = cells.translate(moved)
        for text in texts:
            found += wrapped(text, cells[at : at + len(text)], self._cols)
            at += len(text)
        if block.cut:
            found[-1] = (*found[-1][:2], True)
        self._unpacked[block.start] = found
        if len(self._unpacked) > 8:
            self._unpacked.popitem(last=False)
        return found


def _start(block: Block) -> int:
    return block.start


def _texts(block: Block) -> list[str]:
    return block.text.decode().split("\n")


def joined(rows: list[Row]) -> tuple[list[str], list[str]]:
    """Rows as lines: texts, and styles as long as their text ("" for all, where no row has any)."""
    styled = any(row[1] for row in rows)
    if not any(row[2] for row in rows) and not styled:
        return [row[0] for row in rows], []
    texts, styles, text, style = [], [], "", ""
    for number, (cells, looks, goes_on) in enumerate(rows):
        text += cells
        if styled:
            style += looks.ljust(len(cells), FILLER)
        if not goes_on or number == len(rows) - 1:
            texts.append(text)
            styles.append(style)
            text = style = ""
    return texts, styles


def breaks(text: str, cols: int) -> list[int]:
    """Where the rows of a line begin: a wide character is never torn."""
    found, at = [0], cols
    while at < len(text):
        if text[at] == FILLER and at - 1 > found[-1]:
            at -= 1
        found.append(at)
        at += cols
    return found


def wrapped(text: str, styles: str, cols: int) -> list[Row]:
    """A line as rows of a width."""
    if len(text) <= cols:
        return [(text, styles, False)]
    starts = breaks(text, cols)
    ends = [*starts[1:], len(text)]
    return [(text[a:b], styles[a:b], b < len(text)) for a, b in zip(starts, ends, strict=True)]
