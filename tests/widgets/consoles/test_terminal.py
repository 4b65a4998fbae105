"""The terminal on the screen, over a line that is a socket pair: keys go out, what comes is shown."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

import pytest
from PySide6.QtCore import QEvent, QObject, QPoint, QPointF, Qt, QUrl, Slot
from PySide6.QtGui import (
    QColor,
    QDesktopServices,
    QGuiApplication,
    QInputMethodEvent,
    QKeyEvent,
    QMouseEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from app.consoles.loop import ConsoleLoop
from app.consoles.terminal import Mode, Span
from widgets import theme
from widgets.consoles import ink
from widgets.consoles.offers import offers
from widgets.consoles.terminal import TerminalView

K, M, B = Qt.Key, Qt.KeyboardModifier, Qt.MouseButton
CTRL_SHIFT = M.ControlModifier | M.ShiftModifier


class SocketLine:
    """A line as LineSession is one, over a socket; `far` is the program's end."""

    def __init__(self) -> None:
        self.loop = ConsoleLoop()
        self._near, self.far = socket.socketpair()
        self._near.setblocking(False)
        self.far.settimeout(30)
        self.sizes: list[tuple[int, int]] = []
        self.takes = True

    def attach(self, feed: Callable[[bytes], Awaitable[object] | None]) -> Callable[[], None]:
        reading = self.loop.run(self._read(feed))
        return lambda: reading.cancel() and None

    async def _read(self, feed: Callable[[bytes], Awaitable[object] | None]) -> None:
        while data := await asyncio.get_running_loop().sock_recv(self._near, 65536):
            taking = feed(data)
            if taking is not None:
                await taking

    def write(self, data: bytes) -> bool:
        if self.takes:
            self._near.setblocking(True)
            self._near.sendall(data)
            self._near.setblocking(False)
        return self.takes

    def resize(self, columns: int, rows: int) -> None:
        self.sizes.append((columns, rows))

    def got(self, count: int) -> bytes:
        """The next bytes at the far end."""
        data = b""
        while len(data) < count:
            data += self.far.recv(count - len(data))
        return data

    def close(self) -> None:
        asyncio.run(self.loop.close())
        self._near.close()
        self.far.close()


@pytest.fixture
def line() -> Iterator[SocketLine]:
    made = SocketLine()
    yield made
    made.close()


@pytest.fixture
def view(qtbot: QtBot, qapp: QApplication, line: SocketLine) -> TerminalView:
    """A terminal of 60 x 12 that has the keyboard."""
    theme.apply(qapp, theme.Mode.LIGHT)
    made = TerminalView()
    qtbot.addWidget(made)
    cells = made.cells
    made.resize(round(60.5 * cells.width) + 12 + made.verticalScrollBar().sizeHint().width(),
                round(12.5 * cells.height) + 12)  # fmt: skip
    made.show()
    made.attach(line)
    made.activateWindow()
    made.setFocus()
    qtbot.waitUntil(lambda: made.terminal.size[1] == 12)
    assert made.terminal.size[0] == 60
    return made


def say(qtbot: QtBot, view: TerminalView, line: SocketLine, data: bytes) -> None:
    """Have the program say something, and wait until it is shown."""
    line.far.sendall(data + b"\x1b]2;%d\x07" % id(data))
    qtbot.waitUntil(lambda: view.shown.title == str(id(data)))


def at(view: TerminalView, column: float, row: float) -> QPoint:
    """The middle of a cell."""
    return QPointF(6 + (column + 0.5) * view.cells.width, 6 + (row + 0.5) * view.cells.height).toPoint()


def click(view: TerminalView, where: QPoint, times: int) -> None:
    """As quickly as a hand does: QTest waits between clicks."""
    for number in range(times):
        for kind in (QEvent.Type.MouseButtonPress, QEvent.Type.MouseButtonRelease):
            event = QMouseEvent(kind, QPointF(where), QPointF(where), B.LeftButton, B.LeftButton, M.NoModifier)
            event.setTimestamp(1_000_000 * times + 100 * number)
            QApplication.sendEvent(view.viewport(), event)


def press(view: TerminalView, key: Qt.Key, mods: Qt.KeyboardModifier = M.NoModifier, text: str = "") -> None:
    QApplication.sendEvent(view, QKeyEvent(QEvent.Type.KeyPress, key, mods, text))


def test_what_the_line_says_is_shown_and_its_size_is_told(qtbot: QtBot, view: TerminalView, line: SocketLine) -> None:
    say(qtbot, view, line, b"login: ")
    assert view.terminal.display().startswith("login:")
    assert view.shown.rows[0][0] == "login: "
    assert line.sizes[-1] == (60, 12)
    view.resize(view.width() - 20 * round(view.cells.width), view.height())
    qtbot.waitUntil(lambda: line.sizes[-1] == (40, 12))


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


def wheel(view: TerminalView, steps: int, mods: Qt.KeyboardModifier = M.NoModifier) -> None:
    where = QPointF(at(view, 3, 2))
    event = QWheelEvent(
        where, where, QPoint(), QPoint(0, 120 * steps), B.NoButton, mods, Qt.ScrollPhase.NoScrollPhase, False
    )
    QApplication.sendEvent(view.viewport(), event)


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


def test_focus_is_told_where_asked_for(qtbot: QtBot, view: TerminalView, line: SocketLine) -> None:
    say(qtbot, view, line, b"\x1b[?1004h")
    view.clearFocus()
    assert line.got(3) == b"\x1b[O"
    view.setFocus()
    assert line.got(3) == b"\x1b[I"


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


def test_zoom_changes_the_cells(qtbot: QtBot, view: TerminalView, line: SocketLine) -> None:
    usual = view.cells.width
    press(view, K.Key_Plus, M.ControlModifier)
    press(view, K.Key_Plus, M.ControlModifier)
    press(view, K.Key_Plus, M.ControlModifier)
    assert view.cells.width > usual
    assert line.sizes[-1][0] < 60
    press(view, K.Key_0, M.ControlModifier)
    assert (view.cells.width, line.sizes[-1]) == (usual, (60, 12))


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


def painted(view: TerminalView) -> set[int]:
    """The colours of the first row."""
    image = view.viewport().grab().toImage()
    scale = view.devicePixelRatioF()
    rows = range(round(6 * scale), round((6 + view.cells.height) * scale))
    return {image.pixel(x, y) & 0xFFFFFF for y in rows for x in range(round(60 * view.cells.width * scale))}


def test_colours_are_painted(qtbot: QtBot, view: TerminalView, line: SocketLine) -> None:
    say(qtbot, view, line, b"\x1b[?25l\x1b[41m  \x1b[48;2;1;2;3m  \x1b[m\xe2\x96\x88\x1b[8;38;2;9;9;9m\xe2\x96\x88")
    colours = painted(view)
    tokens = theme.tokens()
    assert {view.ink.palette[1], 0x010203, int(tokens.text[1:], 16), int(tokens.pane[1:], 16)} <= colours
    assert 0x090909 not in colours


def test_the_cursor_has_its_shapes(qtbot: QtBot, view: TerminalView, line: SocketLine) -> None:
    ground = int(theme.tokens().pane[1:], 16)
    say(qtbot, view, line, b"\x1b[2 q")
    assert len(painted(view)) > 1
    say(qtbot, view, line, b"\x1b[?25l")
    assert painted(view) == {ground}
    for shape in (4, 6):
        say(qtbot, view, line, b"\x1b[?25h\x1b[%d q" % shape)
        assert len(painted(view)) > 1


def test_only_rows_that_changed_are_painted(qtbot: QtBot, view: TerminalView, line: SocketLine) -> None:
    say(qtbot, view, line, b"\x1b[?25l" + b"row\r\n" * 10)
    areas: list[int] = []

    class Watch(QObject):
        def eventFilter(self, watched: QObject, event: QEvent) -> bool:
            if event.type() == QEvent.Type.Paint and isinstance(watched, QWidget):
                areas.append(event.region().boundingRect().height())  # type: ignore[attr-defined]
            return False

    watch = Watch()
    view.repaint()
    view.viewport().installEventFilter(watch)
    say(qtbot, view, line, b"\x1b[5;1Hchanged")
    with qtbot.waitSignal(view.painted):
        view.viewport().update(0, 0, 1, 1)
    assert areas
    assert max(areas) < 6 * view.cells.height
    view.viewport().removeEventFilter(watch)


def test_colours_follow_the_theme_and_are_told(
    qtbot: QtBot, qapp: QApplication, view: TerminalView, line: SocketLine
) -> None:
    theme.apply(qapp, theme.Mode.DARK)
    line.far.sendall(b"\x1b]11;?\x07")
    pane = theme.tokens().pane[1:]
    wanted = f"\x1b]11;rgb:{pane[:2] * 2}/{pane[2:4] * 2}/{pane[4:] * 2}\x1b\\".encode()
    assert line.got(len(wanted)) == wanted
    theme.apply(qapp, theme.Mode.LIGHT)


@pytest.mark.parametrize("dark", [False, True])
def test_text_is_legible_on_any_ground(dark: bool) -> None:
    colours = ink.palette(dark)
    paper = int((theme.DARK if dark else theme.LIGHT).pane[1:], 16)
    for colour in (1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14):
        assert ink.contrast(colours[colour], paper) >= ink.CONTRAST, colour
    for ground in colours[:16]:
        for colour in colours[:16]:
            assert ink.contrast(ink.legible(colour, ground), ground) >= ink.CONTRAST
    assert ink.legible(colours[1], paper) == colours[1]
    assert len(colours) == 256
    assert colours[196] == 0xFF0000


def test_boxes_reach_the_edges_of_their_cells(qtbot: QtBot, view: TerminalView, line: SocketLine) -> None:
    say(qtbot, view, line, "\x1b[?25l──────\r\n│\r\n│".encode())
    image = view.viewport().grab().toImage()
    ground = QColor(theme.tokens().pane).rgb()
    width, height = round(6 * view.cells.width), round(view.cells.height)
    rows = [y for y in range(6, 6 + height) if all(image.pixel(x, y) != ground for x in range(6, 6 + width))]
    assert rows
    columns = range(6, 6 + round(view.cells.width))
    tall = range(6 + height, 6 + 3 * height)
    assert any(all(image.pixel(x, y) != ground for y in tall) for x in columns)


def test_a_program_that_holds_its_picture_is_waited_for(qtbot: QtBot, view: TerminalView, line: SocketLine) -> None:
    say(qtbot, view, line, b"old")
    line.far.sendall(b"\x1b[?2026h\r\x1b[Knew")
    qtbot.waitUntil(lambda: Mode.HELD in view.terminal.modes)
    view.refresh()
    assert view.shown.rows[0][0] == "old"
    qtbot.waitUntil(lambda: view.shown.rows[0][0] == "new")


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


def test_a_full_screen_program_gets_the_page_keys(qtbot: QtBot, view: TerminalView, line: SocketLine) -> None:
    say(qtbot, view, line, b"\x1b[?1049h")
    press(view, K.Key_PageUp, M.ShiftModifier)
    assert line.got(6) == b"\x1b[5;2~"
