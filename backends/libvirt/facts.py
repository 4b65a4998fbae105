"""Everything that judging a move needs from a host: of the VM that goes, of the place it goes to, and of the pair."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import libvirt

from backends.errors import BackendError
from backends.libvirt import domainxml, hindrances, picture, storage, translate
from backends.libvirt.actions import EDITABLE, starts_alone
from backends.libvirt.client import Conn, connection
from backends.libvirt.create import virtualization
from backends.libvirt.domainxml import DiskNode, Domain
from backends.libvirt.picture import domain
from backends.libvirt.probe import Verdict, probe
from backends.model import (
    DiskFacts,
    Finding,
    Kind,
    Network,
    Nic,
    Origin,
    Ref,
    SourceFacts,
    StoragePool,
    TargetFacts,
    Vm,
    VmSpec,
)

if TYPE_CHECKING:
    from backends.libvirt import Driver

MIGRATABLE = libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_SECURE


async def of_source(driver: Driver, uuid: str) -> SourceFacts:
    name, parent = driver.name, driver.session.parent

    def work(conn: Conn) -> SourceFacts:
        item = domain(conn, uuid)
        quick = picture.one_quick(conn, uuid)
        assert quick is not None
        details = picture.some_details(conn, {uuid: False}).get(uuid)
        active = bool(item.isActive())
        definition = Domain.parse(item.XMLDesc(MIGRATABLE if active else EDITABLE))
        vm = translate.vm(name, parent, quick, details, Origin.POLL)
        cpu = definition.node.find("cpu")
        return SourceFacts(
            vm=vm,
            capabilities=frozenset(driver.capabilities()),
            platform=driver.kind,
            disks=disk_facts(conn, item, definition),
            nics=vm.nics,
            blocking=(*hindrances.of_definition(definition), *held(item)),
            cpu_xml="" if cpu is None else domainxml.serial(cpu).strip(),
            export_running=False,
            complete=True,
        )

    return await driver.client.call(work)


def disk_facts(conn: Conn, item: Any, definition: Domain) -> tuple[DiskFacts, ...]:
    found = []
    boots = {disk.target: disk.boot for disk in translate.disks(definition)}
    for disk in definition.disks:
        size, allocated, pool = sizes(conn, item, disk)
        found.append(
            DiskFacts(
                target=disk.target,
                size_bytes=size,
                allocated_bytes=allocated,
                format=disk.format,
                source=disk.source,
                pool=pool,
                bus=disk.bus,
                boot=boots.get(disk.target, False),
                readonly=disk.readonly,
                encrypted=disk.encrypted,
                backing=disk.backing,
                device=disk.device,
            )
        )
    return tuple(found)


def sizes(conn: Conn, item: Any, disk: DiskNode) -> tuple[int, int | None, str]:
    """(virtual size, bytes in use, pool) of a disk; what cannot be known is 0, None, empty."""
    size, allocated, pool = 0, None, disk.pool
    volume = storage.volume_of(conn, disk) if disk.source else None
    if volume is not None:
        with suppress(libvirt.libvirtError):
            info = volume.info()
            size, allocated = int(info[1]), int(info[2])
            pool = volume.storagePoolLookupByVolume().name()
    with suppress(libvirt.libvirtError):
        capacity, used, _physical = item.blockInfo(disk.target, 0)
        size, allocated = int(capacity), int(used) if allocated is None or used else allocated
    return size, allocated, pool


def held(item: Any) -> list[Finding]:
    """What the host keeps beside the definition."""
    found = []
    with suppress(libvirt.libvirtError):
        if item.snapshotNum(0):
            found.append(hindrances.SNAPSHOTS)
    with suppress(libvirt.libvirtError):
        if item.hasManagedSaveImage(0):
            found.append(hindrances.SAVED)
    return found


def spec(conn: Conn, uuid: str) -> VmSpec:
    """The VM in common terms; `definition` is its XML without passwords, because specs are journaled."""
    item = domain(conn, uuid)
    text = item.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    definition = Domain.parse(text)
    kept = definition.metadata
    return VmSpec(
        name=definition.name,
        uuid=uuid,
        vcpus=definition.vcpus,
        memory_bytes=definition.memory_bytes,
        arch=definition.arch,
        machine=definition.machine,
        firmware=definition.firmware,
        os=definition.os,
        disks=tuple(disk for disk in disk_facts(conn, item, definition) if disk.device == "disk"),
        nics=tuple(Nic(mac=nic.mac, model=nic.model, network=nic.network, kind=nic.type) for nic in definition.nics),
        group=kept.get(translate.GROUP, ""),
        tags=tuple(sorted((k, v) for k, v in kept.items() if k not in translate.PRIVATE)),
        autostart=starts_alone(conn, uuid),
        definition=text,
    )


async def of_target(driver: Driver, to: Ref, source: SourceFacts | None, peer: Driver | None) -> TargetFacts:
    """Facts of this host; those of the pair where the VM comes from a libvirt host that is connected."""
    name, parent = driver.name, driver.session.parent
    number = peer.client.number if peer is not None and peer is not driver else 0
    where = await driver.migration_address()
    known = driver.probes.get(number) if number else None
    vm = source.vm if source is not None else None
    cpu = source.cpu_xml if source is not None else ""
    disk_pools = tuple({disk.pool for disk in source.disks if disk.pool}) if source is not None else ()

    def work(conn: Conn) -> tuple[TargetFacts, Verdict | None]:
        arch = (vm.arch if vm is not None else "") or "x86_64"
        machines, firmwares, archs = platforms(conn, arch)
        verdict = known
        common: dict[str, str] = {}
        compatible: bool | None = None
        if number and vm is not None:
            origin = connection(number)
            compatible = cpu_compatible(conn, origin, vm, cpu)
            common = storage.shared(origin, conn, disk_pools)
            if verdict is None:
                verdict = probe(number, driver.client.number, where)
        domains = conn.listAllDomains(0)
        return (
            TargetFacts(
                ref=to,
                capabilities=frozenset(driver.capabilities()),
                platform=driver.kind,
                pools=active_pools(conn, name, parent),
                networks=attachable(conn, name, parent, domains),
                names=frozenset(item.name() for item in domains),
                uuids=frozenset(item.UUIDString() for item in domains),
                machines=machines,
                firmwares=firmwares,
                archs=archs,
                cpu_compatible=compatible,
                shared_pools=frozenset(common),
                ports_open=None if verdict is None else verdict.open,
                encrypted_transport=None if verdict is None else verdict.encrypted,
                post_copy=None if verdict is None else verdict.post_copy,
                free_memory_bytes=int(conn.getFreeMemory()),
                complete=True,
            ),
            verdict,
        )

    facts, verdict = await driver.client.call(work, deadline=90)
    if number and verdict is not None:
        driver.probes.put(number, verdict)
    return facts


def active_pools(conn: Conn, connection_name: str, parent: Ref) -> tuple[StoragePool, ...]:
    return tuple(pool for pool in picture.pools(conn, connection_name, parent) if pool.active)


def attachable(conn: Conn, connection_name: str, parent: Ref, domains: Sequence[Any]) -> tuple[Network, ...]:
    """What a NIC can be plugged into: libvirt's networks, and the host's bridges."""
    found = [network for network in picture.networks(conn, connection_name, parent) if network.active]
    taken = {network.bridge for network in found} | {network.name for network in found}
    bridges: dict[str, None] = {}
    with suppress(libvirt.libvirtError):
        for item in conn.listAllInterfaces(libvirt.VIR_CONNECT_LIST_INTERFACES_ACTIVE):
            if domainxml.parsed(item.XMLDesc(0)).get("type") == "bridge":
                bridges[item.name()] = None
    for item in domains:
        with suppress(libvirt.libvirtError):
            bridges.update(dict.fromkeys(nic.bridge for nic in Domain.parse(item.XMLDesc(0)).nics if nic.bridge))
    for bridge in bridges:
        if bridge not in taken:
            ref = Ref(connection_name, Kind.NETWORK, f"bridge:{bridge}")
            found.append(Network(ref=ref, name=bridge, parent=parent, type="bridge", bridge=bridge))
    return tuple(found)


def platforms(conn: Conn, arch: str) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """(machine types of `arch`, firmwares, architectures) that this host offers."""
    root = domainxml.parsed(conn.getCapabilities())
    archs = frozenset(node.get("name", "") for node in root.iterfind("guest/arch"))
    machines: set[str] = set()
    for node in root.iterfind("guest/arch"):
        if node.get("name") == arch:
            for machine in node.iterfind("machine"):
                machines |= {machine.text or "", machine.get("canonical", "")}
    firmwares = {"bios"}
    with suppress(libvirt.libvirtError):
        offered = domainxml.parsed(conn.getDomainCapabilities(None, arch, None, None, 0))
        if any(node.text == "efi" for node in offered.iterfind("os/enum[@name='firmware']/value")):
            firmwares.add("uefi")
    return frozenset(machines - {""}), frozenset(firmwares), archs


def cpu_compatible(target: Conn, origin: Conn, vm: Vm, cpu: str) -> bool | None:
    """Whether the guest's CPU can run on the target; None where the host cannot say.

    A guest without a CPU model, and any guest of the emulator, runs on every host of its architecture.
    """
    try:
        definition = Domain.parse(domain(origin, vm.uuid).XMLDesc(0))
        if definition.type != "kvm" or not cpu:
            return True
        _kind, emulator = virtualization(target, vm.arch or "x86_64")
        result = target.compareHypervisorCPU(emulator, vm.arch or None, None, definition.type, cpu, 0)
        return bool(result != libvirt.VIR_CPU_COMPARE_INCOMPATIBLE)
    except (libvirt.libvirtError, BackendError):
        return None
