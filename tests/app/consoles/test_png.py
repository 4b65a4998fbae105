"""PNG files that any reader understands, with the very pixels."""

from __future__ import annotations

import numpy
import pytest

from app.consoles import png
from app.consoles.rfb import Framebuffer
from app.services import Services
from backends.errors import Unreachable
from tests.app.consoles.conftest import running


def read(data: bytes) -> numpy.ndarray:
    """What Qt's reader makes of it: (height, width, 4) B, G, R, X."""
    from PySide6.QtGui import QImage

    image = QImage.fromData(data, "PNG").convertToFormat(QImage.Format.Format_RGB32)
    assert not image.isNull()
    lines = numpy.frombuffer(image.constBits(), dtype=numpy.uint8).reshape(image.height(), image.bytesPerLine())
    return lines[:, : image.width() * 4].reshape(image.height(), image.width(), 4).copy()


def test_every_pixel_is_as_it_was() -> None:
    frame = Framebuffer(7, 5)
    frame.pixels[:, :, :3] = numpy.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=numpy.uint8)
    assert (read(png.encode(frame))[:, :, :3] == frame.pixels[:, :, :3]).all()


def test_a_picture_without_pixels_is_refused() -> None:
    with pytest.raises(Unreachable):
        png.encode(Framebuffer(0, 0))


async def test_a_screenshot_is_complete(services: Services) -> None:
    pixels = read(await services.consoles.screenshot(running(services)))
    assert len(numpy.unique(pixels.reshape(-1, 4), axis=0)) > 1
    assert not services.consoles._sessions, "nothing stays open"
