"""Which keys are the window's, which do something in the terminal's view; all others go down the line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QKeyEvent

if TYPE_CHECKING:
    from app.consoles.terminal import View
    from widgets.consoles.find import Find

_K, _M = Qt.Key, Qt.KeyboardModifier
COPY, PASTE, FIND = _K.Key_C, _K.Key_V, _K.Key_F


class Keyed(Protocol):
    """The terminal's view, as far as its keys reach."""

    shown: View
    finder: Find

    def copy(self) -> None: ...

    def paste(self, text: str) -> None: ...

    def zoom(self, steps: int) -> None: ...

    def scroll_to(self, start: int) -> None: ...


def takes(event: QKeyEvent) -> bool:
    """Whether a key is the terminal's, though the window may have a shortcut on it."""
    key, mods = event.key(), event.modifiers()
    if key in (_K.Key_F11, _K.Key_Tab, _K.Key_Backtab) and (key == _K.Key_F11 or mods & _M.ControlModifier):
        return False
    if mods & _M.ControlModifier and mods & _M.ShiftModifier:
        return key in (COPY, PASTE, FIND, _K.Key_Plus)
    return True


def done_here(view: Keyed, event: QKeyEvent) -> bool:
    """Do what a key of the terminal itself asks for. False where it is none."""
    key, mods = event.key(), event.modifiers() & ~_M.KeypadModifier
    both = _M.ControlModifier | _M.ShiftModifier
    page = view.shown.height - 1
    if (mods == both and key == COPY) or (mods == _M.ControlModifier and key == _K.Key_Insert):
        view.copy()
    elif (mods == both and key == PASTE) or (mods == _M.ShiftModifier and key == _K.Key_Insert):
        view.paste(QGuiApplication.clipboard().text())
    elif mods == both and key == FIND:
        view.finder.open()
    elif mods & _M.ControlModifier and key in (_K.Key_Plus, _K.Key_Equal):
        view.zoom(1)
    elif mods == _M.ControlModifier and key in (_K.Key_Minus, _K.Key_0):
        view.zoom(-1 if key == _K.Key_Minus else 0)
    elif view.shown.on_alternate:
        return False
    elif mods == _M.ShiftModifier and key in (_K.Key_PageUp, _K.Key_PageDown):
        view.scroll_to(view.shown.start + (page if key == _K.Key_PageDown else -page))
    elif mods == _M.ShiftModifier and key in (_K.Key_Home, _K.Key_End):
        view.scroll_to(view.shown.first if key == _K.Key_Home else view.shown.top)
    else:
        return False
    return True
