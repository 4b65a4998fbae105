"""What is typed and pasted into a terminal goes down the line."""

from __future__ import annotations

from contextlib import suppress

import pytest
from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import (
    QGuiApplication,
    QInputMethodEvent,
    QKeyEvent,
)
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from tests.widgets.consoles.terminals import CTRL_SHIFT, K, M, SocketLine, press, say
from widgets.consoles.terminal import TerminalView


@pytest.mark.parametrize(
    ("key", "mods", "text", "sent"),
    [
        (K.Key_A, M.NoModifier, "a", b"a"),
        (K.Key_C, M.ControlModifier, "\x03", b"\x03"),
        (K.Key_C, M.ControlModifier, "", b"\x03"),
        (K.Key_W, M.ControlModifier, "\x17", b"\x17"),
        (K.Key_X, M.AltModifier, "x", b"\x1bx"),
        (K.Key_At, M.ControlModifier | M.AltModifier, "@", b"@"),
        (K.Key_Space, M.ControlModifier, " ", b"\x00"),
        (K.Key_Up, M.NoModifier, "", b"\x1b[A"),
        (K.Key_Up, M.KeypadModifier, "", b"\x1b[A"),
        (K.Key_5, M.KeypadModifier, "5", b"5"),
        (K.Key_Return, M.NoModifier, "\r", b"\r"),
        (K.Key_Enter, M.KeypadModifier, "\r", b"\r"),
        (K.Key_Backspace, M.NoModifier, "\b", b"\x7f"),
        (K.Key_Tab, M.NoModifier, "\t", b"\t"),
        (K.Key_Backtab, M.ShiftModifier, "", b"\x1b[Z"),
        (K.Key_F5, M.NoModifier, "", b"\x1b[15~"),
        (K.Key_Delete, M.NoModifier, "\x7f", b"\x1b[3~"),
        (K.Key_unknown, M.NoModifier, "é", "é".encode()),
    ],
)
def test_keys_go_down_the_line(view: TerminalView, line: SocketLine, key: Qt.Key, mods: Qt.KeyboardModifier, text: str,
                               sent: bytes) -> None:  # fmt: skip
    press(view, key, mods, text)
    assert line.got(len(sent)) == sent


def test_the_window_keeps_its_own_shortcuts_and_no_more(view: TerminalView) -> None:
    def taken(key: Qt.Key, mods: Qt.KeyboardModifier) -> bool:
        event = QKeyEvent(QEvent.Type.ShortcutOverride, key, mods)
        event.ignore()
        QApplication.sendEvent(view, event)
        return event.isAccepted()

    assert taken(K.Key_W, M.ControlModifier)
    assert taken(K.Key_F5, M.NoModifier)
    assert taken(K.Key_C, CTRL_SHIFT)
    assert not taken(K.Key_L, CTRL_SHIFT)
    assert not taken(K.Key_Tab, M.ControlModifier)
    assert not taken(K.Key_F11, M.NoModifier)


def test_application_modes_change_the_keys(qtbot: QtBot, view: TerminalView, line: SocketLine) -> None:
    say(qtbot, view, line, b"\x1b[?1h")
    press(view, K.Key_Up)
    assert line.got(3) == b"\x1bOA"


def test_composed_text_goes_down_the_line(view: TerminalView, line: SocketLine) -> None:
    QApplication.sendEvent(view, QInputMethodEvent("´", []))
    assert view.composed == "´"
    done = QInputMethodEvent()
    done.setCommitString("é")
    QApplication.sendEvent(view, done)
    assert line.got(2) == "é".encode()
    assert view.composed == ""


def test_answers_go_back_without_the_keyboard(view: TerminalView, line: SocketLine) -> None:
    view.read_only = True
    line.far.sendall(b"\x1b[5n")
    assert line.got(4) == b"\x1b[0n"
    press(view, K.Key_A, M.NoModifier, "a")
    line.far.sendall(b"\x1b[5n")
    assert line.got(4) == b"\x1b[0n"


def test_paste_is_framed_where_asked_for(qtbot: QtBot, view: TerminalView, line: SocketLine) -> None:
    QGuiApplication.clipboard().setText("a\nb\x1b")
    press(view, K.Key_V, CTRL_SHIFT)
    assert line.got(3) == b"a\rb"
    say(qtbot, view, line, b"\x1b[?2004h")
    press(view, K.Key_Insert, M.ShiftModifier)
    assert line.got(15) == b"\x1b[200~a\rb\x1b[201~"


def test_a_long_paste_goes_in_parts_and_in_order(qtbot: QtBot, view: TerminalView, line: SocketLine) -> None:
    text = "".join(f"{number:07}\n" for number in range(10_000))
    view.paste(text)
    press(view, K.Key_X, M.NoModifier, "x")
    got = bytearray()
    line.far.setblocking(False)

    def all_there() -> bool:
        with suppress(BlockingIOError):
            got.extend(line.far.recv(1 << 20))
        return len(got) > len(text)

    qtbot.waitUntil(all_there)
    assert got.decode() == text.replace("\n", "\r") + "x"


def test_a_line_that_takes_nothing_loses_what_is_typed(view: TerminalView, line: SocketLine) -> None:
    line.takes = False
    view.paste("x" * 100_000)
    line.takes = True
    press(view, K.Key_A, M.NoModifier, "a")
    assert line.got(1) == b"a"


def test_focus_is_told_where_asked_for(qtbot: QtBot, view: TerminalView, line: SocketLine) -> None:
    say(qtbot, view, line, b"\x1b[?1004h")
    view.clearFocus()
    assert line.got(3) == b"\x1b[O"
    view.setFocus()
    assert line.got(3) == b"\x1b[I"


def test_a_full_screen_program_gets_the_page_keys(qtbot: QtBot, view: TerminalView, line: SocketLine) -> None:
    say(qtbot, view, line, b"\x1b[?1049h")
    press(view, K.Key_PageUp, M.ShiftModifier)
    assert line.got(6) == b"\x1b[5;2~"
