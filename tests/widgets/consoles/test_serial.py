"""A serial line in the real window: logged in by keys, flooded, stopped by Ctrl+C, heard again after a break."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from app.consoles import ConsoleKind
from tests.app.consoles.conftest import driver
from tests.widgets.consoles.conftest import opened, running
from tests.widgets.standin import until
from widgets.consoles.panel import Panel
from widgets.consoles.terminal import TerminalView
from widgets.window import Window


async def serial(window: Window) -> tuple[Panel, TerminalView]:
    """The serial line of a running VM, live and asking for a name."""
    ref = running(window.services)
    panel, _ = await opened(window, ref)
    offers = await window.services.consoles.offers(ref)
    panel.choose_console(next(console for console in offers if console.kind == ConsoleKind.SERIAL))
    await until(lambda: panel.terminal_view is not None and "login:" in panel.terminal_view.terminal.display(), 20)
    view = panel.terminal_view
    assert view is not None
    view.setFocus()
    return panel, view


def enter(view: TerminalView, line: str) -> None:
    QTest.keyClicks(view, line)
    QTest.keyClick(view, Qt.Key.Key_Return)


async def test_login_commands_flood_and_ctrl_c(window: Window) -> None:
    _, view = await serial(window)
    enter(view, "root")
    await until(lambda: "Welcome, root" in view.terminal.display(), 10)
    enter(view, "utf8")
    await until(lambda: "äöü € 漢字 e\u0301" in view.terminal.display(), 10)
    enter(view, "flood")
    await until(lambda: view.terminal.view().top > 3000, 20)
    QTest.keyClick(view, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    await until(lambda: "^C" in view.terminal.display(), 20)
    enter(view, "echo still here")
    await until(lambda: "\nstill here" in view.terminal.display(), 10)


async def test_the_line_is_heard_again_after_a_break(window: Window) -> None:
    panel, view = await serial(window)
    assert panel.ref is not None
    driver(window.services, panel.ref.connection)._switchboard.cut(panel.ref)
    await until(lambda: panel.session is not None and panel.session.gap_ms is not None, 20)
    enter(view, "root")
    await until(lambda: "Welcome, root" in view.terminal.display(), 10)
