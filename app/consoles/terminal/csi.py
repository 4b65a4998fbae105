"""Control sequences by prefix, intermediate and final character (ECMA-48 8.3, xterm ctlseqs)."""

from __future__ import annotations

from collections.abc import Callable

from app.consoles.terminal.modes import INSERT, KNOWN, NEWLINE, Mode
from app.consoles.terminal.screen import TAB, TITLES, Screen
from app.consoles.terminal.style import numbers

Act = Callable[[Screen, str], None]
NAME = "Causeway"


def _counted(act: Callable[[Screen, int], None]) -> Act:
    """For sequences with one count that is 1 when missing or 0."""
    return lambda screen, parameters: act(screen, numbers(parameters)[0] or 1)


def _vertical(screen: Screen, rows: int) -> None:
    """Cursor up or down, held by the region if it was inside."""
    grid = screen.grid
    grid.x = min(grid.x, screen.cols - 1)
    if rows < 0:
        grid.y = max(grid.y + rows, grid.top if grid.y >= grid.top else 0)
    else:
        grid.y = min(grid.y + rows, grid.bottom if grid.y <= grid.bottom else grid.height - 1)


def _horizontal(screen: Screen, cells: int) -> None:
    grid = screen.grid
    grid.x = min(max(min(grid.x, screen.cols - 1) + cells, 0), screen.cols - 1)


def _start_of(screen: Screen, rows: int) -> None:
    _vertical(screen, rows)
    screen.grid.x = 0


def _position(screen: Screen, parameters: str) -> None:
    found = numbers(parameters)
    screen.move((found[1] if len(found) > 1 else 1) - 1, found[0] - 1)


def _column(screen: Screen, column: int) -> None:
    screen.grid.x = min(column, screen.cols) - 1


def _row(screen: Screen, row: int) -> None:
    screen.move(min(screen.grid.x, screen.cols - 1), row - 1)


def _erase_display(screen: Screen, parameters: str) -> None:
    what, grid = numbers(parameters)[0], screen.grid
    x = grid.x = min(grid.x, screen.cols - 1)
    if what == 0:
        grid.erase(grid.y, x, screen.cols)
        grid.erase_rows(grid.y + 1, grid.height)
    elif what == 1:
        grid.erase_rows(0, grid.y)
        grid.erase(grid.y, 0, x + 1)
    elif what == 2:
        grid.erase_rows(0, grid.height)
    elif what == 3:
        screen.history.clear()


def _erase_line(screen: Screen, parameters: str) -> None:
    what, grid = numbers(parameters)[0], screen.grid
    x = grid.x = min(grid.x, screen.cols - 1)
    if what <= 2:
        grid.erase(grid.y, 0 if what else x, x + 1 if what == 1 else screen.cols)


def _erase_cells(screen: Screen, count: int) -> None:
    grid = screen.grid
    x = grid.x = min(grid.x, screen.cols - 1)
    grid.erase(grid.y, x, min(x + count, screen.cols))


def _insert_cells(screen: Screen, count: int) -> None:
    screen.grid.x = min(screen.grid.x, screen.cols - 1)
    screen.grid.push_right(count)


def _delete_cells(screen: Screen, count: int) -> None:
    screen.grid.x = min(screen.grid.x, screen.cols - 1)
    screen.grid.pull_left(count)


def _insert_lines(screen: Screen, count: int) -> None:
    grid = screen.grid
    if grid.top <= grid.y <= grid.bottom:
        grid.insert_rows(grid.y, count)
        grid.x = 0


def _delete_lines(screen: Screen, count: int) -> None:
    grid = screen.grid
    if grid.top <= grid.y <= grid.bottom:
        grid.delete_rows(grid.y, count)
        grid.x = 0


def _repeat(screen: Screen, count: int) -> None:
    """REP, for one row's length at most."""
    if screen.last:
        table, screen.table = screen.table, None
        screen.print(screen.last * min(count, screen.cols))
        screen.table = table


def _region(screen: Screen, parameters: str) -> None:
    found, grid = numbers(parameters), screen.grid
    top = max(found[0], 1) - 1
    bottom = min(found[1] if len(found) > 1 and found[1] else grid.height, grid.height) - 1
    if top < bottom:
        grid.top, grid.bottom = top, bottom
        screen.move(0, 0)


def _clear_tabs(screen: Screen, parameters: str) -> None:
    what = numbers(parameters)[0]
    if what == 0:
        screen.tabs.discard(screen.grid.x)
    elif what == 3:
        screen.tabs.clear()


def _usual_tabs(screen: Screen, parameters: str) -> None:
    """DECST8C."""
    if parameters == "5":
        screen.tabs = set(range(0, screen.cols, TAB))


def _modes(on: bool) -> Act:
    def act(screen: Screen, parameters: str) -> None:
        for mode in numbers(parameters):
            if mode == INSERT:
                screen.insert = on
            elif mode == NEWLINE:
                screen.newline = on

    return act


def _private_modes(on: bool) -> Act:
    def act(screen: Screen, parameters: str) -> None:
        for mode in numbers(parameters):
            screen.set_mode(mode, on)

    return act


def _status(screen: Screen, parameters: str) -> None:
    what = numbers(parameters)[0]
    if what == 5:
        screen.reply("\x1b[0n")
    elif what == 6:
        screen.reply(f"\x1b[{_place(screen)}R")


def _place(screen: Screen) -> str:
    grid = screen.grid
    row = grid.y - (grid.top if Mode.ORIGIN in screen.modes else 0)
    return f"{row + 1};{min(grid.x, screen.cols - 1) + 1}"


def _private_status(screen: Screen, parameters: str) -> None:
    if numbers(parameters)[0] == 6:
        screen.reply(f"\x1b[?{_place(screen)};1R")


def _ask_mode(screen: Screen, parameters: str) -> None:
    mode = numbers(parameters)[0]
    value = {INSERT: screen.insert, NEWLINE: screen.newline}.get(mode)
    screen.reply(f"\x1b[{mode};{0 if value is None else 1 if value else 2}$y")


def _ask_private_mode(screen: Screen, parameters: str) -> None:
    mode = numbers(parameters)[0]
    if mode in (Mode.ALTERNATE_47, Mode.ALTERNATE_1047, Mode.ALTERNATE):
        value = 1 if screen.grid is screen.alternate else 2
    elif mode == Mode.SAVE_CURSOR or mode not in KNOWN:
        value = 0
    else:
        value = 1 if mode in screen.modes else 2
    screen.reply(f"\x1b[?{mode};{value}$y")


def _attributes(reply: str) -> Act:
    def act(screen: Screen, parameters: str) -> None:
        if parameters in ("", "0"):
            screen.reply(reply)

    return act


def _window(screen: Screen, parameters: str) -> None:
    """XTWINOPS: only the size in cells, and the title's stack. Nothing moves or resizes this window."""
    found = numbers(parameters)
    if found[0] == 18:
        screen.reply(f"\x1b[8;{screen.rows};{screen.cols}t")
    elif found[0] == 22 and len(screen.titles) < TITLES:
        screen.titles.append(screen.title)
    elif found[0] == 23 and screen.titles:
        screen.title = screen.titles.pop()


def _cursor_shape(screen: Screen, parameters: str) -> None:
    shape = numbers(parameters)[0]
    screen.cursor_shape = shape if shape <= 6 else 0


def _sgr(screen: Screen, parameters: str) -> None:
    screen.set_style(screen.styles.sgr(screen.style, parameters))


CSI: dict[str, Act] = {
    "@": _counted(_insert_cells),
    "A": _counted(lambda screen, count: _vertical(screen, -count)),
    "B": _counted(_vertical),
    "C": _counted(_horizontal),
    "D": _counted(lambda screen, count: _horizontal(screen, -count)),
    "E": _counted(_start_of),
    "F": _counted(lambda screen, count: _start_of(screen, -count)),
    "G": _counted(_column),
    "H": _position,
    "I": _counted(Screen.tab),
    "J": _erase_display,
    "?J": _erase_display,
    "K": _erase_line,
    "?K": _erase_line,
    "L": _counted(_insert_lines),
    "M": _counted(_delete_lines),
    "P": _counted(_delete_cells),
    "S": _counted(Screen.scroll_up),
    "T": _counted(lambda screen, count: screen.grid.insert_rows(screen.grid.top, count)),
    "X": _counted(_erase_cells),
    "Z": _counted(lambda screen, count: screen.tab(-count)),
    "`": _counted(_column),
    "a": _counted(_horizontal),
    "b": _counted(_repeat),
    "c": _attributes("\x1b[?62;22c"),
    ">c": _attributes("\x1b[>1;10;0c"),
    "=c": _attributes("\x1bP!|00000000\x1b\\"),
    "d": _counted(_row),
    "e": _counted(_vertical),
    "f": _position,
    "g": _clear_tabs,
    "?W": _usual_tabs,
    "h": _modes(True),
    "l": _modes(False),
    "?h": _private_modes(True),
    "?l": _private_modes(False),
    "m": _sgr,
    "n": _status,
    "?n": _private_status,
    "$p": _ask_mode,
    "?$p": _ask_private_mode,
    "!p": lambda screen, parameters: screen.soft_reset(),
    " q": _cursor_shape,
    ">q": _attributes(f"\x1bP>|{NAME}\x1b\\"),
    "r": _region,
    "s": lambda screen, parameters: screen.save_cursor(),
    "t": _window,
    "u": lambda screen, parameters: screen.restore_cursor(),
}
