"""What a terminal paints: colours, cursor, rows that changed, boxes."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QEvent, QObject
from PySide6.QtGui import (
    QColor,
)
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from app.consoles.terminal import Mode
from tests.widgets.consoles.terminals import K, M, SocketLine, painted, press, say
from widgets import theme
from widgets.consoles import ink
from widgets.consoles.terminal import TerminalView


def test_zoom_changes_the_cells(qtbot: QtBot, view: TerminalView, line: SocketLine) -> None:
    usual = view.cells.width
    press(view, K.Key_Plus, M.ControlModifier)
    press(view, K.Key_Plus, M.ControlModifier)
    press(view, K.Key_Plus, M.ControlModifier)
    assert view.cells.width > usual
    assert line.sizes[-1][0] < 60
    press(view, K.Key_0, M.ControlModifier)
    assert (view.cells.width, line.sizes[-1]) == (usual, (60, 12))


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
