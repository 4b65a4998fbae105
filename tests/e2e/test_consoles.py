"""Consoles with a real keyboard: X key events in, the guest's own serial line out; and a live migration under them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from PySide6.QtGui import QColor, QImage

from app.services import Services
from backends.model import Kind, Ref
from tests.e2e.desktop import Desktop, desktop, eventually
from tests.e2e.test_real_move import Program, causeway, home, place
from tests.lab.machine import Lab, LabGuest
from widgets.consoles.layouts import LAYOUTS
from widgets.consoles.typist import plan, type_out
from widgets.theme import LIGHT

__all__ = ["home"]

pytestmark = [pytest.mark.lab, pytest.mark.e2e]
PICTURE = (420, 150, 1430, 690)
"""Where the console's picture is on the screen: left, top, right, bottom."""


def colours(image: QImage) -> set[str]:
    """What the picture of the console is made of; the ground beside it left out."""
    left, top, right, bottom = PICTURE
    found = {image.pixelColor(x, y).name() for x in range(left, right, 3) for y in range(top, bottom, 2)}
    return found - {LIGHT.background, LIGHT.pane}


def dark(image: QImage) -> float:
    """How much of the picture's middle is black: a text screen nearly all of it."""
    points = [(x, y) for x in range(700, 1150, 5) for y in range(250, 600, 5)]
    return sum(image.pixelColor(x, y).lightness() < 30 for x, y in points) / len(points)


def hears(screen: Desktop, guest: LabGuest, typed: str, said: str) -> None:
    """Type a line with a real keyboard; the guest's serial line says what came of it."""
    host = guest.where()[0]
    screen.type(typed)
    screen.key("Return")
    eventually(lambda: f"{said}\n" in guest.serial(host), f"{said!r} in {guest.serial(host)[-300:]!r}", 60)


def test_typing_at_the_login_prompt_and_a_live_migration_under_the_console(
    lab: Lab, healed: Lab, home: Path, tmp_path: Path
) -> None:
    guest = lab.make(lab.a, pool="shared")
    guest.wait_beats(lab.a, 1)
    with desktop(tmp_path) as screen:
        program = Program(home, screen)
        eventually(lambda: place(home, guest.name) == "kvm-a", "the guest in the tree")
        program.point_at(guest.name)
        screen.key("ctrl+o")
        eventually(lambda: dark(screen.shot()) > 0.9, "a text screen")
        time.sleep(1)
        before = screen.shot("live")
        assert len(colours(before)) > 2, "text on it"
        hears(screen, guest, "anna-1", "LOGIN anna-1")
        moved = causeway(home, "move", f"kvm-a/{guest.name}", "--to", "kvm-b")
        assert isinstance(moved, dict)
        assert moved["ok"] is True
        assert guest.where() == [lab.b]
        time.sleep(3)
        after = screen.shot("moved")
        assert dark(after) > 0.9, "the picture goes on"
        tab = (400, 50, 1440, 90)
        assert [strip(before, tab), len(colours(after)) > 2] == [strip(after, tab), True], "the same tab"
        guest.wait_beats(lab.b)
        hears(screen, guest, "echo 'Same Shell: {x|y} ~' > /dev/ttyS0", "Same Shell: {x|y} ~")
        program.end()


def strip(image: QImage, box: tuple[int, int, int, int]) -> list[QColor]:
    left, top, right, bottom = box
    return [image.pixelColor(x, y) for x in range(left, right, 2) for y in range(top, bottom, 2)]


async def test_text_is_typed_as_keys_and_nothing_of_it_is_lost(lab: Lab, healed: Lab, home: Path) -> None:
    """What "type the clipboard as keys" does, with all of ASCII, into a guest that makes characters of real keys."""
    guest = await asyncio.to_thread(lab.make, lab.a)
    await asyncio.to_thread(guest.wait_beats, lab.a, 1)
    marks = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in "'\\")
    services = await Services.open(home, vault_key_file=home.with_name("vault.key"))
    try:
        ref = Ref("kvm-a", Kind.VM, guest.uuid)
        async with asyncio.timeout(60):
            while services.inventory.vm(ref) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        session = services.consoles.screen(ref)
        await session.open()
        await session.live()
        assert session.takes_scancodes
        for text, answer in (("typist\n", "LOGIN typist\n"), (f"echo '{marks}' > /dev/ttyS0\n", f"{marks}\n")):
            typed, cannot = plan(text, LAYOUTS["us"])
            assert cannot == []
            assert await type_out(session, typed, lambda number: None) == len(typed)
            said = f"{answer!r} in {guest.serial(lab.a)[-300:]!r}"
            await asyncio.to_thread(eventually, lambda answer=answer: answer in guest.serial(lab.a), said, 60)
    finally:
        await services.close()
