"""The modes that a program sets (xterm ctlseqs, "DEC Private Mode Set"), by their numbers there."""

from __future__ import annotations

from enum import IntEnum


class Mode(IntEnum):
    """DEC private modes that this terminal has. What is not here is ignored, and reported as unknown (DECRQM)."""

    APPLICATION_CURSOR = 1
    REVERSE = 5
    ORIGIN = 6
    AUTOWRAP = 7
    MOUSE_X10 = 9
    BLINK = 12
    CURSOR = 25
    ALTERNATE_47 = 47
    APPLICATION_KEYPAD = 66
    MOUSE = 1000
    MOUSE_DRAG = 1002
    MOUSE_ALL = 1003
    FOCUS = 1004
    MOUSE_SGR = 1006
    WHEEL_KEYS = 1007
    ALTERNATE_1047 = 1047
    SAVE_CURSOR = 1048
    ALTERNATE = 1049
    PASTE = 2004
    HELD = 2026


KNOWN = frozenset(Mode)
INITIAL = frozenset({Mode.AUTOWRAP, Mode.CURSOR, Mode.WHEEL_KEYS})
MICE = (Mode.MOUSE_X10, Mode.MOUSE, Mode.MOUSE_DRAG, Mode.MOUSE_ALL)
INSERT, NEWLINE = 4, 20
"""ECMA-48 modes: IRM, LNM."""
