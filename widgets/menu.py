"""The menu of objects: the commands that can be run on them now, and why not the others."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Protocol

from PySide6.QtCore import QPoint, Qt, QTimer
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QMenu

from backends.model import Kind, Ref
from widgets.commands import Command
from widgets.icons import icon


class Stocked(Protocol):
    """The window, with its commands by their ids. It is a widget, too: menus stand over it."""

    commands: dict[str, Command]


class ObjectMenu:
    """`refs` are what it is open for, None while it is closed."""

    def __init__(self, window: Stocked) -> None:
        self._window = window
        self.refs: list[Ref] | None = None

    def popup(self, at: QPoint, refs: Sequence[Ref]) -> None:
        """Open it at a point of the screen."""
        if not refs:
            return
        self.refs = list(refs)
        kind = "vm" if any(ref.kind == Kind.VM for ref in refs) else "site"
        menu = QMenu(self._window)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.setToolTipsVisible(True)
        found = [command for command in self._window.commands.values() if command.menu == kind]
        for number, (_, part) in enumerate(groupby(found, key=lambda command: command.part)):
            if number:
                menu.addSeparator()
            for command in part:
                _add(menu, command)
        # The choice is triggered after the menu has hidden itself.
        menu.aboutToHide.connect(lambda: QTimer.singleShot(0, self._window, self._forget))
        menu.popup(at)

    def _forget(self) -> None:
        self.refs = None


def _add(menu: QMenu, command: Command) -> None:
    reason = command.why_not()
    # A state that forbids an action hides it; what a site cannot do at all stays, grey, with the reason.
    if reason.startswith("it is ") and command.id.startswith("power."):
        return
    action = QAction(icon(command.icon, "muted"), command.text, menu)
    if command.shortcut:
        action.setShortcut(QKeySequence(command.shortcut))
        action.setShortcutVisibleInContextMenu(True)
    action.setEnabled(not reason)
    action.setToolTip(reason or command.text.rstrip("…"))
    action.triggered.connect(lambda: command.run())
    menu.addAction(action)
