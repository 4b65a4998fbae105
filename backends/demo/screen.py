"""What the screen of a VM that does not exist shows: its name, its state, a clock, a bar that moves, and what was
typed and pointed at."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from backends.demo.font import COLUMNS, FIRST, LAST
from backends.model import PowerState, Vm

Pixels = NDArray[np.uint8]
Rect = tuple[int, int, int, int]
"""x, y, width, height in pixels."""

TICK_S = 0.1
BOOT_S = 1.5
SMALLEST, LARGEST = (320, 200), (4096, 2304)
INK = (0xE8, 0xE6, 0xE6)
DIM = (0x9A, 0x90, 0x88)
LINES = 6
"""How many lines of what was typed are kept."""
RETURN, BACKSPACE, CAPS_LOCK = (0xFF0D, 0xFF8D), 0xFF08, 0xFFE5
MODIFIERS = frozenset((*range(0xFFE1, 0xFFEF), 0xFE03, 0xFF7E))
"""Shift, Control, Alt and so on: they write nothing by themselves."""


def _glyphs() -> NDArray[np.bool_]:
    """The font as dots: (character, 8 rows, 6 columns)."""
    columns = np.frombuffer(COLUMNS, np.uint8).reshape(-1, 5)
    dots = np.zeros((len(columns), 8, 6), np.bool_)
    for row in range(8):
        dots[:, row, :5] = columns >> row & 1
    return dots


GLYPHS = _glyphs()
NOTHING: Pixels = np.empty((0, 0, 4), np.uint8)


class Screen:
    """One VM's screen. `look` says what the VM is now; `pixels` are B, G, R, 255 as a frame buffer has them.

    Every viewer is told what was painted; without one there is no picture in memory. Lives on one loop.
    """

    def __init__(self, look: Callable[[], Vm | None], width: int = 640, height: int = 400) -> None:
        self._look = look
        self._size = (width, height)
        self._viewers: set[Callable[[Rect], None]] = set()
        self.caps_lock = False
        self._typed = [""]
        self._pointer = (0, 0, 0)
        self._shown: dict[str, object] = {}
        self._advanced = 0.0
        self._booted = time.monotonic()
        self.pixels: Pixels = NOTHING

    @property
    def width(self) -> int:
        return self._size[0]

    @property
    def height(self) -> int:
        return self._size[1]

    @property
    def name(self) -> str:
        vm = self._look()
        return vm.name if vm else ""

    def show(self, viewer: Callable[[Rect], None]) -> None:
        """Have `viewer` told of every rectangle that is painted from now on."""
        if not self._viewers:
            self.resize(*self._size)
        self._viewers.add(viewer)

    def hide(self, viewer: Callable[[Rect], None]) -> None:
        self._viewers.discard(viewer)
        if not self._viewers:
            self.pixels = NOTHING

    def resize(self, width: int, height: int) -> bool:
        """Another size. False where that is too small or too large."""
        if not (SMALLEST[0] <= width <= LARGEST[0] and SMALLEST[1] <= height <= LARGEST[1]):
            return False
        self._size = (width, height)
        self.pixels = np.empty((height, width, 4), np.uint8)
        shade = zlib.crc32(self.name.encode())
        self._ground = (48 + (shade & 31), 32 + (shade >> 8 & 31), 24 + (shade >> 16 & 31))
        self._fill(0, 0, width, height, self._ground)
        self._shown = {}
        self._paint()
        return True

    def advance(self) -> float:
        """Paint what time and the world changed. Seconds until that may be again."""
        now = time.monotonic()
        if now - self._advanced >= TICK_S:
            self._advanced = now
            self._paint()
        return self._advanced + TICK_S - now

    def key(self, keysym: int, down: bool) -> None:
        """A key is echoed: as text where it is some, else by its number."""
        if not down:
            return
        if keysym in RETURN:
            self._typed = [*self._typed, ""][-LINES:]
        elif keysym == BACKSPACE:
            self._typed[-1] = self._typed[-1][:-1]
        elif keysym == CAPS_LOCK:
            self.caps_lock = not self.caps_lock
        elif keysym not in MODIFIERS:
            point = keysym & 0xFFFFFF if keysym >> 24 == 1 else keysym
            shown = chr(point) if FIRST <= point <= LAST else f"<{keysym:x}>"
            self._typed[-1] = (self._typed[-1] + shown)[-self.width // 12 + 4 :]
        self._paint()

    def point(self, x: int, y: int, buttons: int) -> None:
        self._pointer = (min(x, self.width - 1), min(y, self.height - 1), buttons)
        self._paint()

    def _paint(self) -> None:
        """Bring the picture up to date, piece by piece; a piece that is as it was costs nothing."""
        vm = self._look()
        if vm is None:
            return
        now = time.time()
        running = vm.state == PowerState.RUNNING
        booting = time.monotonic() - self._booted < BOOT_S
        self._text("name", vm.name, 24, 24, 4, INK)
        self._text("state", f"{'booting' if booting else vm.state} on {vm.parent.id if vm.parent else ''}", 24, 64, 2)
        if running or "clock" not in self._shown:
            self._text("clock", time.strftime("%H:%M:%S", time.gmtime(now)), 24, 96, 3, INK)
            self._bar(int(now * 10) * 8 % (self.width - 48 - 64))
        for number, line in enumerate([*self._typed, *[""] * (LINES - len(self._typed))]):
            cursor = "_" if number == len(self._typed) - 1 else ""
            self._text(f"line {number}", f"> {line}{cursor}" if line or cursor else "", 24, 176 + 20 * number, 2)
        x, y, buttons = self._pointer
        self._text("pointer", f"pointer {x},{y} buttons {buttons}", 24, self.height - 40, 2, DIM)
        if self._shown.get("mark") != self._pointer:
            self._mark(x, y, buttons)

    def _text(self, piece: str, text: str, x: int, y: int, scale: int, colour: tuple[int, int, int] = DIM) -> None:
        if self._shown.get(piece) == text:
            return
        before = len(str(self._shown.get(piece, "")))
        self._shown[piece] = text
        room = (self.width - x) // (6 * scale)
        codes = [ord(letter) - FIRST if FIRST <= ord(letter) <= LAST else 31 for letter in text[:room]]
        wide, high = min(max(len(codes), before), room) * 6 * scale, 8 * scale
        self._fill(x, y, wide, high, self._ground)
        if codes:
            dots = np.hstack(list(GLYPHS[codes])).repeat(scale, 0).repeat(scale, 1)
            self.pixels[y : y + high, x : x + dots.shape[1], :3][dots[: self.height - y]] = colour
        self._tell((x, y, wide, high))

    def _bar(self, at: int) -> None:
        if self._shown.get("bar") == at:
            return
        old = self._shown.get("bar", at)
        self._shown["bar"] = at
        assert isinstance(old, int)
        left, right = min(old, at), max(old, at) + 64
        self._fill(24 + left, 136, right - left, 12, self._ground)
        self._fill(24 + at, 136, 64, 12, (0xFF, 0x9D, 0x5B))
        self._tell((24 + left, 136, right - left, 12))

    def _mark(self, x: int, y: int, buttons: int) -> None:
        """A little square in the pad at the right edge, where the pointer is on the screen."""
        self._shown["mark"] = self._pointer
        left, top, wide, high = self.width - 136, 24, 112, 70
        self._fill(left, top, wide, high, (0x20, 0x1C, 0x18))
        dot = (0x4C, 0x4C, 0xF0) if buttons else INK
        self._fill(left + x * (wide - 6) // self.width, top + y * (high - 6) // self.height, 6, 6, dot)
        self._tell((left, top, wide, high))

    def _fill(self, x: int, y: int, width: int, height: int, colour: tuple[int, int, int]) -> None:
        self.pixels[y : y + height, x : x + width] = (*colour, 255)

    def _tell(self, rect: Rect) -> None:
        x, y, width, height = rect
        width, height = min(width, self.width - x), min(height, self.height - y)
        if width > 0 and height > 0:
            for viewer in self._viewers:
                viewer((x, y, width, height))
