"""A small strict stand-in for the services: the real inventory and tasks, everything else in memory.

`Services()` gives two KVM hosts with seven VMs, an offline site and a cloud. Names that the real services do not
have are not here either, so that a wrong call fails.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QApplication

from app.discover import Found
from app.events import Events
from app.inventory import Inventory
from app.migration.kept import Past
from app.migration.plan import Forecast, Mode, Plan, Verdict
from app.migration.plan import Mapping as PlanMapping
from app.migration.plan import Path as BytePath
from app.tasks import Stage, StageState, Task, Tasks, TaskState
from backends.model import (
    Changed,
    DiskFacts,
    Finding,
    Host,
    Kind,
    Level,
    LiveOptions,
    Network,
    Object,
    PowerAction,
    PowerState,
    Progress,
    Ref,
    Sample,
    SourceFacts,
    StoragePool,
    TargetFacts,
    Vm,
    now,
)
from tests.widgets.sites import (
    ALL,
    GIB,
    MIB,
    Connections,
    StandinConnection,
    StandinDriver,
    StandinInfo,
    StandinKind,
    host_ref,
    make_vm,
    vm_ref,
    world,
)
from widgets.window import Window

__all__ = [
    "ALL",
    "GIB",
    "MIB",
    "Actions",
    "Connections",
    "Identity",
    "Migrations",
    "Planned",
    "Search",
    "Services",
    "StandinConnection",
    "StandinDriver",
    "StandinInfo",
    "StandinKind",
    "Store",
    "beat",
    "ended",
    "fmt_refs",
    "host_ref",
    "make_vm",
    "move_task",
    "show_tasks",
    "until",
    "vm_ref",
    "world",
]


class Identity:
    def __init__(self) -> None:
        self._uids: dict[Ref, str] = {}
        self._groups: dict[str, str] = {}
        self.twins: dict[Ref, tuple[Ref, ...]] = {}

    def uid_of(self, ref: Ref) -> str:
        return self._uids.setdefault(ref, f"uid-{len(self._uids)}")

    def true(self, uid: str) -> str:
        return uid

    def ref_of(self, uid: str) -> Ref | None:
        return next((ref for ref, known in self._uids.items() if known == uid), None)

    def moved(self, uid: str, old: Ref, new: Ref) -> None:
        self._uids.pop(old, None)
        self._uids[new] = uid

    def also(self, vm: Vm, there: Container[Ref]) -> list[str]:
        return sorted({ref.connection for ref in self.twins.get(vm.ref, ()) if ref in there})

    def group_of(self, uid: str) -> str:
        return self._groups.get(uid, "")


class Store:
    def __init__(self) -> None:
        self.settings: dict[str, object] = {}

    async def setting(self, name: str, default: object = None) -> object:
        return self.settings.get(name, default)

    async def set_setting(self, name: str, value: object) -> None:
        self.settings[name] = value

    async def load_body(self, ref: Ref) -> Object | None:
        return None


class Actions:
    """Records what it was asked; each call starts a task that ends at once."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self.calls: list[tuple[object, ...]] = []

    def _start(self, kind: str, title: str, ref: Ref) -> Task:
        async def work(task: Task) -> None:
            task.note("done")

        return self._tasks.start(Task(kind, title, ref=ref), work)

    def power(self, refs: Sequence[Ref], action: PowerAction) -> list[Task]:
        self.calls.append(("power", tuple(refs), action))
        return [self._start("power", f"{action} {ref.id}", ref) for ref in refs]

    def delete(self, refs: Sequence[Ref], disks: bool) -> list[Task]:
        self.calls.append(("delete", tuple(refs), disks))
        return [self._start("delete", f"Delete {ref.id}", ref) for ref in refs]

    def rename(self, ref: Ref, name: str) -> Task:
        self.calls.append(("rename", ref, name))
        return self._start("rename", f"Rename {ref.id}", ref)

    def autostart(self, ref: Ref, on: bool) -> Task:
        self.calls.append(("autostart", ref, on))
        return self._start("autostart", f"Autostart {ref.id}", ref)

    def set_group(self, refs: Sequence[Ref], group: str) -> Task:
        self.calls.append(("group", tuple(refs), group))
        return self._start("group", f"Group {group}", refs[0])

    def tag(self, refs: Sequence[Ref], tags: Mapping[str, str]) -> Task:
        self.calls.append(("tag", tuple(refs), dict(tags)))
        return self._start("tag", f"Tag {fmt_refs(refs)}", refs[0])

    def redefine(self, ref: Ref, old: str, new: str) -> Task:
        self.calls.append(("redefine", ref, old, new))
        return self._start("redefine", f"Redefine {ref.id}", ref)


def fmt_refs(refs: Sequence[Ref]) -> str:
    return ", ".join(ref.id for ref in refs)


class Search:
    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory

    def match(self, query: str) -> set[Ref] | None:
        words = query.lower().split()
        if not words:
            return None
        return {item.ref for item in self._inventory if all(word in item.name.lower() for word in words)}

    def complete(self, text: str) -> list[str]:
        return [word for word in ("state:", "site:", "group:") if word.startswith(text)]


@dataclass(frozen=True)
class Planned:
    plan: Plan
    verdict: Verdict
    stages: tuple[str, ...]
    steps: tuple[str, ...]
    source: SourceFacts
    target: TargetFacts


class Migrations:
    """Says green to a ready KVM host, amber to a cloud, red to what is offline."""

    def __init__(self, inventory: Inventory, tasks: Tasks) -> None:
        self._inventory, self._tasks = inventory, tasks
        self.asked: list[tuple[Ref, Ref, dict[str, object]]] = []
        self.started: list[Planned] = []
        self.error: Exception | None = None
        self.originals: dict[Ref, Past] = {}

    def original(self, ref: Ref) -> Past | None:
        return self.originals.get(ref)

    def fenced(self, ref: Ref) -> str:
        return "it was moved to aws-prod and is kept for Undo" if ref in self.originals else ""

    def quick(self, vms: Sequence[Ref], to: Ref, copy: bool = False) -> Verdict:
        if to.connection == "lab":
            reason = Finding(level=Level.RED, code="offline", message="site is offline", cure="reconnect it")
            return Verdict("red", "site is offline", (reason,))
        if to.connection == "aws-prod":
            return Verdict("amber", "cold, 6 min, stops 6 min")
        return Verdict("green", "live, stops about 40 ms")

    async def plan(
        self,
        vm: Ref,
        to: Ref,
        *,
        mode: Mode | None = None,
        copy: bool = False,
        mapping: PlanMapping = PlanMapping(),  # noqa: B008
        live: LiveOptions = LiveOptions(),  # noqa: B008
    ) -> Planned:
        self.asked.append((vm, to, {"mode": mode, "copy": copy, "mapping": mapping, "live": live}))
        await asyncio.sleep(0.01)
        if self.error is not None:
            raise self.error
        found = self._inventory.vm(vm)
        assert found is not None
        verdict = self.quick([vm], to, copy)
        chosen = mode or (Mode.COLD if to.connection == "aws-prod" else Mode.LIVE)
        findings = list(verdict.findings)
        if verdict.colour == "green":
            findings.append(
                Finding(
                    level=Level.AMBER,
                    code="clear-text",
                    message="memory crosses the network unencrypted",
                    cure="switch TLS on under Advanced",
                )
            )
            findings.append(Finding(level=Level.INFO, code="shared", message="pool fast is the same on both hosts"))
        plan = Plan(
            id="m1",
            vm=vm,
            to=to,
            mode=chosen,
            path=BytePath.NONE if chosen == Mode.LIVE else BytePath.WORKSTATION,
            copy=copy,
            mapping=mapping,
            live=live,
            forecast=Forecast(seconds=4.1, downtime_s=0.04, bytes=3 * GIB),
        )
        target = TargetFacts(
            ref=to,
            capabilities=frozenset(str(item) for item in ALL),
            platform="libvirt",
            pools=tuple(
                StoragePool(
                    ref=Ref(to.connection, Kind.POOL, name),
                    name=name,
                    size_bytes=500 * GIB,
                    free_bytes=212 * GIB,
                )
                for name in ("fast", "bulk")
            ),
            networks=tuple(Network(ref=Ref(to.connection, Kind.NETWORK, name), name=name) for name in ("lan", "dmz")),
            complete=True,
        )
        source = SourceFacts(
            vm=found,
            capabilities=frozenset(str(item) for item in ALL),
            platform="libvirt",
            disks=(DiskFacts(target="vda", size_bytes=40 * GIB, allocated_bytes=11 * GIB, pool="fast"),),
            nics=found.nics,
            complete=True,
        )
        steps = (
            "check both sides once more",
            f"{vm.connection} sends memory to {to.connection} while {found.name} runs",
            "stop here, go on there",
            "ask both sides where it runs",
            "take it off the old side; undo stays possible for 7 days",
        )
        return Planned(plan, Verdict(verdict.colour, verdict.text, tuple(findings)), STAGES, steps, source, target)

    def start(self, planned: Planned) -> Task:
        self.started.append(planned)

        async def work(task: Task) -> None:
            task.note("moved")

        return self._tasks.start(move_task(planned.plan.vm, planned.plan.to, "web-01"), work)


STAGES = ("Prepare", "Copy", "Switch", "Verify", "Tidy")


def move_task(vm: Ref, to: Ref, name: str, mode: str = "live") -> Task:
    stages = [Stage(stage) for stage in STAGES]
    title = f"{name} {vm.connection} -> {to.connection}"
    return Task("move", title, ref=vm, target=to, stages=stages, result={"mode": mode})


class Services:
    def __init__(self, home: Path = Path("/nonexistent"), *, empty: bool = False) -> None:
        self.home = home
        self.inventory = Inventory()
        self.tasks = Tasks()
        self.store = Store()
        self.identity = Identity()
        self.connections = Connections()
        self.actions = Actions(self.tasks)
        self.search = Search(self.inventory)
        self.migrations = Migrations(self.inventory, self.tasks)
        self.events = Events()
        self.suggestions: list[Found] = []
        if empty:
            self.connections._all.clear()
        else:
            self.inventory.apply(Changed(tuple(world())))

    async def discover(self) -> list[Found]:
        return self.suggestions

    async def close(self) -> None:
        await self.tasks.close()


def show_tasks(services: Services) -> None:
    """The two rows of the picture: one that runs, one that is done and can be undone."""

    async def back(task: Task) -> None:
        """Takes it back."""

    done = move_task(vm_ref("kvm-b", "db-01"), host_ref("kvm-a"), "db-01")
    began = now() - timedelta(minutes=3)
    for stage in done.stages:
        stage.state, stage.began, stage.ended = StageState.DONE, began, began + timedelta(seconds=4.1)
    done.state, done.undo = TaskState.DONE, "moves db-01 back to kvm-b"
    done.downtime_forecast_s, done.result = 0.04, {"downtime_s": 0.038, "seconds": 4.1, "mode": "live"}
    services.tasks.adopt(done, undo=back)
    moving = move_task(vm_ref("kvm-b", "mail"), Ref("aws-prod", Kind.ZONE, "eu-west-1"), "mail", "cold")
    moving.state, moving.downtime_forecast_s, moving.pausable = TaskState.RUNNING, 9.0, True
    moving.stages[0].state = StageState.DONE
    moving.stages[1].state, moving.stages[1].began = StageState.RUNNING, now()
    moving.stages[1].progress = Progress(done_bytes=63 * GIB, total_bytes=100 * GIB, rate_bps=84e6)
    services.tasks.adopt(moving)


def beat(services: Services, tick: int, seed: int = 7) -> None:
    """One round of meters for all running VMs and hosts."""
    samples: dict[Ref, Sample] = {}
    for index, item in enumerate(services.inventory):
        if isinstance(item, Host) or (isinstance(item, Vm) and item.state == PowerState.RUNNING):
            rng = random.Random(hash((seed, index, tick)))
            wave = 45 + 35 * math.sin(tick / 9 + index)
            samples[item.ref] = Sample(
                at=datetime.now(UTC).timestamp(),
                cpu_percent=max(0.0, wave + rng.uniform(-8, 8)),
                memory_used_bytes=int((4.6 + rng.uniform(0, 0.8)) * GIB),
                disk_read_bps=max(0.0, rng.gauss(20e6, 9e6)),
                disk_write_bps=max(0.0, rng.gauss(9e6, 4e6)),
                net_rx_bps=max(0.0, rng.gauss(5e6, 2e6)),
                net_tx_bps=max(0.0, rng.gauss(2e6, 1e6)),
            )
    services.inventory.metered(samples)


async def ended(window: Window) -> None:
    """End a window as the program does, and really delete it."""
    await window.close_down()
    await window.services.close()
    window.hide()
    window.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Let the loop and Qt work until `condition` holds. Fails when it never does."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        QApplication.processEvents()
        await asyncio.sleep(0.005)
        if condition():
            return
        assert loop.time() < deadline, "it never became true"
