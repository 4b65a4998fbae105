"""From the start of the process to a window in which a key filters 100,000 VMs and a row opens.

    python -m tests.bench.bench_start [--json] [--times N] [--home FOLDER]

Measured from outside: a real display, real keys, and the picture on the screen. The data folder is one that Causeway
itself has left: the sites of one world answer again while the window starts, those of the other never do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
from PySide6.QtGui import QColor, QGuiApplication, QImage

from app.services import Services
from app.store import Store
from backends.model import Host, Kind, Object, Ref, Vm, now
from tests.bench.row import row
from tests.e2e.desktop import Desktop, desktop, eventually
from widgets.theme import LIGHT
from widgets.window import STATE

CAUSEWAY = Path(sys.executable).with_name("causeway")
VMS = 100_000
HOSTS = 1000
SITES = 20
ANSWERING, SILENT = "one site that answers", f"{SITES} sites, none answers"
KEY = "q"
"""Only the names of a tenth of the VMs hold it, and nothing else of them does."""
GIVE_UP_S = 60.0
QUIET_S = 1.0
TREE = (0, 115, 400, 600)
"""Where the tree is on the screen: left, top, width, height."""
NAMES = (48, 220)
"""The columns of it that hold the beginnings of the names."""


async def answering(home: Path) -> float:
    """Let Causeway itself see a site of 100,000 VMs and keep it. Returns the CPU seconds of closing right after."""
    services = await Services.open(home)
    listed = asyncio.Event()
    services.connections.subscribe(lambda site: listed.set() if site.listed else None)
    await services.connections.add("demo", "big", {"vms": str(VMS), "hosts": str(HOSTS)}, {})
    await listed.wait()
    began = time.process_time()
    await services.close()
    return time.process_time() - began


async def silent(home: Path, answered: Path) -> None:
    """The same VMs, spread over KVM hosts on which nobody listens."""
    known = await Store.open(answered)
    vms = [item for item in await known.load_objects() if isinstance(item, Vm)]
    await known.close()
    objects: list[Object] = []
    services = await Services.open(home)
    for number in range(SITES):
        name = f"site-{number:02}"
        await services.connections.add("libvirt", name, {"uri": f"qemu+tcp://127.0.0.1:9/system?n={number}"}, {})
        host = Host(ref=Ref(name, Kind.HOST, name), name=name)
        objects.append(host)
        for vm in vms[number::SITES]:
            objects.append(replace(vm, ref=Ref(name, Kind.VM, vm.ref.id), parent=host.ref, seen=now()))
    services.inventory.restore(objects)
    await services.close()


async def as_new(home: Path) -> None:
    """Forget how the window was left."""
    store = await Store.open(home)
    await store.set_setting(STATE, {})
    await store.close()


class Eyes:
    """Looks at a part of the display from outside, some hundred times a second."""

    def __init__(self, screen: Desktop) -> None:
        self._app = QGuiApplication(["eyes", "-platform", "xcb", "-display", screen.display])

    def tree(self) -> QImage:
        return self._app.primaryScreen().grabWindow(0, *TREE).toImage()

    def until(self, seen: Callable[[QImage], bool], what: str) -> float:
        """When it was first seen. Raises TimeoutError."""
        end = time.monotonic() + GIVE_UP_S
        while not seen(self.tree()):
            if time.monotonic() > end:
                raise TimeoutError(f"not within {GIVE_UP_S:g} s: {what}")
            time.sleep(0.002)
        return time.monotonic()

    def settled(self, program: psutil.Process) -> tuple[float, float]:
        """When the names changed last, once they have not for a while, and the CPU seconds of the program then."""
        last, at, used = names(self.tree()), time.monotonic(), cpu(program)
        while time.monotonic() - at < QUIET_S:
            if (seen := names(self.tree())) != last:
                last, at, used = seen, time.monotonic(), cpu(program)
            time.sleep(0.002)
        return at, used


def cpu(program: psutil.Process) -> float:
    return sum(program.cpu_times()[:2])


def has(image: QImage, colour: str) -> bool:
    """Whether a colour shows behind the names: the mark of a found word, or the window itself."""
    part = names(image)
    return QColor(colour).rgb().to_bytes(4, sys.byteorder) in bytes(part.constBits())


def names(image: QImage) -> QImage:
    return image.copy(NAMES[0], 0, NAMES[1] - NAMES[0], image.height())


def changed(before: QImage, after: QImage) -> float:
    """The part of a picture's lines that differ."""
    lines = range(0, before.height(), 4)
    width = before.bytesPerLine()
    one, two = bytes(before.constBits()), bytes(after.constBits())
    return sum(one[y * width : (y + 1) * width] != two[y * width : (y + 1) * width] for y in lines) / len(lines)


def start(screen: Desktop, eyes: Eyes, home: Path) -> dict[str, float]:
    """One start: seconds to the window, to all that the first key finds, to an opened row; CPU seconds; closing."""
    asyncio.run(as_new(home))
    began = time.monotonic()
    process = subprocess.Popen([CAUSEWAY, "--home", home], env=screen.env)
    program = psutil.Process(process.pid)
    try:
        window = eyes.until(lambda image: has(image, LIGHT.pane), "a window")
        eventually(lambda: screen.xdotool("getwindowfocus", "getwindowname") == "Causeway", "it has the keyboard")
        screen.key("ctrl+f", KEY)
        eyes.until(lambda image: has(image, LIGHT.warn_bg), "what was found is marked")
        keyed, used = eyes.settled(program)
        again = time.monotonic()
        screen.key("Escape")
        eyes.until(lambda image: not has(image, LIGHT.warn_bg), "all rows again")
        before = names(eyes.tree())
        screen.key("F6", "Left")
        eyes.until(lambda image: changed(before, names(image)) > 0.1, "a closed row")
        before = names(eyes.tree())
        screen.key("Right")
        opened = eyes.until(lambda image: changed(before, names(image)) > 0.1, "an opened row") - again
        leaving = time.monotonic()
        process.terminate()
        eyes.until(lambda image: not has(image, LIGHT.pane), "the window is gone")
        hidden = time.monotonic()
        process.wait(GIVE_UP_S)
        ended = time.monotonic()
    finally:
        process.kill()
        process.wait()
    return {
        "window": window - began,
        "key": keyed - began,
        "open": keyed - began + opened,
        "cpu": used,
        "hidden": hidden - leaving,
        "ended": ended - leaving,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--home", type=Path, help="keep the two worlds here, and use them again")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.home or Path(scratch)
        homes = {ANSWERING: folder / "answering", SILENT: folder / "silent"}
        if not homes[SILENT].exists():
            for home in homes.values():
                home.mkdir(mode=0o700, parents=True)
            asyncio.run(answering(homes[ANSWERING]))
            asyncio.run(silent(homes[SILENT], homes[ANSWERING]))
        table = []
        with desktop(Path(scratch)) as screen:
            eyes = Eyes(screen)
            for name, home in homes.items():
                times = [start(screen, eyes, home) for _ in range(asked.times)]
                middle = {part: statistics.median(one[part] for one in times) for part in times[0]}
                title = f"start, 100,000 VMs, {name}"
                note = ", ".join(f"{part} {middle[part]:.2f} s" for part in ("window", "key", "cpu"))
                table.append(row(f"{title}: key filters, row opens", middle["open"], "s", most=1.5, note=note))
                note = f"the window is gone after {middle['hidden']:.2f} s"
                table.append(row(f"{title}: ended again", middle["ended"], "s", most=3, note=note))
    if asked.json:
        print(json.dumps(table))
    else:
        for line in table:
            print("  ".join(f"{name}={value}" for name, value in line.items()))


if __name__ == "__main__":
    main()
