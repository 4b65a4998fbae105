"""What the whole demo driver stands on: its settings, its world, its watchers, latency and faults."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from backends.demo.consoles import Switchboard
from backends.demo.world import DISK_BYTES, Faults, World
from backends.driver import Capability, Option, Settings
from backends.errors import BackendError, Unreachable
from backends.model import (
    Changed,
    Disk,
    DiskSpec,
    Ref,
    Section,
    Vm,
)


class Core:
    """State and the ways to change the world; see Driver for the contract."""

    kind: ClassVar[str] = "demo"
    title: ClassVar[str] = "Demo (in memory)"
    section: ClassVar[Section] = Section.LOCAL
    options: ClassVar[tuple[Option, ...]] = (
        Option(name="vms", label="VMs", help="How many VMs, 0 to 100,000", default="12", kind="int"),
        Option(name="hosts", label="Hosts", default="2", kind="int"),
        Option(name="latency", label="Latency", help="Seconds that every call takes", default="0", advanced=True),
        Option(name="changes", label="Changes", help="Random changes per second", default="0", advanced=True),
        Option(name="move_seconds", label="Move time", help="Seconds of a live move", default="1", advanced=True),
        Option(name="path", label="Folder", help="Keeps the world in a folder", kind="path", advanced=True),
        Option(name="faults", label="Faults", help="call=error*count, ...", advanced=True),
        Option(name="password", label="Password", help="Anything but 'wrong'", secret=True, advanced=True),
    )

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.faults = Faults(settings["faults"])
        self._settings = settings
        self._world: World | None = None
        self._consoles: Switchboard | None = None
        self._watchers: set[asyncio.Queue[Changed | BackendError]] = set()
        self._churn: asyncio.Task[None] | None = None

    @property
    def uri(self) -> str:
        return f"demo:///{self.name}"

    @property
    def world(self) -> World:
        if self._world is None:
            raise Unreachable(f"{self.name} is not connected")
        return self._world

    def implemented(self) -> frozenset[Capability]:
        return frozenset(Capability) - {Capability.EDIT}

    def capabilities(self) -> frozenset[Capability]:
        return self.implemented()

    async def _call(self, name: str) -> None:
        """What every call goes through: the latency and the faults that were asked for."""
        delay = float(self._settings["latency"] or 0)
        if delay:
            await asyncio.sleep(delay)
        self.faults.check(name)

    @property
    def _switchboard(self) -> Switchboard:
        if self._consoles is None:
            raise Unreachable(f"{self.name} is not connected")
        return self._consoles

    def _hang_up(self, vm: Ref) -> None:
        """A VM whose machine goes takes its consoles with it."""
        self._switchboard.cut(vm)

    def _put(self, vm: Vm) -> None:
        self._tell(Changed(objects=(self.world.put(vm),)))

    def _drop(self, vm: Vm, *, disks: bool) -> None:
        self._hang_up(vm.ref)
        self.world.remove(vm.ref)
        if disks:
            for disk in vm.disks:
                self.world.disk(disk.source).unlink(missing_ok=True)
        self._tell(Changed(removed=(vm.ref,)))

    def _tell(self, change: Changed) -> None:
        for queue in self._watchers:
            queue.put_nowait(change)

    def _disk_spec(self, disk: Disk) -> DiskSpec:
        path = self.world.disk(disk.source)
        return DiskSpec(
            backend=self.kind,
            target=disk.target,
            size_bytes=disk.size_bytes or DISK_BYTES,
            args={"path": str(path)},
            boot=disk.boot,
        )
