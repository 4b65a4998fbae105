"""A guest's screen: painted as it changes, and given what mouse and keyboard do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QPoint, QPointF, QRect, QSize, Qt, QTimer, Signal
from PySide6.QtGui import (
    QColor,
    QCursor,
    QEnterEvent,
    QFocusEvent,
    QHideEvent,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPixmap,
    QRegion,
    QResizeEvent,
    QShowEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.consoles import SessionEvent, SessionState, What
from widgets import theme
from widgets.consoles.clipboard import SharedClipboard
from widgets.consoles.keys import LIGHT_KEYS, Chord, Keyboard, Leaving, locks
from widgets.consoles.picture import Picture, align, to_logical
from widgets.consoles.scaling import Placement, Scale, place

if TYPE_CHECKING:
    from app.consoles import ScreenSession

BUTTONS = {
    Qt.MouseButton.LeftButton: 1,
    Qt.MouseButton.MiddleButton: 2,
    Qt.MouseButton.RightButton: 4,
    Qt.MouseButton.BackButton: 128,
    Qt.MouseButton.ForwardButton: 256,
}
UP, DOWN, LEFT, RIGHT = 8, 16, 32, 64
NOTCH = 120
"""What one step of a wheel counts, in eighths of a degree."""
SETTLE_MS = 250
"""The view must have kept its size for so long before the guest is asked to take it."""
SMALLEST = QSize(320, 200)
VEIL = 150
"""How opaque the ground is over a picture that is not live, of 255."""
DOT = 5


class ScreenView(QWidget):
    """Shows a ScreenSession. It decides nothing: what people want of the window it tells by signals."""

    full_screen_wanted = Signal()
    left = Signal()
    """Ctrl+Alt, pressed and let go alone: the keyboard goes back to the window."""
    changed = Signal()
    """Size of the guest's screen, scale, lights or focus are others."""
    rang = Signal()
    painted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session: ScreenSession | None = None
        self.scale = Scale.FIT
        self.view_only = False
        self.grabs = False
        self._dark = False
        """Whether the keys that the desktop takes for itself go to the guest too, while the view has the keyboard."""
        self.lights = 0
        self._matched = False
        """Whether the guest's locks were made those of the desktop since the view has the keyboard."""
        self.clipboard = SharedClipboard(self)
        self.keyboard = Keyboard(self._send_key)
        self._leaving = Leaving()
        self._picture: Picture | None = None
        self._place = Placement(QRect(), QSize(), 1.0)
        self._dirty = QRegion()
        self._last_paint = 0.0
        self._buttons = 0
        self._at = (0, 0)
        self._wheel = QPoint()
        self._pointer: tuple[QImage, QPoint] | None = None
        self._stop = lambda: None
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName("Screen of the guest")
        self._frame = QTimer(self, singleShot=True)
        self._frame.setTimerType(Qt.TimerType.PreciseTimer)
        self._frame.timeout.connect(self._show_dirty)
        self._settle = QTimer(self, singleShot=True, interval=SETTLE_MS)
        self._settle.timeout.connect(self._ask_for_size)
        theme.on_change(self.update)

    # What others ask of it

    def attach(self, session: ScreenSession | None) -> None:
        """Show this session, or none. Whoever made it opens and closes it."""
        self._stop()
        self._stop = lambda: None
        self.session, self._picture, self._pointer, self.lights = session, None, None, 0
        if session is not None:
            self._stop = session.subscribe(self._on_event)
            session.pause(not self.isVisible())
        self.setCursor(Qt.CursorShape.ArrowCursor)
        self._on_resized()

    def set_scale(self, scale: Scale) -> None:
        self.scale = scale
        self._on_resized()
        self._settle.start()

    def set_grabs(self, on: bool) -> None:
        """Take the desktop's keys as well, where the platform allows it (X11 does, Wayland and Windows do not)."""
        self.grabs = on
        self._grab()

    @property
    def live(self) -> bool:
        return self.session is not None and self.session.state == SessionState.LIVE

    @property
    def takes_input(self) -> bool:
        return self.session is not None and self.live and not self.view_only and not self.session.read_only

    @property
    def place(self) -> Placement:
        return self._place

    def guest_size(self) -> QSize:
        """Of the guest's screen in its pixels; empty before the first picture."""
        return self._place.size

    def picture(self) -> QImage:
        """The guest's whole screen in its own pixels; null before the first picture."""
        return self._picture.copy() if self._picture is not None else QImage()

    def play(self, chord: Chord) -> None:
        """Press keys that no keyboard can send from here."""
        if self.takes_input:
            self.keyboard.play(chord.keys)

    def let_go(self) -> None:
        """Nothing is held down in the guest any more."""
        self.keyboard.release_all()
        if self._buttons:
            self._buttons = 0
            self._send_pointer()

    # News

    def _on_event(self, event: SessionEvent) -> None:
        match event.what:
            case What.DAMAGED:
                self._on_damaged(event.rects)
            case What.RESIZED:
                self._on_resized()
            case What.STATUS:
                if not self.live:
                    self.let_go()
                self.update()
            case What.CURSOR:
                self._on_cursor(event.pixels, event.hot)
            case What.CLIPBOARD:
                self.clipboard.from_guest(event.text)
            case What.LEDS:
                self.lights = event.leds
                self.changed.emit()
            case What.BELL:
                self.rang.emit()

    def _on_damaged(self, rects: object) -> None:
        if self.session is not None and self.session.framebuffer is not None and self._picture is None:
            self._on_resized()
        ratio = self.devicePixelRatioF()
        for x, y, width, height in rects:  # type: ignore[attr-defined]
            self._dirty += to_logical(self._place.to_view(x, y, width, height), ratio)
        wait = self._last_paint + 1 / self._rate() - time.perf_counter()
        if wait <= 0:
            self._show_dirty()
        elif not self._frame.isActive():
            self._frame.start(max(1, round(wait * 1000)))

    def _show_dirty(self) -> None:
        dirty, self._dirty = self._dirty, QRegion()
        if not dirty.isEmpty():
            self._last_paint = time.perf_counter()
            self.update(dirty)

    def _rate(self) -> float:
        """Frames per second of the display: more cannot be seen."""
        return max(30.0, self.screen().refreshRate())

    def _on_resized(self) -> None:
        """The guest's screen or the view has another size."""
        frame = self.session.framebuffer if self.session is not None else None
        if frame is None:
            self._picture = None
        elif self._picture is None or self._picture.framebuffer is not frame:
            self._picture = Picture(frame)
        guest = self._picture.size if self._picture is not None else QSize()
        ratio = self.devicePixelRatioF()
        view = QSize(round(self.width() * ratio), round(self.height() * ratio))
        before, self._place = self._place, place(view, guest, self.scale)
        real = self.scale == Scale.REAL and not guest.isEmpty()
        least = QSize(-int(-guest.width() // ratio), -int(-guest.height() // ratio)) if real else QSize(1, 1)
        if self.minimumSize() != least:
            self.setMinimumSize(least)
        if before != self._place:
            self._show_pointer()
            self.changed.emit()
        self.update()

    def _ask_for_size(self) -> None:
        if self.scale != Scale.GUEST or not self.takes_input or self.session is None or not self.session.can_resize:
            return
        ratio = self.devicePixelRatioF()
        wanted = QSize(round(self.width() * ratio) & ~1, round(self.height() * ratio) & ~1).expandedTo(SMALLEST)
        if wanted != self.guest_size():
            self.session.resize(wanted.width(), wanted.height())

    # The pointer's shape

    def _on_cursor(self, pixels: object, hot: tuple[int, int]) -> None:
        if pixels is None:
            self._pointer = None
            self.setCursor(_dot())
            return
        height, width = pixels.shape[:2]  # type: ignore[attr-defined]
        data = pixels.tobytes()  # type: ignore[attr-defined]
        image = QImage(data, width, height, width * 4, QImage.Format.Format_ARGB32_Premultiplied).copy()
        self._pointer = (image, QPoint(*hot))
        self._show_pointer()

    def _show_pointer(self) -> None:
        """The guest's pointer as the real one, as large as the picture around it."""
        if self._pointer is None:
            return
        image, hot = self._pointer
        shown = QPixmap.fromImage(image)
        ratio = self.devicePixelRatioF() / self._place.factor
        size = QSize(max(1, round(image.width() / ratio)), max(1, round(image.height() / ratio)))
        if size != image.size():
            shown = shown.scaled(size, mode=Qt.TransformationMode.SmoothTransformation)
        self.setCursor(QCursor(shown, round(hot.x() / ratio), round(hot.y() / ratio)))

    # Painting

    def set_dark(self, on: bool) -> None:
        """Whether it is black around the picture, whatever the theme is."""
        self._dark = on
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        ground = QColor(Qt.GlobalColor.black) if self._dark else theme.colour("background")
        ratio = self.devicePixelRatioF()
        shown = to_logical(self._place.rect, ratio) if self._picture is not None else QRect()
        for rect in event.region() - QRegion(shown.adjusted(1, 1, -1, -1)):
            painter.fillRect(rect, ground)
        if self._picture is not None:
            painter.save()
            align(painter, ratio)
            self._picture.paint(painter, self._place)
            painter.restore()
            if not self.live:
                ground.setAlpha(VEIL)
                painter.fillRect(shown, ground)
        self.painted.emit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        self._on_resized()
        self._settle.start()

    def showEvent(self, event: QShowEvent) -> None:
        if self.session is not None:
            self.session.pause(False)
        self._on_resized()

    def hideEvent(self, event: QHideEvent) -> None:
        if self.session is not None:
            self.session.pause(True)

    def sizeHint(self) -> QSize:
        return QSize(640, 400)

    # The keyboard

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ShortcutOverride and self.takes_input:
            # No shortcut of the window fires: all keys are the guest's.
            event.accept()
            return True
        if event.type() == QEvent.Type.DevicePixelRatioChange:
            self._on_resized()
        return super().event(event)

    def focusNextPrevChild(self, following: bool) -> bool:
        """Tab belongs to the guest."""
        return False if self.takes_input else super().focusNextPrevChild(following)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_F11 and not event.modifiers():
            if not event.isAutoRepeat():
                self.full_screen_wanted.emit()
            return
        if not self.takes_input:
            event.ignore()
            return
        self._match_lights(event)
        self.keyboard.on_event(event, down=True)
        self._leaving.pressed(self.keyboard.held)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        self.keyboard.on_event(event, down=False)
        if self._leaving.released(self.keyboard.held) and not event.isAutoRepeat():
            self.let_go()
            self.left.emit()

    def _match_lights(self, event: QKeyEvent) -> None:
        """With the first key after the keyboard came: press the guest's locks that are not as the desktop's."""
        here = locks(event)
        there = self.session.leds if self.session is not None else None
        if self._matched or here is None or there is None:
            return
        self._matched = True
        for light, keys in LIGHT_KEYS.items():
            if (here ^ there) & light:
                self.keyboard.play(keys)

    def focusInEvent(self, event: QFocusEvent) -> None:
        self._matched = False
        self._grab()
        self.clipboard.focused()
        self.changed.emit()
        self.update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        self._leaving.forget()
        self.let_go()
        self._grab()
        self.changed.emit()
        self.update()

    def _grab(self) -> None:
        wanted = self.grabs and self.hasFocus()
        if wanted and QWidget.keyboardGrabber() is not self:
            self.grabKeyboard()
        elif not wanted and QWidget.keyboardGrabber() is self:
            self.releaseKeyboard()

    def _send_key(self, keysym: int, down: bool, scancode: int) -> None:
        if self.session is not None:
            self.session.key(keysym, down, scancode)

    # The mouse

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self._leaving.forget()
        self._buttons |= BUTTONS.get(event.button(), 0)
        self._point(event.position())

    mouseDoubleClickEvent = mousePressEvent

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        self._buttons &= ~BUTTONS.get(event.button(), 0)
        self._point(event.position())

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        self._point(event.position())

    def enterEvent(self, event: QEnterEvent) -> None:
        self._point(event.position())

    def wheelEvent(self, event: QWheelEvent) -> None:
        event.accept()
        self._at = self._to_guest(event.position())
        self._wheel += event.angleDelta()
        while abs(self._wheel.y()) >= NOTCH:
            self._turn(UP if self._wheel.y() > 0 else DOWN)
            self._wheel.setY(self._wheel.y() - (NOTCH if self._wheel.y() > 0 else -NOTCH))
        while abs(self._wheel.x()) >= NOTCH:
            self._turn(LEFT if self._wheel.x() > 0 else RIGHT)
            self._wheel.setX(self._wheel.x() - (NOTCH if self._wheel.x() > 0 else -NOTCH))

    def _turn(self, button: int) -> None:
        for buttons in (self._buttons | button, self._buttons):
            if self.takes_input and self.session is not None:
                self.session.pointer(*self._at, buttons)

    def _to_guest(self, position: QPointF) -> tuple[int, int]:
        return self._place.to_guest(position * self.devicePixelRatioF())

    def _point(self, position: QPointF) -> None:
        self._at = self._to_guest(position)
        self._send_pointer()

    def _send_pointer(self) -> None:
        if self.session is not None and self.takes_input and not self._place.size.isEmpty():
            self.session.pointer(*self._at, self._buttons)


def _dot() -> QCursor:
    """Where a guest shows no pointer, a small dot still says where it is."""
    made = QPixmap(DOT, DOT)
    made.fill(Qt.GlobalColor.white)
    painter = QPainter(made)
    painter.fillRect(1, 1, DOT - 2, DOT - 2, Qt.GlobalColor.black)
    painter.end()
    return QCursor(made, DOT // 2, DOT // 2)
