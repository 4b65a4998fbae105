"""Operating system commands and device control strings: title, links, clipboard, questions about colours and state."""

from __future__ import annotations

import base64
import binascii

from app.consoles.terminal.screen import Screen
from app.consoles.terminal.style import sgr_of

TITLE = 256
LINK = 2048
CLIPBOARD = 128 * 1024


def system_command(screen: Screen, text: str) -> None:
    """An OSC string without its frame. What is unknown, too long or malformed is ignored."""
    number, _, rest = text.partition(";")
    if number in ("0", "2"):
        screen.title = "".join(letter for letter in rest[:TITLE] if letter.isprintable())
    elif number == "8":
        _, found, link = rest.partition(";")
        if found and len(link) <= LINK:
            screen.set_style(screen.styles.linked(screen.style, link if link.isprintable() else ""))
    elif number in ("10", "11") and rest == "?":
        colour = screen.colours[number == "11"]
        parts = "/".join(f"{colour >> shift & 255:02x}" * 2 for shift in (16, 8, 0))
        screen.reply(f"\x1b]{number};rgb:{parts}\x1b\\")
    elif number == "52":
        _clipboard(screen, rest.partition(";")[2])


def _clipboard(screen: Screen, data: str) -> None:
    """A wish to write the clipboard; to read it is never granted, nor answered."""
    if data in ("", "?"):
        return
    try:
        text = base64.b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError):
        return
    if text and len(text) <= CLIPBOARD:
        screen.clipboard = text


def device_control(screen: Screen, text: str) -> None:
    """DECRQSS for what this terminal has; XTGETTCAP is told that there is nothing; the rest is ignored."""
    if text.startswith("$q"):
        grid = screen.grid
        answers = {
            "m": sgr_of(screen.styles.all[screen.style]),
            "r": f"{grid.top + 1};{grid.bottom + 1}",
            " q": str(screen.cursor_shape),
        }
        found = answers.get(text[2:])
        screen.reply("\x1bP0$r\x1b\\" if found is None else f"\x1bP1$r{found}{text[2:]}\x1b\\")
    elif text.startswith("+q"):
        screen.reply("\x1bP0+r\x1b\\")
