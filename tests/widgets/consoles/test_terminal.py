"""The terminal on the screen, over a line that is a socket pair: keys go out, what comes is shown."""

from __future__ import annotations

from PySide6.QtGui import (
    QGuiApplication,
)
from pytestqt.qtbot import QtBot

from app.consoles.terminal import Span
from tests.widgets.consoles.terminals import CTRL_SHIFT, K, M, SocketLine, at, press, say
from widgets.consoles.offers import offers
from widgets.consoles.terminal import TerminalView


def test_what_the_line_says_is_shown_and_its_size_is_told(qtbot: QtBot, view: TerminalView, line: SocketLine) -> None:
    say(qtbot, view, line, b"login: ")
    assert view.terminal.display().startswith("login:")
    assert view.shown.rows[0][0] == "login: "
    assert line.sizes[-1] == (60, 12)
    view.resize(view.width() - 20 * round(view.cells.width), view.height())
    qtbot.waitUntil(lambda: line.sizes[-1] == (40, 12))


def test_search_counts_goes_up_and_down_and_follows_new_text(
    qtbot: QtBot, view: TerminalView, line: SocketLine
) -> None:
    say(
        qtbot, view, line, b"".join(b"row %d%s\r\n" % (number, b" hit" * (number % 100 == 0)) for number in range(1000))
    )
    press(view, K.Key_F, CTRL_SHIFT)
    finder = view.finder
    assert finder.isVisible()
    qtbot.keyClicks(finder.edit, "hit")
    qtbot.waitUntil(lambda: finder.count.text() == "1 of 10")
    assert view.shown.start <= 900 < view.shown.start + 12
    qtbot.keyClick(finder.edit, K.Key_Return)
    assert (finder.count.text(), finder.current) == ("2 of 10", Span((800, 8), (800, 11)))
    qtbot.keyClick(finder.edit, K.Key_Return, M.ShiftModifier)
    qtbot.keyClick(finder.edit, K.Key_Return, M.ShiftModifier)
    assert finder.count.text() == "10 of 10"
    say(qtbot, view, line, b"another hit\r\n")
    assert finder.count.text() == "11 of 11"
    qtbot.keyClick(finder.edit, K.Key_Escape)
    assert not finder.isVisible()
    assert view.hasFocus()


def test_nothing_found_is_said(qtbot: QtBot, view: TerminalView, line: SocketLine) -> None:
    say(qtbot, view, line, b"text")
    view.finder.open()
    qtbot.keyClicks(view.finder.edit, "absent")
    qtbot.waitUntil(lambda: view.finder.count.text() == "nothing found")


def test_the_clipboard_is_filled_only_when_allowed(qtbot: QtBot, view: TerminalView, line: SocketLine) -> None:
    QGuiApplication.clipboard().setText("mine")
    say(qtbot, view, line, b"\x1b]52;c;dGhlaXJz\x07")
    assert view.asking.isVisible()
    assert "theirs" in view.asking.words.text()
    assert QGuiApplication.clipboard().text() == "mine"
    view.asking.allow.click()
    assert QGuiApplication.clipboard().text() == "theirs"
    assert not view.asking.isVisible()


def test_title_and_bell_are_told(qtbot: QtBot, view: TerminalView, line: SocketLine) -> None:
    with qtbot.waitSignals([view.title_changed, view.rang]):
        line.far.sendall(b"\x1b]0;web-01\x07\x07")
    assert view.shown.title == "web-01"


def test_another_line_is_heard_and_the_old_one_is_not(qtbot: QtBot, view: TerminalView, line: SocketLine) -> None:
    say(qtbot, view, line, b"before")
    other = SocketLine()
    view.attach(other)
    other.far.sendall(b" after")
    qtbot.waitUntil(lambda: view.shown.rows[0][0] == "before after")
    press(view, K.Key_A, M.NoModifier, "a")
    assert other.got(1) == b"a"
    view.attach(None)
    other.close()


def test_it_has_a_name_and_text_for_those_who_cannot_see_it(qtbot: QtBot, view: TerminalView, line: SocketLine) -> None:
    say(qtbot, view, line, b"login: root")
    view.speak()
    assert view.accessibleName() == "Terminal"
    assert view.accessibleDescription() == "login: root"


def test_the_menu_offers_what_can_be_done(qtbot: QtBot, view: TerminalView, line: SocketLine) -> None:
    def words() -> dict[str, bool]:
        menu = offers(view)
        found = {action.text().partition("\t")[0]: action.isEnabled() for action in menu.actions() if action.text()}
        menu.deleteLater()
        return found

    say(qtbot, view, line, b"row\r\n" * 50 + b"https://example.org/x")
    assert not words()["Copy"]
    assert "Open link" not in words()
    view.select_all()
    qtbot.mouseMove(view.viewport(), at(view, 3, 11))
    assert words()["Copy"]
    assert words()["Open link"]
    view.clear_history()
    assert view.shown.first == view.shown.top
    assert view.selection.span is None
    line.far.sendall(b"\x1b[?1000h")
    view.reset()
    assert view.terminal.display().strip() == ""
