"""Into the demo: files become the disks of a new VM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from backends import driver as contract
from backends.demo.exporting import Exporting
from backends.demo.world import Faults
from backends.disks import DiskSink, DiskSource
from backends.driver import Settings
from backends.errors import Conflict, NotFound
from backends.files import FileSink, FileSource
from backends.model import (
    Disk,
    DiskSpec,
    Kind,
    Network,
    PowerState,
    Ref,
    SourceFacts,
    StoragePool,
    TargetFacts,
    Vm,
    VmSpec,
)

MARK = "causeway:migration"


class Importing(Exporting):
    """The Imports protocol."""

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
