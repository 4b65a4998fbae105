"""Keys, pasted text and the mouse as xterm sends them."""

from __future__ import annotations

import pytest

from app.consoles.terminal import Mode
from app.consoles.terminal.keys import NONE, Button, Held, Motion, key, mouse, pasted, text

SHIFT, ALT, CTRL = Held.SHIFT, Held.ALT, Held.CTRL
APPLICATION = {Mode.APPLICATION_CURSOR}


@pytest.mark.parametrize(
    ("name", "held", "modes", "sent"),
    [
        ("up", NONE, set(), b"\x1b[A"),
        ("up", NONE, APPLICATION, b"\x1bOA"),
        ("up", CTRL, APPLICATION, b"\x1b[1;5A"),
        ("home", NONE, set(), b"\x1b[H"),
        ("end", SHIFT, set(), b"\x1b[1;2F"),
        ("pageup", NONE, set(), b"\x1b[5~"),
        ("delete", CTRL | SHIFT, set(), b"\x1b[3;6~"),
        ("f1", NONE, set(), b"\x1bOP"),
        ("f3", ALT, set(), b"\x1b[1;3R"),
        ("f5", NONE, set(), b"\x1b[15~"),
        ("f12", NONE, set(), b"\x1b[24~"),
        ("f13", NONE, set(), b"\x1b[1;2P"),
        ("tab", NONE, set(), b"\t"),
        ("tab", SHIFT, set(), b"\x1b[Z"),
        ("return", ALT, set(), b"\x1b\r"),
        ("backspace", NONE, set(), b"\x7f"),
        ("backspace", CTRL, set(), b"\b"),
        ("backspace", ALT, set(), b"\x1b\x7f"),
        ("escape", NONE, set(), b"\x1b"),
        ("nonsense", NONE, set(), b""),
    ],
)
def test_keys(name: str, held: Held, modes: set[int], sent: bytes) -> None:
    assert key(name, held, modes) == sent


def test_the_number_pad_of_applications() -> None:
    modes = {Mode.APPLICATION_KEYPAD}
    assert key("home", NONE, modes, keypad=True) == b"\x1bOw"
    assert key("home", NONE, modes) == b"\x1b[H"
    assert key("home", NONE, set(), keypad=True) == b"\x1b[H"


@pytest.mark.parametrize(
    ("typed", "held", "sent"),
    [
        ("a", NONE, b"a"),
        ("é", NONE, "é".encode()),
        ("x", ALT, b"\x1bx"),
        ("c", CTRL, b"\x03"),
        (" ", CTRL, b"\x00"),
        ("[", CTRL, b"\x1b"),
        ("_", CTRL, b"\x1f"),
        ("/", CTRL, b"\x1f"),
        ("8", CTRL, b"\x7f"),
        ("w", CTRL | ALT, b"\x1b\x17"),
        ("\ud800", NONE, b""),
    ],
)
def test_text(typed: str, held: Held, sent: bytes) -> None:
    assert text(typed, held) == sent


def test_pasted_text_cannot_leave_its_frame_or_send_controls() -> None:
    assert pasted("a\nb\r\nc\td", set()) == b"a\rb\rc\td"
    assert pasted("x\x1b[201~rm\x03\x00", {Mode.PASTE}) == b"\x1b[200~x[201~rm\x1b[201~"
    assert pasted("", {Mode.PASTE}) == b""
    assert pasted("Grüße\u00a0東京 🙂\u200d", set()).decode() == "Grüße\u00a0東京 🙂\u200d"


SGR = {Mode.MOUSE, Mode.MOUSE_SGR}


@pytest.mark.parametrize(
    ("button", "motion", "held", "modes", "sent"),
    [
        (Button.LEFT, Motion.PRESS, NONE, SGR, b"\x1b[<0;5;3M"),
        (Button.LEFT, Motion.RELEASE, NONE, SGR, b"\x1b[<0;5;3m"),
        (Button.RIGHT, Motion.PRESS, CTRL | ALT, SGR, b"\x1b[<26;5;3M"),
        (Button.WHEEL_UP, Motion.PRESS, NONE, SGR, b"\x1b[<64;5;3M"),
        (Button.WHEEL_UP, Motion.RELEASE, NONE, SGR, b""),
        (Button.LEFT, Motion.MOVE, NONE, SGR, b""),
        (Button.LEFT, Motion.MOVE, NONE, {Mode.MOUSE_DRAG, Mode.MOUSE_SGR}, b"\x1b[<32;5;3M"),
        (Button.NONE, Motion.MOVE, NONE, {Mode.MOUSE_DRAG, Mode.MOUSE_SGR}, b""),
        (Button.NONE, Motion.MOVE, NONE, {Mode.MOUSE_ALL, Mode.MOUSE_SGR}, b"\x1b[<35;5;3M"),
        (Button.LEFT, Motion.PRESS, NONE, {Mode.MOUSE}, b"\x1b[M %#"),
        (Button.LEFT, Motion.RELEASE, NONE, {Mode.MOUSE}, b"\x1b[M#%#"),
        (Button.LEFT, Motion.PRESS, CTRL, {Mode.MOUSE_X10}, b"\x1b[M %#"),
        (Button.LEFT, Motion.RELEASE, NONE, {Mode.MOUSE_X10}, b""),
        (Button.LEFT, Motion.PRESS, NONE, set(), b""),
    ],
)
def test_the_mouse(button: Button, motion: Motion, held: Held, modes: set[int], sent: bytes) -> None:
    assert mouse(button, motion, 4, 2, held, modes) == sent


def test_the_old_mouse_code_has_an_end() -> None:
    assert mouse(Button.LEFT, Motion.PRESS, 222, 0, NONE, {Mode.MOUSE}) == b"\x1b[M \xff!"
    assert mouse(Button.LEFT, Motion.PRESS, 223, 0, NONE, {Mode.MOUSE}) == b""
