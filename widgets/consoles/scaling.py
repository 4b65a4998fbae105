"""Where a guest's picture stands in its view, and how large. Pure geometry, all in pixels of the device."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from PySide6.QtCore import QPointF, QRect, QSize

BLUR = 1.25
"""An enlargement by less than this beyond a whole multiple stays at the multiple: sharp beats a little larger."""


class Scale(StrEnum):
    """How a picture fills its view."""

    FIT = "fit"
    REAL = "real"
    GUEST = "guest"
    """The guest is asked to take the view's size."""


@dataclass(frozen=True, slots=True)
class Placement:
    """The picture's place: `rect` in pixels of the device, `factor` of them for each pixel of the guest."""

    rect: QRect
    size: QSize
    factor: float

    @property
    def exact(self) -> bool:
        """Whether each pixel of the guest is a whole number of pixels here: nothing has to be smoothed."""
        return self.factor == int(self.factor)

    def to_guest(self, at: QPointF) -> tuple[int, int]:
        """The guest's pixel below a point, the nearest one for points beside the picture."""
        x = math.floor((at.x() - self.rect.left()) / self.factor)
        y = math.floor((at.y() - self.rect.top()) / self.factor)
        return max(0, min(self.size.width() - 1, x)), max(0, min(self.size.height() - 1, y))

    def to_view(self, x: int, y: int, width: int, height: int) -> QRect:
        """What must be painted anew when a part of the guest's picture has changed, smoothing included."""
        reach = 0 if self.exact else 1
        left = math.floor((x - reach) * self.factor)
        top = math.floor((y - reach) * self.factor)
        right = math.ceil((x + width + reach) * self.factor)
        bottom = math.ceil((y + height + reach) * self.factor)
        found = QRect(self.rect.left() + left, self.rect.top() + top, right - left, bottom - top)
        return found.intersected(self.rect)


def place(view: QSize, guest: QSize, scale: Scale) -> Placement:
    """Stand a picture of `guest` pixels in a view of `view` pixels of the device, in the middle.

    What is larger than its view begins at its left and upper edge (the view scrolls).
    """
    if guest.isEmpty() or view.isEmpty():
        return Placement(QRect(), guest, 1.0)
    factor = 1.0 if scale == Scale.REAL else min(view.width() / guest.width(), view.height() / guest.height())
    if scale == Scale.GUEST:
        factor = min(1.0, factor)
    if factor >= 1 and factor / int(factor) < BLUR:
        factor = float(int(factor))
    width, height = max(1, round(guest.width() * factor)), max(1, round(guest.height() * factor))
    left, top = max(0, (view.width() - width) // 2), max(0, (view.height() - height) // 2)
    return Placement(QRect(left, top, width, height), guest, factor)
