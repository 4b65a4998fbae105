"""Types text into a guest as keys: paced as a guest can take it, to be stopped at any time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from app.consoles.rfb.keysyms import keysym
from widgets.consoles.keys import Key
from widgets.consoles.layouts import CONTROLS, Chord, Layout

if TYPE_CHECKING:
    from app.consoles import ScreenSession

PACE_S = 0.02
"""Between two characters. A PC keyboard's queue holds 16 bytes, a character with Shift is six of them."""
MOST = 20_000
"""Characters: nobody means to type more."""


def plan(text: str, layout: Layout | None) -> tuple[list[tuple[Chord, ...]], list[str]]:
    """The chords of each character, and the characters that the layout cannot make, each once.

    Without a layout keys go by their meaning: then there is one for every character but control characters.
    """
    typed, cannot = [], []
    for char in text.replace("\r\n", "\n"):
        chords = layout.typed(char) if layout is not None else by_meaning(char)
        if chords:
            typed.append(chords)
        elif char not in cannot:
            cannot.append(char)
    return typed, cannot


def by_meaning(char: str) -> tuple[Chord, ...]:
    """A character as one key, for servers that know no places of keys."""
    symbol = CONTROLS.get(char) or keysym(char)
    return () if symbol < 0x20 or 0x01000000 <= symbol < 0x01000020 else ((Key(symbol),),)


async def type_out(
    session: ScreenSession,
    typed: Sequence[tuple[Chord, ...]],
    progress: Callable[[int], None],
    pace_s: float = PACE_S,
) -> int:
    """Type it; returns how many characters were typed: fewer than asked for where the picture went away meanwhile.

    Cancelling it stops between two characters: nothing stays pressed.
    """
    for number, chords in enumerate(typed):
        if session.client is None:
            return number
        for chord in chords:
            for key in chord:
                session.key(key.keysym, True, key.scancode)
            for key in reversed(chord):
                session.key(key.keysym, False, key.scancode)
        progress(number + 1)
        await asyncio.sleep(pace_s)
    return len(typed)
