"""The in-memory reference driver: every capability, byte-true disks, latency and faults on demand.

It is the first run for those without a hypervisor, the double in tests, and the example a new driver is copied from.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from backends import driver as contract
from backends.consoles import Console, Door
from backends.demo.consoles import Switchboard
from backends.demo.world import DISK_BYTES, Faults, World, objects, rebase
from backends.disks import DiskSink, DiskSource
from backends.driver import Capability, Option, Settings
from backends.errors import BackendError, Conflict, Denied, Invalid, NotFound, Unreachable
from backends.files import FileSink, FileSource
from backends.model import (
    Changed,
    Disk,
    DiskFacts,
    DiskSpec,
    Finding,
    Kind,
    Level,
    Listing,
    LiveOptions,
    LiveResult,
    Network,
    PowerAction,
    PowerState,
    Progress,
    Ref,
    Sample,
    Scope,
    Section,
    SourceFacts,
    StoragePool,
    TargetFacts,
    Vm,
    VmSpec,
    now,
)

MARK = "causeway:migration"
METERED = 2000
FROM: dict[PowerAction, frozenset[PowerState]] = {
    PowerAction.START: frozenset({PowerState.OFF, PowerState.CRASHED}),
    PowerAction.SHUTDOWN: frozenset({PowerState.RUNNING}),
    PowerAction.OFF: frozenset({PowerState.RUNNING, PowerState.PAUSED}),
    PowerAction.REBOOT: frozenset({PowerState.RUNNING}),
    PowerAction.RESET: frozenset({PowerState.RUNNING, PowerState.PAUSED}),
    PowerAction.PAUSE: frozenset({PowerState.RUNNING}),
    PowerAction.RESUME: frozenset({PowerState.PAUSED}),
    PowerAction.SAVE: frozenset({PowerState.RUNNING, PowerState.PAUSED}),
    PowerAction.RESTORE: frozenset({PowerState.SUSPENDED}),
}
TO: dict[PowerAction, PowerState] = {
    PowerAction.START: PowerState.RUNNING,
    PowerAction.SHUTDOWN: PowerState.OFF,
    PowerAction.OFF: PowerState.OFF,
    PowerAction.REBOOT: PowerState.RUNNING,
    PowerAction.RESET: PowerState.RUNNING,
    PowerAction.PAUSE: PowerState.PAUSED,
    PowerAction.RESUME: PowerState.RUNNING,
    PowerAction.SAVE: PowerState.SUSPENDED,
    PowerAction.RESTORE: PowerState.RUNNING,
}


@dataclass(slots=True)
class DemoExport:
    """All disks of a VM that is off: the files themselves."""

    disks: Sequence[DiskSpec]

    async def end(self) -> None:
        return None


class Driver:
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

    async def check(self) -> list[Finding]:
        found = []
        for name in ("vms", "hosts"):
            if not (self._settings[name] or "0").isdigit():
                found.append(Finding(level=Level.RED, code="number", field=name, message="must be a number"))
        if self._settings["password"] == "wrong":
            found.append(Finding(level=Level.RED, code="auth", field="password", message="the password is wrong"))
        return found

    async def connect(self) -> None:
        await self._call("connect")
        for finding in await self.check():
            raise Invalid(finding.message, field=finding.field)
        if self._world is None:
            folder = self._settings["path"]
            self._world = await asyncio.to_thread(
                World,
                self.name,
                vms=min(int(self._settings["vms"] or 12), 100_000),
                hosts=int(self._settings["hosts"] or 2),
                folder=Path(folder) if folder else None,
            )
            self._consoles = Switchboard(self._world, self.faults, float(self._settings["latency"] or 0))
        rate = float(self._settings["changes"] or 0)
        if rate and self._churn is None:
            self._churn = asyncio.create_task(self._change_at(rate))

    def scopes(self) -> Sequence[Scope]:
        return (
            Scope(frozenset({Kind.HOST})),
            Scope(frozenset({Kind.VM})),
            Scope(frozenset({Kind.POOL, Kind.NETWORK})),
        )

    async def list(self, scope: Scope) -> Listing:
        try:
            await self._call("list")
        except BackendError as error:
            return Listing(scope, (), error)
        return Listing(scope, objects(self.world, scope.kinds))

    async def close(self) -> None:
        if self._churn is not None:
            self._churn.cancel()
            self._churn = None
        if self._consoles is not None:
            self._consoles.close()
            self._consoles = None
        if self._world is not None:
            await asyncio.to_thread(self._world.close)
            self._world = None

    async def watch(self) -> AsyncIterator[Changed]:
        queue: asyncio.Queue[Changed | BackendError] = asyncio.Queue()
        self._watchers.add(queue)
        try:
            while True:
                item = await queue.get()
                if isinstance(item, BackendError):
                    raise item
                yield item
        finally:
            self._watchers.discard(queue)

    def lose(self) -> None:
        """Cut the connection, as a dead server would."""
        for queue in self._watchers:
            queue.put_nowait(Unreachable(f"{self.name}: the connection is lost"))
        if self._consoles is not None:
            self._consoles.close()

    async def power(self, ref: Ref, action: PowerAction) -> None:
        await self._call("power")
        vm = self.world.get(ref)
        if action == PowerAction.START and ref.id in self.world.fenced:
            raise Denied(f"{vm.name} was moved away; starting it would make two of it", cure="undo the move")
        if vm.state not in FROM[action]:
            raise Conflict(f"{vm.name} is {vm.state}: cannot {action}", object_name=vm.name)
        state = TO[action]
        if action not in (PowerAction.PAUSE, PowerAction.RESUME):
            self._hang_up(ref)
        started = now() if state == PowerState.RUNNING and vm.state != PowerState.PAUSED else vm.started
        self._put(replace(vm, state=state, native_state=state.value, started=started))

    async def autostart(self, ref: Ref, enabled: bool) -> None:
        await self._call("autostart")
        self._put(replace(self.world.get(ref), autostart=enabled))

    async def delete(self, ref: Ref, *, disks: bool) -> None:
        await self._call("delete")
        vm = self.world.get(ref)
        if vm.state not in (PowerState.OFF, PowerState.CRASHED):
            raise Conflict(f"{vm.name} is {vm.state}: stop it first", object_name=vm.name)
        self._drop(vm, disks=disks)

    async def rename(self, ref: Ref, name: str) -> None:
        await self._call("rename")
        if not name.strip():
            raise Invalid("a VM needs a name", field="name")
        if any(vm.name == name for vm in self.world.vms.values()):
            raise Conflict(f"the name {name} is taken", field="name")
        self._put(replace(self.world.get(ref), name=name))

    async def tag(self, ref: Ref, tags: Mapping[str, str]) -> None:
        await self._call("tag")
        vm = self.world.get(ref)
        merged = {**dict(vm.tags), **tags}
        group = merged.pop("group", vm.group)
        self._put(replace(vm, group=group, tags=tuple(sorted((k, v) for k, v in merged.items() if v))))

    async def meter(self) -> Mapping[Ref, Sample]:
        await self._call("meter")
        at = time.time()
        running = (vm for vm in self.world.vms.values() if vm.state == PowerState.RUNNING)
        return {vm.ref: self.world.sample(vm, at) for vm, _ in zip(running, range(METERED), strict=False)}

    async def consoles(self, vm: Ref) -> Sequence[Console]:
        await self._call("consoles")
        return self._switchboard.offers(self.world.get(vm))

    async def open_console(self, console: Console, *, force: bool = False) -> Door:
        await self._call("open_console")
        return await self._switchboard.open(console, force)

    async def describe(self, ref: Ref) -> str:
        await self._call("describe")
        return "\n".join(f"{line}" for line in repr(self.world.get(ref)).split(", "))

    async def move_live(
        self,
        vm: Ref,
        target: contract.Driver,
        to: Ref,
        options: LiveOptions,
        progress: Callable[[Progress], None],
    ) -> LiveResult:
        await self._call("move_live")
        if not isinstance(target, Driver):
            raise Invalid("a live move needs a target of the same platform")
        if to.kind not in (Kind.HOST, Kind.CONNECTION):
            raise Invalid(f"{to} is no place for a VM")
        moving = self.world.get(vm)
        if moving.state != PowerState.RUNNING:
            raise Conflict(f"{moving.name} is {moving.state}: only a running VM moves live")
        began = time.monotonic()
        steps, seconds = 20, float(self._settings["move_seconds"] or 1)
        self.world.materialize(moving)
        for step in range(steps):
            total = moving.memory_bytes
            progress(Progress(done_bytes=total * step // steps, total_bytes=total, rate_bps=total / seconds))
            await asyncio.sleep(seconds / steps)
        await target._call("arrive")
        parent = to if to.kind == Kind.HOST else target.world.hosts[0].ref
        arrived = rebase(moving, target.name, parent)
        if target.world is not self.world:
            for disk in moving.disks:
                data = self.world.disk(disk.source).read_bytes()
                target.world.disk(disk.source).write_bytes(data)
            self._put(replace(moving, state=PowerState.PAUSED, native_state="migrating"))
        self._hang_up(vm)
        target._put(arrived)
        if target.world is not self.world:
            self._drop(moving, disks=True)
        took = time.monotonic() - began
        return LiveResult(target=arrived.ref, seconds=took, downtime_s=0.04, bytes_sent=moving.memory_bytes)

    async def locate(self, uuid: str) -> Ref | None:
        await self._call("locate")
        self.world.load()
        return next((vm.ref for vm in self.world.vms.values() if vm.uuid == uuid), None)

    async def export_facts(self, vm: Ref) -> SourceFacts:
        await self._call("export_facts")
        found = self.world.get(vm)
        return SourceFacts(
            vm=found,
            capabilities=frozenset(self.capabilities()),
            platform=self.kind,
            disks=tuple(_facts(disk) for disk in found.disks),
            nics=found.nics,
            complete=True,
        )

    async def vm_spec(self, vm: Ref) -> VmSpec:
        await self._call("vm_spec")
        found = self.world.get(vm)
        return VmSpec(
            name=found.name,
            uuid=found.uuid,
            vcpus=found.vcpus,
            memory_bytes=found.memory_bytes,
            os=found.os,
            disks=tuple(_facts(disk) for disk in found.disks),
            nics=found.nics,
            group=found.group,
            tags=found.tags,
        )

    async def begin_export(self, vm: Ref, *, migration: str) -> DemoExport:
        await self._call("begin_export")
        found = self.world.get(vm)
        if found.state not in (PowerState.OFF, PowerState.CRASHED):
            raise Conflict(f"{found.name} is {found.state}: its disks are in use", cure="stop it first")
        await asyncio.to_thread(self.world.materialize, found)
        return DemoExport([self._disk_spec(disk) for disk in found.disks])

    async def discard_export(self, migration: str) -> None:
        await self._call("discard_export")

    @staticmethod
    def open_source(spec: DiskSpec, settings: Settings) -> DiskSource:
        Faults(settings["faults"]).check("open_source")
        return FileSource(Path(str(spec.args["path"])), spec.size_bytes)

    async def fence(self, vm: Ref, *, migration: str) -> None:
        await self._call("fence")
        found = self.world.get(vm)
        if found.state not in (PowerState.OFF, PowerState.CRASHED):
            raise Conflict(f"{found.name} is {found.state}: stop it before it is fenced")
        if self.world.fenced.get(vm.id, migration) != migration:
            raise Conflict(f"{found.name} was moved away by another migration", object_name=found.name)
        self.world.fenced[vm.id] = migration
        self._put(replace(found, autostart=False, native_state="fenced"))

    async def unfence(self, vm: Ref, *, migration: str) -> None:
        await self._call("unfence")
        if self.world.fenced.get(vm.id) == migration:
            del self.world.fenced[vm.id]
            self._put(replace(self.world.get(vm), native_state="off"))

    async def retire(self, vm: Ref, *, migration: str) -> None:
        await self._call("retire")
        found = self.world.get(vm)
        if self.world.fenced.get(vm.id) != migration:
            raise Denied(f"{found.name} is not fenced by this migration")
        self._drop(found, disks=True)

    async def import_facts(
        self, to: Ref, source: SourceFacts | None, source_driver: contract.Driver | None
    ) -> TargetFacts:
        await self._call("import_facts")
        self.world.load()
        pool: StoragePool = self.world.pool
        network: Network = self.world.network
        return TargetFacts(
            ref=to,
            capabilities=frozenset(self.capabilities()),
            platform=self.kind,
            pools=(pool,),
            networks=(network,),
            names=frozenset(vm.name for vm in self.world.vms.values() if vm.ref.id not in self.world.fenced),
            uuids=frozenset(vm.uuid for vm in self.world.vms.values() if vm.ref.id not in self.world.fenced),
            archs=frozenset({"x86_64"}),
            firmwares=frozenset({"bios", "efi"}),
            cpu_compatible=True,
            ports_open=True,
            encrypted_transport=True,
            free_memory_bytes=256 << 30,
            complete=True,
        )

    async def prepare_disk(self, to: Ref, spec: VmSpec, disk: int, *, pool: str, migration: str) -> DiskSpec:
        await self._call("prepare_disk")
        facts = spec.disks[disk]
        path = self.world.disk(f"{migration}-{disk}.img")
        return DiskSpec(
            backend=self.kind,
            target=facts.target,
            size_bytes=facts.size_bytes,
            args={"path": str(path)},
            boot=facts.boot,
        )

    @staticmethod
    def open_sink(spec: DiskSpec, settings: Settings) -> DiskSink:
        Faults(settings["faults"]).check("open_sink")
        return FileSink(Path(str(spec.args["path"])), spec.size_bytes)

    @staticmethod
    def read_back(spec: DiskSpec, disk_id: str, settings: Settings) -> DiskSource:
        return FileSource(Path(str(spec.args["path"])).with_name(disk_id), spec.size_bytes)

    async def create_vm(self, to: Ref, spec: VmSpec, disk_ids: Sequence[str], *, migration: str) -> Ref:
        await self._call("create_vm")
        self.world.load()
        made = next((vm for vm in self.world.vms.values() if (MARK, migration) in vm.tags), None)
        if made is not None:
            return made.ref
        for ident in disk_ids:
            if not self.world.disk(ident).exists():
                raise NotFound(f"the disk {ident} is not there", object_name=ident)
        if any(vm.name == spec.name and vm.ref.id not in self.world.fenced for vm in self.world.vms.values()):
            raise Conflict(f"the name {spec.name} is taken", field="name")
        host = to if to.kind == Kind.HOST else self.world.hosts[0].ref
        ident = spec.uuid if spec.uuid and spec.uuid not in self.world.vms else migration
        vm = Vm(
            ref=Ref(self.name, Kind.VM, ident),
            name=spec.name,
            parent=host,
            state=PowerState.OFF,
            native_state="off",
            vcpus=spec.vcpus,
            memory_bytes=spec.memory_bytes,
            uuid=spec.uuid or ident,
            disks=tuple(
                Disk(target=facts.target, source=source, size_bytes=facts.size_bytes, bus="virtio", boot=facts.boot)
                for facts, source in zip(spec.disks, disk_ids, strict=True)
            ),
            nics=spec.nics,
            group=spec.group,
            tags=(*spec.tags, (MARK, migration)),
            os=spec.os,
            arch=spec.arch,
            firmware=spec.firmware,
            autostart=False,
            detailed=True,
        )
        self._put(vm)
        return vm.ref

    async def adopt(self, vm: Ref, *, migration: str) -> None:
        await self._call("adopt")
        found = self.world.get(vm)
        self._put(replace(found, tags=tuple(tag for tag in found.tags if tag != (MARK, migration))))

    async def discard_import(self, migration: str) -> None:
        await self._call("discard_import")
        self.world.load()
        for vm in [vm for vm in self.world.vms.values() if (MARK, migration) in vm.tags]:
            self._drop(vm, disks=True)
        for path in self.world.disks.glob(f"{migration}-*"):
            path.unlink(missing_ok=True)

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

    async def _change_at(self, rate: float) -> None:
        """Make `rate` changes per second, in batches of a twentieth of a second."""
        dice = random.Random(1)
        keys = list(self.world.vms)
        while keys:
            batch = []
            for _ in range(max(1, round(rate / 20))):
                vm = self.world.vms.get(dice.choice(keys))
                if vm is not None:
                    state = PowerState.PAUSED if vm.state == PowerState.RUNNING else PowerState.RUNNING
                    batch.append(replace(vm, state=state, native_state=state.value, seen=now()))
            for vm in batch:
                self.world.vms[vm.ref.id] = vm
            self._tell(Changed(objects=tuple(batch)))
            await asyncio.sleep(1 / 20)


def _facts(disk: Disk) -> DiskFacts:
    return DiskFacts(
        target=disk.target,
        size_bytes=disk.size_bytes or DISK_BYTES,
        source=disk.source,
        bus=disk.bus,
        boot=disk.boot,
        pool="default",
    )
