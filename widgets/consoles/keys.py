"""From Qt's key events to what a console understands: keysyms, and scancodes of the PC keyboard.

A scancode is one of XT set 1, with 0xE000 for those that a real keyboard precedes with E0. It names the key, whatever
is printed on it, so that the guest's own layout, its dead keys and its AltGr do what they do on a real machine. A
keysym is the X11 name of what the key means here; servers that take no scancodes go by it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QKeyEvent

from app.consoles.rfb.keysyms import SCANCODES, keysym, stroke

EVDEV = 8
"""X11 and Wayland number the keys as Linux does, eight higher."""
PLAIN = 88
"""Up to here Linux numbers the keys as the first PC did."""
WINDOWS_EXTENDED = 0x100
CTRL_L, ALT_R = 0x1D, 0xE038

MOVING = {keysym: code for keysym, code in SCANCODES.items() if code >= 0xE000} | {0xFF15: 0x54, 0xFF6B: 0xE046}
"""Keys of the upper numbers by keysym: these mean the same on every layout, and X servers do not agree on numbers."""
EVDEV_REST = {
    89: 0x73, 92: 0x79, 93: 0x70, 94: 0x7B, 95: 0x5C, 96: 0xE01C, 97: 0xE01D, 98: 0xE035, 99: 0xE037, 100: 0xE038,
    102: 0xE047, 103: 0xE048, 104: 0xE049, 105: 0xE04B, 106: 0xE04D, 107: 0xE04F, 108: 0xE050, 109: 0xE051, 110: 0xE052,
    111: 0xE053, 113: 0xE020, 114: 0xE02E, 115: 0xE030, 116: 0xE05E, 117: 0x59, 119: 0xE046, 121: 0x7E, 124: 0x7D,
    125: 0xE05B, 126: 0xE05C, 127: 0xE05D, 140: 0xE021, 142: 0xE05F, 158: 0xE06A, 159: 0xE069, 163: 0xE019, 164: 0xE022,
    165: 0xE010, 166: 0xE024, 172: 0xE032, 173: 0xE067, 183: 0x5D, 184: 0x5E, 185: 0x5F,
}  # fmt: skip
"""Linux's further keys (input-event-codes.h)."""
_K = Qt.Key
MEANINGS = {
    _K.Key_Escape: 0xFF1B, _K.Key_Tab: 0xFF09, _K.Key_Backtab: 0xFF09, _K.Key_Backspace: 0xFF08,
    _K.Key_Return: 0xFF0D, _K.Key_Enter: 0xFF8D, _K.Key_Insert: 0xFF63, _K.Key_Delete: 0xFFFF, _K.Key_Pause: 0xFF13,
    _K.Key_Print: 0xFF61, _K.Key_SysReq: 0xFF15, _K.Key_Home: 0xFF50, _K.Key_End: 0xFF57, _K.Key_Left: 0xFF51,
    _K.Key_Up: 0xFF52, _K.Key_Right: 0xFF53, _K.Key_Down: 0xFF54, _K.Key_PageUp: 0xFF55, _K.Key_PageDown: 0xFF56,
    _K.Key_Shift: 0xFFE1, _K.Key_Control: 0xFFE3, _K.Key_Meta: 0xFFEB, _K.Key_Alt: 0xFFE9, _K.Key_AltGr: 0xFE03,
    _K.Key_CapsLock: 0xFFE5, _K.Key_NumLock: 0xFF7F, _K.Key_ScrollLock: 0xFF14, _K.Key_Super_L: 0xFFEB,
    _K.Key_Super_R: 0xFFEC, _K.Key_Menu: 0xFF67,
    **{Qt.Key(_K.Key_F1.value + number): 0xFFBE + number for number in range(24)},
}  # fmt: skip
"""Keysyms where the platform gives none (Windows, macOS)."""


CAPS_LIGHT, NUM_LIGHT = 4, 2
LOCKS = {"xcb": (0x2, 0x10), "wayland": (0x2, 0x10), "windows": (0x100, 0x200)}
"""By window system: which bits of an event's native modifiers are caps lock and num lock."""


class Key(NamedTuple):
    """One key: what it means, and which it is (0: not known)."""

    keysym: int
    scancode: int = 0


class Chord(NamedTuple):
    """Keys that are held together, as a menu names them."""

    name: str
    keys: tuple[Key, ...]


def by_keysym(*symbols: int) -> tuple[Key, ...]:
    return tuple(Key(symbol, SCANCODES[symbol]) for symbol in symbols)


CTRL, ALT, SUPER, TAB = 0xFFE3, 0xFFE9, 0xFFEB, 0xFF09
CHORDS = (
    Chord("Ctrl+Alt+Del", by_keysym(CTRL, ALT, 0xFFFF)),
    Chord("Ctrl+Alt+Backspace", by_keysym(CTRL, ALT, 0xFF08)),
    Chord("Ctrl+Esc", by_keysym(CTRL, 0xFF1B)),
    Chord("Alt+Tab", by_keysym(ALT, TAB)),
    Chord("Alt+F4", by_keysym(ALT, 0xFFC1)),
    Chord("Super", by_keysym(SUPER)),
    Chord("Print screen", by_keysym(0xFF61)),
    Chord("F11", by_keysym(0xFFC8)),
)
"""What desktops, browsers and Causeway itself take for themselves."""
LIGHT_KEYS = {CAPS_LIGHT: by_keysym(0xFFE5), NUM_LIGHT: by_keysym(0xFF7F)}
TERMINALS = tuple(Chord(f"Ctrl+Alt+F{number}", by_keysym(CTRL, ALT, 0xFFBD + number)) for number in range(1, 13))


def key_of(event: QKeyEvent, platform: str | None = None) -> Key:
    """The key of an event. `platform` is Qt's name of the window system (None: the one that runs)."""
    platform = platform or QGuiApplication.platformName()
    number, symbol, scancode = event.nativeScanCode(), 0, 0
    if platform == "xcb" or platform.startswith("wayland"):
        symbol = event.nativeVirtualKey()
        scancode = _of_linux(number - EVDEV, symbol) if number else 0
    elif platform == "windows":
        scancode = (number & 0xFF) | (0xE000 if number & WINDOWS_EXTENDED else 0)
    if not symbol:
        symbol = MEANINGS.get(Qt.Key(event.key()), 0) or _of_text(event)
    return Key(symbol, scancode or SCANCODES.get(symbol, 0) or (stroke(chr(symbol)).scancode if symbol < 0x7F else 0))


def locks(event: QKeyEvent, platform: str | None = None) -> int | None:
    """The desktop's lights when a key was pressed: 2 num lock, 4 caps lock, as screens tell theirs; None: unknown."""
    platform = platform or QGuiApplication.platformName()
    caps, num = LOCKS.get(platform.partition("-")[0], (0, 0))
    state = event.nativeModifiers()
    return (CAPS_LIGHT if state & caps else 0) | (NUM_LIGHT if state & num else 0) if caps else None


def _of_linux(number: int, symbol: int) -> int:
    if 0 < number <= PLAIN:
        return number
    return MOVING.get(symbol) or EVDEV_REST.get(number, 0)


def _of_text(event: QKeyEvent) -> int:
    """The keysym of what a key types. Ctrl+C types a control character: there the letter is in the key."""
    text, key = event.text(), event.key()
    if len(text) == 1 and ord(text) >= 0x20 and ord(text) != 0x7F:
        return keysym(text)
    if 0x20 <= key <= 0xFF:
        upper = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        return keysym(chr(key) if upper else chr(key).lower())
    return 0


class Keyboard:
    """What is held down over there. What goes down comes up again as the same key, whatever happens in between.

    `send` is called with keysym, down, scancode.
    """

    def __init__(self, send: Callable[[int, bool, int], None]) -> None:
        self._send = send
        self._held: dict[int, Key] = {}

    @property
    def held(self) -> tuple[Key, ...]:
        return tuple(self._held.values())

    def on_event(self, event: QKeyEvent, *, down: bool) -> None:
        """Pass a key event on. A key that repeats by itself goes down again and again, and comes up once."""
        ident = event.nativeScanCode() or -event.key()
        if not down:
            if not event.isAutoRepeat():
                self._up(ident)
            return
        pressed = key_of(event)
        if pressed == Key(0):
            return
        if pressed.scancode == ALT_R and QGuiApplication.platformName() == "windows":
            self._drop_windows_ctrl()
        # With Shift let go in between, a key repeats with another meaning: it is still the same key.
        kept = self._held.setdefault(ident, pressed)
        self._send(kept.keysym, True, kept.scancode)

    def release_all(self) -> None:
        """Let go of everything, the last pressed first."""
        for ident in reversed(tuple(self._held)):
            self._up(ident)

    def play(self, keys: tuple[Key, ...]) -> None:
        """Press these one after the other, and let go of them in reverse."""
        for one in keys:
            self._send(one.keysym, True, one.scancode)
        for one in reversed(keys):
            self._send(one.keysym, False, one.scancode)

    def _up(self, ident: int) -> None:
        known = self._held.pop(ident, None)
        if known is not None:
            self._send(known.keysym, False, known.scancode)

    def _drop_windows_ctrl(self) -> None:
        """Windows presses the left Ctrl before each AltGr; no keyboard does."""
        for ident, known in tuple(self._held.items()):
            if known.scancode == CTRL_L:
                self._up(ident)


class Leaving:
    """Ctrl and Alt, pressed and let go with nothing else between: the way out of a console without a mouse."""

    KEYS = frozenset({0x1D, 0xE01D, 0x38})

    def __init__(self) -> None:
        self._armed = False

    def pressed(self, held: tuple[Key, ...]) -> None:
        codes = {key.scancode for key in held}
        self._armed = len(codes) == 2 and codes <= self.KEYS and 0x38 in codes

    def released(self, held: tuple[Key, ...]) -> bool:
        """Whether that was it."""
        armed, self._armed = self._armed, False
        return armed and len(held) == 1

    def forget(self) -> None:
        self._armed = False
