"""What is done to a domain: power, autostart, delete, rename, tags, definition. Runs in worker threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import libvirt

from backends.errors import Conflict, Denied, Invalid
from backends.libvirt import domainxml
from backends.libvirt.client import Conn
from backends.libvirt.domainxml import Domain
from backends.libvirt.picture import domain
from backends.libvirt.storage import remove_volume, volume_of
from backends.libvirt.translate import AUTOSTART, BY_A_MOVE, MIGRATION, STATES
from backends.model import PowerAction

EDITABLE = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
ON = frozenset({libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_BLOCKED})
HALTED = frozenset({libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PMSUSPENDED})
DOWN = frozenset({libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_CRASHED})
FROM: dict[PowerAction, frozenset[int]] = {
    PowerAction.START: DOWN,
    PowerAction.SHUTDOWN: ON,
    PowerAction.OFF: ON | HALTED | {libvirt.VIR_DOMAIN_SHUTDOWN, libvirt.VIR_DOMAIN_CRASHED},
    PowerAction.REBOOT: ON,
    PowerAction.RESET: ON | HALTED,
    PowerAction.PAUSE: ON,
    PowerAction.RESUME: HALTED,
    PowerAction.SAVE: ON | HALTED,
    PowerAction.RESTORE: DOWN,
}
CALLS: dict[PowerAction, Callable[[Any], Any]] = {
    PowerAction.START: lambda item: item.create(),
    PowerAction.SHUTDOWN: lambda item: item.shutdown(),
    PowerAction.OFF: lambda item: item.destroy(),
    PowerAction.REBOOT: lambda item: item.reboot(0),
    PowerAction.RESET: lambda item: item.reset(0),
    PowerAction.PAUSE: lambda item: item.suspend(),
    PowerAction.RESUME: lambda item: _resume(item),
    PowerAction.SAVE: lambda item: item.managedSave(0),
    PowerAction.RESTORE: lambda item: item.create(),
}
KEPT_BY_UNDEFINE = libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
KEEP_TPM = getattr(libvirt, "VIR_DOMAIN_UNDEFINE_KEEP_TPM", 0)
DROP_TPM = getattr(libvirt, "VIR_DOMAIN_UNDEFINE_TPM", 0)


def power(conn: Conn, uuid: str, action: PowerAction) -> None:
    """Raises Conflict where the state forbids it, before anything is touched."""
    item = domain(conn, uuid)
    state, reason = item.state()
    if state not in FROM[action]:
        raise Conflict(f"{item.name()} is {STATES[state][1]}: cannot {action}", object_name=item.name())
    if action == PowerAction.RESUME and state == libvirt.VIR_DOMAIN_PAUSED and reason in BY_A_MOVE:
        raise Denied(
            f"{item.name()} is paused by a move: it may run on the other side already",
            cure="let the move's recovery decide; resuming it here could make two of it",
        )
    if action == PowerAction.RESTORE and not item.hasManagedSaveImage(0):
        raise Conflict(f"{item.name()} has no saved state", object_name=item.name())
    CALLS[action](item)


def rescue(conn: Conn, uuid: str) -> None:
    """Resume a VM that a broken move left paused; the caller has made sure that the target does not have it."""
    item = domain(conn, uuid)
    if tuple(item.state()) == (libvirt.VIR_DOMAIN_PAUSED, PAUSED_BY_MOVE):
        item.resume()


PAUSED_BY_MOVE = libvirt.VIR_DOMAIN_PAUSED_MIGRATION


def _resume(item: Any) -> None:
    if item.state()[0] == libvirt.VIR_DOMAIN_PMSUSPENDED:
        item.pMWakeup(0)
    else:
        item.resume()


def autostart(conn: Conn, uuid: str, enabled: bool) -> None:
    item = domain(conn, uuid)
    if not item.isPersistent():
        raise Conflict(f"{item.name()} is transient: it cannot start by itself")
    item.setAutostart(int(enabled))


def starts_alone(conn: Conn, uuid: str) -> bool:
    """Whether it starts with its host; a transient VM never does."""
    item = domain(conn, uuid)
    return bool(item.isPersistent() and item.autostart())


def adopt(conn: Conn, uuid: str) -> None:
    """Make a VM that was moved here one of the host's own: no mark, and autostart as it was. Idempotent."""
    values = metadata(domain(conn, uuid))
    if AUTOSTART in values:
        autostart(conn, uuid, True)
    tag(conn, uuid, {MIGRATION: "", AUTOSTART: ""})


def delete(conn: Conn, uuid: str, disks: bool) -> None:
    """Undefine a stopped VM with its saved state, NVRAM and TPM; its own disks too where asked.

    A disk that is read-only, shareable, or used by another domain stays.
    """
    item = domain(conn, uuid)
    if item.isActive():
        raise Conflict(f"{item.name()} is running: stop it first", object_name=item.name())
    owned = own_disks(conn, Domain.parse(item.XMLDesc(EDITABLE)), besides=uuid) if disks else []
    undefine(item, keep=False)
    for path in owned:
        remove_volume(conn, path)


def undefine(item: Any, *, keep: bool) -> None:
    """Undefine with all that hangs on it. `keep`: NVRAM and TPM state stay on the host."""
    flags = KEPT_BY_UNDEFINE | libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    flags |= libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM if keep else libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    try:
        item.undefineFlags(flags | (KEEP_TPM if keep else DROP_TPM))
        return
    except libvirt.libvirtError as error:
        if error.get_error_code() not in (libvirt.VIR_ERR_INVALID_ARG, libvirt.VIR_ERR_NO_SUPPORT):
            raise
    try:
        item.undefineFlags(flags)
    except libvirt.libvirtError as error:
        if error.get_error_code() not in (libvirt.VIR_ERR_INVALID_ARG, libvirt.VIR_ERR_NO_SUPPORT):
            raise
        with suppress(libvirt.libvirtError):
            item.managedSaveRemove(0)
        item.undefine()


def own_disks(conn: Conn, definition: Domain, besides: str) -> list[str]:
    """Paths of the disks that only this domain uses and that may be deleted with it."""
    others: set[str] = set()
    for other in conn.listAllDomains(0):
        if other.UUIDString() != besides:
            with suppress(libvirt.libvirtError):
                for disk in Domain.parse(other.XMLDesc(0)).disks:
                    others |= {disk.source, disk.backing}
    found = []
    for disk in definition.disks:
        if disk.readonly or disk.shareable or disk.device != "disk" or not disk.source:
            continue
        volume = volume_of(conn, disk)
        path = volume.path() if volume is not None else disk.source
        if path not in others and disk.source not in others:
            found.append(path)
    return found


def rename(conn: Conn, uuid: str, name: str) -> None:
    """Raises Invalid for a bad name, Conflict where it is taken or the VM runs."""
    name = name.strip()
    if not name or "/" in name or name.startswith(".") or any(ord(letter) < 32 for letter in name):
        raise Invalid("this is no name for a VM", cure="no slash, no control characters", field="name")
    item = domain(conn, uuid)
    if any(other.name() == name for other in conn.listAllDomains(0)):
        raise Conflict(f"the name {name} is taken", field="name")
    if item.isActive():
        raise Conflict(f"{item.name()} is running: stop it to rename it")
    if item.hasManagedSaveImage(0):
        raise Conflict(f"{item.name()} is saved: restore and stop it to rename it")
    item.rename(name, 0)


def tag(conn: Conn, uuid: str, tags: Mapping[str, str]) -> None:
    """Merge into our part of the metadata, in the running and in the stored definition."""
    item = domain(conn, uuid)
    values = metadata(item)
    for name, value in tags.items():
        if value:
            values[name] = value
        else:
            values.pop(name, None)
    set_metadata(item, values)


def metadata(item: Any) -> dict[str, str]:
    try:
        text = item.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, domainxml.NAMESPACE, 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN_METADATA:
            raise
        return {}
    return domainxml.read_metadata(domainxml.parsed(text))


def set_metadata(item: Any, values: Mapping[str, str]) -> None:
    text = domainxml.serial(domainxml.write_metadata(values, qualified=False)) if values else None
    flags = libvirt.VIR_DOMAIN_AFFECT_CONFIG if item.isPersistent() else 0
    if item.isActive():
        flags |= libvirt.VIR_DOMAIN_AFFECT_LIVE
    item.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, text, domainxml.PREFIX, domainxml.NAMESPACE, flags)


def describe(conn: Conn, uuid: str) -> str:
    return domainxml.redacted(domain(conn, uuid).XMLDesc(0))


def definition(conn: Conn, uuid: str) -> str:
    return domainxml.masked(domain(conn, uuid).XMLDesc(EDITABLE))


def redefine(conn: Conn, uuid: str, old: str, new: str) -> None:
    """Apply an edited definition. Invalid (malformed, other identity) and Conflict come before any change."""
    edited = Domain.parse(new)
    item = domain(conn, uuid)
    secret = item.XMLDesc(EDITABLE)
    if not domainxml.same(domainxml.masked(secret), old):
        raise Conflict(f"{item.name()} was changed meanwhile", cure="load its definition again and repeat the edit")
    if edited.uuid != uuid:
        raise Invalid("the UUID cannot be edited: it says which VM this is", field="xml")
    if edited.name != item.name():
        raise Invalid("the name cannot be edited here", cure="rename the VM", field="xml")
    text = domainxml.unmasked(new, secret)
    flag = getattr(libvirt, "VIR_DOMAIN_DEFINE_VALIDATE", 0)
    try:
        conn.defineXMLFlags(text, flag)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
            raise
        conn.defineXML(text)
