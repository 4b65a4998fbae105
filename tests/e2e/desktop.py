"""A real desktop for tests: Xvfb, a window manager, a mouse and a keyboard driven from outside the program."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from PySide6.QtGui import QColor, QImage

T = TypeVar("T")


def eventually(ask: Callable[[], T], what: str, seconds: float = 60) -> T:
    """Ask until the answer is true; fail with `what` after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)


class Desktop:
    """An X display. Coordinates are screen pixels."""

    def __init__(self, display: str, folder: Path) -> None:
        self.display = display
        self.folder = folder
        self.env = {key: value for key, value in os.environ.items() if not key.startswith(("QT_", "PYTEST_"))}
        self.env |= {"DISPLAY": display, "QT_QPA_PLATFORM": "xcb", "XDG_SESSION_TYPE": "x11"}
        self._shots = 0

    def xdotool(self, *words: str | int) -> str:
        done = subprocess.run(
            ["xdotool", *map(str, words)], env=self.env, capture_output=True, text=True, timeout=30, check=True
        )
        return done.stdout.strip()

    def shot(self, name: str = "") -> QImage:
        """A screenshot of everything; kept as a file beside the test's other files."""
        self._shots += 1
        path = self.folder / f"{self._shots:03d}{'-' if name else ''}{name}.png"
        subprocess.run(["import", "-window", "root", str(path)], env=self.env, timeout=30, check=True)
        return QImage(str(path))

    def window(self, title: str, seconds: float = 60) -> str:
        """The id of the window with this title, once it is on the screen."""

        def find() -> str:
            done = subprocess.run(
                ["xdotool", "search", "--onlyvisible", "--name", title],
                env=self.env,
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            return done.stdout.split()[-1] if done.stdout.split() else ""

        return eventually(find, f"a window {title!r}", seconds)

    def click(self, x: int, y: int, button: int = 1) -> None:
        self.xdotool("mousemove", x, y, "click", button)

    def type(self, text: str) -> None:
        self.xdotool("type", "--delay", 30, text)

    def key(self, *names: str) -> None:
        self.xdotool("key", "--delay", 40, *names)

    def drag(self, start: tuple[int, int], end: tuple[int, int], hold: Callable[[], None] | None = None) -> None:
        """Press at `start`, go to `end` in small steps as a hand does, call `hold` there, and let go."""
        self.xdotool("mousemove", *start, "mousedown", 1)
        steps = 12
        for step in range(1, steps + 1):
            x = start[0] + (end[0] - start[0]) * step // steps
            y = start[1] + (end[1] - start[1]) * step // steps
            self.xdotool("mousemove", x, y)
            time.sleep(0.04)
        self.xdotool("mousemove", end[0] + 1, end[1])
        time.sleep(0.4)
        if hold is not None:
            hold()
        self.xdotool("mouseup", 1)

    def row_of(self, colour: str, *, left: int, right: int, top: int = 0) -> tuple[int, int] | None:
        """The centre of the first wide bar of a colour between two columns: the selected row of a list."""
        image, wanted = self.shot(), QColor(colour).rgb()
        probe = range(left, right, 7)
        hits = [
            y for y in range(top, image.height()) if sum(image.pixel(x, y) == wanted for x in probe) > len(probe) * 0.4
        ]
        return ((left + right) // 2, hits[len(hits) // 2]) if len(hits) >= 8 else None


@contextmanager
def desktop(folder: Path, size: str = "1440x900") -> Iterator[Desktop]:
    """Start a display with a window manager; both end with the block."""
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", f"{size}x24", "-nolisten", "tcp", "-noreset"],
        pass_fds=(write,),
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    manager: subprocess.Popen[bytes] | None = None
    try:
        with os.fdopen(read) as pipe:
            number = pipe.readline().strip()
        assert number, "Xvfb did not start"
        made = Desktop(f":{number}", folder)
        manager = subprocess.Popen(["openbox"], env=made.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        yield made
    finally:
        for process in filter(None, (manager, server)):
            process.terminate()
            process.wait(10)
