"""The view of a screen: every pixel as the guest has it, keys and pointer there and back, and nothing while hidden."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, QSize, Qt
from PySide6.QtGui import QGuiApplication, QImage, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget

import widgets.consoles.screen
from app.consoles.rfb import Framebuffer
from tests.widgets.consoles.conftest import driver, opened, running, typed
from tests.widgets.standin import until
from widgets.consoles.picture import Picture, align, to_logical
from widgets.consoles.scaling import Scale, place
from widgets.consoles.screen import ScreenView
from widgets.window import Window


def noise(width: int, height: int) -> Framebuffer:
    """A picture of which no two pixels are alike."""
    frame = Framebuffer(width, height)
    numbers = np.arange(width * height, dtype=np.uint32).reshape(height, width)
    frame.put(0, 0, 0xFF000000 | (numbers * 40503 & 0xFFFFFF))
    return frame


def bytes_of(image: QImage) -> Any:
    image = image.convertToFormat(QImage.Format.Format_RGB32)
    pixels = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.width(), 4)
    return pixels[:, :, :3].copy()


class Canvas(QWidget):
    """A picture at an odd place of a window."""

    def __init__(self, frame: Framebuffer, scale: Scale, parent: QWidget) -> None:
        super().__init__(parent)
        self.picture, self.scale = Picture(frame), scale

    def paintEvent(self, event: object) -> None:
        from PySide6.QtGui import QPainter

        painter = QPainter(self)
        ratio = self.devicePixelRatioF()
        align(painter, ratio)
        view = QSize(round(self.width() * ratio), round(self.height() * ratio))
        self.picture.paint(painter, place(view, self.picture.size, self.scale))


@pytest.mark.parametrize("ratio", [1.0, 1.25, 1.5, 1.75, 2.0])
def test_real_size_is_exact_to_the_pixel_at_every_scale_of_the_display(qapp: QApplication, ratio: float) -> None:
    frame = noise(61, 37)
    outer = QWidget()
    outer.resize(101, 83)
    canvas = Canvas(frame, Scale.REAL, outer)
    canvas.setGeometry(7, 3, 90, 70)
    shown = QImage(round(101 * ratio), round(83 * ratio), QImage.Format.Format_RGB32)
    shown.setDevicePixelRatio(ratio)
    shown.fill(Qt.GlobalColor.magenta)
    # A widget's own ratio is that of its screen: here it is what the image says.
    canvas.devicePixelRatioF = lambda: ratio  # type: ignore[method-assign]
    outer.render(shown)
    found, wanted = bytes_of(shown), frame.pixels[:, :, :3]
    places = np.argwhere((found == wanted[0, 0]).all(axis=2))
    assert any((found[y : y + 37, x : x + 61] == wanted).all() for y, x in places if found[y:, x:].shape >= (37, 61))
    outer.deleteLater()


def test_small_pictures_mix_all_pixels(qapp: QApplication) -> None:
    frame = Framebuffer(400, 400)
    frame.words[:, ::4] = 0xFFFFFFFF
    frame.serial += 1
    small = Picture(frame).copy(QSize(100, 100))
    assert abs(int(bytes_of(small).mean()) - 64) <= 2


@pytest.mark.parametrize("ratio", [1.0, 1.25, 1.5, 2.0])
def test_logical_rectangles_hold_those_of_the_device(ratio: float) -> None:
    from PySide6.QtCore import QRect

    for rect in (QRect(0, 0, 1, 1), QRect(3, 5, 7, 11), QRect(100, 99, 640, 401)):
        logical = to_logical(rect, ratio)
        assert logical.left() * ratio <= rect.left()
        assert (logical.left() + logical.width()) * ratio >= rect.left() + rect.width()
        assert (logical.top() + logical.height()) * ratio >= rect.top() + rect.height()


async def test_the_picture_is_the_guests(window: Window) -> None:
    panel, view = await opened(window, running(window.services))
    panel.toggle_scale()
    assert view.scale == Scale.REAL
    assert view.session is not None
    driver(window.services)._switchboard._screens[running(window.services).id].advance = lambda: 60.0

    def same() -> bool:
        shown = bytes_of(view.grab().toImage())
        corner = view.place.rect.topLeft()
        size = view.guest_size()
        part = shown[corner.y() : corner.y() + size.height(), corner.x() : corner.x() + size.width()]
        assert view.session is not None
        assert view.session.framebuffer is not None
        return bool((part == view.session.framebuffer.pixels[:, :, :3]).all())

    await until(same, 10)
    assert view.picture().size() == view.guest_size()


async def test_keys_reach_the_guest_and_no_shortcut_of_the_window_fires(window: Window) -> None:
    ref = running(window.services)
    panel, view = await opened(window, ref)
    view.setFocus()
    tabs = window.tabs.count()
    QTest.keyClicks(view, "ls -L")
    for key in (Qt.Key.Key_W, Qt.Key.Key_K):
        QTest.keyClick(view, key, Qt.KeyboardModifier.ControlModifier)
    QTest.keyClick(view, Qt.Key.Key_Tab)
    await until(lambda: "<ff09>" in typed(window, ref)[-1], 10)
    assert typed(window, ref)[-1].replace("<ffe3>", "").replace("<ffe1>", "") == "ls -Lwk<ff09>"
    assert window.tabs.count() == tabs
    assert view.hasFocus()
    panel.toggle_view_only()
    QTest.keyClicks(view, "no")
    panel.toggle_view_only()
    QTest.keyClicks(view, "yes")
    await until(lambda: typed(window, ref)[-1].endswith("yes"), 10)
    assert "no" not in typed(window, ref)[-1]


async def test_what_is_held_is_let_go_with_the_keyboard(window: Window) -> None:
    _panel, view = await opened(window, running(window.services))
    view.setFocus()
    QTest.keyPress(view, Qt.Key.Key_Control)
    QTest.keyPress(view, Qt.Key.Key_A)
    assert len(view.keyboard.held) == 2
    window.focus_search()
    assert view.keyboard.held == ()


async def test_ctrl_and_alt_give_the_keyboard_back(window: Window) -> None:
    panel, view = await opened(window, running(window.services))
    view.setFocus()
    for press, key in ((True, Qt.Key.Key_Control), (True, Qt.Key.Key_Alt), (False, Qt.Key.Key_Alt)):
        (QTest.keyPress if press else QTest.keyRelease)(view, key)
    assert not view.hasFocus()
    assert panel.isAncestorOf(QApplication.focusWidget())
    assert view.keyboard.held == ()


async def test_the_pointer_is_where_it_is_in_the_guest(window: Window) -> None:
    ref = running(window.services)
    _panel, view = await opened(window, ref)
    screen = driver(window.services)._switchboard._screens[ref.id]
    at = QPoint(view.place.rect.left() + round(100.5 * view.place.factor), view.place.rect.top() + 80)
    QTest.mousePress(view, Qt.MouseButton.RightButton, pos=at)
    x, y = view.place.to_guest(QPointF(at))
    assert x == 100
    await until(lambda: screen._pointer == (x, y, 4), 10)
    QTest.mouseRelease(view, Qt.MouseButton.RightButton, pos=at)
    await until(lambda: screen._pointer == (x, y, 0), 10)


async def test_half_notches_of_a_wheel_add_up(window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    _panel, view = await opened(window, running(window.services))
    turned: list[int] = []
    assert view.session is not None
    monkeypatch.setattr(view.session, "pointer", lambda x, y, buttons: turned.append(buttons))
    for delta in (60, 60, -120, -60):
        event = QWheelEvent(
            QPointF(300, 300), view.mapToGlobal(QPointF(300, 300)), QPoint(), QPoint(0, delta),
            Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
        )  # fmt: skip
        QApplication.sendEvent(view, event)
    assert turned == [8, 0, 16, 0]


async def test_a_hidden_screen_asks_for_nothing(window: Window) -> None:
    _panel, view = await opened(window, running(window.services))
    frame = view.session.framebuffer if view.session is not None else None
    assert frame is not None
    before = frame.serial
    await until(lambda: frame.serial > before, 10)
    window.show_overview()
    await until(lambda: not view.isVisible(), 5)
    still = -1

    async def rests() -> bool:
        nonlocal still
        still = frame.serial
        for _ in range(20):
            await until(lambda: True)
        return frame.serial == still

    for _ in range(50):
        if await rests():
            break
    assert frame.serial == still
    window.tabs.setCurrentIndex(window.tabs.count() - 1)
    await until(lambda: frame.serial > still, 10)


async def test_the_clipboard_is_shared_while_it_has_the_keyboard(
    window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    _panel, view = await opened(window, running(window.services))
    sent: list[str] = []
    assert view.session is not None
    monkeypatch.setattr(view.session, "cut_text", sent.append)
    window.focus_search()
    QGuiApplication.clipboard().setText("not for the guest yet")
    assert sent == []
    view.setFocus()
    await until(lambda: sent == ["not for the guest yet"], 5)
    QGuiApplication.clipboard().setText("Grüße")
    await until(lambda: sent[-1] == "Grüße", 5)
    view.clipboard.from_guest("from the guest")
    assert QGuiApplication.clipboard().text() == "from the guest"
    await until(lambda: True)
    assert sent[-1] == "Grüße", "what came from the guest is not offered back to it"
    window.focus_search()
    view.clipboard.from_guest("behind one's back")
    assert QGuiApplication.clipboard().text() == "from the guest"
    view.clipboard.set_on(False)
    view.setFocus()
    QGuiApplication.clipboard().setText("secret")
    assert "secret" not in sent


async def test_the_guest_takes_the_size_of_the_view(window: Window) -> None:
    from dataclasses import replace

    panel, view = await opened(window, running(window.services))
    panel.choose(replace(panel.settings, scale=Scale.GUEST))
    wanted = QSize(view.width() & ~1, view.height() & ~1)
    await until(lambda: view.guest_size() == wanted, 20)
    assert view.place.factor == 1
    window.resize(900, 700)
    await until(lambda: view.guest_size() == QSize(view.width() & ~1, view.height() & ~1) != wanted, 20)


async def test_lights(window: Window) -> None:
    panel, view = await opened(window, running(window.services))
    view.setFocus()
    QTest.keyClick(view, Qt.Key.Key_CapsLock)
    await until(lambda: view.lights == 4, 10)
    await until(lambda: "Caps" in panel.line.findChildren(QWidget)[0].text(), 10)  # type: ignore[attr-defined]


def test_a_view_without_a_session_is_still_a_widget(qapp: QApplication) -> None:
    view = ScreenView()
    view.resize(200, 100)
    view.grab()
    assert not view.takes_input
    assert view.picture().isNull()
    view.deleteLater()


async def test_the_locks_of_the_guest_are_made_those_of_the_desktop_with_the_first_key(
    window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = running(window.services)
    panel, view = await opened(window, ref)
    assert panel.screen_session is not None
    told: list[int | None] = [None]
    monkeypatch.setattr(type(panel.screen_session), "leds", property(lambda session: told[0]))
    monkeypatch.setattr(widgets.consoles.screen, "locks", lambda event: 4)
    sent: list[int] = []
    monkeypatch.setattr(panel.screen_session, "key", lambda keysym, down, scancode: down and sent.append(keysym))
    view.setFocus()
    QTest.keyClick(view, Qt.Key.Key_A)
    assert sent == [ord("a")], "nothing is known of the guest's lights"
    told[0] = 2
    for _ in range(2):
        QTest.keyClick(view, Qt.Key.Key_A)
    assert sent[1:] == [0xFFE5, 0xFF7F, ord("a"), ord("a")]
    view.clearFocus()
    view.setFocus()
    QTest.keyClick(view, Qt.Key.Key_A)
    assert sent[5:] == [0xFFE5, 0xFF7F, ord("a")]
