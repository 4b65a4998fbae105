"""What of a terminal's view is painted: rows, what is marked in them, the cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from PySide6.QtCore import QPointF, QRect, QRectF
from PySide6.QtGui import QColor, QPainter, QPen, QRegion

from app.consoles.terminal import Mode
from app.consoles.terminal.cells import FILLER
from widgets.consoles.ink import Mark

if TYPE_CHECKING:
    from app.consoles.terminal import Span, View
    from widgets.consoles.find import Find
    from widgets.consoles.ink import Cells, Ink
    from widgets.consoles.select import Selection

PAD = 6
BLOCK, UNDERLINE, BAR = 1, 2, 3


class Painted(Protocol):
    """The terminal's view, as far as it is seen: `TerminalView` has the meanings."""

    shown: View
    cells: Cells
    ink: Ink
    selection: Selection
    finder: Find
    link: tuple[str, list[Span]]
    lit: bool
    composed: str

    def hasFocus(self) -> bool: ...


def paint(painter: QPainter, view: Painted, region: QRegion) -> None:
    """Paint the rows that a region of the viewport touches."""
    shown, cells = view.shown, view.cells
    reverse = Mode.REVERSE in shown.modes
    rect = region.boundingRect()
    painter.fillRect(rect, QColor(view.ink.text if reverse else view.ink.ground))
    painter.translate(PAD, PAD)
    first = max(0, int((rect.top() - PAD) / cells.height) - 1)
    last = min(len(shown.rows), int((rect.bottom() - PAD) / cells.height) + 1)
    for number in range(first, last):
        top = number * cells.height
        if region.intersects(QRect(rect.left(), int(top) + PAD, rect.width(), int(cells.height) + 2)):
            view.ink.row(painter, cells, top, shown.rows[number], shown, marks(view, number), reverse=reverse)
    _paint_cursor(painter, view)


def marks(view: Painted, number: int) -> list[Mark]:
    """What is selected, found, linked or under a block cursor in a row of the view."""
    shown, row = view.shown, view.shown.start + number
    found = []
    if selected := view.selection.columns(row, shown.cols):
        found.append(Mark(*selected, "selected"))
    for span in view.finder.in_row(row):
        if part := span.columns(row, shown.cols):
            found.append(Mark(*part, "current" if span == view.finder.current else "found"))
    for span in view.link[1]:
        if part := span.columns(row, shown.cols):
            found.append(Mark(*part, "link"))
    if shown.cursor is not None and row == shown.cursor[0] and _shape(view) == BLOCK and view.hasFocus() and view.lit:
        column = shown.cursor[1]
        wide = shown.rows[number][0][column + 1 : column + 2] == FILLER
        found.append(Mark(column, column + 1 + wide, "cursor"))
    return found


def _shape(view: Painted) -> int:
    return (max(1, view.shown.cursor_shape) + 1) // 2


def _paint_cursor(painter: QPainter, view: Painted) -> None:
    """What of the cursor is no block: a line, or a frame while the keyboard is elsewhere; and text being composed."""
    shown, cells = view.shown, view.cells
    if shown.cursor is None:
        return
    at = QPointF(shown.cursor[1] * cells.width, (shown.cursor[0] - shown.start) * cells.height)
    box = QRectF(at, at + QPointF(cells.width, cells.height))
    ink = QColor(view.ink.ground if Mode.REVERSE in shown.modes else view.ink.text)
    painter.setPen(QPen(ink, cells.line))
    if view.composed:
        painter.setFont(cells.fonts[0])
        width = len(view.composed) * cells.width
        painter.fillRect(QRectF(at, at + QPointF(width, cells.height)), QColor(view.ink.selection))
        painter.drawText(at + QPointF(0, cells.ascent), view.composed)
        painter.fillRect(QRectF(box.left(), box.bottom() - cells.line, width, cells.line), ink)
    elif not view.hasFocus():
        inset = cells.line / 2
        painter.drawRect(box.adjusted(inset, inset, -inset, -inset))
    elif view.lit and _shape(view) == UNDERLINE:
        painter.fillRect(QRectF(box.left(), box.bottom() - 2 * cells.line, box.width(), 2 * cells.line), ink)
    elif view.lit and _shape(view) == BAR:
        painter.fillRect(QRectF(box.left(), box.top(), 2 * cells.line, box.height()), ink)
