"""What is selected in a terminal: by characters, words, lines or as a block."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from app.consoles.terminal import Place, Span, Terminal


class Unit(Enum):
    CELLS = 1
    WORDS = 2
    LINES = 3
    BLOCK = 4


class Selection:
    """From where it was begun (`anchor`) to where it was drawn. `changed` is called after every change."""

    def __init__(self, terminal: Terminal, changed: Callable[[], None]) -> None:
        self._terminal = terminal
        self._changed = changed
        self._anchor: Span | None = None
        self.unit = Unit.CELLS
        self.span: Span | None = None
        self.epoch = 0

    @property
    def is_block(self) -> bool:
        return self.unit == Unit.BLOCK

    @property
    def begun(self) -> bool:
        return self._anchor is not None

    def begin(self, place: Place, unit: Unit, epoch: int) -> None:
        """Start at an edge between cells (for CELLS and BLOCK), or with the word or line there."""
        self.unit, self.epoch = unit, epoch
        self._anchor = self._around(place)
        self.span = self._anchor if unit in (Unit.WORDS, Unit.LINES) else None
        self._changed()

    def draw(self, place: Place) -> None:
        """Up to there, whole words or lines where it was begun so."""
        if self._anchor is None:
            return
        here = self._around(place)
        if self.unit == Unit.BLOCK:
            rows = sorted((self._anchor.start[0], place[0]))
            columns = sorted((self._anchor.start[1], place[1]))
            self.span = Span((rows[0], columns[0]), (rows[1], columns[1]))
        else:
            self.span = Span(min(self._anchor.start, here.start), max(self._anchor.end, here.end))
        if self.span.start == self.span.end:
            self.span = None
        self._changed()

    def all(self, first: int, last: int, cols: int, epoch: int) -> None:
        """Everything from a row to another."""
        self.unit, self.epoch = Unit.CELLS, epoch
        self._anchor = self.span = Span((first, 0), (last, cols))
        self._changed()

    def clear(self) -> None:
        if self.span is not None or self._anchor is not None:
            self.span = self._anchor = None
            self._changed()

    def text(self) -> str:
        return self._terminal.text(self.span, block=self.is_block) if self.span is not None else ""

    def columns(self, row: int, cols: int) -> tuple[int, int] | None:
        """The selected part of a row."""
        if self.span is None:
            return None
        if self.is_block:
            inside = self.span.start[0] <= row <= self.span.end[0] and self.span.start[1] < self.span.end[1]
            return (self.span.start[1], self.span.end[1]) if inside else None
        return self.span.columns(row, cols)

    def _around(self, place: Place) -> Span:
        if self.unit == Unit.WORDS:
            return self._terminal.word(place)
        if self.unit == Unit.LINES:
            return self._terminal.line(place)
        return Span(place, place)
