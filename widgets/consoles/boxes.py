"""Lines, blocks and shades (U+2500 to U+259F) drawn to the edges of their cells, so that frames have no gaps."""

from __future__ import annotations

import re
import unicodedata

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QBrush, QPainter

_WEIGHTS = {"LIGHT": 1, "HEAVY": 2, "SINGLE": 1, "DOUBLE": 3}
_SIDES = {"LEFT": "l", "RIGHT": "r", "UP": "u", "DOWN": "d", "HORIZONTAL": "lr", "VERTICAL": "ud"}
_SHADES = {"░": Qt.BrushStyle.Dense6Pattern, "▒": Qt.BrushStyle.Dense4Pattern, "▓": Qt.BrushStyle.Dense2Pattern}
_QUARTERS = {
    "▖": "3",
    "▗": "4",
    "▘": "1",
    "▙": "134",
    "▚": "14",
    "▛": "123",
    "▜": "124",
    "▝": "2",
    "▞": "23",
    "▟": "234",
}


def _arms(character: str) -> dict[str, int]:
    """The four arms of a box-drawing character with their weights, out of its Unicode name; {} for other shapes."""
    name = unicodedata.name(character).removeprefix("BOX DRAWINGS ")
    if re.search("DASH|DIAGONAL", name):
        return {}
    found: dict[str, int] = {}
    name = name.replace("ARC ", "")
    weight = 0
    for part in name.split(" AND "):
        words = part.split()
        said = [_WEIGHTS[word] for word in words if word in _WEIGHTS]
        weight = said[0] if said else weight
        for side in "".join(_SIDES.get(word, "") for word in words):
            found[side] = weight
    return found


ARMS = {chr(code): arms for code in range(0x2500, 0x2580) if (arms := _arms(chr(code)))}
BLOCKS: dict[str, tuple[int, int, int, int]] = {"▀": (0, 0, 8, 4), "█": (0, 0, 8, 8), "▐": (4, 0, 8, 8),
                                                "▔": (0, 0, 8, 1), "▕": (7, 0, 8, 8)}  # fmt: skip
"""Left, top, right, bottom in eighths of the cell."""
for _code in range(0x2581, 0x2588):
    BLOCKS[chr(_code)] = (0, 8 - (_code - 0x2580), 8, 8)
for _code in range(0x2589, 0x2590):
    BLOCKS[chr(_code)] = (0, 0, 8 - (_code - 0x2588), 8)


def is_box(character: str) -> bool:
    return "\u2500" <= character <= "\u259f" and (
        character in ARMS or character in BLOCKS or character in _SHADES or character in _QUARTERS
    )


def draw_box(painter: QPainter, character: str, cell: QRectF, line: float, ratio: float) -> None:
    """Fill the shape with the pen's colour. line: width of a light line; ratio: device pixels per unit."""
    colour = painter.pen().color()
    if character in BLOCKS:
        left, top, right, bottom = BLOCKS[character]
        painter.fillRect(_part(cell, left / 8, top / 8, right / 8, bottom / 8, ratio), colour)
    elif character in _SHADES:
        painter.fillRect(cell, QBrush(colour, _SHADES[character]))
    elif character in _QUARTERS:
        for quarter in _QUARTERS[character]:
            column, row = (int(quarter) - 1) % 2, (int(quarter) - 1) // 2
            painter.fillRect(_part(cell, column / 2, row / 2, column / 2 + 0.5, row / 2 + 0.5, ratio), colour)
    else:
        _draw_arms(painter, ARMS[character], cell, line, ratio)


def _draw_arms(painter: QPainter, arms: dict[str, int], cell: QRectF, line: float, ratio: float) -> None:
    colour = painter.pen().color()
    x = cell.left() + int((cell.width() - line) * ratio / 2) / ratio
    y = cell.top() + int((cell.height() - line) * ratio / 2) / ratio
    across = {side: arms.get(side, 0) for side in "lr"}
    along = {side: arms.get(side, 0) for side in "ud"}
    reach_x = line if max(along.values()) == 3 else 0.0
    reach_y = line if max(across.values()) == 3 else 0.0
    for side, weight in arms.items():
        for shift in (-line, line) if weight == 3 else (0.0,):
            half = line / 2 if weight == 2 else 0.0
            if side in "lr":
                start = cell.left() if side == "l" else x - reach_x
                end = x + line + reach_x if side == "l" else cell.right()
                painter.fillRect(QRectF(start, y + shift - half, end - start, line + 2 * half), colour)
            else:
                start = cell.top() if side == "u" else y - reach_y
                end = y + line + reach_y if side == "u" else cell.bottom()
                painter.fillRect(QRectF(x + shift - half, start, line + 2 * half, end - start), colour)


def _part(cell: QRectF, left: float, top: float, right: float, bottom: float, ratio: float) -> QRectF:
    """A part of the cell, its edges on device pixels."""
    x, y = (
        [cell.left() + round(cell.width() * share * ratio) / ratio for share in (left, right)],
        [cell.top() + round(cell.height() * share * ratio) / ratio for share in (top, bottom)],
    )
    return QRectF(x[0], y[0], x[1] - x[0], y[1] - y[0])
