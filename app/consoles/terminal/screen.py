"""The terminal's state and what characters and controls do to it: both screens, the history, modes, cursor, tabs."""

from __future__ import annotations

from app.consoles.terminal.cells import FILLER, LINES, NARROW, POUND, WIDE, Clusters, width
from app.consoles.terminal.grid import Charset, Grid, Saved
from app.consoles.terminal.history import EMPTY, History, Row, wrapped
from app.consoles.terminal.modes import INITIAL, KNOWN, MICE, Mode
from app.consoles.terminal.style import Styles

TAB = 8
TITLES = 16
REPLIES = 4096
"""Bytes of answers that one piece of input may cause; further questions in it go unanswered."""


class Screen:
    """`colours`: what the default text and ground look like (0xrrggbb), for programs that ask. `replies`: bytes to be
    sent. `clipboard`: text that a program wants to put on the clipboard, None where none does (OSC 52)."""

    def __init__(self, cols: int, rows: int, history: int) -> None:
        self.styles = Styles()
        self.clusters = Clusters()
        self.history = History(self.styles, cols, history)
        self.colours = (0x000000, 0xFFFFFF)
        self.replies = bytearray()
        self.bells = 0
        self.clipboard: str | None = None
        self.cols = cols
        self.renumbered = 0
        self._start(rows)

    def _start(self, rows: int) -> None:
        self.main = Grid(self.cols, rows)
        self.alternate = Grid(self.cols, rows)
        self.grid = self.main
        self.title = ""
        self.titles: list[str] = []
        self.modes: set[int] = set(INITIAL)
        self.cursor_shape = 0
        self.insert = False
        self.newline = False
        self.autowrap = True
        self.style = 0
        self.last = ""
        self.charsets: list[Charset] = [None] * 4
        self.shift = 0
        self.table: Charset = None
        self.tabs = set(range(0, self.cols, TAB))

    @property
    def rows(self) -> int:
        return self.grid.height

    def reset(self) -> None:
        """RIS: as new; what has scrolled off stays."""
        self._start(self.rows)

    def soft_reset(self) -> None:
        """DECSTR."""
        grid = self.grid
        self.modes = (self.modes - {Mode.ORIGIN, Mode.APPLICATION_CURSOR, Mode.APPLICATION_KEYPAD}) | INITIAL
        self.insert, self.newline, self.autowrap = False, False, True
        self.charsets, self.shift, self.table = [None] * 4, 0, None
        grid.top, grid.bottom, grid.saved = 0, grid.height - 1, None
        self.set_style(0)

    def reply(self, text: str) -> None:
        """Answer the far side; bounded."""
        if len(self.replies) + len(text) <= REPLIES:
            self.replies += text.encode()

    # Text

    def set_style(self, number: int) -> None:
        self.style = number
        self.grid.blank = self.styles.blank(number)

    def print(self, text: str) -> None:
        """Characters, none of them a control."""
        if self.table is not None:
            text = text.translate(self.table)
        if text.isascii():
            self._narrow(text)
            return
        at = 0
        while at < len(text):
            if found := NARROW.match(text, at):
                self._narrow(found[0])
                at = found.end()
            elif found := WIDE.match(text, at):
                self._wide(found[0])
                at = found.end()
            else:
                self._other(text[at])
                at += 1

    def _other(self, character: str) -> None:
        if character >= "\U00100000":
            character = "\ufffd"
        cells = width(character)
        if cells == 1:
            self._narrow(character)
        elif cells == 2:
            self._wide(character)
        elif cells == 0:
            self._mark(character)

    def _narrow(self, text: str) -> None:
        grid, cols, style = self.grid, self.cols, self.style
        self.last = text[-1]
        if grid.x + len(text) <= cols and not self.insert:
            grid.put(text, style)
            return
        at, end = 0, len(text)
        while at < end:
            if grid.x >= cols:
                if self.autowrap:
                    self.wrap()
                else:
                    grid.x = cols - 1
            part = text[at : at + cols - grid.x]
            at += len(part)
            if not self.autowrap and at < end:
                part, at = part[:-1] + text[-1], end
            if self.insert:
                grid.push_right(len(part))
            grid.put(part, style)

    def _wide(self, text: str) -> None:
        """Characters of two cells each; one that does not fit leaves the last cell blank and wraps."""
        grid, cols = self.grid, self.cols
        self.last = text[-1]
        at = 0
        while at < len(text):
            fit = (cols - grid.x) // 2
            if not fit:
                if self.autowrap:
                    if grid.x < cols:
                        grid.erase(grid.y, grid.x, cols)
                    self.wrap()
                else:
                    grid.x = cols - 2
                fit = (cols - grid.x) // 2
            part = text[at : at + fit]
            at += len(part)
            if not self.autowrap and at < len(text):
                part, at = part[:-1] + text[-1], len(text)
            cells = FILLER.join(part) + FILLER
            if self.insert:
                grid.push_right(len(cells))
            grid.put(cells, self.style)

    def _mark(self, mark: str) -> None:
        """A combining mark goes on the character before the cursor."""
        grid = self.grid
        text, looks, goes_on = grid.rows[grid.y]
        at = grid.x - 1
        if 0 < at < len(text) and text[at] == FILLER:
            at -= 1
        if 0 <= at < len(text):
            cell = self.clusters.joined(text[at], mark)
            grid.rows[grid.y] = (text[:at] + cell + text[at + 1 :], looks, goes_on)

    def wrap(self) -> None:
        """The line goes on in the next row."""
        grid = self.grid
        text, looks, _ = grid.rows[grid.y]
        if len(text) >= self.cols - 1 and (grid.y == grid.bottom or grid.y < grid.height - 1):
            grid.rows[grid.y] = (text, looks, True)
        self.index()
        grid.x = 0

    def lines(self, block: str) -> None:
        """Text lines, each ended by CR LF: what `print`, CR and `index` would do, at once where that is possible."""
        texts = block.split("\r\n")
        texts.pop()
        grid, at = self.grid, 0
        plain = self.autowrap and not self.insert and self.table is None and not grid.blank
        if plain and grid.top == 0 and grid.bottom == grid.height - 1:
            while at < len(texts) and (grid.y != grid.bottom or grid.x or grid.rows[-1] != EMPTY):
                self._line(texts[at])
                at += 1
        else:
            plain = False
        if not plain:
            at = 0
        rest = texts[at:]
        if not plain or ("\t" in block and not self._tabs_are_usual()):
            for text in rest:
                self._line(text)
            return
        self._append([text.expandtabs(TAB) if "\t" in text else text for text in rest])

    def _append(self, texts: list[str]) -> None:
        """Lines below an empty last row that the cursor begins."""
        grid, cols = self.grid, self.cols
        look = chr(self.style) if self.style else ""
        if max(map(len, texts), default=0) <= cols:
            fresh: list[Row] = [(text, look * len(text), False) for text in texts]
        else:
            fresh = [row for text in texts for row in wrapped(text, look * len(text), cols)]
        rows = grid.rows[:-1] + fresh
        gone = len(rows) + 1 - grid.height
        if grid is self.main:
            self.history.extend(rows[:gone])
        grid.rows = [*rows[gone:], EMPTY]
        if texts and texts[-1]:
            self.last = texts[-1][-1]

    def _line(self, text: str) -> None:
        for number, part in enumerate(text.split("\t")):
            if number:
                self.tab(1)
            if part:
                self.print(part)
        self.grid.x = 0
        self.index()

    # Movement

    def _tabs_are_usual(self) -> bool:
        return self.tabs == set(range(0, self.cols, TAB))

    def index(self) -> None:
        """One row down; at the end of the region it scrolls (IND, LF)."""
        grid = self.grid
        if grid.y == grid.bottom:
            self.scroll_up(1)
        elif grid.y < grid.height - 1:
            grid.y += 1

    def reverse_index(self) -> None:
        """One row up; at the start of the region it scrolls (RI)."""
        grid = self.grid
        if grid.y == grid.top:
            grid.insert_rows(grid.top, 1)
        elif grid.y:
            grid.y -= 1

    def scroll_up(self, count: int) -> None:
        """The region scrolls; what leaves the top of the main screen goes to the history."""
        grid = self.grid
        if count == 1 and not grid.blank:
            gone = grid.rows.pop(grid.top)
            grid.rows.insert(grid.bottom, EMPTY)
            if grid.top == 0 and grid is self.main:
                self.history.push(gone)
            return
        taken = grid.delete_rows(grid.top, count)
        if grid.top == 0 and grid is self.main:
            self.history.extend(taken)

    def move(self, x: int, y: int) -> None:
        """Put the cursor there, counted from 0, from the region's corner in origin mode (CUP)."""
        grid = self.grid
        low, high = (grid.top, grid.bottom) if Mode.ORIGIN in self.modes else (0, grid.height - 1)
        grid.x = min(max(x, 0), self.cols - 1)
        grid.y = min(max(y + low, low), high)

    def tab(self, count: int) -> None:
        """To the next tab stop, or back for a negative count."""
        grid = self.grid
        x = min(grid.x, self.cols - 1)
        for _ in range(min(abs(count), self.cols)):
            if count > 0:
                x = min((stop for stop in self.tabs if x < stop < self.cols), default=self.cols - 1)
            else:
                x = max((stop for stop in self.tabs if stop < x), default=0)
        grid.x = x

    # Modes and the cursor's memory

    def save_cursor(self) -> None:
        grid = self.grid
        origin = Mode.ORIGIN in self.modes
        grid.saved = Saved(grid.x, grid.y, self.style, origin, tuple(self.charsets), self.shift)

    def restore_cursor(self) -> None:
        grid = self.grid
        saved = grid.saved or Saved()
        grid.x, grid.y = min(saved.x, self.cols), min(saved.y, grid.height - 1)
        (self.modes.add if saved.origin else self.modes.discard)(Mode.ORIGIN)
        self.charsets, self.shift = list(saved.charsets), saved.shift
        self.table = self.charsets[self.shift]
        self.set_style(saved.style)

    def charset(self, slot: int, name: str) -> None:
        """Designate G0 to G3."""
        self.charsets[slot] = {"0": LINES, "A": POUND}.get(name)
        self.table = self.charsets[self.shift]

    def shift_to(self, slot: int) -> None:
        self.shift = slot
        self.table = self.charsets[slot]

    def set_mode(self, mode: int, on: bool) -> None:
        """One DEC private mode."""
        if mode in (Mode.ALTERNATE_47, Mode.ALTERNATE_1047, Mode.ALTERNATE):
            self._switch(mode, on)
        elif mode == Mode.SAVE_CURSOR:
            (self.save_cursor if on else self.restore_cursor)()
            return
        elif mode == Mode.AUTOWRAP:
            self.autowrap = on
        elif mode in MICE:
            self.modes.difference_update(MICE)
        if mode in KNOWN:
            (self.modes.add if on else self.modes.discard)(mode)
        if mode == Mode.ORIGIN:
            self.move(0, 0)

    def _switch(self, mode: int, on: bool) -> None:
        """To the alternate screen or back (xterm: 1049 also saves the cursor and clears)."""
        if on == (self.grid is self.alternate):
            return
        if on and mode == Mode.ALTERNATE:
            self.save_cursor()
        old, self.grid = self.grid, self.alternate if on else self.main
        self.grid.blank = old.blank
        if on:
            self.grid.x, self.grid.y = old.x, old.y
            self.grid.top, self.grid.bottom = 0, self.grid.height - 1
            if mode == Mode.ALTERNATE:
                self.grid.rows = [self.grid.empty()] * self.grid.height
        else:
            if mode == Mode.ALTERNATE_1047:
                old.erase_rows(0, old.height)
            if mode != Mode.ALTERNATE:
                self.grid.x, self.grid.y = old.x, old.y
        self.modes.difference_update((Mode.ALTERNATE_47, Mode.ALTERNATE_1047, Mode.ALTERNATE))
        if not on and mode == Mode.ALTERNATE:
            self.restore_cursor()

    def aligned(self) -> None:
        """DECALN: a screen of E."""
        grid = self.grid
        grid.rows = [("E" * self.cols, "", False)] * grid.height
        grid.top, grid.bottom = 0, grid.height - 1
        grid.x = grid.y = 0

    def renew_styles(self) -> None:
        """Forget styles that no cell has any more, once the table is full."""
        self.history.restyle()
        used = {self.style}
        for grid in (self.main, self.alternate):
            used |= {ord(look) for _, looks, _ in grid.rows for look in set(looks)}
            used |= {grid.blank} | ({grid.saved.style} if grid.saved else set())
        table = self.styles.renew(used)
        for grid in (self.main, self.alternate):
            grid.rows = [(text, looks.translate(table), goes_on) for text, looks, goes_on in grid.rows]
            grid.blank = table[grid.blank]
            if grid.saved:
                grid.saved.style = table[grid.saved.style]
        self.style = table[self.style]
