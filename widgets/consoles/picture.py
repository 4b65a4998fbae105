"""A framebuffer as something to paint: no copy of it is made, and only what changed is painted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QPointF, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QImage, QPainter

from widgets.consoles.scaling import Placement

if TYPE_CHECKING:
    from app.consoles.rfb import Framebuffer

COARSE = 0.5
"""Below this factor two neighbours are not enough to mix: every pixel of the guest goes into the mean."""


class Picture:
    """One framebuffer. All methods are for the UI's thread; the framebuffer's lock is held only while it is read."""

    def __init__(self, framebuffer: Framebuffer) -> None:
        self.framebuffer = framebuffer
        self._pixels: Any = None
        self._image = QImage()

    @property
    def size(self) -> QSize:
        """Of the guest's picture, in its pixels."""
        return QSize(self.framebuffer.width, self.framebuffer.height)

    def paint(self, painter: QPainter, place: Placement) -> None:
        """Draw it at its place; the painter counts in pixels of the device and clips to what is to be painted."""
        with self.framebuffer.lock:
            image = self._over_pixels()
            if image.size() != place.size or place.rect.isEmpty():
                return
            if place.factor == 1:
                painter.drawImage(place.rect.topLeft(), image)
                return
            if place.factor < COARSE:
                image = image.scaled(place.rect.size(), mode=Qt.TransformationMode.SmoothTransformation)
                painter.drawImage(place.rect.topLeft(), image)
                return
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, not place.exact)
            painter.drawImage(QRectF(place.rect), image, QRectF(image.rect()))

    def copy(self, room: QSize | None = None) -> QImage:
        """The picture as it is now, by itself; scaled down into `room` where that is given."""
        with self.framebuffer.lock:
            image = self._over_pixels()
            if room is None:
                return image.copy()
            smooth = Qt.TransformationMode.SmoothTransformation
            return image.scaled(room, Qt.AspectRatioMode.KeepAspectRatio, smooth)

    def _over_pixels(self) -> QImage:
        """The image that looks at the framebuffer's own memory. With the lock held."""
        pixels = self.framebuffer.pixels
        if pixels is not self._pixels:
            height, width = pixels.shape[:2]
            self._pixels = pixels
            self._image = QImage(pixels.data, width, height, pixels.strides[0], QImage.Format.Format_RGB32)
        return self._image


def align(painter: QPainter, ratio: float) -> None:
    """Let a widget's painter count in pixels of the device, from the whole pixel that is nearest to its corner."""
    corner = painter.deviceTransform().map(QPointF(0, 0))
    painter.scale(1 / ratio, 1 / ratio)
    painter.translate(round(corner.x()) - corner.x(), round(corner.y()) - corner.y())


def to_logical(rect: QRect, ratio: float) -> QRect:
    """Pixels of the device as the widget counts, one more at each side where the two do not meet."""
    if ratio == int(ratio):
        whole = int(ratio)
        left, top = rect.left() // whole, rect.top() // whole
        right, bottom = -(-(rect.left() + rect.width()) // whole), -(-(rect.top() + rect.height()) // whole)
        return QRect(left, top, right - left, bottom - top)
    loose = QRectF(rect.left() / ratio, rect.top() / ratio, rect.width() / ratio, rect.height() / ratio)
    return loose.toAlignedRect().adjusted(-1, -1, 1, 1)
