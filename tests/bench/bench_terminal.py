"""The terminal: parsing beside pyte.HistoryScreen, the window's loop and Ctrl+C while a program floods it, memory.

    python -m tests.bench.bench_terminal [--json]

Parsing is measured in turns with pyte in the same process (medians). The flood is a real program in a pseudo-terminal
that writes without end; the stall is that of a 1 ms timer on the window's loop, beside the same loop left alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pty
import random
import select
import signal
import statistics
import sys
import termios
import time
import tracemalloc
from collections.abc import Awaitable, Callable

import pyte
from PySide6.QtCore import QEventLoop, Qt, QTimer
from PySide6.QtWidgets import QApplication

from app.consoles.loop import ConsoleLoop
from app.consoles.terminal import Terminal
from tests.bench.row import row
from widgets import theme
from widgets.consoles.terminal import TerminalView

MB = 1_000_000
PIECE = 64 * 1024
THEIRS = 120_000
"""Bytes that pyte gets of each stream: it takes a second for less than one MB."""
FLOOD = r"""
import os, signal, sys, time
line = b"%d The quick brown fox jumps over the lazy dog \x1b[32mand \x1b[1;34mso on\x1b[m\r\n"
block = b"".join(line % n for n in range(2000))
def stop(number, frame):
    os.write(int(sys.argv[1]), b"%.6f" % time.monotonic())
    os._exit(0)
signal.signal(signal.SIGINT, stop)
while True:
    view = memoryview(block)
    while view:
        view = view[os.write(1, view):]
"""


def streams() -> dict[str, bytes]:
    """What programs say: a log, a coloured listing, a full screen drawn again and again."""
    chance = random.Random(7)
    names = [f"{chance.getrandbits(40):010x}.txt" for _ in range(500)]
    plain = b"".join(b"%06d The quick brown fox jumps over the lazy dog and some more.\r\n" % n for n in range(30_000))
    listing = b"".join(
        b"".join(b"\x1b[0m\x1b[01;3%dm%s\x1b[0m  " % (chance.randrange(1, 7), chance.choice(names).encode())
                 for _ in range(5)) + b"\r\n"
        for _ in range(15_000)
    )  # fmt: skip
    screens = []
    for _ in range(400):
        screens.append(b"\x1b[?25l\x1b[H")
        for y in range(24):
            screens.append(
                b"\x1b[%d;1H\x1b[38;5;%dm%5d\x1b[m \x1b[1mroot\x1b[22m %6.2f \x1b[7m%-20s\x1b[27m %s\x1b[K"
                % (y + 1, chance.randrange(256), chance.randrange(99999), chance.random() * 100, b"program", b"x" * 25)
            )
        screens.append(b"\x1b[?25h")
    return {"plain text": plain, "coloured listing": listing, "full screens": b"".join(screens)}


def ours(data: bytes) -> float:
    """MB/s."""
    terminal = Terminal(80, 24)
    began = time.perf_counter()
    for at in range(0, len(data), PIECE):
        terminal.feed(data[at : at + PIECE])
    return len(data) / MB / (time.perf_counter() - began)


def theirs(data: bytes) -> float:
    screen = pyte.HistoryScreen(80, 24, history=100_000)
    stream = pyte.ByteStream(screen)
    data = data[:THEIRS]
    began = time.perf_counter()
    stream.feed(data)
    return len(data) / MB / (time.perf_counter() - began)


def parsing() -> list[dict[str, object]]:
    table = []
    for name, data in streams().items():
        pairs = [(ours(data), theirs(data)) for _ in range(3)]
        mine, other = (statistics.median(found) for found in zip(*pairs, strict=True))
        note = f"{mine:.1f} MB/s, pyte {other:.2f} MB/s"
        table.append(row(f"terminal, {name}: beside pyte.HistoryScreen", mine / other, "x", least=5, note=note))
    return table


class Program:
    """A program in a pseudo-terminal, as a line."""

    def __init__(self, *words: str, told: int) -> None:
        self.loop = ConsoleLoop()
        self.taken = 0
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.set_inheritable(told, True)
            os.execv(words[0], words)
        os.set_blocking(self._fd, False)

    def attach(self, feed: Callable[[bytes], Awaitable[object] | None]) -> Callable[[], None]:
        reading = self.loop.run(self._read(feed))
        return lambda: reading.cancel() and None

    async def _read(self, feed: Callable[[bytes], Awaitable[object] | None]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            ready = loop.create_future()
            loop.add_reader(self._fd, lambda ready=ready: ready.done() or ready.set_result(None))
            await ready
            loop.remove_reader(self._fd)
            try:
                data = os.read(self._fd, PIECE)
            except OSError:
                return
            self.taken += len(data)
            taking = feed(data)
            if taking is not None:
                await taking

    def write(self, data: bytes) -> bool:
        os.write(self._fd, data)
        return True

    def resize(self, columns: int, rows: int) -> None:
        termios.tcsetwinsize(self._fd, (rows, columns))

    def close(self) -> None:
        if os.waitpid(self.pid, os.WNOHANG) == (0, 0):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        asyncio.run(self.loop.close())
        os.close(self._fd)


def spin(seconds: float) -> list[float]:
    """Gaps in ms between the ticks of a 1 ms timer while the loop runs."""
    gaps: list[float] = []
    last = [time.perf_counter()]

    def tick() -> None:
        at = time.perf_counter()
        gaps.append((at - last[0]) * 1000)
        last[0] = at

    ticker = QTimer(interval=1, timerType=Qt.TimerType.PreciseTimer)
    ticker.timeout.connect(tick)
    ticker.start()
    loop = QEventLoop()
    QTimer.singleShot(round(seconds * 1000), loop.quit)
    loop.exec()
    ticker.stop()
    return sorted(gaps)


def flood(seconds: float) -> list[dict[str, object]]:
    """A program that writes without end, watched by the window's loop, and stopped from the keyboard."""
    view = TerminalView()
    view.resize(900, 600)
    view.show()
    spin(0.5)
    idle = spin(seconds / 2)
    painted = [0]
    view.painted.connect(lambda: painted.__setitem__(0, painted[0] + 1))
    stops, shown = [], []
    for number in range(5):
        heard, told = os.pipe()
        program = Program(sys.executable, "-c", FLOOD, str(told), told=told)
        os.close(told)
        view.attach(program)
        if number == 0:
            spin(1)
            painted[0], before = 0, program.taken
            busy = spin(seconds)
            speed, frames = (program.taken - before) / MB / seconds, painted[0] / seconds
        else:
            spin(0.7)
        pressed = time.monotonic()
        view.send(b"\x03")
        spin(0.02)
        ready, _, _ = select.select([heard], [], [], 5)
        stops.append((float(os.read(heard, 64)) - pressed) * 1000 if ready else 5000.0)
        quiet = program.taken
        while True:
            spin(0.03)
            if program.taken == quiet:
                break
            quiet = program.taken
        shown.append((time.monotonic() - pressed) * 1000 - 30)
        os.close(heard)
        view.attach(None)
        program.close()
    view.close()
    return _flood_rows(idle, busy, speed, frames, stops, shown)


def _flood_rows(
    idle: list[float], busy: list[float], speed: float, frames: float, stops: list[float], shown: list[float]
) -> list[dict[str, object]]:
    table = []
    for name, share, most in (("p99", 0.99, 16), ("p99.9", 0.999, 50)):
        beside, found = idle[int(len(idle) * share)], busy[int(len(busy) * share)]
        note = f"{found:.1f} ms, idle loop {beside:.1f} ms, {speed:.1f} MB/s, {frames:.0f} frames/s"
        table.append(row(f"terminal flooded: stall {name}", max(0.0, found - beside), "ms", most=most, note=note))
    note = f"worst of {len(stops)}: {max(stops):.1f} ms; its last output shown after {statistics.median(shown):.0f} ms"
    table.append(row("terminal flooded: Ctrl+C to stop", statistics.median(stops), "ms", most=200, note=note))
    return table


def memory() -> dict[str, object]:
    """Bytes for each of 100,000 lines of 80 characters."""
    lines = 100_000
    terminal = Terminal(80, 24)
    block = b"".join(b"%04d " % number + b"x" * 75 + b"\r\n" for number in range(1000))
    tracemalloc.start()
    for _ in range(lines // 1000):
        terminal.feed(block)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return row("terminal: a kept line of 80 characters", used / lines, "B", most=110)


def resizing() -> dict[str, object]:
    """The time of another width with 100,000 lines kept."""
    terminal = Terminal(80, 24)
    terminal.feed(b"".join(b"%06d " % number + b"word " * (number % 25) + b"\r\n" for number in range(100_000)))
    times = []
    for cols in (100, 60, 132, 80, 101):
        began = time.perf_counter()
        terminal.resize(cols, 30)
        times.append((time.perf_counter() - began) * 1000)
    return row("terminal: another width, 100,000 lines kept", statistics.median(times), "ms", most=50)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if not os.environ.get("DISPLAY"):
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    app = QApplication([])
    theme.apply(app, theme.Mode.LIGHT)
    table = [*parsing(), *flood(8), memory(), resizing()]
    if asked.json:
        print(json.dumps(table, indent=1))
    else:
        for line in table:
            print("  ".join(f"{name}={value}" for name, value in line.items()))


if __name__ == "__main__":
    main()
