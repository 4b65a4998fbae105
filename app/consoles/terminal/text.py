"""Rows as text: what a selection copies, the word and the link at a place, what a search finds."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.consoles.terminal.cells import Clusters
from app.consoles.terminal.history import Row

Place = tuple[int, int]
"""Row and column."""

WORD = re.compile(r"[\w\0\U00100000-\U0010fffd%&+,./:=?@~#-]+")
LINK = re.compile(r"https?://[^\s\0<>\"'`{}|\\^]+", re.IGNORECASE)
TAIL = ".,;:!?"
PAIRS = {")": "(", "]": "["}


@dataclass(frozen=True, slots=True)
class Span:
    """Cells from `start` up to, not including, `end`, in reading order."""

    start: Place
    end: Place

    def columns(self, row: int, cols: int) -> tuple[int, int] | None:
        """The part in a row: first column and the one after the last."""
        if not self.start[0] <= row <= self.end[0]:
            return None
        first = self.start[1] if row == self.start[0] else 0
        last = self.end[1] if row == self.end[0] else cols
        return (first, last) if last > first else None


def copied(rows: list[Row], first: int, last: int, clusters: Clusters) -> str:
    """The text of rows, from column `first` of the first to before `last` of the last; wrapped rows are one line,
    blanks at the ends of lines are dropped."""
    lines, line = [], ""
    for number, (text, _, goes_on) in enumerate(rows):
        part = text[: last if number == len(rows) - 1 else None][first if number == 0 else 0 :]
        line += part
        if not goes_on or number == len(rows) - 1:
            lines.append(line.rstrip(" "))
            line = ""
    return clusters.plain("\n".join(lines))


def copied_block(rows: list[Row], first: int, last: int, clusters: Clusters) -> str:
    """The text between two columns of each row."""
    return clusters.plain("\n".join(text[first:last].rstrip(" ") for text, _, _ in rows))


def word(line: str, offset: int) -> tuple[int, int]:
    """The word at an offset of a line; a single cell where there is none."""
    for found in WORD.finditer(line):
        if found.start() <= offset < found.end():
            return found.span()
    return offset, offset + 1


def link(line: str, offset: int) -> tuple[int, int] | None:
    """The plain http(s) address at an offset of a line."""
    for found in LINK.finditer(line):
        start, end = found.span()
        while end > start and (line[end - 1] in TAIL or _unpaired(line[start:end])):
            end -= 1
        if start <= offset < end and end - start > len("https://"):
            return start, end
    return None


def _unpaired(address: str) -> bool:
    opening = PAIRS.get(address[-1])
    return opening is not None and address.count(opening) < address.count(address[-1])


def pattern(needle: str, clusters: Clusters) -> re.Pattern[str]:
    """What a search looks for: letter case counts only if the needle has a capital letter."""
    return re.compile(re.escape(clusters.cells(needle)), 0 if needle != needle.lower() else re.IGNORECASE)


def matches(rows: list[Row], start: int, wanted: re.Pattern[str]) -> list[Span]:
    """Where it is found in rows, the first of which has the number `start`; also across a wrap."""
    found: list[Span] = []
    begin = 0
    for number, (_, _, goes_on) in enumerate(rows):
        if goes_on and number < len(rows) - 1:
            continue
        group = rows[begin : number + 1]
        line = group[0][0] if len(group) == 1 else "".join(text for text, _, _ in group)
        for hit in wanted.finditer(line):
            found.append(span(group, start + begin, *hit.span()))
        begin = number + 1
    return found


def span(group: list[Row], start: int, first: int, last: int) -> Span:
    """Offsets of one line as rows and columns."""
    return Span(_place(group, start, first), _place(group, start, last - 1, 1))


def _place(group: list[Row], row: int, offset: int, more: int = 0) -> Place:
    for text, _, _ in group[:-1]:
        if offset < len(text):
            break
        offset -= len(text)
        row += 1
    return row, offset + more
