"""The final screen beside pyte's, where both know what is asked for."""

from __future__ import annotations

import pyte
from hypothesis import given, settings
from hypothesis import strategies as st

from app.consoles.terminal import Terminal
from app.consoles.terminal import style as looks

COLS, ROWS = 12, 6
small = st.integers(0, 4)
TOKENS = st.one_of(
    st.text("abcxyz é", min_size=1, max_size=30),
    st.sampled_from(["\r\n", "\r", "\n", "\b", "\t", "\x1bD", "\x1bM", "\x1b[m"]),
    st.builds("\x1b[{};{}H".format, small, st.integers(0, 14)),
    st.builds("\b\x1b[{}{}".format, st.sampled_from(["", 1, 2, 3]), st.sampled_from("ABCDEFGd@PX")),
    st.builds("\b\x1b[{}{}".format, st.integers(0, 2), st.sampled_from("JK")),
    st.builds("\x1b[{}m".format, st.sampled_from(["1", "31", "42", "7", "0", "3;4", "38;5;1", "22;39"])),
    st.sampled_from(["\x1b[?7l", "\x1b[?7h", "\x1b[4h", "\x1b[4l"]),
)
REGION = "\x1b[2;5r\x1b[?6h"
"""Origin mode keeps the cursor in the region: outside of one pyte goes its own way."""
COLOURS = {"default": -1, "black": 0, "red": 1, "green": 2, "cd0000": 1}


def ours(data: str) -> tuple[list[str], tuple[int, int], list[list[tuple[bool, int]]]]:
    terminal = Terminal(COLS, ROWS)
    terminal.feed(data.encode())
    view = terminal.view()
    assert view.cursor is not None
    styles = []
    for text, style, _ in view.rows:
        cells = [view.styles[ord(number)] for number in style.ljust(len(text), "\0")]
        styles.append([(bool(cell.flags & looks.BOLD), cell.fg) for cell in cells])
    return terminal.display().split("\n"), (view.cursor[1], view.cursor[0] - view.top), styles


def theirs(data: str) -> tuple[list[str], tuple[int, int], pyte.Screen]:
    screen = pyte.Screen(COLS, ROWS)
    pyte.Stream(screen).feed(data)
    return [row.rstrip() for row in screen.display], (min(screen.cursor.x, COLS - 1), screen.cursor.y), screen


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["", REGION]), st.lists(TOKENS, max_size=30))
def test_generated_sessions_end_alike(start: str, tokens: list[str]) -> None:
    data = start + "".join(tokens)
    rows, cursor, styles = ours(data)
    expected, place, screen = theirs(data)
    assert rows == expected
    assert cursor == place
    for y, row in enumerate(rows):
        for x in range(len(row.rstrip())):
            if row.isascii() and row[x] != " ":
                cell = screen.buffer[y][x]
                assert styles[y][x] == (cell.bold, COLOURS[cell.fg]), (x, y)
