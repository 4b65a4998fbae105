"""Screens: from a key to the painted pixel, the paint of a frame by itself, and what 40 live thumbnails cost.

    python -m tests.bench.bench_screens [--json]

The whole program runs over the demo driver, whose screens speak RFB through real sockets; it echoes a key at once.
The wall's CPU is that of the process, the demo's 40 screens and their encoder included, less the same window without.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import qasync
from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QImage, QPainter
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from app.consoles.rfb import Framebuffer
from app.services import Services
from backends.model import Kind, PowerState, Vm
from tests.bench.row import row
from widgets import theme
from widgets.consoles.picture import Picture
from widgets.consoles.scaling import Scale, place
from widgets.consoles.wall import WallTab
from widgets.window import Window

KEYS = 120
LINE = 30
"""Keys until the next line of the demo's screen."""
VMS = 60
SHOWN = 40
SECONDS = 10.0
TEXT = slice(165, 300)
"""The lines of the demo's 640x400 screen that hold what is typed."""


def paint_ms(size: tuple[int, int], view: QSize, frames: int = 40) -> float:
    """The median paint of a whole frame that has changed everywhere, into a view of that size."""
    frame = Framebuffer(*size)
    chance = np.random.default_rng(7)
    picture = Picture(frame)
    shown = QImage(view, QImage.Format.Format_RGB32)
    placed = place(view, picture.size, Scale.FIT)
    times = []
    noise = chance.integers(0, 1 << 24, (size[1], size[0]), dtype=np.uint32)
    for number in range(frames):
        frame.put(0, 0, noise | np.uint32(0xFF000000) ^ np.uint32(number))
        began = time.perf_counter()
        painter = QPainter(shown)
        picture.paint(painter, placed)
        painter.end()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


async def until(done: Callable[[], object], seconds: float = 30) -> None:
    """Wait on the running loop."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it never became true"
        await asyncio.sleep(0.02)


async def program(home: Path) -> Services:
    services = await Services.open(home, vault_key_file=home.with_name("key"))
    connection = await services.connections.add("demo", "demo", {"vms": str(VMS)}, {})
    await until(lambda: connection.listed)
    return services


def lit(services: Services, prefix: str = "") -> list[Vm]:
    """VMs whose screens open without being asked for anything."""
    vms = [item for item in services.inventory.of("demo", Kind.VM) if isinstance(item, Vm)]
    return [
        vm for vm in vms
        if vm.state == PowerState.RUNNING and vm.name.startswith(prefix) and not vm.name.startswith("ldap-")
    ]  # fmt: skip


async def keys_ms(window: Window) -> list[float]:
    """From each key event to the paint that shows what the guest made of it."""
    panel = window.consoles.open(lit(window.services, "app-")[0].ref)
    await until(lambda: panel.screen_view is not None and panel.screen_view.live)
    view, session = panel.screen_view, panel.screen_session
    assert view is not None
    assert session is not None
    await until(lambda: session.framebuffer is not None)
    frame, times = session.framebuffer, []
    assert frame is not None

    def text() -> int:
        with frame.lock:
            return zlib.crc32(frame.words[TEXT].tobytes())

    for number in range(KEYS):
        before, shown = text(), asyncio.Event()
        stop = view.painted.connect(lambda before=before, shown=shown: shown.set() if text() != before else None)
        began = time.perf_counter()
        QTest.keyClick(view, Qt.Key.Key_Return if number % LINE == LINE - 1 else Qt.Key.Key_A)
        await asyncio.wait_for(shown.wait(), 10)
        times.append((time.perf_counter() - began) * 1000)
        view.painted.disconnect(stop)
        await asyncio.sleep(0.05 + number % 7 * 0.003)
    window.close_tab(window.tabs.currentIndex())
    return times


async def cpu(seconds: float) -> float:
    """Percent of one core that this process takes."""
    process = psutil.Process()
    before, began = process.cpu_times(), time.monotonic()
    await asyncio.sleep(seconds)
    after = process.cpu_times()
    used = after.user + after.system - before.user - before.system
    return used / (time.monotonic() - began) * 100


async def wall_cpu(window: Window) -> tuple[float, float, int]:
    """With nothing but the overview; with the wall; and how many thumbnails are live in sight."""
    window.show_overview()
    await asyncio.sleep(2)
    rest = await cpu(SECONDS)
    window.consoles.wall([vm.ref for vm in lit(window.services)[:SHOWN]])
    tab = window.tabs.currentWidget()
    assert isinstance(tab, WallTab)
    tab.step_size(-1)
    await until(lambda: sum(not thumb.image.isNull() for thumb in tab.entries.thumbs.values()) >= SHOWN)
    await asyncio.sleep(2)
    shown = sum(tab.entries.thumbs[uid].live for uid in tab.visible_uids())
    return rest, await cpu(SECONDS), shown


async def measure() -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory() as folder:
        services = await program(Path(folder) / "home")
        window = Window(services)
        window.resize(1920, 1080)
        window.show()
        window.activateWindow()
        try:
            times = await keys_ms(window)
            rest, wall, shown = await wall_cpu(window)
        finally:
            await window.close_down()
            window.hide()
            await services.close()
    late = sorted(times)[len(times) * 95 // 100]
    full = QSize(1920, 1080)
    return [
        row("screen: key to pixel", statistics.median(times), "ms", most=25, note=f"p95 {late:.1f}"),
        row("screen: paint 1080p, 1:1", paint_ms((1920, 1080), full), "ms", most=16),
        row("screen: paint 1080p at 75 %", paint_ms((1920, 1080), full * 0.75), "ms", most=16),
        row("screen: paint 1080p at 150 %", paint_ms((1920, 1080), full * 1.5), "ms", most=33),
        row("screen: paint 1080p at 30 %", paint_ms((1920, 1080), full * 0.3), "ms", most=16),
        row(f"wall: {shown} thumbnails", wall - rest, "% core", most=25, note=f"rest {rest:.1f}; demo's encoder in it"),
    ]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    app = QApplication(sys.argv[:1])
    theme.apply(app)
    loop = qasync.QEventLoop(app)
    asyncio.set_event_loop(loop)
    with loop:
        rows: list[dict[str, object]] = loop.run_until_complete(measure())
    print(json.dumps(rows) if arguments.json else "\n".join(map(str, rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
