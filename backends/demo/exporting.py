"""Out of the demo: the files of a VM that is off, and the fence around it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from backends.demo.core import Core
from backends.demo.world import DISK_BYTES, Faults
from backends.disks import DiskSource
from backends.driver import Settings
from backends.errors import Conflict, Denied
from backends.files import FileSource
from backends.model import (
    Disk,
    DiskFacts,
    DiskSpec,
    PowerState,
    Ref,
    SourceFacts,
    VmSpec,
)


@dataclass(slots=True)
class DemoExport:
    """All disks of a VM that is off: the files themselves."""

    disks: Sequence[DiskSpec]

    async def end(self) -> None:
        return None


class Exporting(Core):
    """The Exports protocol."""

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


def _facts(disk: Disk) -> DiskFacts:
    return DiskFacts(
        target=disk.target,
        size_bytes=disk.size_bytes or DISK_BYTES,
        source=disk.source,
        bus=disk.bus,
        boot=disk.boot,
        pool="default",
    )
