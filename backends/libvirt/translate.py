"""From libvirt's words to ours: values in, values out, no libvirt object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from backends.libvirt import hindrances
from backends.libvirt.domainxml import Domain, parsed
from backends.model import (
    Disk,
    Finding,
    Host,
    Kind,
    Network,
    Nic,
    Object,
    Origin,
    PowerState,
    Ref,
    Sample,
    StoragePool,
    Vm,
    Volume,
)

GROUP = "group"
MIGRATION = "causeway:migration"
AUTOSTART = "causeway:autostart"
"""Noted on a VM that was moved here until it is adopted: a copy that nobody adopted never starts by itself."""
PRIVATE = frozenset({GROUP, MIGRATION, AUTOSTART})

STATES = {
    0: (PowerState.UNKNOWN, "no state"),
    1: (PowerState.RUNNING, "running"),
    2: (PowerState.RUNNING, "blocked"),
    3: (PowerState.PAUSED, "paused"),
    4: (PowerState.STOPPING, "shutting down"),
    5: (PowerState.OFF, "shut off"),
    6: (PowerState.CRASHED, "crashed"),
    7: (PowerState.SUSPENDED, "suspended by the guest"),
}
PAUSED_REASONS = {
    2: "migrating",
    3: "saving",
    5: "input/output error",
    6: "watchdog",
    8: "shutting down",
    10: "crashed",
    12: "post-copy",
    13: "post-copy failed",
}
BY_A_MOVE = frozenset({2, 12, 13})
"""Paused for a move: only the move, or its recovery, knows whether it may go on here."""
RUNNING_STATES = frozenset({1, 2, 3, 7})


@dataclass(frozen=True, slots=True)
class Quick:
    """What the tree needs of a domain, and one call gives for all."""

    uuid: str
    name: str
    state: int = 0
    reason: int = 0
    vcpus: int = 0
    memory_bytes: int = 0
    autostart: bool = False
    persistent: bool = True
    saved: bool = False


@dataclass(frozen=True, slots=True)
class Details:
    """What only a domain's XML (and its guest) tells."""

    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    addresses: tuple[str, ...] | None = ()
    """None: not asked."""
    tags: tuple[tuple[str, str], ...] = ()
    group: str = ""
    os: str = ""
    arch: str = ""
    machine: str = ""
    firmware: str = ""
    manager: str = ""
    hindrances: tuple[Finding, ...] = ()
    agent: bool = field(default=False, compare=False)


def quick(uuid: str, name: str, stats: Mapping[str, Any], info: tuple[int, ...] | None = None) -> Quick:
    """From one record of getAllDomainStats; `info` (virDomainGetInfo) where the driver's stats are thin."""
    vcpus = int(stats.get("vcpu.maximum") or stats.get("vcpu.current") or 0)
    memory = int(stats.get("balloon.maximum") or stats.get("balloon.current") or 0)
    if info is not None:
        memory, vcpus = memory or int(info[1]), vcpus or int(info[3])
    return Quick(uuid, name, int(stats.get("state.state", 0)), int(stats.get("state.reason", 0)), vcpus, memory * 1024)


def power_state(item: Quick) -> tuple[PowerState, str]:
    state, word = STATES.get(item.state, STATES[0])
    if state == PowerState.PAUSED and item.reason in PAUSED_REASONS:
        word = f"paused ({PAUSED_REASONS[item.reason]})"
        if item.reason in BY_A_MOVE:
            state = PowerState.MIGRATING
        elif item.reason == 10:
            state = PowerState.CRASHED
    if state == PowerState.OFF and item.saved:
        state, word = PowerState.SUSPENDED, "saved"
    return state, word


def vm(connection: str, parent: Ref, item: Quick, details: Details | None, origin: Origin) -> Vm:
    """The model's VM; without `details` the quick part only."""
    state, word = power_state(item)
    made = Vm(
        ref=Ref(connection, Kind.VM, item.uuid),
        name=item.name,
        parent=parent,
        origin=origin,
        state=state,
        native_state=word,
        vcpus=item.vcpus,
        memory_bytes=item.memory_bytes,
        uuid=item.uuid,
        autostart=item.autostart,
        persistent=item.persistent,
    )
    if details is None:
        return made
    return replace(
        made,
        disks=details.disks,
        nics=details.nics,
        addresses=(details.addresses or ()) if item.state in RUNNING_STATES else (),
        tags=details.tags,
        group=details.group,
        os=details.os,
        arch=details.arch,
        machine=details.machine,
        firmware=details.firmware,
        manager=details.manager,
        hindrances=(*details.hindrances, *((hindrances.SAVED,) if item.saved else ())),
        detailed=True,
    )


def details(xml: str) -> Details:
    domain = Domain.parse(xml)
    kept = domain.metadata
    return Details(
        disks=disks(domain),
        nics=tuple(Nic(mac=n.mac, model=n.model, network=n.network, kind=n.type) for n in domain.nics),
        tags=tuple(sorted((name, value) for name, value in kept.items() if name not in PRIVATE)),
        group=kept.get(GROUP, ""),
        os=domain.os,
        arch=domain.arch,
        machine=domain.machine,
        firmware=domain.firmware,
        manager=manager(domain),
        hindrances=tuple(hindrances.of_definition(domain)),
        agent=domain.agent,
    )


def disks(domain: Domain) -> tuple[Disk, ...]:
    nodes = domain.disks
    boots = [node for node in nodes if node.device == "disk"]
    first = min(boots, key=lambda node: node.order or 1000).target if boots else ""
    return tuple(
        Disk(
            target=node.target,
            source=node.source,
            format=node.format,
            bus=node.bus,
            device=node.device,
            boot=node.target == first,
            readonly=node.readonly,
            pool=node.pool,
        )
        for node in nodes
    )


def manager(domain: Domain) -> str:
    """Who else owns this VM, by the metadata it left: OpenStack's nova, oVirt."""
    for node in domain.each("metadata/*"):
        if "openstack.org" in str(node.tag):
            return "OpenStack"
        if "ovirt.org" in str(node.tag):
            return "oVirt"
    return ""


def host(connection: str, capabilities: str, hostname: str, info: tuple[Any, ...], hypervisor: str) -> Host:
    """The host from its capabilities XML and virNodeGetInfo (memory in MiB)."""
    root = parsed(capabilities)
    uuid = root.findtext("host/uuid") or f"{hypervisor.split()[0].lower()}-{hostname}"
    return Host(
        ref=Ref(connection, Kind.HOST, uuid),
        name=hostname,
        uuid=uuid,
        hostname=hostname,
        cpus=int(info[2]),
        memory_bytes=int(info[1]) << 20,
        hypervisor=hypervisor,
        arch=root.findtext("host/cpu/arch") or str(info[0]),
    )


def pool(connection: str, parent: Ref, xml: str, active: bool) -> StoragePool:
    root = parsed(xml)
    name = root.findtext("name") or ""
    return StoragePool(
        ref=Ref(connection, Kind.POOL, name),
        name=name,
        parent=parent,
        size_bytes=int(root.findtext("capacity") or 0),
        free_bytes=int(root.findtext("available") or 0),
        type=root.get("type", ""),
        path=root.findtext("target/path") or "",
        active=active,
    )


def volume(connection: str, parent: Ref, xml: str) -> Volume:
    root = parsed(xml)
    name = root.findtext("name") or ""
    kind = root.find("target/format")
    return Volume(
        ref=Ref(connection, Kind.VOLUME, f"{parent.id}/{name}"),
        name=name,
        parent=parent,
        size_bytes=int(root.findtext("capacity") or 0),
        allocated_bytes=int(root.findtext("allocation") or 0),
        format=(kind.get("type", "") if kind is not None else "") or root.get("type", ""),
        path=root.findtext("target/path") or "",
    )


def network(connection: str, parent: Ref, xml: str, active: bool) -> Network:
    root = parsed(xml)
    name = root.findtext("name") or ""
    forward, bridge, ip = root.find("forward"), root.find("bridge"), root.find("ip")
    cidr = ""
    if ip is not None and ip.get("address"):
        cidr = f"{ip.get('address')}/{ip.get('prefix') or ip.get('netmask') or ''}".rstrip("/")
    return Network(
        ref=Ref(connection, Kind.NETWORK, name),
        name=name,
        parent=parent,
        type=forward.get("mode", "nat") if forward is not None else "isolated",
        cidr=cidr,
        bridge=bridge.get("name", "") if bridge is not None else "",
        active=active,
    )


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters of one domain at one moment (`at` in seconds of a monotonic clock)."""

    at: float
    wall: float
    cpu_ns: int
    vcpus: int
    memory: int | None
    rd: int
    wr: int
    rx: int
    tx: int


def reading(stats: Mapping[str, Any], at: float, wall: float) -> Reading:
    def total(kind: str, suffix: str) -> int:
        count = int(stats.get(f"{kind}.count", 0))
        return sum(int(stats.get(f"{kind}.{i}.{suffix}", 0)) for i in range(count))

    memory = stats.get("balloon.rss") or stats.get("balloon.current")
    if "balloon.available" in stats and "balloon.unused" in stats:
        memory = int(stats["balloon.available"]) - int(stats["balloon.unused"])
    return Reading(
        at,
        wall,
        int(stats.get("cpu.time", 0)),
        int(stats.get("vcpu.current", 1)),
        None if memory is None else int(memory) * 1024,
        total("block", "rd.bytes"),
        total("block", "wr.bytes"),
        total("net", "rx.bytes"),
        total("net", "tx.bytes"),
    )


def sample(new: Reading, old: Reading | None) -> Sample:
    """Rates between two readings; the first one of a domain has none. Counters that fell began anew."""
    if old is None or new.at <= old.at or new.cpu_ns < old.cpu_ns:
        return Sample(at=new.wall, memory_used_bytes=new.memory)
    seconds = new.at - old.at

    def rate(now: int, before: int) -> float:
        return max(now - before, 0) / seconds

    return Sample(
        at=new.wall,
        cpu_percent=rate(new.cpu_ns, old.cpu_ns) / 1e7 / max(new.vcpus, 1),
        memory_used_bytes=new.memory,
        disk_read_bps=rate(new.rd, old.rd),
        disk_write_bps=rate(new.wr, old.wr),
        net_rx_bps=rate(new.rx, old.rx),
        net_tx_bps=rate(new.tx, old.tx),
    )


def with_origin(item: Object, origin: Origin) -> Object:
    return replace(item, origin=origin)
