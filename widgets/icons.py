"""The one icon family (Lucide), recoloured from the theme, sharp at every scale, each drawn once."""

from __future__ import annotations

import weakref
from functools import lru_cache
from importlib.resources import files
from typing import Protocol

from PySide6.QtCore import QByteArray, QRectF, Qt
from PySide6.QtGui import QIcon, QPainter, QPixmap
from PySide6.QtSvg import QSvgRenderer

from widgets import theme

SIZES = (16, 18, 24, 32, 48)
STROKE = 1.75
"""Lucide draws with 2 on a grid of 24; a little less matches the weight of 13 px text."""


class Wearer(Protocol):
    """A QAction, a button: whatever shows an icon."""

    def setIcon(self, icon: QIcon, /) -> None: ...


_dressed: dict[int, tuple[weakref.ref[Wearer], str, str]] = {}


def icon(name: str, role: str = "text") -> QIcon:
    """An icon in a token's colour, paler when disabled. Raises FileNotFoundError where there is no such icon.

    It keeps its colours when the theme changes: use `dress` for what lives longer than a menu.
    """
    return _icon(name, theme.colour(role).name(), theme.colour("line").name())


def dress(target: Wearer, name: str, role: str = "text") -> None:
    """Set the icon of a button or action, now and again after every change of theme."""
    key = id(target)
    _dressed[key] = (weakref.ref(target, lambda _gone: _dressed.pop(key, None)), name, role)
    target.setIcon(icon(name, role))


def pixmap(name: str, role: str, px: int, ratio: float = 1.0) -> QPixmap:
    """The icon as a picture of px by px device-independent pixels, for painters."""
    return _pixmap(name, theme.colour(role).name(), px, ratio)


@lru_cache(maxsize=256)
def _source(name: str) -> str:
    path = files("resources").joinpath("icons", f"{name}.svg")
    return path.read_text(encoding="utf-8").replace('stroke-width="2"', f'stroke-width="{STROKE}"')


@lru_cache(maxsize=2048)
def _pixmap(name: str, colour: str, px: int, ratio: float) -> QPixmap:
    renderer = QSvgRenderer(QByteArray(_source(name).replace("currentColor", colour).encode()))
    made = QPixmap(round(px * ratio), round(px * ratio))
    made.setDevicePixelRatio(ratio)
    made.fill(Qt.GlobalColor.transparent)
    painter = QPainter(made)
    renderer.render(painter, QRectF(0, 0, px, px))
    painter.end()
    return made


@lru_cache(maxsize=512)
def _icon(name: str, colour: str, faint: str) -> QIcon:
    made = QIcon()
    for px in SIZES:
        for ratio in (1.0, 2.0):
            for mode in (QIcon.Mode.Normal, QIcon.Mode.Selected):
                made.addPixmap(_pixmap(name, colour, px, ratio), mode)
            made.addPixmap(_pixmap(name, faint, px, ratio), QIcon.Mode.Disabled)
    return made


def _redress() -> None:
    for reference, name, role in tuple(_dressed.values()):
        target = reference()
        if target is not None:
            try:
                target.setIcon(icon(name, role))
            except RuntimeError:  # its C++ side is gone already, its Python side not yet
                _dressed.pop(id(target), None)


theme.on_change(_redress)
