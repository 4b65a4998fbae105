"""Keys: the place of a key on X11, Wayland and Windows, and that what goes down comes up."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QApplication

from widgets.consoles.keys import CHORDS, TERMINALS, Key, Keyboard, Leaving, key_of, locks

NO = Qt.KeyboardModifier.NoModifier


def event(
    key: Qt.Key = Qt.Key.Key_unknown,
    text: str = "",
    *,
    number: int = 0,
    symbol: int = 0,
    modifiers: Qt.KeyboardModifier = NO,
    repeats: bool = False,
    down: bool = True,
) -> QKeyEvent:
    kind = QEvent.Type.KeyPress if down else QEvent.Type.KeyRelease
    return QKeyEvent(kind, key.value, modifiers, number, symbol, 0, text, repeats, 1)


@pytest.mark.parametrize(
    ("number", "symbol", "scancode"),
    [
        (38, ord("a"), 0x1E),
        (38, ord("q"), 0x1E),  # the same key on a French keyboard
        (52, ord("y"), 0x2C),  # and on a German one
        (94, ord("<"), 0x56),
        (111, 0xFF52, 0xE048),
        (98, 0xFF52, 0xE048),  # an X server that numbers as XFree86 did
        (108, 0xFE03, 0xE038),
        (113, 0xFF51, 0xE04B),
        (104, 0xFF8D, 0xE01C),
        (36, 0xFF0D, 0x1C),
        (79, 0xFF95, 0x47),  # the 7 of the keypad, num lock off
        (107, 0xFF61, 0xE037),
        (133, 0xFFEB, 0xE05B),
        (34, 0xFE52, 0x1A),  # a dead circumflex
        (123, 0x1008FF13, 0xE030),
    ],
)
@pytest.mark.parametrize("platform", ["xcb", "wayland"])
def test_a_key_is_known_by_its_place(number: int, symbol: int, scancode: int, platform: str) -> None:
    assert key_of(event(number=number, symbol=symbol), platform) == Key(symbol, scancode)


@pytest.mark.parametrize(
    ("platform", "state", "lights"),
    [
        ("xcb", 0, 0),
        ("xcb", 0x2, 4),
        ("wayland-egl", 0x13, 6),
        ("windows", 0x200, 2),
        ("windows", 0x102, 4),
        ("cocoa", 0x3, None),
    ],
)
def test_the_lights_of_the_desktop(platform: str, state: int, lights: int | None) -> None:
    pressed = QKeyEvent(QEvent.Type.KeyPress, Qt.Key.Key_A.value, NO, 38, ord("a"), state, "a")
    assert locks(pressed, platform) == lights


def test_windows_numbers_its_keys_as_the_keyboard_does() -> None:
    assert key_of(event(Qt.Key.Key_A, "a", number=0x1E, symbol=0x41), "windows") == Key(ord("a"), 0x1E)
    assert key_of(event(Qt.Key.Key_Up, number=0x148), "windows") == Key(0xFF52, 0xE048)
    assert key_of(event(Qt.Key.Key_Control, number=0x11D), "windows").scancode == 0xE01D


def test_without_native_numbers_the_meaning_gives_the_place() -> None:
    assert key_of(event(Qt.Key.Key_Up), "offscreen") == Key(0xFF52, 0xE048)
    assert key_of(event(Qt.Key.Key_A, "A", modifiers=Qt.KeyboardModifier.ShiftModifier), "offscreen") == Key(0x41, 0x1E)
    control = Qt.KeyboardModifier.ControlModifier
    assert key_of(event(Qt.Key.Key_C, "\x03", modifiers=control), "offscreen") == Key(ord("c"), 0x2E)
    assert key_of(event(Qt.Key.Key_F12), "offscreen") == Key(0xFFC9, 0x58)
    assert key_of(event(text="€"), "offscreen") == Key(0x010020AC, 0)
    assert key_of(event(text="ä"), "offscreen") == Key(0xE4, 0)


class Sent(list[tuple[int, bool, int]]):
    def __call__(self, keysym: int, down: bool, scancode: int) -> None:
        self.append((keysym, down, scancode))


def test_a_key_that_repeats_goes_down_again_and_comes_up_once(qapp: QApplication) -> None:
    sent = Sent()
    keyboard = Keyboard(sent)
    for repeats, down in ((False, True), (True, False), (True, True), (True, False), (True, True), (False, False)):
        keyboard.on_event(event(Qt.Key.Key_A, "a", repeats=repeats, down=down), down=down)
    assert [down for _, down, _ in sent] == [True, True, True, False]
    assert keyboard.held == ()


def test_a_key_comes_up_as_what_went_down(qapp: QApplication) -> None:
    sent = Sent()
    keyboard = Keyboard(sent)
    keyboard.on_event(event(Qt.Key.Key_A, "A", number=38), down=True)
    keyboard.on_event(event(Qt.Key.Key_A, "a", number=38, repeats=True), down=True)
    keyboard.on_event(event(Qt.Key.Key_A, "a", number=38, down=False), down=False)
    assert sent == [(0x41, True, 0x1E), (0x41, True, 0x1E), (0x41, False, 0x1E)]


def test_everything_is_let_go_the_last_first_and_nothing_twice(qapp: QApplication) -> None:
    sent = Sent()
    keyboard = Keyboard(sent)
    keyboard.on_event(event(Qt.Key.Key_Control), down=True)
    keyboard.on_event(event(Qt.Key.Key_Alt), down=True)
    sent.clear()
    keyboard.release_all()
    keyboard.on_event(event(Qt.Key.Key_Control, down=False), down=False)
    assert [(keysym, down) for keysym, down, _ in sent] == [(0xFFE9, False), (0xFFE3, False)]


def test_chords_are_held_together() -> None:
    sent = Sent()
    Keyboard(sent).play(CHORDS[0].keys)
    assert CHORDS[0].name == "Ctrl+Alt+Del"
    assert sent == [
        (0xFFE3, True, 0x1D),
        (0xFFE9, True, 0x38),
        (0xFFFF, True, 0xE053),
        (0xFFFF, False, 0xE053),
        (0xFFE9, False, 0x38),
        (0xFFE3, False, 0x1D),
    ]
    assert [chord.keys[-1].scancode for chord in TERMINALS] == [*range(0x3B, 0x45), 0x57, 0x58]


def test_ctrl_and_alt_alone_are_the_way_out() -> None:
    ctrl, alt, altgr, delete = Key(0, 0x1D), Key(0, 0x38), Key(0, 0xE038), Key(0, 0xE053)
    leaving = Leaving()
    leaving.pressed((ctrl,))
    leaving.pressed((ctrl, alt))
    assert leaving.released((ctrl,))
    assert not leaving.released(())
    leaving.pressed((ctrl, alt))
    leaving.pressed((ctrl, alt, delete))
    assert not leaving.released((ctrl, alt))
    assert not leaving.released((ctrl,))
    leaving.pressed((ctrl, altgr))
    assert not leaving.released((altgr,))
    leaving.pressed((ctrl, alt))
    leaving.forget()
    assert not leaving.released((ctrl,))
