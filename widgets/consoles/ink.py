"""Rows of a terminal as ink on paper: colours that stay legible, whole cells on whole pixels, glyphs by runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from PySide6.QtCore import QLineF, QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QFontDatabase, QFontMetricsF, QPainter, QPen, QRawFont

from app.consoles.terminal import Row, Style, View
from app.consoles.terminal import style as looks
from app.consoles.terminal.cells import FILLER
from widgets import theme
from widgets.consoles.boxes import draw_box, is_box

CONTRAST = 4.5
"""Text keeps this to its ground (WCAG AA); what a program made fainter keeps FAINT."""
FAINT = 3.0
LIGHT = ("1b1f27", "b52a44", "0f7541", "8a5c00", "185fd2", "8d35ad", "0a6c7d", "dfe3e8",
         "5f6774", "c4314b", "13804a", "946300", "1f6feb", "a142c4", "0d7a8c", "ffffff")  # fmt: skip
DARK = ("16181d", "f57f8a", "4cc38a", "f0b429", "6aa6ff", "c792ea", "56c8d8", "c8cdd6",
        "8d95a3", "ff98a2", "6fdca6", "ffd166", "8dbbff", "dcb3f5", "7fe0ec", "ffffff")  # fmt: skip
_LEVELS = (0, 95, 135, 175, 215, 255)
_RUN = re.compile(r"(.)\1*", re.DOTALL)


def palette(dark: bool) -> list[int]:
    """The 256 colours as 0xrrggbb: our own 16, then xterm's cube and greys."""
    own = [int(colour, 16) for colour in (DARK if dark else LIGHT)]
    cube = [red << 16 | green << 8 | blue for red in _LEVELS for green in _LEVELS for blue in _LEVELS]
    return own + cube + [level << 16 | level << 8 | level for level in range(8, 248, 10)]


def contrast(one: int, other: int) -> float:
    """WCAG 2.1's contrast ratio of two colours."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@lru_cache(4096)
def _luminance(colour: int) -> float:
    parts = [value / 255 for value in (colour >> 16, colour >> 8 & 255, colour & 255)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@lru_cache(8192)
def legible(colour: int, ground: int, least: float = CONTRAST) -> int:
    """The colour, moved towards black or white just so far that it can be read on its ground."""
    if contrast(colour, ground) >= least:
        return colour
    goal = 0xFFFFFF if contrast(0xFFFFFF, ground) > contrast(0, ground) else 0
    low, high = 0.0, 1.0
    for _ in range(7):
        middle = (low + high) / 2
        low, high = (low, middle) if contrast(mixed(colour, goal, middle), ground) >= least else (middle, high)
    return mixed(colour, goal, high)


def mixed(one: int, other: int, share: float) -> int:
    """`share` of the other in the one."""
    parts = [(round((one >> s & 255) * (1 - share) + (other >> s & 255) * share)) << s for s in (16, 8, 0)]
    return parts[0] | parts[1] | parts[2]


@dataclass(frozen=True, slots=True)
class Mark:
    """Cells [start, end) of a row that are shown otherwise: `selected`, `found`, `current`, `link`, `cursor`."""

    start: int
    end: int
    kind: str


class Cells:
    """Font and size of a cell for a text height (px) and a device's pixel ratio: whole device pixels."""

    def __init__(self, px: int, ratio: float) -> None:
        self.ratio = ratio
        font = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
        font.setStyleHint(QFont.StyleHint.Monospace)
        font.setPixelSize(px)
        font.setKerning(False)
        for feature in ("liga", "calt"):
            font.setFeature(QFont.Tag(feature), 0)
        measure = QFontMetricsF(font)
        advance = measure.horizontalAdvance("0" * 64) / 64
        self.width = max(1, round(advance * ratio)) / ratio
        self.height = -(-measure.height() * ratio // 1) / ratio
        self.ascent = round(measure.ascent() * ratio) / ratio
        self.line = max(1.0, round(measure.lineWidth() * ratio)) / ratio
        font.setLetterSpacing(QFont.SpacingType.AbsoluteSpacing, self.width - advance)
        self.fonts = [self._made(font, bold, italic) for italic in (False, True) for bold in (False, True)]
        self._has = QRawFont.fromFont(font)
        self._known: dict[str, bool] = {}

    def _made(self, font: QFont, bold: bool, italic: bool) -> QFont:
        made = QFont(font)
        made.setBold(bold)
        made.setItalic(italic)
        return made

    def has(self, character: str) -> bool:
        """Whether the font itself has it (then it is as wide as a cell)."""
        found = self._known.get(character)
        if found is None:
            if len(self._known) > 10_000:
                self._known.clear()
            found = self._known[character] = self._has.supportsCharacter(ord(character))
        return found


class Ink:
    """Paints rows. `dark` and the colours follow the theme; `reverse` is the screen's own mode (DECSCNM)."""

    def __init__(self) -> None:
        self.restyle()

    def restyle(self) -> None:
        """After a change of theme."""
        tokens = theme.tokens()
        self.text, self.ground = (int(colour[1:], 16) for colour in (tokens.text, tokens.pane))
        self.selection = int(tokens.accent_bg[1:], 16)
        self.found = mixed(self.ground, int(tokens.warn[1:], 16), 0.35)
        self.current = int(tokens.warn[1:], 16)
        self.palette = palette(tokens.dark)
        self._pens: dict[tuple[Style, str, bool], tuple[QColor, QColor | None, QColor]] = {}

    def row(self, painter: QPainter, cells: Cells, y: float, row: Row, view: View, marks: Sequence[Mark], *,
            reverse: bool = False) -> None:  # fmt: skip
        """Paint a row whose upper edge is at `y`; the ground is already there."""
        text, styles, _ = row
        end = max([len(text), *(mark.end for mark in marks)])
        text, styles = text.ljust(end), styles.ljust(end, FILLER)
        for start, stop, number, kinds in _segments(styles, marks):
            style = view.styles[number]
            pen, ground, under = self._colours(style, kinds, reverse)
            box = QRectF(start * cells.width, y, (stop - start) * cells.width, cells.height)
            if ground is not None:
                painter.fillRect(box, ground)
            if not style.flags & looks.INVISIBLE:
                self._glyphs(painter, cells, start, y, text[start:stop], style, pen, view)
            self._lines(painter, cells, box, style, pen, under, "link" in kinds)

    def _colours(self, style: Style, kinds: str, reverse: bool) -> tuple[QColor, QColor | None, QColor]:
        key = (style, kinds, reverse)
        found = self._pens.get(key)
        if found is None:
            if len(self._pens) > 8192:
                self._pens.clear()
            found = self._pens[key] = self._mixed(style, kinds, reverse)
        return found

    def _mixed(self, style: Style, kinds: str, reverse: bool) -> tuple[QColor, QColor | None, QColor]:
        """Text, ground (None: the paper's) and underline."""
        text, ground = self._rgb(style.fg, self.text), self._rgb(style.bg, self.ground)
        if style.flags & looks.BOLD and 0 <= style.fg < 8:
            text = self.palette[style.fg + 8]
        if bool(style.flags & looks.INVERSE) != reverse:
            text, ground = ground, text
        least = CONTRAST
        if style.flags & looks.DIM:
            text, least = mixed(text, ground, 0.4), FAINT
        if "current" in kinds:
            text, ground = self.ground, self.current
        elif "selected" in kinds:
            ground = self.selection
        elif "found" in kinds:
            ground = self.found
        if "cursor" in kinds:
            text, ground = ground, legible(self.text, ground)
        pen = legible(text, ground, least)
        under = pen if style.under == looks.DEFAULT else self._rgb(style.under, pen)
        return QColor(pen), None if ground == self.ground else QColor(ground), QColor(under)

    def _rgb(self, colour: int, default: int) -> int:
        if colour == looks.DEFAULT:
            return default
        return colour & 0xFFFFFF if colour & looks.RGB else self.palette[colour]

    def _glyphs(self, painter: QPainter, cells: Cells, column: int, y: float, text: str, style: Style, pen: QColor,
                view: View) -> None:  # fmt: skip
        if text.isspace() or not text:
            return
        painter.setFont(cells.fonts[bool(style.flags & looks.BOLD) + 2 * bool(style.flags & looks.ITALIC)])
        painter.setPen(pen)
        base = y + cells.ascent
        if text.isascii() and FILLER not in text:
            painter.drawText(QPointF(column * cells.width, base), text)
            return
        for found in _PIECES.finditer(text):
            piece, x = found[0], (column + found.start()) * cells.width
            if found[1]:
                if not piece.isspace():
                    painter.drawText(QPointF(x, base), piece)
            elif is_box(piece[0]):
                draw_box(painter, piece[0], QRectF(x, y, cells.width, cells.height), cells.line, cells.ratio)
            else:
                self._alone(painter, cells, QPointF(x, base), len(piece), view.clusters.plain(piece), y)

    def _alone(self, painter: QPainter, cells: Cells, at: QPointF, count: int, shown: str, y: float) -> None:
        """A character that may come from another font: held within its cells."""
        if len(shown) == 1 and count == 1 and cells.has(shown):
            painter.drawText(at, shown)
            return
        box = QRectF(at.x(), y, count * cells.width, cells.height)
        painter.save()
        painter.setClipRect(box, Qt.ClipOperation.IntersectClip)
        width = QFontMetricsF(painter.font()).horizontalAdvance(shown)
        if width > box.width() * 1.05:
            painter.translate(at)
            painter.scale(box.width() / width, 1)
            at = QPointF()
        painter.drawText(at, shown)
        painter.restore()

    def _lines(self, painter: QPainter, cells: Cells, box: QRectF, style: Style, pen: QColor, under: QColor,
               link: bool) -> None:  # fmt: skip
        kind = (style.flags & looks.LINE) >> looks.LINE_SHIFT
        if link or (style.link and not kind):
            kind = 1 if link else 4
        if not kind and not style.flags & (looks.STRIKE | looks.OVERLINE):
            return
        thick, low = cells.line, min(box.top() + cells.ascent + 2 * cells.line, box.bottom() - cells.line)
        if kind:
            painter.setPen(QPen(under, thick, _PENS.get(kind, Qt.PenStyle.SolidLine), Qt.PenCapStyle.FlatCap))
            middle = low + thick / 2
            painter.drawLine(QLineF(box.left(), middle, box.right(), middle))
            if kind == 2:
                painter.drawLine(QLineF(box.left(), middle - 2 * thick, box.right(), middle - 2 * thick))
        if style.flags & looks.STRIKE:
            height = box.top() + cells.ascent - round(cells.ascent * cells.ratio * 0.3) / cells.ratio
            painter.fillRect(QRectF(box.left(), height, box.width(), thick), pen)
        if style.flags & looks.OVERLINE:
            painter.fillRect(QRectF(box.left(), box.top(), box.width(), thick), pen)


_PENS = {3: Qt.PenStyle.DashDotLine, 4: Qt.PenStyle.DotLine, 5: Qt.PenStyle.DashLine}
"""Curly underlines are told apart by their dashes: a wave of two pixels is not to be seen as one."""
_PIECES = re.compile("([ -~\u00a1-\u00ac\u00ae-\u02ff\u0370-\u0377\u0391-\u0482]+)|[^\0]\0|.", re.DOTALL)
"""Scripts that the font has, from left to right and without shaping, are drawn as runs; the rest cell by cell."""


def _segments(styles: str, marks: Sequence[Mark]) -> list[tuple[int, int, int, str]]:
    """A row in parts of one look: start, end, the style's number, the marks' kinds."""
    cuts = sorted({edge for mark in marks for edge in (mark.start, mark.end)})
    found = []
    for run in _RUN.finditer(styles):
        start, end = run.span()
        number = ord(run[1])
        edges = [start, *(cut for cut in cuts if start < cut < end), end]
        for left, right in pairwise(edges):
            kinds = " ".join(mark.kind for mark in marks if mark.start <= left < mark.end)
            found.append((left, right, number, kinds))
    return found
