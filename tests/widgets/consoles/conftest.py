"""Consoles in a real window over the demo driver: its screens speak RFB through real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from PySide6.QtWidgets import QApplication

from app.services import Services
from backends.model import Ref
from tests.app.consoles.conftest import driver, running, services
from tests.widgets.consoles.terminals import line, view
from tests.widgets.standin import until
from widgets import theme
from widgets.consoles.panel import Panel
from widgets.consoles.screen import ScreenView
from widgets.window import Window

__all__ = ["driver", "line", "opened", "running", "services", "view", "window"]


@pytest.fixture
async def window(qapp: QApplication, services: Services) -> AsyncIterator[Window]:
    if theme.mode() != theme.Mode.LIGHT:
        theme.apply(qapp, theme.Mode.LIGHT)
    made = Window(services)
    made.resize(1200, 800)
    made.show()
    made.activateWindow()
    yield made
    await made.close_down()
    made.hide()
    made.deleteLater()


async def opened(window: Window, ref: Ref) -> tuple[Panel, ScreenView]:
    """A console in its tab, live."""
    panel = window.consoles.open(ref)
    await until(lambda: panel.screen_view is not None and panel.screen_view.live, 20)
    view = panel.screen_view
    assert view is not None
    await until(lambda: not view.guest_size().isEmpty(), 20)
    return panel, view


def typed(window: Window, ref: Ref) -> list[str]:
    """What the demo's guest has got from its keyboard, line by line; keys without a character as <keysym>."""
    screens = driver(window.services, ref.connection)._switchboard._screens
    return list(screens[ref.id]._typed)
