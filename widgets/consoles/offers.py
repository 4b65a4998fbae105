"""The menu of the right mouse button over a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QAction, QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QMenu

from widgets.consoles.mousing import opens
from widgets.icons import dress

if TYPE_CHECKING:
    from collections.abc import Callable

    from widgets.consoles.terminal import TerminalView


def offers(view: TerminalView) -> QMenu:
    """What can be done with the selection, the link under the mouse and the scroll-back."""
    menu = QMenu(view)
    menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    clipboard = QGuiApplication.clipboard()
    address = view.link[0]
    if opens(address):
        _add(menu, "Open link", "external-link", lambda: QDesktopServices.openUrl(QUrl(address)), "Ctrl+click")
        _add(menu, "Copy link", "copy", lambda: clipboard.setText(address))
        menu.addSeparator()
    copy = _add(menu, "Copy", "copy", view.copy, "Ctrl+Shift+C")
    copy.setEnabled(view.selection.span is not None)
    paste = _add(menu, "Paste", "clipboard", lambda: view.paste(clipboard.text()), "Ctrl+Shift+V")
    paste.setEnabled(bool(clipboard.text()) and not view.read_only)
    _add(menu, "Select all", "list-checks", view.select_all)
    menu.addSeparator()
    _add(menu, "Search…", "search", view.finder.open, "Ctrl+Shift+F")
    _add(menu, "Clear the scroll-back", "trash-2", view.clear_history)
    _add(menu, "Reset the terminal", "rotate-ccw", view.reset)
    return menu


def _add(menu: QMenu, words: str, symbol: str, run: Callable[[], object], keys: str = "") -> QAction:
    made = menu.addAction(f"{words}\t{keys}" if keys else words)
    dress(made, symbol)
    made.triggered.connect(lambda: run())
    return made
