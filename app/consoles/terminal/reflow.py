"""Another size of the window: the main screen's lines are wrapped anew, the alternate screen is only cut."""

from __future__ import annotations

from app.consoles.terminal.grid import Grid
from app.consoles.terminal.history import EMPTY, Row, joined, wrapped
from app.consoles.terminal.screen import TAB, Screen

TAKEN_BACK = 1024
"""Rows of a line that is half in the history which are wrapped anew together with the screen."""


def resize(screen: Screen, cols: int, rows: int) -> None:
    """Give both screens this size. Rows may get other numbers when the width changes."""
    grid = screen.main
    if cols != screen.cols:
        _rewrap(screen, cols)
        screen.tabs |= {stop for stop in range(0, cols, TAB) if stop >= screen.cols}
        screen.cols = cols
        screen.renumbered += 1
    _fit(screen, rows)
    grid.top, grid.bottom = 0, rows - 1
    screen.alternate.crop(cols, rows)


def _rewrap(screen: Screen, cols: int) -> None:
    grid, history = screen.main, screen.history
    for _ in range(TAKEN_BACK):
        row = history.pop()
        if row is None:
            break
        if not row[2]:
            history.push(row)
            break
        grid.rows.insert(0, row)
        grid.y += 1
    history.resize(cols)
    at_saved = grid.saved is not None and (grid.saved.x, grid.saved.y) == (grid.x, grid.y)
    found: list[Row] = []
    group: list[Row] = []
    x, y = grid.x, grid.y
    for number, row in enumerate(grid.rows):
        if number == y:
            begin, offset = len(found), sum(len(text) for text, _, _ in group) + x
        group.append(row)
        if row[2] and number < len(grid.rows) - 1:
            continue
        new = _line(group, cols)
        if number - len(group) < y <= number:
            grid.x, grid.y = _place(new, offset, cols)
            grid.y += begin
        found += new
        group = []
    grid.rows, grid.cols = found, cols
    if grid.saved is not None:
        grid.saved.x, grid.saved.y = (grid.x, grid.y) if at_saved else (min(grid.saved.x, cols), grid.saved.y)


def _line(group: list[Row], cols: int) -> list[Row]:
    texts, styles = joined(group)
    return wrapped(texts[0], styles[0] if styles else "", cols)


def _place(rows: list[Row], offset: int, cols: int) -> tuple[int, int]:
    """Column and row of a cell of a line."""
    for y, (text, _, _) in enumerate(rows[:-1]):
        if offset < len(text):
            return offset, y
        offset -= len(text)
    return min(offset, cols), len(rows) - 1


def _fit(screen: Screen, rows: int) -> None:
    """Blank rows at the end go first, then rows at the top go to the history; a taller screen takes them back."""
    grid, history = screen.main, screen.history
    while len(grid.rows) > rows and len(grid.rows) - 1 > grid.y and grid.rows[-1] == EMPTY:
        grid.rows.pop()
    gone = min(max(0, len(grid.rows) - rows), grid.y)
    history.extend(grid.rows[:gone])
    del grid.rows[:gone]
    del grid.rows[rows:]
    _shift(grid, -gone)
    while len(grid.rows) < rows and (row := history.pop()) is not None:
        grid.rows.insert(0, row)
        _shift(grid, 1)
    grid.rows += [EMPTY] * (rows - len(grid.rows))


def _shift(grid: Grid, rows: int) -> None:
    grid.y += rows
    if grid.saved is not None:
        grid.saved.y = max(0, grid.saved.y + rows)
