"""The target's side of a move: empty volumes, and the VM defined on them. Runs in worker threads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from xml.sax.saxutils import escape

import libvirt
from lxml import etree

from backends.errors import Conflict, Invalid, NotFound, QuotaExceeded
from backends.libvirt import actions, domainxml, storage
from backends.libvirt.client import Conn
from backends.libvirt.domainxml import Domain
from backends.libvirt.picture import domain
from backends.libvirt.translate import AUTOSTART, GROUP, MIGRATION
from backends.model import DiskSpec, VmSpec

BUSES = ("vd", "sd", "hd")
PREFERRED_POOLS = ("default", "images")


def prepare(conn: Conn, spec: VmSpec, disk: int, pool: str, migration: str) -> DiskSpec:
    """A sparse raw volume named after VM, disk and migration; the same call gives the same one.

    Raises NotFound, Conflict for the pool, QuotaExceeded where the data cannot fit.
    """
    facts = spec.disks[disk]
    chosen = storage.lookup_pool(conn, pool) if pool else default_pool(conn)
    name = f"{_plain(spec.name) or 'vm'}-{_plain(facts.target.removeprefix('/dev/')) or disk}.{migration}.raw"
    storage.refresh(chosen)
    known = storage.volumes_named(conn, lambda other: other == name)
    if known:
        volume, chosen = known[0], known[0].storagePoolLookupByVolume()
    else:
        needed = facts.size_bytes if facts.allocated_bytes is None else facts.allocated_bytes
        free = int(chosen.info()[3])
        if free < needed:
            raise QuotaExceeded(
                f"the pool {chosen.name()} has {free >> 20} MiB free, the disk needs {needed >> 20} MiB",
                cure="choose another pool",
            )
        volume = storage.create_volume(chosen, name, facts.size_bytes)
    args = {"pool": chosen.name(), "volume": volume.name(), "path": volume.path()}
    return DiskSpec(
        backend="libvirt", target=facts.target, size_bytes=facts.size_bytes, args=args, boot=facts.boot or disk == 0
    )


def _plain(text: str) -> str:
    """A part of a file name: a platform may call a disk /dev/sda1, and a VM anything."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")


def default_pool(conn: Conn) -> Any:
    """`default` or `images` where they are active, else the active pool of files with the most room."""
    active = conn.listAllStoragePools(storage.ACTIVE)
    named = {pool.name(): pool for pool in active}
    for name in PREFERRED_POOLS:
        if name in named:
            return named[name]
    files = [pool for pool in active if domainxml.parsed(pool.XMLDesc(0)).get("type") in storage.FILE_POOLS]
    if not files:
        raise Conflict("this host has no active storage pool", cure="make one", field="storage")
    return max(files, key=lambda pool: int(pool.info()[3]))


def define(conn: Conn, spec: VmSpec, disk_ids: Sequence[str], migration: str, accelerator: str = "") -> str:
    """Define the VM on its volumes (`pool/volume`), not started. Returns its UUID; the same migration, the same VM.

    `accelerator` is `kvm` or `qemu`; empty: what the VM had, or else what the host's other VMs use.
    """
    known = marked(conn, migration)
    if known:
        return str(known[0].UUIDString())
    if any(other.name() == spec.name for other in conn.listAllDomains(0)):
        raise Conflict(f"the name {spec.name} is taken", field="name")
    if spec.uuid:
        with suppress(NotFound):
            other = domain(conn, spec.uuid)
            raise Conflict(f"a VM of this UUID is here already: {other.name()}")
    paths = [volume_path(conn, ident) for ident in disk_ids]
    if len(paths) != len([disk for disk in spec.disks if disk.device == "disk"]):
        raise Invalid("every disk of the VM needs a volume")
    from_source = spec.definition and "<domain" in spec.definition[:400]
    made = carried(conn, spec, paths, accelerator) if from_source else fresh(conn, spec, paths, accelerator)
    values = {**dict(spec.tags), MIGRATION: migration}
    if spec.group:
        values[GROUP] = spec.group
    if spec.autostart:
        values[AUTOSTART] = "yes"
    made.set_metadata(values)
    return str(conn.defineXML(made.text()).UUIDString())


def volume_path(conn: Conn, ident: str) -> str:
    pool, _, name = ident.partition("/")
    try:
        return str(storage.lookup_pool(conn, pool).storageVolLookupByName(name).path())
    except libvirt.libvirtError:
        raise NotFound(f"the disk {ident} is gone", object_name=ident) from None


def custom(conn: Conn) -> str:
    """What all of the host's VMs use, `kvm` where they differ: a host may offer a KVM that does not work."""
    kinds = {Domain.parse(item.XMLDesc(0)).type for item in conn.listAllDomains(0)}
    return kinds.pop() if len(kinds) == 1 else "kvm"


def virtualization(conn: Conn, arch: str, wanted: str = "kvm") -> tuple[str, str]:
    """(`kvm` or `qemu`, emulator) for an architecture: the wanted one where the host has it. Invalid without any."""
    root = domainxml.parsed(conn.getCapabilities())
    for guest in root.iterfind("guest"):
        node = guest.find("arch")
        if guest.findtext("os_type") == "hvm" and node is not None and node.get("name") == arch:
            types = {item.get("type") for item in node.iterfind("domain")}
            return (wanted if wanted in types else "qemu"), node.findtext("emulator") or ""
    raise Invalid(f"this host does not run {arch} guests")


def carried(conn: Conn, spec: VmSpec, paths: Sequence[str], accelerator: str) -> Domain:
    """The source's own definition on this host: new disks, mapped networks, this host's emulator."""
    made = Domain.parse(spec.definition)
    made.name = spec.name
    if spec.uuid:
        made.uuid = spec.uuid
    else:
        _drop(made.node, "uuid")
    kind, emulator = virtualization(conn, made.arch or spec.arch, accelerator or made.type)
    made.type, made.emulator = kind, emulator
    if kind == "qemu":
        for cpu in made.node.findall("cpu"):
            if cpu.get("mode") in ("host-passthrough", "host-model"):
                made.node.remove(cpu)
    _drop(made.node, "os/nvram")
    left = list(paths)
    for disk in made.disks:
        if disk.device != "disk":
            _drop(disk.node, "source")
            continue
        for name in ("source", "backingStore"):
            _drop(disk.node, name)
        disk.type, disk.format = "file", "raw"
        etree.SubElement(disk.node, "source", {"file": left.pop(0)})
    known = {network.name() for network in conn.listAllNetworks(0)}
    for node, nic in zip(made.nics, spec.nics, strict=False):
        if node.type in ("network", "bridge") and nic.network:
            node.connect_to(nic.network, "" if nic.network in known else nic.network)
        _drop(node.node, "target")
    return made


def fresh(conn: Conn, spec: VmSpec, paths: Sequence[str], accelerator: str) -> Domain:
    """A definition from nothing but the spec: virtio devices, serial console, VNC on a unix socket."""
    kind, emulator = virtualization(conn, spec.arch or "x86_64", accelerator or custom(conn))
    machine = spec.machine if kind_of_machine(spec.machine) else "q35"
    if (spec.arch or "x86_64") not in ("x86_64", "i686"):
        machine = "virt"
    firmware = " firmware='efi'" if spec.firmware == "uefi" else ""
    identity = f"<uuid>{escape(spec.uuid)}</uuid>" if spec.uuid else ""
    cpu = "<cpu mode='host-model'/>" if kind == "kvm" else ""
    disks = "".join(
        f"<disk type='file' device='disk'><driver name='qemu' type='raw' cache='none' discard='unmap'/>"
        f"<source file='{escape(path)}'/><target dev='vd{chr(97 + i)}' bus='virtio'/>"
        + ("<boot order='1'/>" if i == boot_index(spec) else "")
        + "</disk>"
        for i, path in enumerate(paths)
    )
    known = [network.name() for network in conn.listAllNetworks(libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE)]
    nics = "".join(_nic(nic.network, nic.mac, known) for nic in spec.nics)
    text = (
        f"<domain type='{kind}'><name>{escape(spec.name)}</name>{identity}"
        f"<memory unit='b'>{spec.memory_bytes or 512 << 20}</memory><vcpu>{max(spec.vcpus, 1)}</vcpu>"
        f"<os{firmware}><type arch='{spec.arch or 'x86_64'}' machine='{machine}'>hvm</type></os>"
        f"<features><acpi/><apic/></features>{cpu}<clock offset='utc'/><on_crash>restart</on_crash>"
        f"<devices><emulator>{escape(emulator)}</emulator>{disks}{nics}"
        "<serial type='pty'/><console type='pty'/>"
        "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
        "<graphics type='vnc'><listen type='socket'/></graphics><video><model type='vga'/></video>"
        "<memballoon model='virtio'/><rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"
        "</devices></domain>"
    )
    return Domain.parse(text)


def boot_index(spec: VmSpec) -> int:
    return next((i for i, disk in enumerate(spec.disks) if disk.boot), 0)


def kind_of_machine(machine: str) -> bool:
    return machine in ("q35", "pc") or machine.startswith(("pc-", "q35-"))


def _nic(network: str, mac: str, known: Sequence[str]) -> str:
    address = f"<mac address='{escape(mac)}'/>" if mac else ""
    if not network and known:
        network = known[0]
    if not network:
        return f"<interface type='user'>{address}<model type='virtio'/></interface>"
    kind = "network" if network in known else "bridge"
    source = f"<source {kind}='{escape(network)}'/>"
    return f"<interface type='{kind}'>{source}{address}<model type='virtio'/></interface>"


def _drop(node: Any, path: str) -> None:
    for child in node.findall(path):
        child.getparent().remove(child)


def marked(conn: Conn, migration: str) -> list[Any]:
    """Domains that carry this migration's mark: made by it and not adopted yet."""
    found = []
    for item in conn.listAllDomains(0):
        with suppress(libvirt.libvirtError):
            if actions.metadata(item).get(MIGRATION) == migration:
                found.append(item)
    return found


def discard(conn: Conn, migration: str) -> None:
    """Remove every object of a migration that was not adopted: domains by their mark, volumes by their name."""
    for item in marked(conn, migration):
        if item.isActive():
            item.destroy()
        actions.undefine(item, keep=False)
    used = {disk.source for item in conn.listAllDomains(0) for disk in Domain.parse(item.XMLDesc(0)).disks}
    for volume in storage.volumes_named(conn, lambda name: name.endswith(f".{migration}.raw")):
        if volume.path() not in used:
            volume.delete(0)
