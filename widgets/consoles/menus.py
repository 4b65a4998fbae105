"""The menus of a console."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMenu

from widgets import format as fmt
from widgets.consoles.keys import CHORDS, TERMINALS
from widgets.consoles.kinds import OUTSIDE, SYMBOLS
from widgets.consoles.scaling import Scale
from widgets.consoles.words import is_kept
from widgets.icons import icon

if TYPE_CHECKING:
    from widgets.consoles.panel import Panel


def popup_which(panel: Panel) -> None:
    menu = QMenu(panel)
    menu.setToolTipsVisible(True)
    for console in panel.offers:
        action = QAction(icon(SYMBOLS[console.kind], "muted"), console.label, menu)
        if console.kind in OUTSIDE:
            action.setText(f"{console.label} (external viewer)")
        action.setEnabled(not console.hindrance)
        action.setToolTip(fmt.tip(fmt.sentences(console.hindrance, console.cure) or console.label))
        action.triggered.connect(lambda _=False, console=console: panel.choose_console(console))
        menu.addAction(action)
    if not panel.offers:
        menu.addAction("Its site does not say which consoles there are").setEnabled(False)
    menu.addSeparator()
    ssh = menu.addAction(icon("terminal", "muted"), "SSH to the guest…", panel.choose_ssh)
    vm = panel.services.inventory.vm(panel.ref) if panel.ref is not None else None
    if vm is None or not vm.addresses:
        ssh.setEnabled(False)
        ssh.setToolTip("Its address is not known: start the guest agent in it")
    menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    menu.popup(panel.bar.which.mapToGlobal(QPoint(0, panel.bar.which.height() + 2)))


def keys_menu(panel: Panel) -> QMenu:
    menu = QMenu("Send keys", panel)
    for chord in CHORDS:
        menu.addAction(chord.name, lambda chord=chord: panel.play(chord))
    menu.addSeparator()
    for chord in TERMINALS:
        menu.addAction(chord.name, lambda chord=chord: panel.play(chord))
    menu.setEnabled(panel.screen_view is not None and panel.screen_view.takes_input)
    return menu


def more_menu(panel: Panel) -> QMenu:
    """All of it, also what has no room in the bar."""
    menu = QMenu(panel)
    screen = panel.screen_view is not None
    if screen:
        menu.addMenu(keys_menu(panel))
        menu.addMenu(panel.shots.menu())
        menu.addAction(icon("clipboard-type", "muted"), "Type the clipboard as keys", panel.typing.begin)
        _checked(menu, "View only", panel.settings.view_only, panel.toggle_view_only)
        _checked(menu, "Real size, 1:1", panel.settings.scale == Scale.REAL, panel.toggle_scale)
        menu.addSeparator()
    if is_kept(panel):
        menu.addAction(icon("refresh-cw", "muted"), "Ask for the output again", panel.ask_again)
    for symbol, text, what in (
        ("maximize", "Full screen", "full"),
        ("app-window", "Move to a window, or back to its tab", "window"),
        ("columns-2", "Another console beside it…", "beside"),
    ):
        menu.addAction(icon(symbol, "muted"), text, lambda what=what: panel.wanted.emit(what))
    if screen:
        _checked(menu, "Settings", panel.side.isVisible(), panel.toggle_side)
    return menu


def _checked(menu: QMenu, text: str, on: bool, run: Callable[[], None]) -> None:
    action = menu.addAction(text)
    action.setCheckable(True)
    action.setChecked(on)
    action.triggered.connect(lambda _: run())
