"""The source's side of a move: disks made readable, the VM fenced, taken back or retired. In worker threads."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any
from xml.sax.saxutils import quoteattr

import libvirt
from lxml import etree

from backends.errors import BackendError, Conflict, NotFound, QuotaExceeded, Unsupported
from backends.libvirt import domainxml, storage
from backends.libvirt.actions import EDITABLE, own_disks, undefine
from backends.libvirt.client import Client, Conn, connection
from backends.libvirt.domainxml import DiskNode, Domain
from backends.libvirt.picture import domain
from backends.model import DiskSpec

EXPORT = "causeway-export-"
FENCE = "causeway-fence-"


class VolumeExport:
    """The disks of a VM that is off, as raw volumes: its own where they are raw, else raw clones that `end` removes."""

    def __init__(self, client: Client, migration: str, disks: tuple[DiskSpec, ...]) -> None:
        self._client = client
        self._migration = migration
        self.disks: Sequence[DiskSpec] = disks

    async def end(self) -> None:
        migration = self._migration
        with suppress(BackendError):
            await self._client.call(lambda conn: discard(conn, migration), changes=True, deadline=120)


def begin(conn: Conn, uuid: str, migration: str) -> tuple[DiskSpec, ...]:
    """Make every disk readable as raw bytes. The daemon itself flattens a qcow2 chain into a raw volume.

    Raises Conflict where the VM is not off, QuotaExceeded where a clone has no room, Unsupported for encrypted ones.
    """
    item = domain(conn, uuid)
    if item.isActive():
        raise Conflict(f"{item.name()} is running: its disks are in use", cure="stop it first")
    if item.hasManagedSaveImage(0):
        raise Conflict(f"{item.name()} is saved: its memory would be lost", cure="restore it and shut it down")
    definition = Domain.parse(item.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    chosen = [disk for disk in definition.disks if disk.device == "disk" and disk.source]
    first = min(chosen, key=lambda disk: disk.order or 1000).target if chosen else ""
    specs = []
    try:
        for disk in chosen:
            pool, volume = _readable(conn, disk, migration)
            args = {"pool": pool, "volume": volume.name()}
            size = int(volume.info()[1])
            specs.append(
                DiskSpec(backend="libvirt", target=disk.target, size_bytes=size, args=args, boot=disk.target == first)
            )
    except BaseException:
        discard(conn, migration)
        raise
    return tuple(specs)


def _readable(conn: Conn, disk: DiskNode, migration: str) -> tuple[str, Any]:
    if disk.encrypted:
        raise Unsupported(f"the disk {disk.target} is encrypted: only the guest can read it")
    pool, volume = _located(conn, disk, migration)
    if disk.format == "raw":
        return pool.name(), volume
    name = f"{EXPORT}{migration}-{disk.target}.raw"
    with suppress(libvirt.libvirtError):
        pool.storageVolLookupByName(name).delete(0)
    info = volume.info()
    if int(pool.info()[3]) < int(info[2]):
        raise QuotaExceeded(f"the pool {pool.name()} has no room to unpack {disk.target}", cure="free some space")
    clone = pool.createXMLFrom(storage.volume_xml(name, int(info[1]), "raw"), volume, 0)
    return pool.name(), clone


def _located(conn: Conn, disk: DiskNode, migration: str) -> tuple[Any, Any]:
    """The pool and volume of a disk; a passing pool on its folder where no pool has it."""
    volume = storage.volume_of(conn, disk)
    if volume is not None:
        return volume.storagePoolLookupByVolume(), volume
    path = PurePosixPath(disk.source)
    if not disk.source.startswith("/") or disk.type != "file":
        raise Unsupported(f"the disk {disk.target} ({disk.type}) is in no storage pool", cure="add its pool")
    pool = passing_pool(conn, f"{EXPORT}{migration}-{disk.target}", str(path.parent))
    try:
        return pool, pool.storageVolLookupByName(path.name)
    except libvirt.libvirtError:
        raise NotFound(f"the file of the disk {disk.target} is not there", object_name=disk.source) from None


def passing_pool(conn: Conn, name: str, folder: str) -> Any:
    """A transient pool on a folder; `discard` ends it and leaves the folder as it is."""
    with suppress(libvirt.libvirtError):
        return conn.storagePoolLookupByName(name)
    text = domainxml.parsed("<pool type='dir'><name/><target><path/></target></pool>")
    text.find("name").text = name
    text.find("target/path").text = folder
    return conn.storagePoolCreateXML(domainxml.serial(text), 0)


def discard(conn: Conn, migration: str) -> None:
    """Remove what exports of this migration made: clones, then passing pools. Nothing of the VM itself."""
    prefix = f"{EXPORT}{migration}-"
    for volume in storage.volumes_named(conn, lambda name: name.startswith(prefix)):
        volume.delete(0)
    for pool in conn.listAllStoragePools(storage.ACTIVE):
        if pool.name().startswith(prefix):
            pool.destroy()


def fence(conn: Conn, uuid: str, migration: str) -> None:
    """Undefine a VM that is off, NVRAM and TPM kept, its whole definition kept beside its disks. Idempotent."""
    if _fences(conn, uuid, migration) and not _defined(conn, uuid):
        return
    item = domain(conn, uuid)
    if item.isActive():
        raise Conflict(f"{item.name()} is running: stop it before it is fenced")
    if item.hasManagedSaveImage(0):
        raise Conflict(f"{item.name()} is saved: its memory would be lost", cure="restore it and shut it down")
    definition = item.XMLDesc(EDITABLE)
    snapshots = [snapshot.getXMLDesc(libvirt.VIR_DOMAIN_SNAPSHOT_XML_SECURE) for snapshot in _snapshots(item)]
    body = "".join(etree.tostring(domainxml.parsed(text), encoding="unicode") for text in (definition, *snapshots))
    kept = f"<fence migration={quoteattr(migration)} autostart='{int(item.autostart())}'>{body}</fence>"
    pool = _keeping_pool(conn, Domain.parse(definition), migration)
    storage.write_text(conn, pool, _fence_name(uuid, migration), kept)
    if storage.read_text(conn, _fences(conn, uuid, migration)[0]) != kept:
        raise BackendError("the definition could not be kept beside the disks: the VM was left as it is")
    item.setAutostart(0)
    undefine(item, keep=True)


def unfence(conn: Conn, uuid: str, migration: str) -> None:
    """Define the VM again as it was, snapshots and autostart too. Idempotent. NotFound where nothing was kept."""
    kept = _fences(conn, uuid, migration)
    if not kept:
        domain(conn, uuid)
        return
    root = domainxml.parsed(storage.read_text(conn, kept[0]))
    definition = root.find("domain")
    if not _defined(conn, uuid):
        definition.tail = None
        item = conn.defineXML(domainxml.serial(definition))
        for snapshot in root.iterfind("domainsnapshot"):
            item.snapshotCreateXML(domainxml.serial(snapshot), libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE)
        item.setAutostart(int(root.get("autostart", "0")))
    kept[0].delete(0)
    discard(conn, migration)


def retire(conn: Conn, uuid: str, migration: str) -> None:
    """Delete a fenced VM with its disks, NVRAM and TPM. Refused while a VM of its UUID is defined here."""
    kept = _fences(conn, uuid, migration)
    if not kept:
        return
    root = domainxml.parsed(storage.read_text(conn, kept[0]))
    definition = Domain(root.find("domain"))
    if _defined(conn, uuid):
        raise Conflict(f"{definition.name} is defined here again: it is not fenced", cure="delete it as a VM")
    paths = own_disks(conn, definition, besides=uuid)
    undefine(conn.defineXML(definition.text()), keep=False)
    for path in paths:
        storage.remove_volume(conn, path)
    kept[0].delete(0)
    discard(conn, migration)


def remove_leftovers(conn: Conn, target: int, paths: Sequence[str]) -> tuple[str, ...]:
    """Delete disks that no VM here uses any more, unless their pool is the target's too."""
    used = {disk.source for item in conn.listAllDomains(0) for disk in Domain.parse(item.XMLDesc(0)).disks}
    removed = []
    for path in paths:
        pool = storage.pool_for(conn, str(PurePosixPath(path).parent))
        if pool is None or path in used:
            continue
        if storage.shared(conn, connection(target), [pool.name()]):
            continue
        if storage.remove_volume(conn, path):
            removed.append(path)
    return tuple(removed)


def _fence_name(uuid: str, migration: str) -> str:
    return f"{FENCE}{uuid}.{migration}.xml"


def _fences(conn: Conn, uuid: str, migration: str) -> list[Any]:
    name = _fence_name(uuid, migration)
    return storage.volumes_named(conn, lambda other: other == name)


def _defined(conn: Conn, uuid: str) -> bool:
    try:
        domain(conn, uuid)
    except NotFound:
        return False
    return True


def _snapshots(item: Any) -> list[Any]:
    """All snapshots, parents before children."""
    try:
        return list(item.listAllSnapshots(libvirt.VIR_DOMAIN_SNAPSHOT_LIST_TOPOLOGICAL))
    except libvirt.libvirtError:
        return []


def _keeping_pool(conn: Conn, definition: Domain, migration: str) -> Any:
    """The pool beside the first writable disk, else any pool of files."""
    for disk in definition.disks:
        if disk.device == "disk" and disk.type in ("file", "volume"):
            volume = storage.volume_of(conn, disk)
            if volume is not None:
                return volume.storagePoolLookupByVolume()
    for pool in conn.listAllStoragePools(storage.ACTIVE):
        if domainxml.parsed(pool.XMLDesc(0)).get("type") in storage.FILE_POOLS:
            return pool
    raise Conflict("no storage pool can keep the VM's definition", cure="add a directory pool on this host")
