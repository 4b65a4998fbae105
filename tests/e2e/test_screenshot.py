"""The picture in the README is true: it is made anew, from the playground, and compared with the committed one.

How it is made: a home with the playground's connections; web-01 in the group "web"; a window of 1440x900 in the light
theme with the tab of web-01 and the tasks open; web-01 moves live to kvm-b and back; the guest works in bursts, so that
its charts have something to show. `NEW_SCREENSHOT=1 pytest tests/e2e/test_screenshot.py` lets the charts run for 90
seconds and replaces the committed picture.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QImage, QPainter

from backends.model import Kind, Ref
from tests.e2e.desktop import Desktop, desktop, eventually
from tests.e2e.test_real_move import Program, causeway, home, place, put_in_group, rows
from tests.lab.machine import Lab
from widgets.theme import DARK, LIGHT

__all__ = ["home"]

COMMITTED = Path(__file__).parents[2] / "resources/screenshot.png"
MOST_BYTES = 300_000
SMALL = (72, 45)
ALIKE = 3.0
"""Mean difference per channel of 255 below which two pictures show the same window: a new one has about 0.5, an empty
window 6, another theme over 100."""
NEW = bool(os.environ.get("NEW_SCREENSHOT"))
BURSTS = 6 if NEW else 1


def unlike(first: QImage, second: QImage) -> float:
    """How far two pictures are apart: both scaled down, the mean difference of their channels (0 to 255)."""

    def small(image: QImage) -> list[QColor]:
        scaled = image.scaled(*SMALL, mode=Qt.TransformationMode.SmoothTransformation)
        return [scaled.pixelColor(x, y) for y in range(SMALL[1]) for x in range(SMALL[0])]

    apart = [
        abs(one.red() - two.red()) + abs(one.green() - two.green()) + abs(one.blue() - two.blue())
        for one, two in zip(small(first), small(second), strict=True)
    ]
    return sum(apart) / len(apart) / 3


def empty_window(committed: QImage) -> QImage:
    """The frame of the window alone: the parts' grounds and lines where they are, nothing in them."""
    made = QImage(committed.size(), QImage.Format.Format_RGB32)
    made.fill(QColor(LIGHT.pane))
    painter = QPainter(made)
    painter.fillRect(405, 90, 1035, 650, QColor(LIGHT.background))
    painter.end()
    return made


def dark(image: QImage) -> QImage:
    """The picture as the other theme would show its grounds."""
    made = image.copy()
    made.invertPixels()
    return made


def test_the_committed_picture_is_a_light_window_of_its_size() -> None:
    committed = QImage(str(COMMITTED))
    assert (committed.width(), committed.height()) == (1440, 900)
    assert COMMITTED.stat().st_size < MOST_BYTES
    grounds = {committed.pixelColor(x, 30).name() for x in (740, 900, 1000)}
    assert grounds == {LIGHT.pane}
    assert DARK.pane not in grounds


def test_the_comparison_tells_an_empty_window_and_the_other_theme() -> None:
    committed = QImage(str(COMMITTED))
    assert unlike(committed, committed) == 0
    assert unlike(committed, empty_window(committed)) > ALIKE
    assert unlike(committed, dark(committed)) > 100


@pytest.mark.lab
@pytest.mark.e2e
def test_the_picture_in_the_readme_is_true(lab: Lab, healed: Lab, home: Path, tmp_path: Path) -> None:
    guest = lab.guest("web-01")
    eventually(lambda: place(home, "web-01") == "kvm-a", "web-01 is where the playground puts it")
    rows(home)
    asyncio.run(put_in_group(home, Ref("kvm-a", Kind.VM, guest.uuid), "web"))
    with desktop(tmp_path, "1600x1000") as screen:
        program = Program(home, screen)
        window = screen.window("Causeway")
        eventually(lambda: place(home, "web-01") == "kvm-a", "web-01 is shown")
        program.point_at("web-01")
        screen.key("Return")
        for target in ("kvm-b", "kvm-a"):
            source = "kvm-a" if target == "kvm-b" else "kvm-b"
            causeway(home, "move", f"{source}/web-01", "--to", target)
            eventually(lambda target=target: place(home, "web-01") == target, f"web-01 runs on {target}")
        work(lab)
        # Some time after the last task the lower pane is its head alone.
        screen.key("alt+1")
        picture = take(screen, window, tmp_path / "screenshot.png")
        program.end()
    if NEW:
        COMMITTED.write_bytes((tmp_path / "screenshot.png").read_bytes())
    committed = QImage(str(COMMITTED))
    assert picture.size() == committed.size()
    assert unlike(picture, committed) < ALIKE


def work(lab: Lab) -> None:
    """Bursts of work in web-01 on kvm-a, and rest between them."""
    guest = lab.guest("web-01")
    guest.wait_beats(lab.a)
    for burst in range(BURSTS):
        guest.tell(lab.a, "sum", "SUM")
        guest.tell(lab.a, "dirty 1", "DIRTY")
        time.sleep(4 + burst % 3 * 2)
        guest.tell(lab.a, "clean", "CLEAN")
        time.sleep(8 - burst % 3)


def take(screen: Desktop, window: str, path: Path) -> QImage:
    """The window without its frame, the mouse out of the way."""
    screen.xdotool("mousemove", 1599, 999)
    time.sleep(1)
    subprocess.run(["import", "-window", window, "-strip", str(path)], env=screen.env, timeout=30, check=True)
    return QImage(str(path))
