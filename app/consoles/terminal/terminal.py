"""The terminal: takes what a line says, and shows it to whoever asks, from any thread."""

from __future__ import annotations

import asyncio
import codecs
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from app.consoles.terminal import reflow, text
from app.consoles.terminal.cells import Clusters
from app.consoles.terminal.history import Row
from app.consoles.terminal.modes import Mode
from app.consoles.terminal.parser import Parser
from app.consoles.terminal.screen import Screen
from app.consoles.terminal.style import Style
from app.consoles.terminal.text import Place, Span

PIECE = 4096
"""Characters that are parsed under the lock at once: some milliseconds at worst."""
SLICE_S = 0.001
PAUSE_S = 0.001
"""While there is much to parse, other threads get their turn so often, and for so long."""
LINE_ROWS = 64
"""So many rows up and down a word, a link or a line is followed."""
PAUSES = 20
"""So many pauses at most it waits for a painter: Python runs one thread at a time, and painting needs it often."""
COLS, ROWS = (2, 1000), (1, 500)


@dataclass(frozen=True, slots=True)
class View:
    """A picture of some rows. Rows are numbered from the first that ever was.

    first: the oldest row that is kept. top: the screen's first row. start: the first of `rows`. styles: by number.
    cursor: its row and column, None while hidden. on_alternate: a full-screen program's.
    epoch: rises when rows got other numbers.
    """

    first: int
    top: int
    start: int
    rows: list[Row]
    styles: list[Style]
    clusters: Clusters
    cols: int
    height: int
    cursor: Place | None
    cursor_shape: int
    on_alternate: bool
    modes: frozenset[int]
    title: str
    bells: int
    epoch: int


class Terminal:
    """A VT/xterm of `cols` x `rows` cells with `history` lines of scroll-back.

    `write` gets what the terminal answers (reports that a program asked for), on the thread that feeds it.
    """

    def __init__(
        self,
        cols: int = 80,
        rows: int = 24,
        *,
        history: int = 100_000,
        write: Callable[[bytes], object] | None = None,
    ) -> None:
        self.write = write
        self.painting = False
        """Set by whoever paints while it does: `absorb` gives way."""
        self._lock = threading.Lock()
        self._screen = Screen(_held(cols, COLS), _held(rows, ROWS), history)
        self._parser = Parser(self._screen)
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    # What the line says

    def feed(self, data: bytes) -> None:
        """Parse all of it. Never raises for what is malformed."""
        decoded = self._decode(data)
        for at in range(0, len(decoded), PIECE):
            self._parse(decoded[at : at + PIECE])

    async def absorb(self, data: bytes) -> None:
        """Parse all of it, letting the loop and other threads run in between: what a line session awaits."""
        decoded = self._decode(data)
        began = time.perf_counter()
        for at in range(0, len(decoded), PIECE):
            self._parse(decoded[at : at + PIECE])
            if self.painting or time.perf_counter() - began > SLICE_S:
                for _ in range(PAUSES):
                    await asyncio.sleep(PAUSE_S)
                    if not self.painting:
                        break
                began = time.perf_counter()

    def _parse(self, piece: str) -> None:
        screen = self._screen
        with self._lock:
            if screen.styles.full:
                screen.renew_styles()
            self._parser.feed(piece)
            replies = bytes(screen.replies)
            screen.replies.clear()
        if replies and self.write is not None:
            self.write(replies)

    def resize(self, cols: int, rows: int) -> tuple[int, int]:
        """Another size, within what is bearable; the lines of the main screen and of the history are wrapped anew.
        Returns the size that it has now."""
        screen = self._screen
        with self._lock:
            cols, rows = _held(cols, COLS), _held(rows, ROWS)
            if (cols, rows) != (screen.cols, screen.rows):
                reflow.resize(screen, cols, rows)
            return cols, rows

    def reset(self) -> None:
        """As new; what has scrolled off stays. For a program that left the terminal in a bad state."""
        with self._lock:
            self._parser = Parser(self._screen)
            self._screen.reset()

    def clear_history(self) -> None:
        with self._lock:
            self._screen.history.clear()

    def set_colours(self, text: int, ground: int) -> None:
        """What default text and ground look like (0xrrggbb), for programs that ask."""
        self._screen.colours = (text, ground)

    def take_clipboard(self) -> str | None:
        """The text that a program has asked to put on the clipboard since the last call."""
        with self._lock:
            wanted, self._screen.clipboard = self._screen.clipboard, None
        return wanted

    # What it shows

    @property
    def modes(self) -> frozenset[int]:
        return frozenset(self._screen.modes)

    @property
    def title(self) -> str:
        return self._screen.title

    @property
    def first(self) -> int:
        """The oldest row that is kept."""
        return self._screen.history.first

    @property
    def size(self) -> tuple[int, int]:
        return self._screen.cols, self._screen.rows

    def view(self, start: int | None = None) -> View:
        """One screen full of rows, from the row `start` on; None: the screen itself."""
        screen = self._screen
        with self._lock:
            top, height = screen.history.end, screen.rows
            first = screen.history.first
            start = top if start is None else min(max(start, first), top)
            grid = screen.grid
            shown = Mode.CURSOR in screen.modes
            return View(
                first=first,
                top=top,
                start=start,
                rows=self._rows(start, start + height),
                styles=screen.styles.all,
                clusters=screen.clusters,
                cols=screen.cols,
                height=height,
                cursor=(top + grid.y, min(grid.x, screen.cols - 1)) if shown else None,
                cursor_shape=screen.cursor_shape,
                on_alternate=grid is screen.alternate,
                modes=frozenset(screen.modes),
                title=screen.title,
                bells=screen.bells,
                epoch=screen.renumbered,
            )

    def text(self, span: Span, *, block: bool = False) -> str:
        """The text of a span: no blanks at line ends, wrapped lines joined. `block`: the columns of each row."""
        with self._lock:
            first = max(span.start[0], self._screen.history.first)
            rows = self._rows(first, span.end[0] + 1)
            left = span.start[1] if first == span.start[0] else 0
            make = text.copied_block if block else text.copied
            return make(rows, left, span.end[1], self._screen.clusters)

    def display(self) -> str:
        """The screen as text, one line for each row: for tests, and for those who cannot see it."""
        return "\n".join(self._screen.clusters.plain(row[0]).rstrip() for row in self.view().rows)

    def word(self, place: Place) -> Span:
        """The word at a place."""
        with self._lock:
            group, start, offset = self._line(place)
            return text.span(group, start, *text.word("".join(row[0] for row in group), offset))

    def line(self, place: Place) -> Span:
        """The whole line at a place, with all rows it was wrapped to."""
        with self._lock:
            group, start, _ = self._line(place)
            return Span((start, 0), (start + len(group) - 1, self._screen.cols))

    def link(self, place: Place) -> tuple[str, list[Span]]:
        """The address at a place, from OSC 8 or as plain text, and the cells that show it; "" where there is none."""
        with self._lock:
            group, start, offset = self._line(place)
            styles = "".join(row[1].ljust(len(row[0]), "\0") for row in group)
            table = self._screen.styles.all
            here = table[ord(styles[offset])].link if offset < len(styles) else ""
            if here:
                same = "".join("x" if table[ord(style)].link == here else " " for style in styles)
                return here, [text.span(group, start, *found.span()) for found in re.finditer("x+", same)]
            cells = "".join(row[0] for row in group)
            found = text.link(cells, offset)
            if found is None:
                return "", []
            return self._screen.clusters.plain(cells[slice(*found)]), [text.span(group, start, *found)]

    def search(self, needle: str, before: int | None = None) -> tuple[list[Span], int]:
        """What is found in the last piece of the rows before the row `before` (None: all), in order, and where to go
        on: call again with that until it is no more than `view().first`. A call takes about a millisecond."""
        screen = self._screen
        with self._lock:
            if not needle:
                return [], screen.history.first
            wanted = text.pattern(needle, screen.clusters)
            start, rows = screen.history.piece(before, wanted)
            if before is None or before > screen.history.end:
                rows = rows + screen.grid.rows
            return text.matches(rows, start, wanted), start

    def _rows(self, start: int, end: int) -> list[Row]:
        history, top = self._screen.history, self._screen.history.end
        rows = history.rows(start, min(end, top)) if start < top else []
        return rows + self._screen.grid.rows[max(0, start - top) : max(0, end - top)]

    def _line(self, place: Place) -> tuple[list[Row], int, int]:
        """The rows of the line at a place, the number of the first, and the offset of the place in the line."""
        row, column = place
        first = self._screen.history.first
        last = self._screen.history.end + self._screen.rows - 1
        row = start = min(max(row, first), last)
        group = self._rows(row, row + 1)
        while start > first and (above := self._rows(start - 1, start)) and above[0][2] and len(group) < LINE_ROWS:
            group, start = above + group, start - 1
        while group[-1][2] and start + len(group) <= last and len(group) < 2 * LINE_ROWS:
            group += self._rows(start + len(group), start + len(group) + 1)
        return group, start, sum(len(text) for text, _, _ in group[: row - start]) + column


def _held(value: int, bounds: tuple[int, int]) -> int:
    return min(max(value, bounds[0]), bounds[1])
