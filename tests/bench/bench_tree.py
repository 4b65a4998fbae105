"""From key to painted, changes per second and memory of the tree at 100,000 VMs.

`python -m tests.bench.bench_tree --json` prints the medians; times in milliseconds, memory in MiB. Beside each
stall stands the one of an idle loop, measured the same way.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import psutil
from PySide6.QtCore import QEvent, QEventLoop, QObject, Qt, QTimer
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QVBoxLayout, QWidget

from app.inventory import Inventory
from app.search import Search
from app.tasks import Tasks
from backends.driver import Capability
from backends.model import Changed, Host, Kind, Object, PowerState, Ref, Section, Vm
from widgets import theme
from widgets.searchbox import SearchBox
from widgets.tree import Tree
from widgets.tree.grouping import connection_ref

QUERIES = ("web", "db-00", "running", "cache-01", "state:off", "zzz")
WORDS = ("web", "db", "cache", "mail", "build", "crm", "shop", "ldap", "proxy", "queue")
MIB = 1024 * 1024


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


class World:
    """Hosts with VMs, in the real inventory with the real search."""

    def __init__(self, hosts: int, vms: int) -> None:
        names = [f"host-{number:04}" for number in range(hosts)]
        self.inventory = Inventory()
        self.search = Search(self.inventory)
        self.tasks = Tasks()
        self.connections = Sites(names)
        self.actions = Actions()
        objects: list[Object] = []
        for number, name in enumerate(names):
            host = Host(ref=Ref(name, Kind.HOST, name), name=name)
            objects.append(host)
            objects += [vm(host, index) for index in range(vms // hosts + (number < vms % hosts))]
        self.inventory.restore(objects)


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

    def __init__(self, hosts: int, opened: int, vms: int = 100_000) -> None:
        self.world = World(hosts, vms)
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
        QTest.qWait(200)

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

    def open_ms(self) -> float:
        """Median time from the Right key on a closed host to its painted VMs."""
        view, rows = self.tree.view, self.tree.rows
        times = []
        for site in self.world.connections.all()[:3]:
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


def measure(seconds: float = 5.0) -> dict[str, float]:
    """All figures of the tree, as name -> value."""
    app = QApplication.instance() or QApplication([])
    assert isinstance(app, QApplication)
    theme.apply(app, theme.Mode.LIGHT)
    found: dict[str, float] = {}
    for name, hosts, opened in (("1000_hosts_20_open", 1000, 20), ("3_hosts_all_open", 3, 3)):
        bench = Bench(hosts, opened)
        found[f"{name}.load_ms"] = bench.load_ms
        found[f"{name}.key_to_painted_ms"] = bench.key_ms()
        found[f"{name}.open_to_painted_ms"] = bench.open_ms()
        control = bench.stalls(seconds, 0)
        busy = bench.stalls(seconds, 1000)
        for part in ("p99_ms", "p999_ms"):
            found[f"{name}.idle_{part}"] = control[part]
            found[f"{name}.1000_changes_{part}"] = busy[part]
        found[f"{name}.changes_sent"] = busy["sent"]
        found[f"{name}.rss_mib"] = psutil.Process(os.getpid()).memory_info().rss / MIB
        bench.close()
        del bench
        gc.collect()
    return {name: round(value, 2) for name, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    found = measure()
    if parser.parse_args().json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:45} {value:10.2f}")


if __name__ == "__main__":
    main()
