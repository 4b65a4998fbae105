"""The mouse over a terminal: selecting, scrolling back, links, and programs that want it themselves."""

from __future__ import annotations

from PySide6.QtCore import QObject, QUrl, Slot
from PySide6.QtGui import (
    QDesktopServices,
    QGuiApplication,
)
from pytestqt.qtbot import QtBot

from app.consoles.terminal import Span
from tests.widgets.consoles.terminals import CTRL_SHIFT, B, K, M, SocketLine, at, click, press, say, wheel
from widgets.consoles.terminal import TerminalView


def test_drawing_selects_and_copy_joins(qtbot: QtBot, view: TerminalView, line: SocketLine) -> None:
    say(qtbot, view, line, b"first line   \r\n" + b"w" * 70 + b"\r\nlast")
    port = view.viewport()
    qtbot.mousePress(port, B.LeftButton, pos=at(view, 5.6, 0))
    qtbot.mouseMove(port, at(view, 1.6, 2))
    qtbot.mouseMove(port, at(view, 3.6, 2))
    qtbot.mouseRelease(port, B.LeftButton, pos=at(view, 3.6, 2))
    press(view, K.Key_C, CTRL_SHIFT)
    assert QGuiApplication.clipboard().text() == "line\n" + "w" * 64
    assert view.selection.span == Span((0, 6), (2, 4))


def test_two_clicks_take_a_word_three_a_line_and_shift_extends(
    qtbot: QtBot, view: TerminalView, line: SocketLine
) -> None:
    say(qtbot, view, line, b"cat /etc/hosts more\r\nnext row")
    port = view.viewport()
    click(view, at(view, 7, 0), 2)
    assert view.selection.text() == "/etc/hosts"
    click(view, at(view, 7, 0), 3)
    assert view.selection.text() == "cat /etc/hosts more"
    qtbot.mouseClick(port, B.LeftButton, pos=at(view, 3.7, 1))
    qtbot.mouseClick(port, B.LeftButton, M.ShiftModifier, at(view, 7.9, 1))
    assert view.selection.text() == " row"


def test_alt_draws_a_block(qtbot: QtBot, view: TerminalView, line: SocketLine) -> None:
    say(qtbot, view, line, b"abcd\r\nefgh\r\nijkl")
    port = view.viewport()
    qtbot.mousePress(port, B.LeftButton, M.AltModifier, at(view, 0.9, 0))
    qtbot.mouseMove(port, at(view, 2.9, 2))
    qtbot.mouseRelease(port, B.LeftButton, M.AltModifier, at(view, 2.9, 2))
    assert view.selection.text() == "bc\nfg\njk"


def test_a_selection_ends_when_its_text_is_overwritten(qtbot: QtBot, view: TerminalView, line: SocketLine) -> None:
    say(qtbot, view, line, b"one\r\ntwo")
    click(view, at(view, 1, 0), 2)
    assert view.selection.text() == "one"
    say(qtbot, view, line, b"\r\nthree")
    assert view.selection.text() == "one"
    say(qtbot, view, line, b"\x1b[HTWO")
    assert view.selection.span is None


def test_scrolling_back_holds_its_place_and_typing_returns(qtbot: QtBot, view: TerminalView, line: SocketLine) -> None:
    say(qtbot, view, line, b"".join(b"row %d\r\n" % number for number in range(200)))
    press(view, K.Key_PageUp, M.ShiftModifier)
    top = view.shown.rows[0]
    assert view.shown.start == view.shown.top - 11
    say(qtbot, view, line, b"more\r\n" * 30)
    assert view.shown.rows[0] == top
    bar = view.verticalScrollBar()
    assert (bar.maximum(), bar.value()) == (view.shown.top, view.shown.start)
    bar.setValue(0)
    assert view.shown.rows[0][0] == "row 0"
    press(view, K.Key_A, M.NoModifier, "a")
    assert view.shown.start == view.shown.top


def test_the_wheel(qtbot: QtBot, view: TerminalView, line: SocketLine) -> None:
    say(qtbot, view, line, b"row\r\n" * 100)
    wheel(view, 2)
    assert view.shown.start == view.shown.top - 6
    wheel(view, -5)
    assert view.shown.start == view.shown.top
    say(qtbot, view, line, b"\x1b[?1049h")
    wheel(view, 1)
    assert line.got(9) == b"\x1b[A" * 3
    say(qtbot, view, line, b"\x1b[?1000;1006h")
    wheel(view, 1)
    assert line.got(10) == b"\x1b[<64;4;3M"


def test_the_mouse_is_the_programs_but_for_shift(qtbot: QtBot, view: TerminalView, line: SocketLine) -> None:
    say(qtbot, view, line, b"some text\x1b[?1002;1006h")
    port = view.viewport()
    qtbot.mousePress(port, B.LeftButton, pos=at(view, 0, 0))
    qtbot.mouseMove(port, at(view, 3, 1))
    qtbot.mouseRelease(port, B.LeftButton, pos=at(view, 3, 1))
    wanted = b"\x1b[<0;1;1M\x1b[<32;4;2M\x1b[<0;4;2m"
    assert line.got(len(wanted)) == wanted
    assert view.selection.span is None
    qtbot.mousePress(port, B.LeftButton, M.ShiftModifier, at(view, -0.4, 0))
    qtbot.mouseRelease(port, B.LeftButton, M.ShiftModifier, at(view, -0.4, 0))
    view.selection.draw((0, 4))
    assert view.selection.text() == "some"


class Browser(QObject):
    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []

    @Slot(QUrl)
    def open(self, url: QUrl) -> None:
        self.opened.append(url.toString())


def test_ctrl_click_opens_web_links_only(qtbot: QtBot, view: TerminalView, line: SocketLine) -> None:
    browser = Browser()
    for scheme in ("https", "file"):
        QDesktopServices.setUrlHandler(scheme, browser, "open")
    try:
        say(qtbot, view, line, b"see https://example.org/x, \x1b]8;;file:///etc/passwd\x1b\\here\x1b]8;;\x1b\\")
        port = view.viewport()
        qtbot.mouseMove(port, at(view, 8, 0))
        assert view.link[0] == "https://example.org/x"
        assert "https://example.org/x" in port.toolTip()
        qtbot.mouseClick(port, B.LeftButton, M.ControlModifier, at(view, 8, 0))
        qtbot.mouseClick(port, B.LeftButton, M.ControlModifier, at(view, 28, 0))
        qtbot.mouseClick(port, B.LeftButton, M.NoModifier, at(view, 8, 0))
        assert browser.opened == ["https://example.org/x"]
    finally:
        for scheme in ("https", "file"):
            QDesktopServices.unsetUrlHandler(scheme)
