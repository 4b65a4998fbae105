"""Whatever comes: no exception, no torn cell, no state without bounds."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from app.consoles.terminal import Terminal
from app.consoles.terminal.cells import CLUSTER, FILLER, width
from app.consoles.terminal.grid import Grid
from app.consoles.terminal.parser import SEQUENCE, STRING

FINALS = "".join(map(chr, range(0x40, 0x7F)))
SEQUENCES = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["漢字", "e\u0301\u0302", "\u0301", "🙂\ufe0f", "\U00100001", "\r\n"]),
    st.sampled_from(["\x1b", "\x1b[", "\x1b]", "\x1bP"]),
    st.sampled_from(["\x1b[?1049h", "\x1b[?1049l", "\x1b[?47h", "\x1b[?6h", "\x1b[?7l", "\x1b[4h", "\x1b[41m"]),
    st.just("\x1bc"),
    st.builds("\x1b[{}{}{}".format, st.sampled_from(["", "?", ">", "="]), st.text("0123456789;:", max_size=8),
              st.sampled_from(FINALS)),
    st.builds("\x1b{}{}".format, st.sampled_from(["", "#", "(", ")", "%", "$"]), st.sampled_from(FINALS)),
    st.builds("\x1b]{};{}{}".format, st.integers(0, 60), st.text(max_size=10), st.sampled_from(["\x07", "\x1b\\", ""])),
    st.builds("\x1bP{}\x1b\\".format, st.text(max_size=10)),
)  # fmt: skip


def is_whole(terminal: Terminal) -> None:
    """The grid's invariants."""
    screen = terminal._screen
    for grid in (screen.main, screen.alternate):
        _check(grid, screen.cols)
    view = terminal.view()
    assert len(view.rows) == view.height
    assert view.cursor is None or view.top <= view.cursor[0] < view.top + view.height


def _check(grid: Grid, cols: int) -> None:
    assert 0 <= grid.x <= cols
    assert 0 <= grid.y < grid.height
    assert 0 <= grid.top < grid.bottom < grid.height or grid.height == 1
    for text, looks, goes_on in grid.rows:
        assert len(looks) <= len(text) <= cols
        assert not goes_on or len(text) >= cols - 1
        for at, cell in enumerate(text):
            after = text[at + 1 : at + 2]
            if cell == FILLER:
                assert at and (width(text[at - 1]) == 2 or text[at - 1] >= chr(CLUSTER))
            elif cell < chr(CLUSTER):
                assert (width(cell) == 2) == (after == FILLER)


@settings(max_examples=250, deadline=None)
@given(st.lists(SEQUENCES, max_size=40), st.integers(2, 15), st.integers(1, 8))
def test_sequences_at_random(parts: list[str], cols: int, rows: int) -> None:
    said = bytearray()
    terminal = Terminal(cols, rows, write=said.extend)
    for number, part in enumerate(parts):
        terminal.feed(part.encode("utf-8", "surrogatepass"))
        if number % 7 == 6:
            terminal.resize(cols + number % 3, max(1, rows - number % 2))
        is_whole(terminal)
    terminal.text(terminal.line((0, 0)))
    terminal.link((terminal.view().top, 0))
    assert len(said) <= 4096 * (len(parts) + 1)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400))
def test_bytes_at_random(data: bytes) -> None:
    terminal = Terminal(9, 4)
    terminal.feed(data)
    is_whole(terminal)


def test_endless_sequences_keep_nothing() -> None:
    for start in ("\x1b[", "\x1b]0;", "\x1bP", "\x1b_", "\x1b^", "\x1bX", "\x1b[1"):
        terminal = Terminal()
        terminal.feed(start.encode())
        for _ in range(40):
            terminal.feed(b"1;" * 8192)
        parser = terminal._parser
        assert sum(map(len, parser._kept)) <= STRING + 8192
        terminal.feed(b"\x18ok")
        assert terminal.display().rstrip() == "ok"


def test_noise_that_looks_like_a_string_ends_with_its_line() -> None:
    terminal = Terminal()
    terminal.feed(b"boot \x1b_noise\r\nlogin: \x1bPq\n#0\n\x1b\\ok")
    assert terminal.display().split("\n")[1].lstrip() == "login: ok"


def test_a_sequence_too_long_is_ignored() -> None:
    terminal = Terminal()
    terminal.feed(b"\x1b[" + b"1;" * SEQUENCE + b"\nmx")
    assert terminal.display().split("\n")[1] == "x"
    assert terminal.view().rows[1][1] == ""


def test_huge_numbers_are_cheap() -> None:
    terminal = Terminal()
    for final in "ABCDEFGHIJKLMPSTXZ@abdefgr":
        terminal.feed(b"x\x1b[99999999999999999999;99999999999999999999" + final.encode())
    is_whole(terminal)


def test_marks_and_titles_are_bounded() -> None:
    terminal = Terminal()
    terminal.feed(b"e" + "\u0301".encode() * 100_000)
    assert len(terminal.display().rstrip()) < 20
    terminal.feed(b"\x1b]2;" + b"t" * 10_000 + b"\x07")
    assert len(terminal.title) == 256
    terminal.feed(b"\x1b[22t" * 1000)
    assert len(terminal._screen.titles) <= 16


def test_more_clusters_than_the_table_holds() -> None:
    terminal = Terminal()
    terminal._screen.clusters.LIMIT = 10
    terminal.feed("".join(f"{chr(0x61 + number)}\u0301" for number in range(20)).encode())
    assert terminal.display().startswith("a\u0301b\u0301")
    assert "t" in terminal.display()
