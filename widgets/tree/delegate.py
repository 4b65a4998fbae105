"""Paints one row as the design's pictures show it. Everything is measured from the row's edges, in pixels."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QPointF, QRect, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontMetrics, QPainter, QPen
from PySide6.QtWidgets import QLineEdit, QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from app.migration.plan import Verdict
from backends.model import Kind, PowerState, Ref, Vm
from widgets import icons, theme
from widgets.tree import words

if TYPE_CHECKING:
    from widgets.tree.drop import Holding
    from widgets.tree.live import Live
    from widgets.tree.model import Rows

LEFT, RIGHT = 12, 12
CHEVRON, ICON, TEXT = 8, 27, 49
"""Left edges of the parts of a row one level below its section; deeper rows are indented by theme.INDENT_PX."""
TILE, GAP = 16, 6
SPARK_W, SPARK_H = 54, 14
BAR_W, BAR_H = 44, 5
PILL_H = 18
CONSOLE_PX = 34
"""From the right edge: the console button of the row below the mouse."""
SECTION_PX = 34
FAINT = 0.45
AT_REST = (PowerState.OFF, PowerState.CRASHED, PowerState.UNKNOWN)
"""Only what does not run can be what a move keeps for Undo."""
Index = QModelIndex | QPersistentModelIndex


class Drawn(Protocol):
    """The tree's view, as far as its rows show it: `View` has the meanings. It is a widget, too."""

    rows: Rows
    live: Live
    holding: Holding | None
    hovered: int

    @property
    def tells_place(self) -> bool: ...

    def is_held(self, ref: Ref) -> bool: ...

    def word_in(self, name: str) -> tuple[int, int] | None: ...

    def hasFocus(self) -> bool: ...

    def currentIndex(self) -> QModelIndex: ...


class Fonts:
    """The tree's fonts with their measures, made once per theme."""

    def __init__(self) -> None:
        self.name = theme.font()
        self.strong = theme.font(weight=QFont.Weight.DemiBold)
        self.side = theme.font(theme.SMALL_PX)
        self.caption = theme.font(theme.CAPTION_PX)
        self.title = theme.font(theme.CAPTION_PX, QFont.Weight.DemiBold)
        self.title.setLetterSpacing(QFont.SpacingType.AbsoluteSpacing, 0.6)
        self.title.setCapitalization(QFont.Capitalization.AllUppercase)
        self.side_metrics = QFontMetrics(self.side)
        self.caption_metrics = QFontMetrics(self.caption)
        self.name_metrics = QFontMetrics(self.name)
        self.strong_metrics = QFontMetrics(self.strong)


class Delegate(QStyledItemDelegate):
    """Draws rows; edits a name in place."""

    renamed = Signal(object, str)

    def __init__(self, view: Drawn) -> None:
        super().__init__(view)
        self._view = view
        self._fonts = Fonts()
        self._colours: dict[str, QColor] = {}

    def restyle(self) -> None:
        """After a change of theme."""
        self._fonts = Fonts()
        self._colours.clear()

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        return QSize(200, theme.ROW_PX)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        rows = self._view.rows
        row = index.row()
        if row >= len(rows.rows):
            return
        node = rows.rows[row]
        rect: QRect = option.rect  # type: ignore[attr-defined]
        state = option.state  # type: ignore[attr-defined]
        key = rows.forest.keys[node]
        held = isinstance(key, Ref) and self._view.holding is not None and key in self._view.holding.refs
        selected = bool(state & QStyle.StateFlag.State_Selected) and not held
        painter.save()
        if selected:
            painter.fillRect(rect, self._colour("accent_bg"))
        elif held:
            painter.fillRect(rect, self._colour("pane"))
        elif self._view.hovered == row and not self._view.holding:
            painter.fillRect(rect, self._colour("pane2"))
        if isinstance(key, str) and key.startswith(("section:", "by:")):
            self._paint_section(painter, rect, node)
        elif isinstance(key, Ref) and key.kind == Kind.VM:
            self._paint_vm(painter, rect, node, key, selected)
        else:
            self._paint_place(painter, rect, node, selected)
        if self._view.hasFocus() and self._view.currentIndex().row() == row and not selected and not held:
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(self._colour("line"))
            painter.drawRect(rect.adjusted(0, 0, -1, -1))
        self._paint_outline(painter, rect, node)
        painter.restore()

    def createEditor(self, parent: QWidget, option: QStyleOptionViewItem, index: Index) -> QWidget:
        editor = QLineEdit(parent)
        editor.setAccessibleName("New name")
        editor.setStyleSheet("padding: 0 4px; border-radius: 4px;")
        return editor

    def setEditorData(self, editor: QWidget, index: Index) -> None:
        """The old name, once: news of the row must not take away what is being typed."""
        assert isinstance(editor, QLineEdit)
        if not editor.text() and not editor.isModified():
            editor.setText(self._view.rows.forest.names[self._view.rows.rows[index.row()]])
            editor.selectAll()

    def updateEditorGeometry(self, editor: QWidget, option: QStyleOptionViewItem, index: Index) -> None:
        rect: QRect = option.rect  # type: ignore[attr-defined]
        left = self.shift(self._view.rows.rows[index.row()]) + TEXT - 6
        editor.setGeometry(rect.adjusted(left, 1, -RIGHT, -1))

    def setModelData(self, editor: QWidget, model: object, index: Index) -> None:
        """Ask for the new name; the row shows it when the backend reports it."""
        assert isinstance(editor, QLineEdit)
        text = editor.text().strip()
        rows = self._view.rows
        key = rows.key(index.row())
        if text and key is not None and text != rows.forest.names[rows.rows[index.row()]]:
            self.renamed.emit(key, text)

    def shift(self, node: int) -> int:
        """How far the parts of a row are moved to the right."""
        return max(self._view.rows.forest.depth(node) - 1, 0) * theme.INDENT_PX

    def _paint_section(self, painter: QPainter, rect: QRect, node: int) -> None:
        rows = self._view.rows
        line = QRect(rect.left() + LEFT, rect.bottom() - 22, rect.width() - LEFT - RIGHT, 20)
        painter.setPen(self._colour("muted"))
        painter.setFont(self._fonts.title)
        painter.drawText(line, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, rows.forest.names[node])
        painter.setFont(self._fonts.caption)
        text = words.side(rows, node).text
        painter.drawText(line, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight, text)

    def _paint_place(self, painter: QPainter, rect: QRect, node: int, selected: bool) -> None:
        rows, forest = self._view.rows, self._view.rows.forest
        key = forest.keys[node]
        shift = rect.left() + self.shift(node)
        if forest.has_children(node):
            name = "chevron-down" if forest.is_open(node) else "chevron-right"
            self._icon(painter, shift + CHEVRON, rect, name, "muted", 13)
        hint = isinstance(key, str) and key.startswith("hint:")
        connection = rows.services.connections.get(key.connection) if isinstance(key, Ref) else None
        grey = isinstance(key, Ref) and words.offline(connection)
        role = "link" if hint else "muted" if grey else "text"
        self._icon(painter, shift + ICON, rect, words.icon_of(rows, node), role, TILE)
        verdict = self._view.holding.verdict(node) if self._view.holding else None
        right = rect.right() + 1 - RIGHT
        if verdict is not None:
            right = self._pill(painter, rect, right, verdict, right - shift - TEXT - 60)
        else:
            right = self._paint_side(painter, rect, right, words.side(rows, node))
        marks = []
        if connection is not None and isinstance(key, Ref) and key.kind == Kind.CONNECTION:
            if connection.production:
                mark = QColor(connection.colour) if connection.colour else self._colour("bad")
                painter.fillRect(QRect(rect.left(), rect.top() + 3, 3, rect.height() - 6), mark)
            marks = ["lock"] if connection.read_only else []
        end = self._name(painter, rect, shift + TEXT, right - len(marks) * 18, node, role, selected)
        for mark in marks:
            self._icon(painter, end + GAP, rect, mark, "muted", 12)

    def _paint_side(self, painter: QPainter, rect: QRect, right: int, side: words.Side) -> int:
        """Text, icon and load bar at the right edge. Returns where the name has to end."""
        fonts = self._fonts
        if side.text:
            width = fonts.side_metrics.horizontalAdvance(side.text)
            painter.setFont(fonts.side)
            painter.setPen(self._colour(side.role))
            box = QRect(right - width, rect.top(), width, rect.height())
            painter.drawText(box, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight, side.text)
            right -= width + GAP
        if side.icon:
            self._icon(painter, right - 13, rect, side.icon, side.role, 13)
            right -= 13 + GAP
        if side.load is not None:
            right -= 2
            self._bar(painter, QRectF(right - BAR_W, rect.center().y() - BAR_H / 2 + 1, BAR_W, BAR_H), side.load)
            right -= BAR_W + GAP
        return right

    def _paint_vm(self, painter: QPainter, rect: QRect, node: int, ref: Ref, selected: bool) -> None:
        rows = self._view.rows
        vm = rows.inventory.vm(ref)
        shift = rect.left() + self.shift(node)
        state = vm.state if vm is not None else PowerState.UNKNOWN
        kept = state in AT_REST and rows.services.migrations.original(ref) is not None
        grey = kept or words.offline(rows.services.connections.get(ref.connection))
        held = self._view.is_held(ref)
        if held:
            painter.setOpacity(FAINT)
        icon, role = words.STATES[state]
        self._tile(painter, shift + ICON, rect, icon, "muted" if grey else role)
        right = self._vm_side(painter, rect, ref, vm, grey, kept)
        self._name(painter, rect, shift + TEXT + 1, right, node, "muted" if grey or held else "text", selected)

    def _vm_side(self, painter: QPainter, rect: QRect, ref: Ref, vm: Vm | None, grey: bool, kept: bool) -> int:
        right = rect.right() + 1 - RIGHT
        moving = self._view.live.moving(ref)
        if moving is not None:
            right = self._paint_side(
                painter, rect, right, words.Side(f"moving {moving:.0%}".replace("%", " %"), "link")
            )
            self._ring(painter, QRectF(right - 12, rect.center().y() - 5, 11, 11), moving)
            return right - 12 - GAP
        if vm is not None and self._view.rows.key(self._view.hovered) == ref and not self._view.holding:
            self._icon(painter, right - 16, rect, "square-terminal", "text", 16)
            return right - 16 - GAP
        if kept:
            right = self._paint_side(painter, rect, right, words.Side("kept original", icon="history"))
        elif vm is not None and vm.state in (PowerState.STARTING, PowerState.STOPPING, PowerState.CRASHED):
            right = self._paint_side(painter, rect, right, words.Side(vm.state.value, words.STATES[vm.state][1]))
        elif vm is not None and not grey and vm.state == PowerState.RUNNING:
            ring = self._view.live.ring(ref)
            if ring and len(ring) > 1:
                self._spark(painter, rect, right, ring)
                right -= SPARK_W + GAP
        if vm is not None and self._view.tells_place:
            right = self._paint_side(painter, rect, right, words.Side(words.where(self._view.rows, vm)))
        return right

    def _name(self, painter: QPainter, rect: QRect, left: int, right: int, node: int, role: str, selected: bool) -> int:
        """Draw a row's name between two edges; returns where it ends."""
        fonts = self._fonts
        metrics = fonts.strong_metrics if selected else fonts.name_metrics
        full = self._view.rows.forest.names[node]
        text = metrics.elidedText(full, Qt.TextElideMode.ElideMiddle, max(right - left, 0))
        painter.setFont(fonts.strong if selected else fonts.name)
        painter.setPen(self._colour(role))
        width = metrics.horizontalAdvance(text)
        box = QRect(left, rect.top(), width + 2, rect.height())
        found = self._view.word_in(full) if text == full else None
        if found is not None:
            start = metrics.horizontalAdvance(full[: found[0]])
            length = metrics.horizontalAdvance(full[found[0] : found[1]])
            mark = QRectF(left + start - 1, rect.top() + 5, length + 2, rect.height() - 10)
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(self._colour("warn_bg"))
            painter.drawRoundedRect(mark, 3, 3)
            painter.setPen(self._colour(role))
        painter.drawText(box, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, text)
        return left + width

    def _pill(self, painter: QPainter, rect: QRect, right: int, verdict: Verdict, most: int) -> int:
        role, icon = words.verdict_look(verdict)
        metrics = self._fonts.side_metrics
        text = metrics.elidedText(verdict.text, Qt.TextElideMode.ElideRight, max(most - 30, 40))
        width = metrics.horizontalAdvance(text) + 13 + 4 + 12
        box = QRect(right - width, rect.top() + (rect.height() - PILL_H) // 2, width, PILL_H)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self._colour(f"{role}_bg"))
        painter.drawRoundedRect(box, 5, 5)
        self._icon(painter, box.left() + 6, rect, icon, role, 13)
        painter.setFont(self._fonts.side)
        painter.setPen(self._colour(role))
        painter.drawText(box.adjusted(23, 0, 0, 0), Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, text)
        return box.left() - GAP

    def _paint_outline(self, painter: QPainter, rect: QRect, node: int) -> None:
        holding = self._view.holding
        if not holding or holding.over != node:
            return
        verdict = holding.judge(node)
        if verdict is None:
            return
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setOpacity(1)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(self._colour(words.verdict_look(verdict)[0]), 2))
        painter.drawRoundedRect(QRectF(rect).adjusted(1, 1, -1, -1), 4, 4)

    def _tile(self, painter: QPainter, left: int, rect: QRect, icon: str, role: str) -> None:
        box = QRectF(left, rect.top() + (rect.height() - TILE) / 2, TILE, TILE)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        ground = {"muted": "pane2", "link": "accent_bg"}.get(role) or f"{role}_bg"
        painter.setBrush(self._colour(ground))
        painter.drawRoundedRect(box, 4, 4)
        self._icon(painter, left + 2.5, rect, icon, role, 11)

    def _spark(self, painter: QPainter, rect: QRect, right: int, ring: deque[float]) -> None:
        """The newest value at the right edge; the scale is at least 30 points, so that noise stays small."""
        step = SPARK_W / 29
        low, high = min(ring), max(ring)
        middle, span = (low + high) / 2, max(high - low, 30.0)
        base = rect.center().y() + 1
        first = right - (len(ring) - 1) * step
        points = [QPointF(first + at * step, base - (value - middle) / span * SPARK_H) for at, value in enumerate(ring)]
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(self._colour("accent"), 1.25))
        painter.drawPolyline(points)

    def _bar(self, painter: QPainter, box: QRectF, load: float) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self._colour("line"))
        painter.drawRoundedRect(box, BAR_H / 2, BAR_H / 2)
        painter.setBrush(self._colour("bad" if load > 0.9 else "accent"))
        filled = QRectF(box.left(), box.top(), max(box.width() * load, BAR_H), BAR_H)
        painter.drawRoundedRect(filled, BAR_H / 2, BAR_H / 2)

    def _ring(self, painter: QPainter, box: QRectF, part: float) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(self._colour("line"), 2))
        painter.drawEllipse(box)
        painter.setPen(QPen(self._colour("accent"), 2))
        painter.drawArc(box, 90 * 16, -round(max(part, 0.04) * 360 * 16))

    def _icon(self, painter: QPainter, left: float, rect: QRect, name: str, role: str, px: int) -> None:
        top = rect.top() + (rect.height() - px) / 2
        painter.drawPixmap(QPointF(left, top), icons.pixmap(name, role, px, painter.device().devicePixelRatioF()))

    def _colour(self, role: str) -> QColor:
        found = self._colours.get(role)
        if found is None:
            found = self._colours[role] = theme.colour(role)
        return found
