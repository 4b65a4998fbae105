"""From key to painted, changes per second, memory and first use of the tree at 100,000 VMs.

    python -m tests.bench.bench_tree [--json]

Each world is measured in a process of its own. A stall is counted beyond that of an idle loop, measured the same way
in the same process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
from PySide6.QtCore import QEvent, QEventLoop, QObject, Qt, QTimer
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QVBoxLayout, QWidget

from app.identity import Identity
from app.inventory import Inventory
from app.search import Search
from app.store import Store
from app.tasks import Tasks
from backends.driver import Capability
from backends.model import Changed, Host, Kind, Object, PowerState, Ref, Section, Vm, now
from tests.bench.row import row
from widgets import theme
from widgets.searchbox import SearchBox
from widgets.tree import Tree
from widgets.tree.grouping import connection_ref

QUERIES = ("web", "db-00", "running", "cache-01", "state:off", "zzz")
WORDS = ("web", "db", "cache", "mail", "build", "crm", "shop", "ldap", "proxy", "queue")
MB = 1_000_000
WORLDS = {"1,000 hosts, 20 open": (1000, 20), "3 hosts, all open": (3, 3)}
COLD = "cold"
VMS = 100_000


@dataclass
class Site:
    """A connection that is simply there."""

    name: str
    kind: str = "libvirt"
    section: Section = Section.LOCAL
    state: str = "ready"
    read_only: bool = False
    production: bool = False
    colour: str = ""
    uri: str = ""
    error: str = ""
    cure: str = ""
    last_seen: None = None
    capabilities: frozenset[Capability] = frozenset({Capability.WATCH})


class Sites:
    def __init__(self, names: list[str]) -> None:
        self._all = {name: Site(name) for name in names}

    def all(self) -> list[Site]:
        return list(self._all.values())

    def get(self, name: str) -> Site | None:
        return self._all.get(name)

    def subscribe(self, function: Callable[[Site], None]) -> Callable[[], None]:
        return lambda: None

    def shown(self, names: set[str]) -> None:
        pass


class Actions:
    def rename(self, ref: Ref, name: str) -> None:
        raise AssertionError("nothing is renamed here")


class Migrations:
    def original(self, ref: Ref) -> None:
        """None of them is the kept original of a move."""


def objects(hosts: int, vms: int) -> list[Object]:
    """Hosts, each with its share of the VMs."""
    found: list[Object] = []
    for number in range(hosts):
        name = f"host-{number:04}"
        host = Host(ref=Ref(name, Kind.HOST, name), name=name)
        found.append(host)
        found += [vm(host, index) for index in range(vms // hosts + (number < vms % hosts))]
    return found


class World:
    """Objects in the real inventory with the real search."""

    def __init__(self, given: Iterable[Object]) -> None:
        known = list(given)
        names = list(dict.fromkeys(item.ref.connection for item in known))
        self.inventory = Inventory()
        self.search = Search(self.inventory)
        self.identity = Identity()
        self.tasks = Tasks()
        self.connections = Sites(names)
        self.actions = Actions()
        self.migrations = Migrations()
        self.inventory.restore(known)


def vm(host: Host, index: int) -> Vm:
    name = f"{WORDS[index % len(WORDS)]}-{index:05}"
    state = PowerState.OFF if index % 7 == 0 else PowerState.RUNNING
    return Vm(ref=Ref(host.name, Kind.VM, f"{host.name}-{index}"), name=name, parent=host.ref, state=state, vcpus=2)


class Painted(QObject):
    """Counts how often a viewport was painted."""

    def __init__(self, viewport: QWidget) -> None:
        super().__init__(viewport)
        self.count = 0
        viewport.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Paint:
            self.count += 1
        return False


class Bench:
    """A window with a search field and a tree over one world."""

    def __init__(self, world: World, opened: int) -> None:
        self.world = world
        self.window = QWidget()
        column = QVBoxLayout(self.window)
        self.box = SearchBox(self.world.search)
        began = time.perf_counter()
        self.tree = Tree(self.world)
        self.box.changed.connect(self.tree.set_query)
        column.addWidget(self.box)
        column.addWidget(self.tree)
        self.window.resize(404, 900)
        self.window.show()
        settled: list[bool] = []
        self.tree.rows.settled.connect(lambda: settled.append(True))
        while not settled:
            QApplication.processEvents()
        self.load_ms = (time.perf_counter() - began) * 1000
        forest = self.tree.rows.forest
        names = [site.name for site in self.world.connections.all()]
        for number, name in enumerate(names):
            node = forest.node(connection_ref(name))
            assert node is not None
            forest.set_open(node, number < opened)
        self.tree.rows.sync()
        self.painted = Painted(self.tree.view.viewport())

    def key_ms(self, rounds: int = 3) -> float:
        """Median time from a key event to the painted rows, over every key of every query."""
        times: list[float] = []
        for _ in range(rounds):
            for query in QUERIES:
                for letter in query:
                    times.append(self._timed(lambda letter=letter: QTest.keyClicks(self.box.edit, letter)))
                self.box.set_text("")
                self._settle()
        return statistics.median(times)

    def open_ms(self, count: int = 3) -> float:
        """Median time from the Right key on a closed host to its painted VMs."""
        view, rows = self.tree.view, self.tree.rows
        times = []
        for site in self.world.connections.all()[:count]:
            row = rows.row(connection_ref(site.name))
            assert row is not None
            view.setCurrentIndex(rows.index(row, 0))
            node = rows.rows[row]
            rows.set_open(node, False)
            self._settle()
            times.append(self._timed(lambda: QTest.keyClick(view, Qt.Key.Key_Right)))
        return statistics.median(times)

    def stalls(self, seconds: float, changes: int) -> dict[str, float]:
        """How late a 1 ms timer is while `changes` VMs a second change, 0 for the control run."""
        vms = [item for item in self.world.inventory if isinstance(item, Vm)][::97]
        gaps: list[float] = []
        last = [time.perf_counter(), 0.0]
        begun = time.perf_counter()
        ticker = QTimer(interval=1, timerType=Qt.TimerType.PreciseTimer)
        sent = [0]

        def tick() -> None:
            at = time.perf_counter()
            gaps.append((at - last[0]) * 1000)
            due = int((at - begun) * changes)
            batch = []
            while sent[0] < due:
                item = vms[sent[0] % len(vms)]
                turned = PowerState.OFF if sent[0] // len(vms) % 2 == 0 else PowerState.RUNNING
                batch.append(replace(item, state=turned))
                sent[0] += 1
            if batch:
                self.world.inventory.apply(Changed(tuple(batch)))
            last[0] = at

        ticker.timeout.connect(tick)
        ticker.start()
        loop = QEventLoop()
        QTimer.singleShot(round(seconds * 1000), loop.quit)
        loop.exec()
        ticker.stop()
        gaps.sort()
        return {"p99_ms": gaps[int(len(gaps) * 0.99)], "p999_ms": gaps[int(len(gaps) * 0.999)], "sent": float(sent[0])}

    def close(self) -> None:
        self.tree.close()
        self.window.close()
        self.window.deleteLater()
        QApplication.processEvents()

    def _timed(self, act: Callable[[], None]) -> float:
        before, began = self.painted.count, time.perf_counter()
        act()
        while self.painted.count == before and time.perf_counter() - began < 2:
            QApplication.processEvents()
        return (time.perf_counter() - began) * 1000

    def _settle(self) -> None:
        for _ in range(5):
            QApplication.processEvents()


def measure(hosts: int, opened: int, seconds: float = 5.0) -> dict[str, float]:
    """All figures of one world: milliseconds, MB."""
    bench = Bench(World(objects(hosts, VMS)), opened)
    QTest.qWait(200)
    found = {"key": bench.key_ms(), "open": bench.open_ms()}
    control, busy = bench.stalls(seconds, 0), bench.stalls(seconds, 1000)
    for part in ("p99_ms", "p999_ms"):
        found[part], found[f"idle_{part}"] = busy[part], control[part]
    found["rss"] = psutil.Process(os.getpid()).memory_info().rss / MB
    bench.close()
    return found


def first_use(home: Path) -> dict[str, float]:
    """Seconds from the opening of a stored data folder to the first key's painted rows, and to an opened host."""

    async def load() -> list[Object]:
        store = await Store.open(home)
        try:
            return await store.load_objects()
        finally:
            await store.close()

    began = time.perf_counter()
    bench = Bench(World(asyncio.run(load())), 0)
    bench._timed(lambda: QTest.keyClicks(bench.box.edit, "w"))
    keyed = time.perf_counter() - began
    bench.box.set_text("")
    bench.open_ms(1)
    opened = time.perf_counter() - began
    bench.close()
    return {"key": keyed, "open": opened, "process": time.time() - psutil.Process().create_time()}


def store(home: Path) -> None:
    """A data folder that knows 100,000 VMs."""

    async def save() -> None:
        kept = await Store.open(home)
        await kept.save_objects(replace(item, seen=now()) for item in objects(1000, VMS))
        await kept.close()

    asyncio.run(save())


def apart(*words: str) -> dict[str, float]:
    """What this bench says in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.bench_tree", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=900)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def rows() -> list[dict[str, object]]:
    table = []
    for name in WORLDS:
        found = apart("--world", name)
        note = f"open a host: {found['open']:.1f} ms"
        table.append(row(f"tree, {name}: key to painted", found["key"], "ms", most=50, note=note))
        for part, most, words in (("p99_ms", 16, "p99"), ("p999_ms", 50, "p99.9")):
            beyond = max(0.0, found[part] - found[f"idle_{part}"])
            note = f"{found[part]:.1f} ms, idle loop {found[f'idle_{part}']:.1f} ms, 1,000 changes/s"
            table.append(row(f"tree, {name}: stall {words}", beyond, "ms", most=most, note=note))
        table.append(row(f"tree, {name}: memory", found["rss"], "MB", most=400))
    with tempfile.TemporaryDirectory() as folder:
        store(Path(folder))
        times = [apart("--world", COLD, "--home", folder) for _ in range(3)]
    cold = {part: statistics.median(one[part] for one in times) for part in times[0]}
    note = f"first key painted at {cold['key']:.2f} s; the whole process {cold['process']:.2f} s"
    table.append(row("tree from the store: key filters, row opens", cold["open"], "s", most=1.5, note=note))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--world", choices=(*WORLDS, COLD), help="one world, its bare figures")
    parser.add_argument("--home", type=Path)
    asked = parser.parse_args()
    if not os.environ.get("DISPLAY") and sys.platform == "linux":
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    if asked.world is None:
        found = rows()
        if asked.json:
            print(json.dumps(found, indent=1))
        else:
            for line in found:
                print("  ".join(f"{name}={value}" for name, value in line.items()))
        return
    app = QApplication([])
    theme.apply(app, theme.Mode.LIGHT)
    print(json.dumps(first_use(asked.home) if asked.world == COLD else measure(*WORLDS[asked.world])))


if __name__ == "__main__":
    main()
