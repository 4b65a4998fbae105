"""Into EC2: snapshots written block by block, an image registered from them, an instance run from the image."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from backends.disks import DiskSink, DiskSource
from backends.driver import Driver, Settings
from backends.ec2 import translate as t
from backends.ec2.blocks import SnapshotSink, SnapshotSource
from backends.ec2.core import Raw
from backends.ec2.exporting import ROLE, Exporting
from backends.ec2.failures import call
from backends.errors import Conflict, Invalid, NotFound
from backends.model import DiskSpec, Finding, Kind, Level, Ref, SourceFacts, StoragePool, TargetFacts, VmSpec

DISK = "causeway:disk"
TYPE = "causeway:type"
VOLUME_TYPES = ("gp3", "gp2")
TIMEOUT_MIN = 24 * 60
"""How long a pending snapshot may be left alone before AWS drops it: a workstation sleeps over night."""


class Importing(Exporting):
    """The Imports protocol.

    EC2 has no instance that was made and never ran: `create_vm` registers the image *and starts the instance*
    (`starts_on_create`), so it belongs behind the point where the source is off. Everything made carries the tag
    causeway:migration until `adopt`.
    """

    starts_on_create = True

    async def import_facts(self, to: Ref, source: SourceFacts | None, source_driver: Driver | None) -> TargetFacts:
        region = self._region(to)
        flavors = await self._learn_types(region, ())
        subnets = await self._all(region, "describe_subnets", "Subnets")
        return TargetFacts(
            ref=to,
            capabilities=frozenset(capability.value for capability in self.capabilities()),
            platform="ec2",
            pools=tuple(self._pool_of(region, name) for name in VOLUME_TYPES),
            networks=tuple(t.network(self.name, region, raw) for raw in subnets),
            flavors=tuple(sorted(flavors.values(), key=lambda f: (f.memory_bytes, f.vcpus, f.name))),
            firmwares=frozenset(("bios", "uefi")),
            archs=frozenset(("x86_64", "aarch64")),
            encrypted_transport=not self.settings["endpoint_url"].startswith("http://"),
            blocking=self._judge(region, source),
            complete=True,
        )

    async def prepare_disk(self, to: Ref, spec: VmSpec, disk: int, *, pool: str, migration: str) -> DiskSpec:
        """A pending snapshot of whole GiB; the same one again for the same migration and disk."""
        region = self._region(to)
        if pool and pool not in VOLUME_TYPES:
            raise Invalid(f"there is no volume type {pool}", cure=f"one of {', '.join(VOLUME_TYPES)}", field="pool")
        facts = spec.disks[disk]
        gib = max(1, -(-facts.size_bytes // t.GIB))
        tags = {t.MIGRATION: migration, DISK: str(disk), ROLE: "import", TYPE: pool or VOLUME_TYPES[0]}
        found = await self._tagged(
            region, "describe_snapshots", "Snapshots", {t.MIGRATION: migration, DISK: str(disk), ROLE: "import"}
        )
        if found:
            ident = found[0]["SnapshotId"]
        else:
            token = hashlib.sha256(f"{migration}/{disk}".encode()).hexdigest()
            tags["Name"] = f"{spec.name} {facts.target}"

            def start() -> str:
                answer = call(
                    self._clients.ebs(region).start_snapshot,
                    changes=True,
                    VolumeSize=gib,
                    Description=f"Causeway migration {migration}",
                    ClientToken=token,
                    Tags=t.tag_list(tags),
                    Timeout=TIMEOUT_MIN,
                )
                return str(answer["SnapshotId"])

            ident = await self._pool.call(start, changes=True, what=f"{self.name}: start_snapshot")
        return DiskSpec(
            backend="ec2",
            target=facts.target,
            size_bytes=facts.size_bytes,
            args={"snapshot": ident, "region": region},
            boot=facts.boot,
        )

    @staticmethod
    def open_sink(spec: DiskSpec, settings: Settings) -> DiskSink:
        """`spec.args["sums"]`, where given, is a file of the mover's own in which checksums survive it."""
        return SnapshotSink(spec, settings)

    @staticmethod
    def read_back(spec: DiskSpec, disk_id: str, settings: Settings) -> DiskSource:
        args = {**spec.args, "snapshot": disk_id}
        return SnapshotSource(
            DiskSpec(backend="ec2", target=spec.target, size_bytes=spec.size_bytes, args=args), settings
        )

    async def create_vm(self, to: Ref, spec: VmSpec, disk_ids: Sequence[str], *, migration: str) -> Ref:
        """Register the image and run the instance; it starts. The same migration gives the same instance."""
        region = self._region(to)
        existing = [raw for raw in await self._of(region, migration) if raw["State"]["Name"] not in t.GONE]
        if existing:
            return Ref(self.name, Kind.VM, existing[0]["InstanceId"])
        await self._wait_snapshots(region, disk_ids)
        flavor = await self._flavor(region, spec)
        image = await self._image(region, spec, disk_ids, migration)
        tags = {**dict(spec.tags), "Name": spec.name, t.UUID: spec.uuid, t.GROUP: spec.group, t.MIGRATION: migration}
        given = t.tag_list({key: value for key, value in tags.items() if value})
        network = await self._subnet(region, spec)
        place: Raw = {"SubnetId": network} if network else {}
        answer = await self._ec2(
            region,
            "run_instances",
            changes=True,
            ImageId=image,
            InstanceType=flavor,
            MinCount=1,
            MaxCount=1,
            ClientToken=hashlib.sha256(f"run {migration}".encode()).hexdigest(),
            TagSpecifications=[{"ResourceType": kind, "Tags": given} for kind in ("instance", "volume")],
            **place,
        )
        ident = answer["Instances"][0]["InstanceId"]
        self._region_of[ident] = region
        await self._wait_state(ident, "running")
        return Ref(self.name, Kind.VM, ident)

    async def adopt(self, vm: Ref, *, migration: str) -> None:
        """Delete the image and the snapshots that the instance was made from, and forget the migration."""
        region, raw = await self._instance(vm.id)
        await self._discard_images(region, migration)
        volumes = [m["Ebs"]["VolumeId"] for m in raw.get("BlockDeviceMappings", ()) if m.get("Ebs")]
        await self._set_tags(region, [vm.id, *volumes], {t.MIGRATION: ""})

    async def discard_import(self, migration: str) -> None:
        """Remove instances, images, snapshots and volumes of a migration, in every region."""
        for region in self.regions:
            running = [i for i in await self._of(region, migration) if i["State"]["Name"] != "terminated"]
            for raw in running:
                await self._ec2(region, "terminate_instances", changes=True, InstanceIds=[raw["InstanceId"]])
            for raw in running:
                await self._wait_state(raw["InstanceId"], "terminated")
            await self._discard_images(region, migration)
            volumes = await self._tagged(region, "describe_volumes", "Volumes", {t.MIGRATION: migration})
            await self._delete_volumes(region, [volume["VolumeId"] for volume in volumes])

    async def _discard_images(self, region: str, migration: str) -> None:
        marks = {t.MIGRATION: migration}
        for image in await self._tagged(region, "describe_images", "Images", marks):
            await self._ec2(region, "deregister_image", changes=True, ImageId=image["ImageId"])
        for each in await self._tagged(region, "describe_snapshots", "Snapshots", {**marks, ROLE: "import"}):
            try:
                await self._ec2(region, "delete_snapshot", changes=True, SnapshotId=each["SnapshotId"])
            except NotFound:
                continue

    async def _of(self, region: str, migration: str) -> list[Raw]:
        return await self._tagged(region, "describe_instances", "", {t.MIGRATION: migration})

    async def _image(self, region: str, spec: VmSpec, disk_ids: Sequence[str], migration: str) -> str:
        found = await self._tagged(region, "describe_images", "Images", {t.MIGRATION: migration})
        if found:
            return str(found[0]["ImageId"])
        answer = await self._ec2(region, "describe_snapshots", SnapshotIds=list(disk_ids))
        snapshots = {each["SnapshotId"]: each for each in answer["Snapshots"]}
        mappings = []
        for ident, device in zip(disk_ids, _devices(spec), strict=True):
            ebs = {
                "SnapshotId": ident,
                "VolumeSize": snapshots[ident]["VolumeSize"],
                "VolumeType": t.tags_of(snapshots[ident]).get(TYPE, VOLUME_TYPES[0]),
                "DeleteOnTermination": True,
            }
            mappings.append({"DeviceName": device, "Ebs": ebs})
        tags = {t.MIGRATION: migration, "Name": spec.name}
        made = await self._ec2(
            region,
            "register_image",
            changes=True,
            once=True,
            Name=f"causeway-{migration}"[:128],
            Description=f"Causeway migration {migration}",
            Architecture={"aarch64": "arm64"}.get(spec.arch, spec.arch),
            VirtualizationType="hvm",
            RootDeviceName=ROOT_DEVICE,
            BootMode="uefi" if spec.firmware == "uefi" else "legacy-bios",
            EnaSupport=True,
            BlockDeviceMappings=mappings,
            TagSpecifications=[{"ResourceType": "image", "Tags": t.tag_list(tags)}],
        )
        return str(made["ImageId"])

    async def _flavor(self, region: str, spec: VmSpec) -> str:
        flavors = await self._learn_types(region, ())
        if spec.flavor:
            name = spec.flavor.rpartition("/")[2]
            if name not in flavors:
                raise Invalid(f"there is no flavor {name} in {region}", field="flavor", cure="choose another")
            return name
        fits = {name: spec.arch in archs for name, archs in self._arch.items()}
        chosen = t.smallest(flavors.values(), spec.vcpus, spec.memory_bytes, fits)
        if chosen is None:
            raise Invalid(
                f"no flavor in {region} has {spec.vcpus} CPUs and {spec.memory_bytes // t.MIB} MiB for {spec.arch}",
                field="flavor",
                cure="give the VM less",
            )
        return chosen.name

    async def _subnet(self, region: str, spec: VmSpec) -> str:
        """The subnet of the first card, where it names one of this region by id or name; else the default."""
        wanted = spec.nics[0].network if spec.nics else ""
        if not wanted:
            return ""
        for raw in await self._all(region, "describe_subnets", "Subnets"):
            if wanted in (raw["SubnetId"], t.network(self.name, region, raw).name):
                return str(raw["SubnetId"])
        if wanted.startswith("subnet-"):
            raise Conflict(f"there is no subnet {wanted} in {region}", cure="map the network to another subnet")
        return ""

    def _pool_of(self, region: str, name: str) -> StoragePool:
        limit = 16 * 1024 * t.GIB
        return StoragePool(
            ref=Ref(self.name, Kind.POOL, f"{region}/{name}"),
            name=name,
            parent=t.zone_ref(self.name, region),
            size_bytes=limit,
            free_bytes=limit,
            type="ebs",
        )

    def _judge(self, region: str, source: SourceFacts | None) -> tuple[Finding, ...]:
        if source is None:
            return ()
        found = []
        arch = source.vm.arch or "x86_64"
        if arch not in ("x86_64", "aarch64"):
            found.append(
                Finding(level=Level.RED, code="architecture", message=f"EC2 has no {arch} machines.", field="flavor")
            )
        elif source.platform != "ec2":
            found.append(
                Finding(
                    level=Level.AMBER,
                    code="guest-drivers",
                    message="The guest needs the ENA network and NVMe disk drivers, DHCP, and a serial console helps.",
                    cure="Before it moves, add ena and nvme to its initramfs: in /etc/initramfs-tools/modules and "
                    "update-initramfs -u, or dracut -f --add-drivers 'ena nvme'.",
                )
            )
        for disk in source.disks:
            if source.platform != "ec2" and disk.device == "disk" and disk.size_bytes % t.GIB:
                whole = -(-disk.size_bytes // t.GIB)
                text = f"{disk.target} grows from {_binary(disk.size_bytes)} to {whole} GiB: volumes have whole GiB."
                found.append(Finding(level=Level.INFO, code="disk-grows", message=text))
            if disk.size_bytes > 16 * 1024 * t.GIB:
                found.append(
                    Finding(
                        level=Level.RED,
                        code="disk-too-large",
                        message=f"{disk.target} is larger than 16 TiB, the most a {VOLUME_TYPES[0]} volume holds.",
                        cure="Shrink it or split it.",
                    )
                )
        return tuple(found)


ROOT_DEVICE = "/dev/sda1"


def _binary(size: int) -> str:
    """8 MiB, 10.5 GiB."""
    mib = size / 2**20
    return f"{mib:.4g} MiB" if mib < 1024 else f"{mib / 1024:.4g} GiB"


def _devices(spec: VmSpec) -> list[str]:
    """A device name for every disk: the boot disk is the root, the others follow as sdf, sdg and so on."""
    boot = next((number for number, disk in enumerate(spec.disks) if disk.boot), 0)
    letters = iter("fghijklmnopqrstuvwxyz")
    return [ROOT_DEVICE if number == boot else f"/dev/sd{next(letters)}" for number in range(len(spec.disks))]
