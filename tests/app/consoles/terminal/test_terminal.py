"""The terminal engine: what sequences do, one by one."""

from __future__ import annotations

import pytest

from app.consoles.terminal import Mode, Span, Style, Terminal
from app.consoles.terminal import style as looks


def fed(data: str | bytes, cols: int = 20, rows: int = 5) -> Terminal:
    terminal = Terminal(cols, rows)
    terminal.feed(data.encode() if isinstance(data, str) else data)
    return terminal


def shown(data: str | bytes, cols: int = 20, rows: int = 5) -> list[str]:
    return fed(data, cols, rows).display().split("\n")


def cursor(terminal: Terminal) -> tuple[int, int]:
    """Column and row on the screen."""
    view = terminal.view()
    assert view.cursor is not None
    return view.cursor[1], view.cursor[0] - view.top


def style_at(terminal: Terminal, row: int, column: int) -> Style:
    view = terminal.view()
    _, styles, _ = view.rows[row]
    return view.styles[ord(styles[column])] if column < len(styles) else Style()


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        ("one\r\ntwo", ["one", "two"]),
        ("a" * 25, ["a" * 20, "a" * 5]),
        ("\x1b[?7l" + "a" * 19 + "bcd", ["a" * 19 + "d"]),
        ("\x1b[?7l" + "a" * 20 + "\x1b[1mb", ["a" * 19 + "b"]),
        ("\x1b[?7l" + "a" * 20 + "漢字", ["a" * 18 + "字"]),
        ("a\tb", ["a       b"]),
        ("\x1b[3;5Hx", ["", "", "    x"]),
        ("abc\x1b[2Dx", ["axc"]),
        ("abc\x1b[1;2H\x1b[K", ["a"]),
        ("abc\x1b[1;2H\x1b[1K", ["  c"]),
        ("abc\r\x1b[2@", ["  abc"]),
        ("abc\r\x1b[2P", ["c"]),
        ("abcd\r\x1b[2X", ["  cd"]),
        ("\x1b[4habc\rX", ["Xabc"]),
        ("1\r\n2\r\n3\x1b[2;1H\x1b[L", ["1", "", "2", "3"]),
        ("1\r\n2\r\n3\x1b[1;1H\x1b[M", ["2", "3"]),
        ("1\r\n2\r\n3\r\n4\r\n5\x1b[2;4r\x1b[4;1H\n", ["1", "3", "4", "", "5"]),
        ("1\r\n2\r\n3\r\n4\r\n5\x1b[2;4r\x1b[2;1H\x1bM", ["1", "", "2", "3", "5"]),
        ("\x1b[2;4r\x1b[?6h\x1b[1;1Hx", ["", "x"]),
        ("a\x1b[5b", ["aaaaaa"]),
        ("\x1b(0lqk\x1b(B q", ["┌─┐ q"]),
        ("\x1b)0\x0elqk\x0fq", ["┌─┐q"]),
        ("\x1b[?1049halt\x1b[?1049lmain", ["main"]),
        ("ab\x1b7cd\x1b8X", ["abXd"]),
        ("\x1b[3g\x1b[1;5H\x1bH\r\tx", ["    x"]),
        ("漢字", ["漢字"]),
        ("漢字\x1b[1;2Hx", [" x字"]),
        ("a" * 19 + "漢", ["a" * 19, "漢"]),
        ("e\u0301a", ["e\u0301a"]),
        ("a\x1b[1;31\nmb", ["a", " b"]),
        ("a\x1b[3\x18mb", ["amb"]),
        ("a\x1b]0;title\x07b", ["ab"]),
        ("a\x1bPjunk\x1b\\b", ["ab"]),
        (b"a\xffb\xc3", ["a\ufffdb"]),
        (b"a\xc3", ["a"]),
        ("a\x9b31mb", ["a31mb"]),
        ("\x1b#8\x1b[2J", [""]),
    ],
)
def test_what_is_on_the_screen(data: str | bytes, rows: list[str]) -> None:
    assert shown(data) == rows + [""] * (5 - len(rows))


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_stream_may_be_cut_anywhere(cut: int) -> None:
    data = "a\x1b[1;38;2;1;2;3mé漢\x1b]0;tit\x1b\\\x1b[0m\r\nz".encode()
    whole, parts = fed(data), Terminal(20, 5)
    parts.feed(data[:cut])
    parts.feed(data[cut:])
    assert parts.view().rows == whole.view().rows
    assert parts.title == whole.title == "tit"


@pytest.mark.parametrize(
    ("sgr", "style"),
    [
        ("1;3;4;5;7;8;9", Style(flags=looks.BOLD | looks.ITALIC | 1 << looks.LINE_SHIFT | looks.BLINK | looks.INVERSE
                                | looks.INVISIBLE | looks.STRIKE)),
        ("2;53", Style(flags=looks.DIM | looks.OVERLINE)),
        ("4:3;58:5:9", Style(flags=3 << looks.LINE_SHIFT, under=9)),
        ("21", Style(flags=2 << looks.LINE_SHIFT)),
        ("31;42", Style(fg=1, bg=2)),
        ("91;102", Style(fg=9, bg=10)),
        ("38;5;200;48;5;17", Style(fg=200, bg=17)),
        ("38:5:200", Style(fg=200)),
        ("38;2;1;2;3", Style(fg=looks.RGB | 0x010203)),
        ("48:2::1:2:3", Style(bg=looks.RGB | 0x010203)),
        ("38:2:1:2:3", Style(fg=looks.RGB | 0x010203)),
        ("38;5;999;1", Style(flags=looks.BOLD)),
        ("38", Style()),
        ("38;2;1", Style()),
        ("31;1;0", Style()),
        ("31;1;39;22", Style()),
        ("999;31", Style(fg=1)),
    ],
)  # fmt: skip
def test_sgr(sgr: str, style: Style) -> None:
    assert style_at(fed(f"\x1b[{sgr}mx"), 0, 0) == style


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("\x1b[5n", b"\x1b[0n"),
        ("ab\x1b[6n", b"\x1b[1;3R"),
        ("\x1b[c", b"\x1b[?62;22c"),
        ("\x1b[>c", b"\x1b[>1;10;0c"),
        ("\x1b[?2004h\x1b[?2004$p", b"\x1b[?2004;1$y"),
        ("\x1b[?9999$p", b"\x1b[?9999;0$y"),
        ("\x1b[4$p", b"\x1b[4;2$y"),
        ("\x1b[1;31m\x1bP$qm\x1b\\", b"\x1bP1$r0;1;31m\x1b\\"),
        ("\x1b[2;4r\x1bP$qr\x1b\\", b"\x1bP1$r2;4r\x1b\\"),
        ("\x1bP$q; rm -rf\x1b\\", b"\x1bP0$r\x1b\\"),
        ("\x1b[18t", b"\x1b[8;5;20t"),
        ("\x1b]11;?\x07", b"\x1b]11;rgb:ffff/ffff/ffff\x1b\\"),
        ("\x1b]52;c;?\x07", b""),
        ("\x1b[21t", b""),
    ],
)
def test_what_a_program_is_told(question: str, answer: bytes) -> None:
    said = bytearray()
    terminal = Terminal(20, 5, write=said.extend)
    terminal.feed(question.encode())
    assert said == answer


def test_answers_are_bounded() -> None:
    said = bytearray()
    Terminal(write=said.extend).feed(b"\x1b[c" * 1000)
    assert 0 < len(said) <= 4096


def test_a_title_that_was_set_is_never_told() -> None:
    said = bytearray()
    terminal = Terminal(write=said.extend)
    terminal.feed(b"\x1b]2;evil\x07\x1b[20t\x1b[21t")
    assert (terminal.title, said) == ("evil", b"")
    terminal.feed(b"\x1b[22t\x1b]2;inner\x07\x1b[23t")
    assert terminal.title == "evil"


def test_the_clipboard_is_asked_for_never_set_or_told() -> None:
    terminal = fed("\x1b]52;c;aGVsbG8=\x07")
    assert terminal.take_clipboard() == "hello"
    assert terminal.take_clipboard() is None
    terminal.feed(b"\x1b]52;c;!!!\x07\x1b]52;c;?\x07")
    assert terminal.take_clipboard() is None


def test_modes_are_seen() -> None:
    terminal = fed("\x1b[?1;2004;1002;1006h\x1b=")
    wanted = {Mode.APPLICATION_CURSOR, Mode.PASTE, Mode.MOUSE_DRAG, Mode.MOUSE_SGR, Mode.APPLICATION_KEYPAD}
    assert wanted <= terminal.modes
    terminal.feed(b"\x1b[?1003h")
    assert Mode.MOUSE_DRAG not in terminal.modes
    assert Mode.MOUSE_ALL in terminal.modes
    terminal.feed(b"\x1bc")
    assert not terminal.modes & wanted


def test_the_cursor_hides_and_has_shapes() -> None:
    assert fed("\x1b[?25l").view().cursor is None
    assert fed("\x1b[?25h\x1b[5 q").view().cursor_shape == 5


def test_a_link_of_the_program_and_a_plain_one() -> None:
    terminal = fed("\x1b]8;;https://a.example/x\x1b\\here\x1b]8;;\x1b\\ (see http://b.example/(y)).", 60)
    assert terminal.link((0, 2)) == ("https://a.example/x", [Span((0, 0), (0, 4))])
    assert terminal.link((0, 15)) == ("http://b.example/(y)", [Span((0, 10), (0, 30))])
    assert terminal.link((0, 6)) == ("", [])


def test_a_link_across_a_wrap() -> None:
    terminal = fed("see https://example.org/a/long/path end", 20)
    assert terminal.link((1, 3))[0] == "https://example.org/a/long/path"


def test_erased_cells_keep_the_ground() -> None:
    terminal = fed("\x1b[41m\x1b[2J\x1b[m")
    assert style_at(terminal, 3, 19) == Style(bg=1)


def test_more_styles_than_the_table_holds() -> None:
    terminal = Terminal(80, 24, history=100)
    for number in range(40_000):
        terminal.feed(b"\x1b[38;2;%d;%d;%dmx" % (number >> 16, number >> 8 & 255, number & 255))
    assert style_at(terminal, 23, cursor(terminal)[0]).fg == looks.RGB | 39_999
    assert len(terminal.view().styles) <= looks.Styles.LIMIT
