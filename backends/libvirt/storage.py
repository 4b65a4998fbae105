"""Pools and volumes as the moves need them. Runs in worker threads."""

from __future__ import annotations

import uuid as uuids
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any
from xml.sax.saxutils import escape

import libvirt

from backends.errors import Conflict, NotFound, QuotaExceeded
from backends.libvirt import domainxml
from backends.libvirt.client import Conn
from backends.libvirt.domainxml import DiskNode

FILE_POOLS = frozenset({"dir", "fs", "netfs"})
ACTIVE = libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE
CHUNK = 1 << 20


def lookup_pool(conn: Conn, name: str) -> Any:
    """An active pool by name. Raises NotFound, Conflict."""
    try:
        pool = conn.storagePoolLookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_POOL:
            raise NotFound(f"there is no storage pool {name}", field="storage") from None
        raise
    if not pool.isActive():
        raise Conflict(f"the storage pool {name} is not active", cure="start it", field="storage")
    return pool


def pool_path(pool: Any) -> str:
    return domainxml.parsed(pool.XMLDesc(0)).findtext("target/path") or ""


def pool_for(conn: Conn, folder: str) -> Any | None:
    """The active pool whose target is this folder, refreshed; None where there is none."""
    for pool in conn.listAllStoragePools(ACTIVE):
        if pool_path(pool).rstrip("/") == folder.rstrip("/"):
            refresh(pool)
            return pool
    return None


def refresh(pool: Any) -> None:
    """Look what is really there. A pool that is busy with a volume is refreshed by that itself."""
    with suppress(libvirt.libvirtError):
        pool.refresh(0)


def volume_of(conn: Conn, disk: DiskNode) -> Any | None:
    """The volume behind a disk, None where no active pool has it."""
    try:
        if disk.volume:
            return conn.storagePoolLookupByName(disk.pool).storageVolLookupByName(disk.volume)
        return conn.storageVolLookupByPath(disk.source) if disk.source else None
    except libvirt.libvirtError:
        pass
    pool = pool_for(conn, str(PurePosixPath(disk.source).parent)) if disk.source.startswith("/") else None
    if pool is None:
        return None
    try:
        return pool.storageVolLookupByName(PurePosixPath(disk.source).name)
    except libvirt.libvirtError:
        return None


def volume_xml(name: str, size: int, kind: str) -> str:
    return (
        f"<volume><name>{escape(name)}</name><capacity unit='bytes'>{size}</capacity><allocation>0</allocation>"
        f"<target><format type='{kind}'/></target></volume>"
    )


def create_volume(pool: Any, name: str, size: int, kind: str = "raw") -> Any:
    """A sparse volume; the existing one if it is there already. QuotaExceeded where it cannot fit."""
    with suppress(libvirt.libvirtError):
        return pool.storageVolLookupByName(name)
    block = domainxml.parsed(pool.XMLDesc(0)).get("type") not in FILE_POOLS
    free = int(pool.info()[3])
    if block and free < size:
        raise QuotaExceeded(f"the pool {pool.name()} has {free >> 20} MiB left, {size >> 20} MiB are needed")
    text = volume_xml(name, size, kind)
    if block:
        text = text.replace("<allocation>0</allocation>", f"<allocation>{size}</allocation>")
        text = text.replace(f"<target><format type='{kind}'/></target>", "")
    return pool.createXML(text, 0)


def remove_volume(conn: Conn, path: str) -> bool:
    """Delete the volume of this path. False where no pool knows it: then the file is left alone."""
    try:
        volume = conn.storageVolLookupByPath(path)
    except libvirt.libvirtError:
        pool = pool_for(conn, str(PurePosixPath(path).parent))
        if pool is None:
            return False
        try:
            volume = pool.storageVolLookupByName(PurePosixPath(path).name)
        except libvirt.libvirtError:
            return False
    volume.delete(0)
    return True


def volumes_named(conn: Conn, matches: Callable[[str], bool]) -> list[Any]:
    """All volumes of active pools whose name matches."""
    found = []
    for pool in conn.listAllStoragePools(ACTIVE):
        with suppress(libvirt.libvirtError):
            found += [volume for volume in pool.listAllVolumes(0) if matches(volume.name())]
    return found


def write_text(conn: Conn, pool: Any, name: str, text: str) -> None:
    """Keep a small text as a volume; an older one of that name is replaced."""
    data = text.encode()
    with suppress(libvirt.libvirtError):
        pool.storageVolLookupByName(name).delete(0)
    volume = pool.createXML(volume_xml(name, len(data), "raw"), 0)
    stream = conn.newStream(0)
    volume.upload(stream, 0, len(data), 0)
    try:
        view = data
        while view:
            view = view[stream.send(view[:CHUNK]) :]
        stream.finish()
    except BaseException:
        with suppress(libvirt.libvirtError):
            stream.abort()
        raise


def read_text(conn: Conn, volume: Any) -> str:
    stream = conn.newStream(0)
    volume.download(stream, 0, 0, 0)
    parts = []
    while True:
        part = stream.recv(CHUNK)
        if not part:
            break
        parts.append(part)
    stream.finish()
    return b"".join(parts).decode()


def shared(source: Conn, target: Conn, names: Iterable[str]) -> dict[str, str]:
    """Which of these source pools the target has too: {source pool: target pool}, proved by a marker volume each.

    A volume of a random name is made in the source's pool and looked for in the target's pool of the same path or
    name, after a refresh. Equal paths prove nothing. The marker is always removed.
    """
    found: dict[str, str] = {}
    for name in names:
        with suppress(libvirt.libvirtError, NotFound, Conflict):
            pool = lookup_pool(source, name)
            path = pool_path(pool)
            candidates = [
                other
                for other in target.listAllStoragePools(ACTIVE)
                if other.name() == name or (path and pool_path(other) == path)
            ]
            if not candidates or domainxml.parsed(pool.XMLDesc(0)).get("type") not in FILE_POOLS:
                continue
            marker = f"causeway-marker-{uuids.uuid4().hex}"
            volume = pool.createXML(volume_xml(marker, 512, "raw"), 0)
            try:
                for other in candidates:
                    other.refresh(0)
                    if marker in other.listVolumes():
                        found[name] = other.name()
            finally:
                volume.delete(0)
                for other in candidates:
                    refresh(other)
    return found
