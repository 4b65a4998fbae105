"""Where a picture stands: sharp where it can be, in the middle, and back to the guest's own pixels."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QPointF, QRect, QSize

from widgets.consoles.scaling import Scale, place

GUEST = QSize(640, 400)


@pytest.mark.parametrize(
    ("view", "scale", "factor"),
    [
        (QSize(640, 400), Scale.FIT, 1.0),
        (QSize(700, 470), Scale.FIT, 1.0),  # a little more room: sharp
        (QSize(1280, 800), Scale.FIT, 2.0),
        (QSize(1400, 900), Scale.FIT, 2.0),
        (QSize(960, 1000), Scale.FIT, 1.5),
        (QSize(320, 400), Scale.FIT, 0.5),
        (QSize(320, 400), Scale.REAL, 1.0),
        (QSize(1280, 800), Scale.REAL, 1.0),
        (QSize(1280, 800), Scale.GUEST, 1.0),
        (QSize(320, 200), Scale.GUEST, 0.5),  # a guest that has not followed yet is seen whole
    ],
)
def test_factor(view: QSize, scale: Scale, factor: float) -> None:
    assert place(view, GUEST, scale).factor == factor


def test_it_stands_in_the_middle_and_never_left_of_the_view() -> None:
    assert place(QSize(790, 490), GUEST, Scale.FIT).rect == QRect(75, 45, 640, 400)
    assert place(QSize(300, 500), GUEST, Scale.REAL).rect == QRect(0, 50, 640, 400)
    assert place(QSize(0, 0), GUEST, Scale.FIT).rect.isEmpty()
    assert place(QSize(10, 10), QSize(), Scale.FIT).rect.isEmpty()


@pytest.mark.parametrize("view", [QSize(640, 400), QSize(800, 431), QSize(1280, 800), QSize(333, 217), QSize(77, 50)])
def test_every_pixel_is_found_again(view: QSize) -> None:
    placed = place(view, GUEST, Scale.FIT)
    for x, y in ((0, 0), (639, 399), (1, 398), (320, 200)):
        at = QPointF(placed.rect.left() + (x + 0.5) * placed.factor, placed.rect.top() + (y + 0.5) * placed.factor)
        assert placed.to_guest(at) == (x, y)


def test_beside_the_picture_is_its_edge() -> None:
    placed = place(QSize(790, 490), GUEST, Scale.FIT)
    assert placed.to_guest(QPointF(-5, 20)) == (0, 0)
    assert placed.to_guest(QPointF(5000, 5000)) == (639, 399)


@pytest.mark.parametrize("view", [QSize(640, 400), QSize(1000, 700), QSize(451, 280), QSize(1900, 1200)])
def test_what_is_painted_anew_holds_all_that_changed(view: QSize) -> None:
    placed = place(view, GUEST, Scale.FIT)
    for x, y, width, height in ((0, 0, 1, 1), (17, 33, 5, 9), (639, 399, 1, 1), (0, 0, 640, 400)):
        painted = placed.to_view(x, y, width, height)
        assert painted.left() <= placed.rect.left() + x * placed.factor
        assert painted.right() + 1 >= min(placed.rect.left() + (x + width) * placed.factor, placed.rect.right() + 1)
        assert placed.rect.contains(painted)
    if placed.exact:
        assert placed.to_view(10, 10, 2, 2).width() == 2 * placed.factor
