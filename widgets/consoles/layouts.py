"""Keyboards of guests: which keys make a character, for text that is typed as keys.

A guest gets keys, not characters, and makes characters of them by the layout that is set in it. The tables are those of
X.Org's xkeyboard-config (the usual variant of each), without what only Linux makes with AltGr.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field

from app.consoles.rfb.keysyms import SCANCODES, keysym
from widgets.consoles.keys import Key

CODES = (0x29, *range(0x02, 0x0E), *range(0x10, 0x1C), *range(0x1E, 0x29), 0x2B, 0x56, *range(0x2C, 0x36))
"""The keys with a character on them, row by row, as the strings below go on."""
DEAD = {"ˆ": "\u0302", "ˊ": "\u0301", "ˋ": "\u0300", "¨": "\u0308", "˜": "\u0303"}
"""Dead keys as they stand in the strings, and the accent that each puts on the next letter."""
DEAD_SYMBOLS = {"ˆ": 0xFE52, "ˊ": 0xFE51, "ˋ": 0xFE50, "¨": 0xFE57, "˜": 0xFE53}
ALONE = {"^": "ˆ", "´": "ˊ", "`": "ˋ", "¨": "¨", "~": "˜"}
"""What a dead key makes before a space."""
CONTROLS = {"\n": 0xFF0D, "\r": 0xFF0D, "\t": 0xFF09, "\b": 0xFF08, "\x1b": 0xFF1B}
SHIFT, ALTGR, SPACE = Key(0xFFE1, 0x2A), Key(0xFE03, 0xE038), Key(0x20, 0x39)
Chord = tuple[Key, ...]
"""Keys that go down one after the other and come up in reverse."""


@dataclass(frozen=True)
class Layout:
    """A keyboard: the characters of CODES plain, with Shift and with AltGr; a space where there is none."""

    name: str
    plain: str
    shifted: str
    altgr: str = ""
    _chords: dict[str, Chord] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        for row, held in ((self.plain, ()), (self.shifted, (SHIFT,)), (self.altgr, (ALTGR,))):
            for code, char in zip(CODES, row, strict=False):
                if char != " ":
                    self._chords.setdefault(char, (*held, Key(DEAD_SYMBOLS.get(char) or keysym(char), code)))
        self._chords[" "] = (SPACE,)
        for char, symbol in CONTROLS.items():
            self._chords[char] = (Key(symbol, SCANCODES[symbol]),)

    def typed(self, char: str) -> tuple[Chord, ...]:
        """The chords that make a character, one after the other; none where this keyboard cannot."""
        if char not in DEAD and char in self._chords:
            return (self._chords[char],)
        if char in ALONE and ALONE[char] in self._chords:
            return self._chords[ALONE[char]], (SPACE,)
        letter, *accents = unicodedata.normalize("NFD", char)
        dead = next((mark for mark, accent in DEAD.items() if accents == [accent] and mark in self._chords), "")
        return (self._chords[dead], self._chords[letter]) if dead and letter in self._chords else ()


LAYOUTS = {
    "us": Layout(
        "English (US)",
        "`1234567890-=qwertyuiop[]asdfghjkl;'\\ zxcvbnm,./",
        '~!@#$%^&*()_+QWERTYUIOP{}ASDFGHJKL:"| ZXCVBNM<>?',
    ),
    "gb": Layout(
        "English (UK)",
        "`1234567890-=qwertyuiop[]asdfghjkl;'#\\zxcvbnm,./",
        '¬!"£$%^&*()_+QWERTYUIOP{}ASDFGHJKL:@~|ZXCVBNM<>?',
        '  ²³€                                       µ',
    ),
    "de": Layout(
        "German",
        'ˆ1234567890ßˊqwertzuiopü+asdfghjklöä#<yxcvbnm,.-',
        '°!"§$%&/()=?ˋQWERTZUIOPÜ*ASDFGHJKLÖÄ\'>YXCVBNM;:_',
        '  ²³   {[]}\\ @ €        ~            |      µ',
    ),
    "ch": Layout(
        "German (Swiss)",
        "§1234567890'ˆqwertzuiopü¨asdfghjklöä$<yxcvbnm,.-",
        '°+"*ç%&/()=?ˋQWERTZUIOPè!ASDFGHJKLéà£>YXCVBNM;:_',
        ' |@#     ]}ˊ˜  €       [           { \\      µ',
    ),
    "fr": Layout(
        "French",
        '²&é"\'(-è_çà)=azertyuiopˆ$qsdfghjklmù*<wxcvbn,;:!',
        '~1234567890°+AZERTYUIOP¨£QSDFGHJKLM%µ>WXCVBN?./§',
        '   #{[|`\\^@]}  €',
    ),
    "es": Layout(
        "Spanish",
        "º1234567890'¡qwertyuiopˋ+asdfghjklñˊç<zxcvbnm,.-",
        'ª!"·$%&/()=?¿QWERTYUIOPˆ*ASDFGHJKLÑ¨Ç>ZXCVBNM;:_',
        '\\|@#~  {[]}    €                            µ',
    ),
    "it": Layout(
        "Italian",
        "\\1234567890'ìqwertyuiopè+asdfghjklòàù<zxcvbnm,.-",
        '|!"£$%&/()=?^QWERTYUIOPé*ASDFGHJKLç°§>ZXCVBNM;:_',
        '  ²³   {[]}`~@ €                   #        µ',
    ),
    "se": Layout(
        "Swedish",
        "§1234567890+ˊqwertyuiopå¨asdfghjklöä'<zxcvbnm,.-",
        '½!"#¤%&/()=?ˋQWERTYUIOPÅˆASDFGHJKLÖÄ*>ZXCVBNM;:_',
        '  @ $€ {[]}\\            ˜            |      µ',
    ),
}  # fmt: skip
