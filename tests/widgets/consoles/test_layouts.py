"""Keyboards of guests: the tables against X.Org's own, and text as the keys that make it."""

from __future__ import annotations

import ctypes
import string
from collections.abc import Callable

import pytest

from app.consoles.rfb.keysyms import keysym
from widgets.consoles.keys import Key
from widgets.consoles.layouts import CODES, DEAD_SYMBOLS, LAYOUTS
from widgets.consoles.typist import plan

EVDEV = 8


class Names(ctypes.Structure):
    _fields_ = [(name, ctypes.c_char_p) for name in ("rules", "model", "layout", "variant", "options")]


def xkb(layout: str) -> Callable[[int, int], int]:
    """What libxkbcommon says: the keysym of a key by its number and level (0 plain, 1 Shift, 2 AltGr)."""
    library = ctypes.CDLL("libxkbcommon.so.0")
    library.xkb_context_new.restype = library.xkb_keymap_new_from_names.restype = ctypes.c_void_p
    library.xkb_keymap_new_from_names.argtypes = [ctypes.c_void_p, ctypes.POINTER(Names), ctypes.c_int]
    found = ctypes.POINTER(ctypes.c_uint32)()
    library.xkb_keymap_key_get_syms_by_level.argtypes = [ctypes.c_void_p, *[ctypes.c_uint32] * 3, ctypes.c_void_p]
    names = Names(b"evdev", b"pc105", layout.encode(), b"", b"")
    keymap = library.xkb_keymap_new_from_names(library.xkb_context_new(0), ctypes.byref(names), 0)
    assert keymap

    def symbol(code: int, level: int) -> int:
        asked = (keymap, code + EVDEV, 0, level, ctypes.byref(found))
        return int(found[0]) if library.xkb_keymap_key_get_syms_by_level(*asked) else 0

    library.xkb_keysym_to_utf32.restype = ctypes.c_uint32
    return lambda code, level: normal(library, symbol(code, level))


def normal(library: ctypes.CDLL, symbol: int) -> int:
    """Keysyms have several names for one character: as `keysym` writes it."""
    char = library.xkb_keysym_to_utf32(ctypes.c_uint32(symbol))
    return keysym(chr(char)) if char >= 0x20 else symbol


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_a_layout_is_as_xorg_has_it(name: str) -> None:
    truth, layout = xkb(name), LAYOUTS[name]
    for level, row in enumerate((layout.plain, layout.shifted, layout.altgr)):
        for code, char in zip(CODES, row, strict=False):
            if char != " ":
                assert truth(code, level) == (DEAD_SYMBOLS.get(char) or keysym(char)), (hex(code), level, char)


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_every_layout_makes_all_of_ascii(name: str) -> None:
    typed, cannot = plan(string.printable.replace("\x0b", "").replace("\x0c", ""), LAYOUTS[name])
    assert cannot == []
    assert len(typed) == len(string.printable) - 2


def test_shift_altgr_and_dead_keys() -> None:
    german = LAYOUTS["de"]
    assert german.typed("z") == ((Key(ord("z"), 0x15),),)
    assert german.typed("Z") == ((Key(0xFFE1, 0x2A), Key(ord("Z"), 0x15)),)
    assert german.typed("@") == ((Key(0xFE03, 0xE038), Key(ord("@"), 0x10)),)
    assert german.typed("ê") == ((Key(0xFE52, 0x29),), (Key(ord("e"), 0x12),))
    assert german.typed("^") == ((Key(0xFE52, 0x29),), (Key(0x20, 0x39),))
    assert LAYOUTS["us"].typed("ê") == ()


def test_what_cannot_be_typed_is_named_once() -> None:
    typed, cannot = plan("aéb é\r\nc→", LAYOUTS["us"])
    assert cannot == ["é", "→"]
    assert len(typed) == 5
    assert typed[3] == ((Key(0xFF0D, 0x1C),),)


def test_by_meaning_every_character_has_a_key() -> None:
    typed, cannot = plan("é→\n\x07", None)
    assert typed == [((Key(0xE9),),), ((Key(0x01002192),),), ((Key(0xFF0D),),)]
    assert cannot == ["\x07"]
