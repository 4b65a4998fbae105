"""Single controls, and escape sequences that are no control sequences."""

from __future__ import annotations

from collections.abc import Callable

from app.consoles.terminal.modes import Mode
from app.consoles.terminal.screen import Screen


def control(screen: Screen, character: str) -> None:
    """A C0 control. C1 controls (as characters) are ignored, as is what has no meaning here."""
    grid = screen.grid
    if character in "\n\v\f":
        screen.index()
        if screen.newline:
            grid.x = 0
    elif character == "\r":
        grid.x = 0
    elif character == "\b":
        grid.x = max(0, min(grid.x, screen.cols - 1) - 1)
    elif character == "\t":
        screen.tab(1)
    elif character == "\a":
        screen.bells += 1
    elif character == "\x0e":
        screen.shift_to(1)
    elif character == "\x0f":
        screen.shift_to(0)


def _next_line(screen: Screen) -> None:
    screen.grid.x = 0
    screen.index()


def _set_tab(screen: Screen) -> None:
    screen.tabs.add(min(screen.grid.x, screen.cols - 1))


def _keypad(on: bool) -> Callable[[Screen], None]:
    return lambda screen: screen.set_mode(Mode.APPLICATION_KEYPAD, on)


def _designate(slot: int, name: str) -> Callable[[Screen], None]:
    return lambda screen: screen.charset(slot, name)


ESCAPES: dict[str, Callable[[Screen], None]] = {
    "D": Screen.index,
    "M": Screen.reverse_index,
    "E": _next_line,
    "H": _set_tab,
    "7": Screen.save_cursor,
    "8": Screen.restore_cursor,
    "c": Screen.reset,
    "=": _keypad(True),
    ">": _keypad(False),
    "#8": Screen.aligned,
    "n": lambda screen: screen.shift_to(2),
    "o": lambda screen: screen.shift_to(3),
}
ESCAPES |= {slot + name: _designate("()*+".index(slot), name) for slot in "()*+" for name in "0AB12"}
