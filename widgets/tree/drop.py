"""VMs in the hand: what every visible row says to them, and the label that goes with the pointer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint, QRectF, Qt, QTimer
from PySide6.QtGui import (
    QCursor,
    QFont,
    QFontMetrics,
    QGuiApplication,
    QPainter,
    QPainterPath,
    QPaintEvent,
    QPen,
    QPixmap,
    QRegion,
)
from PySide6.QtWidgets import QWidget

from app.migration.plan import Verdict
from backends.model import Kind, Ref
from widgets import format as fmt
from widgets import icons, theme
from widgets.tree.words import verdict_look

if TYPE_CHECKING:
    from widgets.tree.model import Rows

SLICE_S = 0.006
FOLLOW_MS = 16
OFFSET = QPoint(14, 18)


class Holding:
    """The VMs that are held, and the verdict of each row: asked once, for visible rows only, a few at a time."""

    def __init__(self, rows: Rows, refs: Sequence[Ref], judged: Callable[[], None]) -> None:
        self._rows, self._judged = rows, judged
        self.refs = tuple(refs)
        self.copy = False
        self.over: int | None = None
        self._verdicts: dict[tuple[int, bool], Verdict | None] = {}
        self._timer = QTimer(singleShot=True)
        self._timer.timeout.connect(self._judge_some)
        self._timer.start(0)

    def verdict(self, node: int) -> Verdict | None:
        """What is known of a row so far, for its pill. An open row leaves the word to the places below it."""
        if self._speaks(node):
            key = (node, self.copy)
            if key not in self._verdicts:
                self._timer.start(0)
            return self._verdicts.get(key)
        return None

    def judge(self, node: int) -> Verdict | None:
        """The verdict of a row, now. None where the VMs are already, and where nothing can be put."""
        key = (node, self.copy)
        if key not in self._verdicts:
            self._verdicts[key] = self._quick(node)
        return self._verdicts[key]

    def let_go(self) -> None:
        """Stop judging."""
        self._timer.stop()

    def _quick(self, node: int) -> Verdict | None:
        rows = self._rows
        key, place = rows.forest.keys[node], rows.place(node)
        if place is None:
            word, _, name = str(key).partition(":")
            return Verdict("green", f"set {word} {name}") if word in ("group", "tag") else None
        vms = [vm for vm in map(rows.inventory.vm, self.refs) if vm is not None]
        if not self.copy and all(place in (vm.parent, vm.parent or _connection(vm.ref)) for vm in vms):
            return None
        verdict: Verdict = rows.services.migrations.quick(self.refs, place, copy=self.copy)
        return verdict

    def _speaks(self, node: int) -> bool:
        forest = self._rows.forest
        key = forest.keys[node]
        if isinstance(key, str):
            return key.startswith(("group:", "tag:"))
        places = [child for child in forest.branches.get(node, ()) if child not in forest.melted]
        return not (places and forest.is_open(node))

    def _judge_some(self) -> None:
        rows = self._rows
        until = time.perf_counter() + SLICE_S
        for row in rows.visible():
            node = rows.rows[row]
            key = rows.forest.keys[node]
            if isinstance(key, Ref) and key.kind == Kind.VM:
                continue
            if (node, self.copy) in self._verdicts or not self._speaks(node):
                continue
            self.judge(node)
            if time.perf_counter() > until:
                self._timer.start(0)
                break
        self._judged()


def _connection(ref: Ref) -> Ref:
    return Ref(ref.connection, Kind.CONNECTION, ref.connection)


class Grip(QWidget):
    """The label beside the pointer: what is held, and what the row below says to it.

    X11 and Windows do not let a drag's picture change on the way, so a small window of our own follows the
    pointer; where windows cannot place themselves (Wayland) `picture` is the drag's picture.
    """

    def __init__(self, view: QWidget, rows: Rows, refs: Sequence[Ref]) -> None:
        kind = Qt.WindowType.ToolTip | Qt.WindowType.FramelessWindowHint | Qt.WindowType.WindowTransparentForInput
        super().__init__(view, kind | Qt.WindowType.WindowDoesNotAcceptFocus | Qt.WindowType.BypassWindowManagerHint)
        self.setAttribute(Qt.WidgetAttribute.WA_ShowWithoutActivating)
        self.setAttribute(Qt.WidgetAttribute.WA_TranslucentBackground)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        names = [vm.name for vm in map(rows.inventory.vm, refs) if vm is not None]
        self._title = names[0] if len(names) == 1 else fmt.counted(len(names), "VM")
        self._said: tuple[str, Verdict] | None = None
        self._name_font = theme.font(weight=QFont.Weight.DemiBold)
        self._pill_font = theme.font(theme.SMALL_PX, QFont.Weight.DemiBold)
        self._timer = QTimer(self, interval=FOLLOW_MS)
        self._timer.timeout.connect(self.follow)
        self._resize()

    @staticmethod
    def can_follow() -> bool:
        return QGuiApplication.platformName() in ("xcb", "windows", "cocoa")

    def picture(self) -> QPixmap:
        """The label as a picture, or one clear pixel where the window does the showing."""
        if not self.can_follow():
            return self.grab()
        clear = QPixmap(1, 1)
        clear.fill(Qt.GlobalColor.transparent)
        return clear

    def begin(self) -> None:
        """Show and follow the pointer."""
        if self.can_follow():
            self.follow()
            self.show()
            self._timer.start()

    def follow(self) -> None:
        self.move(QCursor.pos() + OFFSET)

    def say(self, verdict: Verdict | None, copy: bool) -> None:
        """What letting go here would do."""
        said = None if verdict is None else ("copy: " if copy else "", verdict)
        if said != self._said:
            self._said = said
            self._resize()
            self.update()

    def _resize(self) -> None:
        width = 34 + QFontMetrics(self._name_font).horizontalAdvance(self._title) + 10
        if self._said is not None:
            width += QFontMetrics(self._pill_font).horizontalAdvance(self._text()) + 32 + 4
        self.resize(width + 2, 34)
        corners = QPainterPath()
        corners.addRoundedRect(QRectF(self.rect()), 7, 7)
        self.setMask(QRegion(corners.toFillPolygon().toPolygon()))  # without a compositor nothing is translucent

    def _text(self) -> str:
        return "" if self._said is None else self._said[0] + self._said[1].text

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(theme.colour("accent"), 1))
        painter.setBrush(theme.colour("pane"))
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), 7, 7)
        ratio = self.devicePixelRatioF()
        painter.drawPixmap(QPoint(11, 9), icons.pixmap("monitor", "text", 16, ratio))
        painter.setFont(self._name_font)
        painter.setPen(theme.colour("text"))
        middle = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft
        painter.drawText(self.rect().adjusted(34, 0, 0, 0), middle, self._title)
        if self._said is None:
            return
        role, icon = verdict_look(self._said[1])
        left = 34 + QFontMetrics(self._name_font).horizontalAdvance(self._title) + 10
        box = QRectF(left, 7, self.width() - left - 8, 20)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(theme.colour(f"{role}_bg"))
        painter.drawRoundedRect(box, 5, 5)
        painter.drawPixmap(QPoint(left + 6, 10), icons.pixmap(icon, role, 14, ratio))
        painter.setFont(self._pill_font)
        painter.setPen(theme.colour(role))
        painter.drawText(box.adjusted(24, 0, 0, 0), middle, self._text())
