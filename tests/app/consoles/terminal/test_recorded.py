"""Recorded output of real programs (80 x 24), cut at several places, beside the screens that tmux made of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.consoles.terminal import Terminal

FOLDER = Path(__file__).parent / "recorded"


@pytest.mark.parametrize("program", ["vim", "less", "ls", "top"])
def test_screens_are_tmuxs(program: str) -> None:
    stream = (FOLDER / f"{program}.raw").read_bytes()
    screens = json.loads((FOLDER / f"{program}.json").read_text(encoding="utf-8"))
    assert len(screens) == 8
    for cut, expected in screens.items():
        terminal = Terminal(80, 24)
        terminal.feed(stream[: int(cut)])
        view = terminal.view()
        column, row = expected["cursor"]
        assert [line.rstrip() for line in terminal.display().split("\n")] == expected["rows"], cut
        assert view.cursor in (None, (view.top + row, min(column, 79)))


@pytest.mark.parametrize("program", ["vim", "less", "ls", "top"])
def test_the_size_of_the_pieces_does_not_matter(program: str) -> None:
    stream = (FOLDER / f"{program}.raw").read_bytes()
    whole, parts = Terminal(80, 24), Terminal(80, 24)
    whole.feed(stream)
    for byte in stream:
        parts.feed(bytes((byte,)))
    assert parts.view().rows == whole.view().rows
    assert parts.view().cursor == whole.view().cursor
