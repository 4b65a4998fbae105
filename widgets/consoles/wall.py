"""The wall: live thumbnails of many screens, and nothing asked of those that are not in sight."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import (
    QAbstractListModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QPoint,
    QRect,
    QSize,
    Qt,
    QTimer,
)
from PySide6.QtGui import QFontMetrics, QHideEvent, QPainter, QPen, QShowEvent
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QListView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QVBoxLayout,
)

from app.inventory import Delta
from backends.driver import Capability
from backends.model import Kind, PowerState, Ref, Vm
from widgets import format as fmt
from widgets import theme
from widgets.consoles.thumbs import Thumb
from widgets.icons import pixmap
from widgets.parts import STATE_ROLE, Pill, label, tool
from widgets.reasons import able
from widgets.tab import Tab

if TYPE_CHECKING:
    from widgets.frame import Frame

FRAME_MS = 500
SLICES = 10
"""A frame's work is done in so many pieces, so that none holds up the window."""
MOST_OPEN = 60
"""Connections at a time; those longest out of sight go first."""
KEEP_S = 20.0
"""A thumbnail out of sight keeps its connection for so long: scrolling back finds it live."""
SIZES = (QSize(160, 100), QSize(224, 140), QSize(320, 200), QSize(480, 300))
PAD, LINE = 8, 22
ENTRY = Qt.ItemDataRole.UserRole


class Entries(QAbstractListModel):
    """The VMs of a wall, each with its thumbnail while there is one."""

    def __init__(self, window: Frame, parent: QObject) -> None:
        super().__init__(parent)
        self._services = window.services
        self.uids: list[str] = []
        self.thumbs: dict[str, Thumb] = {}

    def show_uids(self, uids: list[str]) -> None:
        if uids != self.uids:
            self.beginResetModel()
            self.uids = uids
            self.endResetModel()

    def vm(self, uid: str) -> Vm | None:
        ref = self._services.identity.ref_of(uid)
        return self._services.inventory.vm(ref) if ref is not None else None

    def changed(self, uid: str) -> None:
        if uid in self.uids:
            index = self.index(self.uids.index(uid))
            self.dataChanged.emit(index, index)

    def rowCount(self, parent: QModelIndex | QPersistentModelIndex = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self.uids)

    def data(self, index: QModelIndex | QPersistentModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        uid = self.uids[index.row()]
        if role == ENTRY:
            return uid
        vm = self.vm(uid)
        name = vm.name if vm is not None else uid
        if role == Qt.ItemDataRole.DisplayRole:
            return name
        if role in (Qt.ItemDataRole.AccessibleTextRole, Qt.ItemDataRole.ToolTipRole):
            words = [name, str(vm.state) if vm is not None else "gone", self.trouble(uid)]
            said = ", ".join(word for word in words if word)
            return fmt.tip(said) if role == Qt.ItemDataRole.ToolTipRole else said
        return None

    def trouble(self, uid: str) -> str:
        """Why there is no picture; empty where there is one."""
        thumb, vm = self.thumbs.get(uid), self.vm(uid)
        if vm is None:
            return "no longer there"
        if vm.state in (PowerState.OFF, PowerState.SUSPENDED, PowerState.CRASHED):
            return str(vm.state)
        if not able(self._services, [vm.ref], Capability.CONSOLE):
            site = self._services.connections.get(vm.ref.connection)
            ready = site is not None and str(site.state) == "ready"
            return "no screen" if ready else f"{vm.ref.connection} is offline"
        return "" if thumb is None else thumb.trouble


class Delegate(QStyledItemDelegate):
    """One tile: the picture or why there is none, and below it name and state."""

    def __init__(self, entries: Entries, parent: QObject) -> None:
        super().__init__(parent)
        self._entries = entries
        self.size = SIZES[1]

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> QSize:
        return self.size + QSize(2 * PAD, 2 * PAD + LINE)

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        uid = str(index.data(ENTRY))
        vm, thumb, trouble = self._entries.vm(uid), self._entries.thumbs.get(uid), self._entries.trouble(uid)
        room: QRect = option.rect
        frame = QRect(room.topLeft() + QPoint(PAD, PAD), self.size)
        lit = bool(option.state & (QStyle.StateFlag.State_Selected | QStyle.StateFlag.State_MouseOver))
        painter.fillRect(frame, theme.colour("pane2"))
        if thumb is not None and not thumb.image.isNull():
            size = thumb.image.deviceIndependentSize().toSize()
            corner = frame.topLeft() + QPoint(
                (frame.width() - size.width()) // 2, (frame.height() - size.height()) // 2
            )
            painter.drawImage(corner, thumb.image)
            if trouble:
                veil = theme.colour("pane2")
                veil.setAlpha(190)
                painter.fillRect(frame, veil)
        painter.setPen(QPen(theme.colour("accent" if lit else "line"), 2 if lit else 1))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRect(frame)
        painter.setFont(theme.font(theme.SMALL_PX))
        if trouble:
            painter.setPen(theme.colour("text"))
            inner = frame.adjusted(8, 8, -8, -8)
            flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
            painter.drawText(inner, flags, trouble)
        elif thumb is None or thumb.image.isNull():
            painter.drawPixmap(frame.center() - QPoint(8, 8), pixmap("loader-circle", "muted", 16, _ratio(painter)))
        below = QRect(frame.left(), frame.bottom() + 4, frame.width(), LINE - 4)
        role = STATE_ROLE.get(vm.state, "muted") if vm is not None else "bad"
        state = str(vm.state) if vm is not None else "gone"
        painter.setPen(theme.colour(role if role != "accent" else "link"))
        painter.drawText(below, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, state)
        metrics = QFontMetrics(painter.font())
        left = below.adjusted(0, 0, -metrics.horizontalAdvance(state) - 8, 0)
        painter.setPen(theme.colour("text"))
        name = metrics.elidedText(str(index.data()), Qt.TextElideMode.ElideRight, left.width())
        painter.drawText(left, Qt.AlignmentFlag.AlignVCenter, name)


def _ratio(painter: QPainter) -> float:
    return painter.device().devicePixelRatioF()


class WallTab(Tab):
    """A wall of a choice that stays, or of what a search finds at any time."""

    def __init__(self, window: Frame, key: str, title: str, choice: Callable[[], Sequence[Ref]]) -> None:
        super().__init__(window, key, Ref("", Kind.VM, ""), "layout-grid")
        self._choice = choice
        self._slice = 0
        self.entries = Entries(window, self)
        self.list = QListView(self)
        self.list.setModel(self.entries)
        self.delegate = Delegate(self.entries, self.list)
        self.list.setItemDelegate(self.delegate)
        self._dress_list()
        head = QHBoxLayout()
        head.setContentsMargins(20, 14, 16, 8)
        head.setSpacing(8)
        self._title = label(title, "title", self)
        self.count = Pill("", "muted", self)
        self.live = Pill("", "ok", self)
        self.live.hide()
        self._smaller = tool("minimize", "Smaller pictures", lambda: self.step_size(-1))
        self._larger = tool("maximize", "Larger pictures", lambda: self.step_size(1))
        for part in (self._title, self.count, self.live):
            head.addWidget(part)
        head.addStretch(1)
        head.addWidget(self._smaller)
        head.addWidget(self._larger)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(head)
        inside = QHBoxLayout()
        inside.setContentsMargins(20 - PAD, 0, 0, 0)
        inside.addWidget(self.list)
        column.addLayout(inside, 1)
        self.empty = label("Nothing to show: no VM matches.", "empty", self)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        column.addWidget(self.empty, 1)
        self.setObjectName("pageBody")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._timer = QTimer(self, interval=FRAME_MS // SLICES)
        self._timer.timeout.connect(self._tick)
        self.show_name(title)
        self.step_size(0)
        self.refresh()

    def refresh(self) -> None:
        """The choice anew: a search may find others now."""
        identity = self.services.identity
        self.entries.show_uids([identity.uid_of(ref) for ref in self._choice()])
        for uid in set(self.entries.thumbs) - set(self.entries.uids):
            self._drop(uid)
        self.list.setVisible(bool(self.entries.uids))
        self.empty.setVisible(not self.entries.uids)
        self.count.show_as(fmt.counted(len(self.entries.uids), "VM"), "muted")
        self.list.viewport().update()

    def concerns(self, delta: Delta) -> bool:
        return True

    def step_size(self, by: int) -> None:
        """Larger or smaller pictures."""
        at = max(0, min(len(SIZES) - 1, SIZES.index(self.delegate.size) + by))
        self.delegate.size = SIZES[at]
        self._smaller.setEnabled(at > 0)
        self._larger.setEnabled(at < len(SIZES) - 1)
        self.list.setGridSize(self.delegate.sizeHint(QStyleOptionViewItem(), QModelIndex()))
        for thumb in self.entries.thumbs.values():
            thumb.fit(self._room())

    def open_at(self, index: QModelIndex) -> None:
        vm = self.entries.vm(str(index.data(ENTRY)))
        if vm is not None:
            self.window_.show_consoles([vm.ref])

    def visible_uids(self) -> list[str]:
        """Those whose tiles are in sight, at least in part."""
        view, shown = self.list.viewport().rect(), []
        first = self.list.indexAt(QPoint(PAD, 1)).row()
        for row in range(max(0, first), len(self.entries.uids)):
            place = self.list.visualRect(self.entries.index(row))
            if place.top() > view.bottom():
                break
            if place.intersects(view):
                shown.append(self.entries.uids[row])
        return shown

    def showEvent(self, event: QShowEvent) -> None:
        self._timer.start()

    def hideEvent(self, event: QHideEvent) -> None:
        self._timer.stop()

    def close_down(self) -> None:
        self._timer.stop()
        for uid in tuple(self.entries.thumbs):
            self._drop(uid)

    # Inside

    def _dress_list(self) -> None:
        view = self.list
        view.setViewMode(QListView.ViewMode.IconMode)
        view.setResizeMode(QListView.ResizeMode.Adjust)
        view.setMovement(QListView.Movement.Static)
        view.setUniformItemSizes(True)
        view.setMouseTracking(True)
        view.setFrameShape(QFrame.Shape.NoFrame)
        view.setObjectName("wall")
        view.setAccessibleName("Screens")
        view.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        view.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        view.customContextMenuRequested.connect(self._popup)
        view.clicked.connect(self.open_at)
        view.activated.connect(self.open_at)

    def _room(self) -> QSize:
        return self.delegate.size * self.devicePixelRatioF()

    def _tick(self) -> None:
        """A tenth of the tiles in sight: ask for what has changed, show what came."""
        shown = self.visible_uids()
        now = time.monotonic()
        for uid in shown[self._slice :: SLICES]:
            if self.entries.trouble(uid) and uid not in self.entries.thumbs:
                continue
            thumb = self.entries.thumbs.get(uid) or self._begin(uid)
            if thumb is not None:
                thumb.seen_at = now
                if thumb.step():
                    self.entries.changed(uid)
        self._slice = (self._slice + 1) % SLICES
        if self._slice == 0:
            self._close_unseen(now)
            live = sum(thumb.live for thumb in self.entries.thumbs.values())
            self.live.show_as(f"{live} live", "ok")
            self.live.setVisible(live > 0)

    def _begin(self, uid: str) -> Thumb | None:
        vm = self.entries.vm(uid)
        if vm is None:
            return None
        if len(self.entries.thumbs) >= MOST_OPEN:
            oldest = min(self.entries.thumbs, key=lambda one: self.entries.thumbs[one].seen_at)
            if time.monotonic() - self.entries.thumbs[oldest].seen_at < FRAME_MS * 4 / 1000:
                return None
            self._drop(oldest)
        session = self.services.consoles.screen(vm.ref, view_only=True)
        thumb = Thumb(session, self._room(), self.devicePixelRatioF(), lambda: self.entries.changed(uid))
        self.entries.thumbs[uid] = thumb
        self.window_.background.run(session.open(), f"picture of {vm.name}")
        return thumb

    def _close_unseen(self, now: float) -> None:
        for uid, thumb in tuple(self.entries.thumbs.items()):
            if now - thumb.seen_at > KEEP_S:
                self._drop(uid)

    def _drop(self, uid: str) -> None:
        thumb = self.entries.thumbs.pop(uid)
        thumb.stop()
        self.window_.background.run(thumb.session.close(), "closing a picture")

    def _popup(self, at: QPoint) -> None:
        index = self.list.indexAt(at)
        vm = self.entries.vm(str(index.data(ENTRY))) if index.isValid() else None
        if vm is not None:
            self.window_.popup_menu(self.list.viewport().mapToGlobal(at), [vm.ref])
