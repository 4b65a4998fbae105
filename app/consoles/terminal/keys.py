"""Keys and the mouse as bytes for the far side, as xterm sends them (ctlseqs: "PC-Style Function Keys", "Mouse
Tracking")."""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import IntEnum, IntFlag

from app.consoles.terminal.modes import Mode


class Held(IntFlag):
    """Modifiers, as xterm counts them."""

    SHIFT = 1
    ALT = 2
    CTRL = 4
    META = 8


NONE = Held(0)
_CONTROLS = re.compile("[\0-\x08\x0a-\x0c\x0e-\x1f\x7f-\x9f]")
_LETTERS = {"up": "A", "down": "B", "right": "C", "left": "D", "begin": "E", "end": "F", "home": "H"}
_FIRST = {"f1": "P", "f2": "Q", "f3": "R", "f4": "S"}
_TILDES = {"insert": 2, "delete": 3, "pageup": 5, "pagedown": 6, "f5": 15, "f6": 17, "f7": 18, "f8": 19, "f9": 20,
           "f10": 21, "f11": 23, "f12": 24}  # fmt: skip
_KEYPAD = {"insert": "p", "end": "q", "down": "r", "pagedown": "s", "left": "t", "begin": "u", "right": "v",
           "home": "w", "up": "x", "pageup": "y", "delete": "n"}  # fmt: skip
_CONTROL = {" ": 0, "2": 0, "3": 27, "4": 28, "5": 29, "6": 30, "7": 31, "/": 31, "8": 127, "?": 127}


def key(name: str, held: Held, modes: Collection[int], *, keypad: bool = False) -> bytes:
    """A key that is no character, by its name ("up", "f5", "tab"...). b"" for one that is not known.

    keypad: it is one of the number pad's, with Num Lock off.
    """
    if keypad and not held and Mode.APPLICATION_KEYPAD in modes and name in _KEYPAD:
        return f"\x1bO{_KEYPAD[name]}".encode()
    if name.startswith("f") and name[1:].isdigit() and int(name[1:]) > 12:
        name, held = f"f{int(name[1:]) - 12}", held | Held.SHIFT
    if name in _LETTERS or name in _FIRST:
        letter = _LETTERS.get(name) or _FIRST[name]
        if held:
            return f"\x1b[1;{held + 1}{letter}".encode()
        return f"\x1b{'O' if name in _FIRST or Mode.APPLICATION_CURSOR in modes else '['}{letter}".encode()
    if name in _TILDES:
        return f"\x1b[{_TILDES[name]}{f';{held + 1}' if held else ''}~".encode()
    simple = {"return": b"\r", "escape": b"\x1b", "backspace": b"\b" if held & Held.CTRL else b"\x7f"}.get(name, b"")
    if name == "tab":
        simple = b"\x1b[Z" if held & Held.SHIFT else b"\t"
    return b"\x1b" + simple if simple and held & Held.ALT else simple


def text(typed: str, held: Held = NONE) -> bytes:
    """Characters that were typed; with Ctrl a control character where there is one, with Alt after ESC."""
    data = typed.encode("utf-8", "ignore")
    if held & Held.CTRL and len(typed) == 1:
        letter = typed.upper()
        if letter in _CONTROL:
            data = bytes((_CONTROL[letter],))
        elif "@" <= letter <= "_":
            data = bytes((ord(letter) - 64,))
    return b"\x1b" + data if data and held & Held.ALT else data


def pasted(content: str, modes: Collection[int]) -> bytes:
    """Text from the clipboard: line ends as Return sends them, no other controls, framed where that was asked for."""
    lines = content.replace("\r\n", "\r").replace("\n", "\r")
    data = _CONTROLS.sub("", lines).encode("utf-8", "ignore")
    return b"\x1b[200~" + data + b"\x1b[201~" if Mode.PASTE in modes and data else data


class Button(IntEnum):
    LEFT, MIDDLE, RIGHT, NONE = range(4)
    WHEEL_UP, WHEEL_DOWN, WHEEL_LEFT, WHEEL_RIGHT = range(64, 68)


class Motion(IntEnum):
    PRESS, RELEASE, MOVE = range(3)


def mouse(button: Button, motion: Motion, column: int, row: int, held: Held, modes: Collection[int]) -> bytes:
    """What the mouse did over a cell (from 0), if the program wants to know; b"" where it does not.

    button: for MOVE the one that is held down, or NONE.
    """
    if Mode.MOUSE_X10 in modes:
        wanted, held = motion == Motion.PRESS and button < Button.NONE, NONE
    elif motion != Motion.MOVE:
        wanted = not {Mode.MOUSE, Mode.MOUSE_DRAG, Mode.MOUSE_ALL}.isdisjoint(modes)
    else:
        wanted = Mode.MOUSE_ALL in modes or (Mode.MOUSE_DRAG in modes and button != Button.NONE)
    if not wanted or (motion == Motion.RELEASE and button > Button.NONE):
        return b""
    bits = (held & Held.SHIFT and 4) | (held & Held.ALT and 8) | (held & Held.CTRL and 16)
    code = button | bits | (32 if motion == Motion.MOVE else 0)
    if Mode.MOUSE_SGR in modes:
        return f"\x1b[<{code};{column + 1};{row + 1}{'m' if motion == Motion.RELEASE else 'M'}".encode()
    if motion == Motion.RELEASE:
        code = Button.NONE | bits
    if max(column, row) > 222:
        return b""
    return b"\x1b[M" + bytes((32 + code, 33 + column, 33 + row))
