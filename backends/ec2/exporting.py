"""Out of EC2: snapshots of a stopped instance's volumes, and the fence around the instance they came from."""

from __future__ import annotations

from collections.abc import Sequence

from backends.disks import DiskSource
from backends.driver import Settings
from backends.ec2 import translate as t
from backends.ec2.blocks import SnapshotSource
from backends.ec2.core import Core, Raw
from backends.errors import Conflict, NotFound
from backends.model import DiskSpec, Ref, SourceFacts, VmSpec

ROLE = "causeway:role"
ROOT = "causeway:root"


class Session:
    """Snapshots made for one migration; `end` deletes them."""

    def __init__(self, owner: Exporting, migration: str, disks: Sequence[DiskSpec]) -> None:
        self._owner = owner
        self._migration = migration
        self.disks = disks

    async def end(self) -> None:
        await self._owner.discard_export(self._migration)


class Exporting(Core):
    """The Exports protocol. The engine stops the instance first: a snapshot of a running one is crash-consistent."""

    async def export_facts(self, vm: Ref) -> SourceFacts:
        region, raw = await self._instance(vm.id)
        volumes = await self._volumes(region, _volume_ids(raw))
        types = await self._learn_types(region, [raw["InstanceType"]])
        disks = t.disk_facts(raw, volumes)
        item = t.vm(self.name, region, raw, types, volumes, self._local_store)
        return SourceFacts(
            vm=item,
            capabilities=frozenset(capability.value for capability in self.capabilities()),
            platform="ec2",
            disks=disks,
            nics=item.nics,
            blocking=item.hindrances,
            complete=True,
        )

    async def vm_spec(self, vm: Ref) -> VmSpec:
        facts = await self.export_facts(vm)
        _, raw = await self._instance(vm.id)
        item = facts.vm
        return VmSpec(
            name=item.name,
            uuid=t.tags_of(raw).get(t.UUID, ""),
            vcpus=item.vcpus or 1,
            memory_bytes=item.memory_bytes,
            arch=item.arch or "x86_64",
            firmware=item.firmware,
            os=item.os,
            disks=facts.disks,
            nics=item.nics,
            group=item.group,
            tags=item.tags,
        )

    async def begin_export(self, vm: Ref, *, migration: str) -> Session:
        """Snapshot all volumes in one call, or find those that an earlier call made, and wait for them."""
        region, raw = await self._instance(vm.id)
        disks = t.disk_facts(raw, await self._volumes(region, _volume_ids(raw)))
        found = {each["VolumeId"]: each["SnapshotId"] for each in await self._exported(region, migration)}
        if not set(found) >= {disk.source for disk in disks}:
            for ident in found.values():
                await self._ec2(region, "delete_snapshot", changes=True, SnapshotId=ident)
            tags = {t.MIGRATION: migration, ROLE: "export", "Name": f"causeway {migration}"}
            answer = await self._ec2(
                region,
                "create_snapshots",
                changes=True,
                once=True,
                InstanceSpecification={"InstanceId": vm.id},
                Description=f"Causeway migration {migration}",
                TagSpecifications=[{"ResourceType": "snapshot", "Tags": t.tag_list(tags)}],
            )
            found = {each["VolumeId"]: each["SnapshotId"] for each in answer["Snapshots"]}
        await self._wait_snapshots(region, list(found.values()))
        specs = [
            DiskSpec(
                backend="ec2",
                target=disk.target,
                size_bytes=disk.size_bytes,
                args={"snapshot": found[disk.source], "region": region},
                boot=disk.boot,
            )
            for disk in disks
        ]
        return Session(self, migration, specs)

    async def discard_export(self, migration: str) -> None:
        for region in self.regions:
            for each in await self._exported(region, migration):
                try:
                    await self._ec2(region, "delete_snapshot", changes=True, SnapshotId=each["SnapshotId"])
                except NotFound:
                    continue

    @staticmethod
    def open_source(spec: DiskSpec, settings: Settings) -> DiskSource:
        return SnapshotSource(spec, settings)

    async def fence(self, vm: Ref, *, migration: str) -> None:
        """Note a stopped instance's root volume in a tag and detach it: it cannot start by accident."""
        region, raw = await self._instance(vm.id)
        tags = t.tags_of(raw)
        if tags.get(t.FENCED, migration) != migration:
            raise Conflict(f"{vm.id} is fenced by migration {tags[t.FENCED]}", object_name=vm.id)
        if raw["State"]["Name"] not in ("stopping", "stopped"):
            raise Conflict(f"{vm.id} is {raw['State']['Name']}", object_name=vm.id, cure="stop it first")
        await self._wait_state(vm.id, "stopped")
        root = _root_volume(raw)
        if not root:
            if ROOT in tags:
                return
            raise Conflict(f"{vm.id} has no root volume", object_name=vm.id)
        dies = any(
            m["Ebs"].get("DeleteOnTermination") for m in raw["BlockDeviceMappings"] if m["Ebs"]["VolumeId"] == root
        )
        marks = {t.FENCED: migration, ROOT: f"{root}@{raw['RootDeviceName']}@{'delete' if dies else 'keep'}"}
        await self._set_tags(region, [vm.id, root], marks)
        await self._ec2(region, "detach_volume", changes=True, VolumeId=root, InstanceId=vm.id)
        await self._wait_volume(region, root, "available")

    async def unfence(self, vm: Ref, *, migration: str) -> None:
        """Attach the root volume again and forget the fence. Does nothing where there is none."""
        region, raw = await self._instance(vm.id)
        tags = t.tags_of(raw)
        if t.FENCED not in tags:
            return
        self._mine(vm, tags, migration)
        volume, device, fate = tags[ROOT].split("@")
        if not _root_volume(raw):
            await self._ec2(region, "attach_volume", changes=True, VolumeId=volume, InstanceId=vm.id, Device=device)
            await self._wait_volume(region, volume, "in-use")
        keep = [{"DeviceName": device, "Ebs": {"DeleteOnTermination": fate == "delete"}}]
        await self._ec2(region, "modify_instance_attribute", changes=True, InstanceId=vm.id, BlockDeviceMappings=keep)
        await self._set_tags(region, [vm.id, volume], {t.FENCED: "", ROOT: ""})

    async def retire(self, vm: Ref, *, migration: str) -> None:
        """Terminate a fenced instance and delete all its volumes."""
        try:
            region, raw = await self._instance(vm.id)
        except NotFound:
            return
        tags = t.tags_of(raw)
        self._mine(vm, tags, migration)
        volumes = [*_volume_ids(raw), tags[ROOT].partition("@")[0]]
        await self._ec2(region, "terminate_instances", changes=True, InstanceIds=[vm.id])
        await self._wait_state(vm.id, "terminated")
        await self._delete_volumes(region, volumes)

    async def _delete_volumes(self, region: str, idents: Sequence[str]) -> None:
        for ident in dict.fromkeys(idents):
            try:
                await self._wait_volume(region, ident, "available")
                await self._ec2(region, "delete_volume", changes=True, VolumeId=ident)
            except NotFound:
                continue

    async def _wait_volume(self, region: str, ident: str, state: str) -> None:
        async def reached() -> bool:
            return bool((await self._volumes(region, [ident]))[ident]["State"] == state)

        await self._wait(f"volume {ident} {state}", reached)

    async def _exported(self, region: str, migration: str) -> list[Raw]:
        return await self._tagged(region, "describe_snapshots", "Snapshots", {t.MIGRATION: migration, ROLE: "export"})

    @staticmethod
    def _mine(vm: Ref, tags: dict[str, str], migration: str) -> None:
        if tags.get(t.FENCED) != migration:
            raise Conflict(
                f"{vm.id} is not fenced by this migration", object_name=vm.id, cure="leave it as it is, or unfence it"
            )


def _volume_ids(raw: Raw) -> list[str]:
    return [m["Ebs"]["VolumeId"] for m in raw.get("BlockDeviceMappings", ()) if m.get("Ebs", {}).get("VolumeId")]


def _root_volume(raw: Raw) -> str:
    for mapping in raw.get("BlockDeviceMappings", ()):
        if mapping["DeviceName"] == raw.get("RootDeviceName"):
            return str(mapping.get("Ebs", {}).get("VolumeId", ""))
    return ""
