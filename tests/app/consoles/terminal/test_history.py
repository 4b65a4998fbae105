"""What scrolled off: how it is kept, what it costs, how it follows another width."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.consoles.terminal import Span, Terminal
from app.consoles.terminal.history import BLOCK, History
from app.consoles.terminal.style import Style, Styles


def everything(terminal: Terminal) -> list[str]:
    """All lines, wrapped ones joined, without the blank ones at the end."""
    view = terminal.view()
    whole = terminal.text(Span((view.first, 0), (view.top + view.height - 1, view.cols)))
    return whole.rstrip("\n").split("\n")


def fed(lines: list[str], cols: int = 20, rows: int = 5, history: int = 100_000) -> Terminal:
    terminal = Terminal(cols, rows, history=history)
    terminal.feed("".join(f"{line}\r\n" for line in lines).encode())
    return terminal


def test_no_line_is_lost() -> None:
    lines = [f"line {number} {'x' * (number % 50)}.".strip() for number in range(3000)]
    assert everything(fed(lines)) == lines


def test_the_oldest_go_first() -> None:
    terminal = fed([f"line {number}" for number in range(5000)], history=1000)
    kept = everything(terminal)
    assert kept[-1] == "line 4999"
    assert 1000 <= len(kept) <= 1000 + 3 * BLOCK
    assert terminal.view().first == 5000 - len(kept)


def test_rows_keep_their_numbers_while_text_comes() -> None:
    terminal = fed([f"line {number}" for number in range(1000)])
    before = terminal.view(500).rows
    terminal.feed(b"more\r\n" * 2000)
    assert terminal.view(500).rows == before
    assert before[0][0] == "line 500"


def test_a_plain_line_costs_little_more_than_its_text() -> None:
    text = b"x" * 78
    terminal = Terminal(80, 24)
    tracemalloc.start()
    for number in range(50_000):
        terminal.feed(b"%02d" % (number % 100) + text + b"\r\n")
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used / 50_000 < 100


def test_what_colours_cost_is_bounded_and_they_are_kept() -> None:
    styles = Styles()
    history = History(styles, 80, budget=200_000)
    for number in range(20_000):
        look = chr(styles.number(Style(fg=number % 500)))
        history.push(("y" * 80, look * 80, False))
    assert history.cost <= 200_000
    text, looks, _ = history.rows(history.first, history.first + 1)[0]
    assert text == "y" * 80
    assert styles.all[ord(looks[0])].fg == history.first % 500


def test_links_count_towards_the_bound() -> None:
    terminal = Terminal(80, 24)
    terminal._screen.history.budget = 300_000
    for number in range(5000):
        terminal.feed(b"\x1b]8;;https://example.org/%d/%s\x1b\\x\x1b]8;;\x1b\\\r\n" % (number, b"z" * 1500))
    assert terminal._screen.history.cost <= 300_000


def test_an_endless_line_is_kept_in_parts_and_copied_whole() -> None:
    terminal = Terminal(80, 24)
    terminal.feed(b"0123456789" * 20_000)
    assert everything(terminal) == ["0123456789" * 20_000]
    assert terminal._screen.history.cost < 220_000


@pytest.mark.parametrize("cols", [7, 13, 20, 33, 200])
def test_another_width_wraps_anew(cols: int) -> None:
    lines = [f"{number} {'abcdef ' * (number % 12)}漢字{'x' * (number % 31)}" for number in range(700)]
    terminal = fed([line.rstrip() for line in lines])
    terminal.resize(cols, 9)
    assert everything(terminal) == [line.rstrip() for line in lines]
    assert all(len(text) <= cols for text, _, _ in terminal.view(300).rows)
    terminal.resize(20, 5)
    assert everything(terminal) == [line.rstrip() for line in lines]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text("ab 漢e\u0301", max_size=40), max_size=30),
    st.lists(st.tuples(st.integers(2, 30), st.integers(1, 12)), min_size=1, max_size=4),
    st.text("xyz", max_size=30),
)
def test_text_survives_any_sizes(lines: list[str], sizes: list[tuple[int, int]], typed: str) -> None:
    lines = [line.strip("\u0301 ") for line in lines]
    terminal = fed(lines, 12, 4)
    terminal.feed(typed.encode())
    for size in sizes:
        terminal.resize(*size)
        assert [line.rstrip() for line in everything(terminal)] == _blankless([*lines, typed])
        view = terminal.view()
        assert view.cursor is not None
        assert view.top <= view.cursor[0] < view.top + view.height
    terminal.feed(b"END")
    assert everything(terminal)[-1].endswith("END")


def _blankless(lines: list[str]) -> list[str]:
    while len(lines) > 1 and not lines[-1]:
        lines = lines[:-1]
    return lines


def test_the_cursor_stays_in_its_line() -> None:
    terminal = Terminal(20, 5)
    terminal.feed(b"$ " + b"w" * 30)
    terminal.resize(40, 5)
    view = terminal.view()
    assert (view.cursor, view.rows[0][0]) == ((0, 32), "$ " + "w" * 30)
    terminal.resize(10, 5)
    terminal.feed(b"!")
    assert everything(terminal) == ["$ " + "w" * 30 + "!"]


def test_a_taller_screen_takes_rows_back() -> None:
    terminal = fed([f"line {number}" for number in range(20)])
    terminal.resize(20, 10)
    assert terminal.display().split("\n")[0] == "line 11"
    terminal.resize(20, 3)
    assert terminal.display().split("\n")[0] == "line 18"


def test_the_alternate_screen_has_no_history_and_leaves_the_other_alone() -> None:
    terminal = fed(["one", "two"])
    terminal.feed(b"\x1b[?1049h" + b"inside\r\n" * 50)
    assert terminal.view().top == 0
    terminal.resize(10, 8)
    terminal.feed(b"\x1b[?1049l")
    assert everything(terminal) == ["one", "two"]


def test_search_goes_through_all_rows_the_newest_first() -> None:
    terminal = fed([f"item {number} {'needle' if number % 100 == 0 else ''}" for number in range(3000)])
    found: list[Span] = []
    before = None
    while before is None or before > terminal.first:
        part, before = terminal.search("NeedLE".lower(), before)
        found = part + found
    assert [terminal.text(span) for span in found] == ["needle"] * 30
    assert [span.start[0] for span in found] == list(range(0, 3000, 100))
    assert terminal.search("NEEDLE")[0] == []


def test_search_across_a_wrap_and_in_wide_text() -> None:
    terminal = fed(["a" * 15 + "needle in 漢字テスト"], 20)
    (span,), _ = terminal.search("needle")
    assert span == Span((0, 15), (1, 1))
    (span,), _ = terminal.search("漢字")
    assert terminal.text(span) == "漢字"
    assert terminal.search("[")[0] == []


def test_copy_joins_wrapped_lines_and_drops_blanks() -> None:
    terminal = Terminal(10, 5)
    terminal.feed(b"abcdefghijklm   \r\nnext\x1b[41m\x1b[K")
    assert terminal.text(Span((0, 3), (2, 10))) == "defghijklm\nnext"
    assert terminal.text(Span((0, 2), (2, 4)), block=True) == "cd\nm\nxt"


def test_words_and_lines_at_a_place() -> None:
    terminal = Terminal(10, 5)
    terminal.feed(b"see /usr/share/doc, ok")
    assert terminal.text(terminal.word((1, 1))) == "/usr/share/doc,"
    assert terminal.text(terminal.line((1, 1))) == "see /usr/share/doc, ok"
    assert terminal.text(terminal.word((0, 3))) == ""
