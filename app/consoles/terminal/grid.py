"""One screen of cells: rows of text with styles, a cursor, a scroll region; the editing that escape sequences ask for.

Rows are replaced, never altered, so whoever has read them may keep them. Cells beyond the end of a row's text are
blank. Invariants: styles are never longer than their text; a wide character is never left in half; a row that goes on
in the next one is full, but for the one cell where a wide character did not fit.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.consoles.terminal.cells import FILLER
from app.consoles.terminal.history import EMPTY, Row

Charset = dict[int, str] | None


class Grid:
    """The cells. `x` is `cols` while a wrap is pending: the next character goes to the next row.

    `style` is the number that new text gets, `blank` the one of erased cells; `saved` what DECSC kept of the cursor.
    """

    def __init__(self, cols: int, rows: int) -> None:
        self.cols = cols
        self.rows: list[Row] = [EMPTY] * rows
        self.x = 0
        self.y = 0
        self.top = 0
        self.bottom = rows - 1
        self.blank = 0
        self.saved: Saved | None = None

    @property
    def height(self) -> int:
        return len(self.rows)

    def put(self, text: str, style: int) -> None:
        """Write cells that fit into the row, over what is there, and move the cursor."""
        x, y = self.x, self.y
        old, looks, goes_on = self.rows[y]
        end, length = x + len(text), len(old)
        if x < length:
            if FILLER in old:
                old = _untorn(old, x, end)
            new = old[:x] + text + old[end:]
        else:
            new = (old if x == length else old.ljust(x)) + text
        if style or looks:
            looks = looks[:x].ljust(x, FILLER) + chr(style) * len(text) + looks[end:]
        self.rows[y] = (new, looks, goes_on and end < self.cols)
        self.x = end

    def push_right(self, count: int) -> None:
        """Make room for `count` blank cells at the cursor; what leaves the row is lost (ICH, and insert mode)."""
        x, y = min(self.x, self.cols - 1), self.y
        old, looks, _ = self.rows[y]
        if x >= len(old):
            return
        count = min(count, self.cols - x)
        old = _untorn(old, x, x)
        new = old[:x] + " " * count + old[x:]
        if looks or self.blank:
            looks = looks[:x].ljust(x, FILLER) + chr(self.blank) * count + looks[x:]
        self.rows[y] = (_ended(new, self.cols), looks[: self.cols], False)

    def pull_left(self, count: int) -> None:
        """Delete `count` cells at the cursor (DCH); blank ones come in from the right."""
        x, y = min(self.x, self.cols - 1), self.y
        old, looks, _ = self.rows[y]
        end = min(x + count, self.cols)
        if x < len(old):
            old = _untorn(old, x, end)
            old, looks = old[:x] + old[end:], looks[:x] + looks[end:]
        if self.blank:
            shown = self.cols - (end - x)
            old = old.ljust(shown) + " " * (end - x)
            looks = looks.ljust(shown, FILLER) + chr(self.blank) * (end - x)
        self.rows[y] = (old, looks, False)

    def erase(self, y: int, start: int, end: int) -> None:
        """Blank cells [start, end) of a row."""
        old, looks, goes_on = self.rows[y]
        if FILLER in old:
            old = _untorn(old, start, end)
        if self.blank:
            gap = end - start
            looks = looks[:start].ljust(start, FILLER) + chr(self.blank) * gap + looks[end:]
            old = old[:start].ljust(start) + " " * gap + old[end:]
        elif end >= len(old):
            old, looks = old[:start], looks[:start]
        else:
            looks = looks[:start] + FILLER * min(end - start, max(0, len(looks) - start)) + looks[end:]
            old = old[:start] + " " * (end - start) + old[end:]
        self.rows[y] = (old, looks, goes_on and end < self.cols and len(old) >= self.cols - 1)

    def erase_rows(self, start: int, end: int) -> None:
        """Blank whole rows [start, end)."""
        self.rows[start:end] = [self.empty()] * (end - start)

    def empty(self) -> Row:
        return (" " * self.cols, chr(self.blank) * self.cols, False) if self.blank else EMPTY

    def insert_rows(self, y: int, count: int) -> None:
        """Blank rows at `y`; those that leave the region are lost."""
        count = min(count, self.bottom + 1 - y)
        rows = self.rows
        del rows[self.bottom + 1 - count : self.bottom + 1]
        rows[y:y] = [self.empty()] * count

    def delete_rows(self, y: int, count: int) -> list[Row]:
        """Take rows away at `y`, blank ones follow at the region's end. Returns those taken."""
        count = min(count, self.bottom + 1 - y)
        rows = self.rows
        taken = rows[y : y + count]
        del rows[y : y + count]
        at = self.bottom + 1 - count
        rows[at:at] = [self.empty()] * count
        return taken

    def crop(self, cols: int, rows: int) -> None:
        """Another size without wrapping anew (the alternate screen)."""
        if rows < self.height:
            gone = max(0, self.y + 1 - rows)
            del self.rows[:gone]
            del self.rows[rows:]
            self.y -= gone
        else:
            self.rows += [EMPTY] * (rows - self.height)
        if cols < self.cols:
            self.rows = [(_ended(text, cols), looks[:cols], False) for text, looks, _ in self.rows]
        elif cols > self.cols:
            self.rows = [(text, looks, False) for text, looks, _ in self.rows]
        self.cols = cols
        self.x, self.y = min(self.x, cols - 1), min(self.y, rows - 1)
        self.top, self.bottom = 0, rows - 1


@dataclass(slots=True)
class Saved:
    """What DECSC keeps."""

    x: int = 0
    y: int = 0
    style: int = 0
    origin: bool = False
    charsets: tuple[Charset, ...] = (None,) * 4
    shift: int = 0


def _untorn(text: str, start: int, end: int) -> str:
    """Blank both halves of wide characters that [start, end) would cut."""
    if 0 < start < len(text) and text[start] == FILLER:
        text = text[: start - 1] + "  " + text[start + 1 :]
    if 0 < end < len(text) and text[end] == FILLER:
        text = text[: end - 1] + "  " + text[end + 1 :]
    return text


def _ended(text: str, cols: int) -> str:
    """The first cells of a row."""
    if len(text) > cols:
        text = _untorn(text, cols, cols)[:cols]
    return text
