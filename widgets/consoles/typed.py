"""From Qt's key and mouse events to the bytes that a terminal's far side gets."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeyEvent

from app.consoles.terminal import keys
from app.consoles.terminal.keys import Button, Held

_K = Qt.Key
NAMES = {
    _K.Key_Up: "up", _K.Key_Down: "down", _K.Key_Left: "left", _K.Key_Right: "right", _K.Key_Home: "home",
    _K.Key_End: "end", _K.Key_Clear: "begin", _K.Key_Insert: "insert", _K.Key_Delete: "delete",
    _K.Key_PageUp: "pageup", _K.Key_PageDown: "pagedown", _K.Key_Tab: "tab", _K.Key_Backtab: "tab",
    _K.Key_Return: "return", _K.Key_Enter: "return", _K.Key_Escape: "escape", _K.Key_Backspace: "backspace",
    **{Qt.Key(_K.Key_F1.value + number): f"f{number + 1}" for number in range(24)},
}  # fmt: skip
BUTTONS = {
    Qt.MouseButton.LeftButton: Button.LEFT,
    Qt.MouseButton.MiddleButton: Button.MIDDLE,
    Qt.MouseButton.RightButton: Button.RIGHT,
}
_M = Qt.KeyboardModifier


def held(modifiers: Qt.KeyboardModifier) -> Held:
    """Shift, Alt and Ctrl as xterm counts them."""
    found = Held(0)
    for modifier, flag in ((_M.ShiftModifier, Held.SHIFT), (_M.AltModifier, Held.ALT), (_M.ControlModifier, Held.CTRL)):
        if modifiers & modifier:
            found |= flag
    return found


def typed(event: QKeyEvent, modes: frozenset[int]) -> bytes:
    """What a key press sends; b"" for a modifier alone, and for what the input method is still making."""
    mods, text = event.modifiers(), event.text()
    down = held(mods)
    name = NAMES.get(Qt.Key(event.key()))
    if name is not None:
        if event.key() == _K.Key_Backtab:
            down |= Held.SHIFT
        pad = bool(mods & _M.KeypadModifier)
        return keys.key(name, down, modes, keypad=pad)
    if down & Held.CTRL:
        # Ctrl with Alt is AltGr on some platforms: there the text is what the layout makes of it.
        if down & Held.ALT and text and text.isprintable():
            return keys.text(text)
        if text and (ord(text[0]) < 0x20 or text == "\x7f"):
            return keys.text(text, down & Held.ALT)
        if 0x20 <= event.key() <= 0x7E:
            return keys.text(chr(event.key()), down)
    return keys.text(text, down & Held.ALT) if text and mods & _M.MetaModifier == _M.NoModifier else b""
