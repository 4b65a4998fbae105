"""EC2's descriptions as Causeway's objects: value in, value out."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from datetime import datetime
from typing import Any

from backends.model import (
    Disk,
    DiskFacts,
    Finding,
    Flavor,
    Image,
    KeyPair,
    Kind,
    Level,
    Network,
    Nic,
    PowerState,
    Ref,
    Snapshot,
    Vm,
    Volume,
    Zone,
)

GIB = 1024**3
MIB = 1024**2
GROUP = "causeway:group"
UUID = "causeway:uuid"
MIGRATION = "causeway:migration"
FENCED = "causeway:fenced"
OURS = "causeway:"

STATES = {
    "pending": PowerState.STARTING,
    "running": PowerState.RUNNING,
    "stopping": PowerState.STOPPING,
    "stopped": PowerState.OFF,
    "shutting-down": PowerState.STOPPING,
    "terminated": PowerState.OFF,
}
GONE = ("terminated", "shutting-down")
ARCHS = {"x86_64": "x86_64", "arm64": "aarch64", "i386": "i686"}

Raw = Mapping[str, Any]


def tags_of(raw: Raw) -> dict[str, str]:
    """Every tag of a resource, ours too."""
    return {tag["Key"]: tag.get("Value", "") for tag in raw.get("Tags") or raw.get("TagSet") or ()}


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags as the API takes them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def zone_ref(connection: str, region: str) -> Ref:
    return Ref(connection, Kind.ZONE, region)


def zone(connection: str, region: str) -> Zone:
    return Zone(ref=zone_ref(connection, region), name=region, region=region)


def disk_facts(raw: Raw, volumes: Mapping[str, Raw]) -> tuple[DiskFacts, ...]:
    """An instance's EBS volumes, the root first. Sizes are 0 where the volume was not listed."""
    root = raw.get("RootDeviceName", "")
    found = []
    for mapping in raw.get("BlockDeviceMappings", ()):
        ident = mapping.get("Ebs", {}).get("VolumeId", "")
        volume = volumes.get(ident, {})
        found.append(
            DiskFacts(
                target=mapping["DeviceName"],
                size_bytes=int(volume.get("Size", 0)) * GIB,
                source=ident,
                pool=str(volume.get("VolumeType", "")),
                bus="nvme" if raw.get("EnaSupport") else "xen",
                boot=mapping["DeviceName"] == root,
                encrypted=bool(volume.get("Encrypted")),
            )
        )
    return tuple(sorted(found, key=lambda disk: (not disk.boot, disk.target)))


def firmware(raw: Raw) -> str:
    """bios or uefi, as the instance boots now."""
    mode = raw.get("CurrentInstanceBootMode") or raw.get("BootMode") or "legacy-bios"
    return "bios" if mode == "legacy-bios" else "uefi"


def vm(
    connection: str,
    region: str,
    raw: Raw,
    types: Mapping[str, Flavor],
    volumes: Mapping[str, Raw],
    local_stores: Container[str] = (),
) -> Vm:
    """An instance; `types` are flavors by name, `volumes` descriptions by id, `local_stores` names of flavors that
    have disks of their own."""
    tags = tags_of(raw)
    flavor = types.get(raw.get("InstanceType", ""))
    cpu = raw.get("CpuOptions") or {}
    disks = disk_facts(raw, volumes)
    nics = raw.get("NetworkInterfaces", ())
    addresses = [raw.get("PublicIpAddress"), raw.get("PrivateIpAddress")]
    for nic in nics:
        addresses += [each.get("PrivateIpAddress") for each in nic.get("PrivateIpAddresses", ())]
        addresses += [each.get("Ipv6Address") for each in nic.get("Ipv6Addresses", ())]
    native = raw.get("State", {}).get("Name", "")
    return Vm(
        ref=Ref(connection, Kind.VM, raw["InstanceId"]),
        name=tags.get("Name") or raw["InstanceId"],
        parent=zone_ref(connection, region),
        state=STATES.get(native, PowerState.UNKNOWN),
        native_state=native,
        vcpus=cpu.get("CoreCount", 0) * cpu.get("ThreadsPerCore", 1) or (flavor.vcpus if flavor else 0),
        memory_bytes=flavor.memory_bytes if flavor else 0,
        uuid=raw["InstanceId"],
        addresses=tuple(dict.fromkeys(each for each in addresses if each)),
        disks=tuple(
            Disk(
                target=d.target, source=d.source, size_bytes=d.size_bytes or None, format="raw", bus=d.bus, boot=d.boot
            )
            for d in disks
        ),
        nics=tuple(Nic(mac=n.get("MacAddress", ""), model="ena", network=n.get("SubnetId", "")) for n in nics),
        tags=tuple(sorted((k, v) for k, v in tags.items() if k != "Name" and not k.startswith(OURS))),
        group=tags.get(GROUP, ""),
        os=str(raw.get("PlatformDetails") or raw.get("Platform") or ""),
        arch=ARCHS.get(raw.get("Architecture", ""), ""),
        firmware=firmware(raw),
        flavor=raw.get("InstanceType", ""),
        zone=raw.get("Placement", {}).get("AvailabilityZone", ""),
        image=raw.get("ImageId", ""),
        started=raw.get("LaunchTime") if native == "running" else None,
        hindrances=source_findings(raw, disks, raw.get("InstanceType", "") in local_stores),
        detailed=True,
    )


def image(connection: str, region: str, raw: Raw) -> Image:
    sizes = [m["Ebs"].get("VolumeSize") or 0 for m in raw.get("BlockDeviceMappings", ()) if "Ebs" in m]
    created = raw.get("CreationDate")
    return Image(
        ref=Ref(connection, Kind.IMAGE, raw["ImageId"]),
        name=raw.get("Name") or raw["ImageId"],
        parent=zone_ref(connection, region),
        size_bytes=sum(sizes) * GIB or None,
        arch=ARCHS.get(raw.get("Architecture", ""), ""),
        os=str(raw.get("PlatformDetails") or ""),
        created=datetime.fromisoformat(created.replace("Z", "+00:00")) if created else None,
    )


def flavor(connection: str, region: str, raw: Raw) -> Flavor:
    return Flavor(
        ref=Ref(connection, Kind.FLAVOR, f"{region}/{raw['InstanceType']}"),
        name=raw["InstanceType"],
        parent=zone_ref(connection, region),
        vcpus=raw.get("VCpuInfo", {}).get("DefaultVCpus", 0),
        memory_bytes=raw.get("MemoryInfo", {}).get("SizeInMiB", 0) * MIB,
        disk_bytes=raw.get("InstanceStorageInfo", {}).get("TotalSizeInGB", 0) * 10**9,
    )


def volume(connection: str, region: str, raw: Raw) -> Volume:
    attached = [a["InstanceId"] for a in raw.get("Attachments", ()) if a.get("InstanceId")]
    return Volume(
        ref=Ref(connection, Kind.VOLUME, raw["VolumeId"]),
        name=tags_of(raw).get("Name") or raw["VolumeId"],
        parent=zone_ref(connection, region),
        size_bytes=raw.get("Size", 0) * GIB,
        format="raw",
        state=raw.get("State", ""),
        attached_to=Ref(connection, Kind.VM, attached[0]) if attached else None,
    )


def snapshot(connection: str, region: str, raw: Raw) -> Snapshot:
    return Snapshot(
        ref=Ref(connection, Kind.SNAPSHOT, raw["SnapshotId"]),
        name=tags_of(raw).get("Name") or raw.get("Description") or raw["SnapshotId"],
        parent=zone_ref(connection, region),
        created=raw.get("StartTime"),
        size_bytes=raw.get("VolumeSize", 0) * GIB,
        state=raw.get("State", ""),
    )


def network(connection: str, region: str, raw: Raw) -> Network:
    """A subnet: what an instance is put into."""
    return Network(
        ref=Ref(connection, Kind.NETWORK, raw["SubnetId"]),
        name=tags_of(raw).get("Name") or f"{raw['SubnetId']} ({raw.get('AvailabilityZone', region)})",
        parent=zone_ref(connection, region),
        type="subnet",
        cidr=raw.get("CidrBlock", ""),
        active=raw.get("State", "available") == "available",
    )


def keypair(connection: str, region: str, raw: Raw) -> KeyPair:
    return KeyPair(
        ref=Ref(connection, Kind.KEYPAIR, raw.get("KeyPairId") or f"{region}/{raw['KeyName']}"),
        name=raw["KeyName"],
        parent=zone_ref(connection, region),
        fingerprint=raw.get("KeyFingerprint", ""),
    )


def smallest(flavors: Iterable[Flavor], vcpus: int, memory_bytes: int, archs: Mapping[str, bool]) -> Flavor | None:
    """The smallest flavor with this much, a burstable one (t3 and the like) before others of its size.

    `archs` says by flavor name whether it fits the architecture.
    """
    fits = [f for f in flavors if f.vcpus >= vcpus and f.memory_bytes >= memory_bytes and archs.get(f.name, True)]
    return min(fits, key=lambda f: (f.memory_bytes, f.vcpus, not f.name.startswith("t"), f.name), default=None)


def source_findings(raw: Raw, disks: Iterable[DiskFacts], local_store: bool) -> tuple[Finding, ...]:
    """What stands against taking this instance elsewhere."""
    found = []
    if raw.get("RootDeviceType") == "instance-store":
        found.append(
            Finding(
                level=Level.RED,
                code="instance-store-root",
                message="The root disk is on instance store, which has no snapshots.",
                cure="Copy the system to an EBS-backed instance first.",
            )
        )
    elif local_store:
        found.append(
            Finding(
                level=Level.AMBER,
                code="instance-store",
                message="What is on the instance store is lost when the instance stops.",
                cure="Copy anything of value from it to an EBS volume.",
            )
        )
    if raw.get("ProductCodes"):
        codes = ", ".join(code.get("ProductCodeId", "") for code in raw["ProductCodes"])
        found.append(
            Finding(
                level=Level.RED,
                code="product-codes",
                message=f"The instance carries Marketplace product codes ({codes}): AWS does not let it leave.",
                cure="Ask the seller for an image for the target, and move the data.",
            )
        )
    names = [disk.target for disk in disks if disk.encrypted]
    if names:
        found.append(
            Finding(
                level=Level.AMBER,
                code="encrypted-volumes",
                message=f"Encrypted volumes ({', '.join(names)}) arrive unencrypted.",
                cure="Your key needs kms:Decrypt; encrypt the target's storage.",
            )
        )
    return tuple(found)
