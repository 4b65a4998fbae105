"""Reads what a host has: the quick picture of all domains, and the details of some. Runs in worker threads."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import libvirt

from backends.errors import NotFound
from backends.libvirt import translate
from backends.libvirt.client import Conn
from backends.libvirt.translate import Details, Quick
from backends.model import Host, Kind, Network, Ref, StoragePool, Volume

STATS = libvirt.VIR_DOMAIN_STATS_STATE | libvirt.VIR_DOMAIN_STATS_VCPU | libvirt.VIR_DOMAIN_STATS_BALLOON
NOWAIT = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
PROBE = "causeway-probe-"
"""Domains of this name are tests of a pair of hosts; nobody needs to see them flash up."""
BUSY = frozenset({libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_INVALID_ARG})


def all_quick(conn: Conn) -> tuple[Quick, ...]:
    """Every domain in five calls, however many there are: list, stats, and three lists by a flag."""
    domains = {domain.UUIDString(): domain for domain in conn.listAllDomains(0) if not domain.name().startswith(PROBE)}
    autostart = autostarting(conn)
    transient = _flagged(conn, libvirt.VIR_CONNECT_LIST_DOMAINS_TRANSIENT)
    saved = _flagged(conn, libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE)
    stats = {domain.UUIDString(): record for domain, record in _stats(conn)}
    found = []
    for uuid, domain in domains.items():
        record = stats.get(uuid)
        if record is None:
            continue
        made = _quick(domain, uuid, record)
        if made is not None:
            found.append(_flags(made, uuid in autostart, uuid not in transient, uuid in saved))
    return tuple(sorted(found, key=lambda item: item.name))


def one_quick(conn: Conn, uuid: str) -> Quick | None:
    """One domain, None if it is gone."""
    try:
        domain = conn.lookupByUUIDString(uuid)
        if domain.name().startswith(PROBE):
            return None
        state, reason = domain.state()
        info = domain.info()
        made = Quick(uuid, domain.name(), state, reason, int(info[3]), int(info[1]) * 1024)
        persistent = bool(domain.isPersistent())
        saved = False
        with suppress(libvirt.libvirtError):
            saved = bool(domain.hasManagedSaveImage())
        return _flags(made, persistent and bool(domain.autostart()), persistent, saved)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def autostarting(conn: Conn) -> frozenset[str]:
    """The UUIDs of the domains that start with their host."""
    return _flagged(conn, libvirt.VIR_CONNECT_LIST_DOMAINS_AUTOSTART)


def some_details(conn: Conn, wanted: Mapping[str, bool]) -> dict[str, Details]:
    """Details by UUID; of domains that went meanwhile there are none.

    `wanted` says for whom its addresses are asked, which may wait 5 s for a guest's agent; for others that run they
    are None.
    """
    found = {}
    for uuid, asked in wanted.items():
        with suppress(libvirt.libvirtError):
            domain = conn.lookupByUUIDString(uuid)
            details = translate.details(domain.XMLDesc(0))
            if details.nics and domain.isActive():
                details = replace(details, addresses=addresses(domain, details.agent) if asked else None)
            found[uuid] = details
    return found


def addresses(domain: Any, agent: bool) -> tuple[str, ...]:
    """The guest's addresses: its agent knows best, else the leases of libvirt's DHCP, else the ARP table."""
    sources = [libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE, libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP]
    if agent:
        sources.insert(0, libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT)
    for source in sources:
        try:
            interfaces = domain.interfaceAddresses(source, 0)
        except libvirt.libvirtError:
            continue
        known = [
            address["addr"]
            for name, interface in interfaces.items()
            for address in interface["addrs"] or ()
            if name != "lo" and not address["addr"].startswith("fe80:")
        ]
        if known:
            return tuple(dict.fromkeys(known))
    return ()


def host(conn: Conn, connection: str) -> Host:
    hypervisor = f"{conn.getType()} {_version(conn)}".strip()
    return translate.host(connection, conn.getCapabilities(), conn.getHostname(), tuple(conn.getInfo()), hypervisor)


def pools(conn: Conn, connection: str, parent: Ref) -> tuple[StoragePool, ...]:
    found = []
    for pool in conn.listAllStoragePools(0):
        with suppress(libvirt.libvirtError):
            found.append(translate.pool(connection, parent, pool.XMLDesc(0), bool(pool.isActive())))
    return tuple(found)


def volumes(conn: Conn, connection: str) -> tuple[Volume, ...]:
    found = []
    for pool in conn.listAllStoragePools(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE):
        with suppress(libvirt.libvirtError):
            parent = Ref(connection, Kind.POOL, pool.name())
            for volume in pool.listAllVolumes(0):
                with suppress(libvirt.libvirtError):
                    found.append(translate.volume(connection, parent, volume.XMLDesc(0)))
    return tuple(found)


def networks(conn: Conn, connection: str, parent: Ref) -> tuple[Network, ...]:
    found = []
    for network in conn.listAllNetworks(0):
        with suppress(libvirt.libvirtError):
            found.append(translate.network(connection, parent, network.XMLDesc(0), bool(network.isActive())))
    return tuple(found)


def domain(conn: Conn, uuid: str) -> Any:
    """The libvirt domain; NotFound in words where there is none."""
    try:
        return conn.lookupByUUIDString(uuid)
    except libvirt.libvirtError as error:
        if error.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_INVALID_ARG):
            raise NotFound("this VM is not there any more", object_name=uuid) from None
        raise


def meter_stats(conn: Conn) -> list[tuple[str, dict[str, Any]]]:
    """The one call of a tick: counters of all running domains."""
    which = (
        libvirt.VIR_DOMAIN_STATS_STATE
        | libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
        | libvirt.VIR_DOMAIN_STATS_VCPU
        | libvirt.VIR_DOMAIN_STATS_BALLOON
        | libvirt.VIR_DOMAIN_STATS_INTERFACE
        | libvirt.VIR_DOMAIN_STATS_BLOCK
    )
    return [(domain.UUIDString(), record) for domain, record in _stats(conn, which, running=True)]


def _stats(conn: Conn, which: int = STATS, running: bool = False) -> list[tuple[Any, dict[str, Any]]]:
    flags = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_RUNNING if running else 0
    try:
        return list(conn.getAllDomainStats(which, flags | NOWAIT))
    except libvirt.libvirtError as error:
        if error.get_error_code() not in BUSY:
            raise
        return list(conn.getAllDomainStats(which, flags))


def _quick(domain: Any, uuid: str, record: dict[str, Any]) -> Quick | None:
    try:
        thin = "balloon.maximum" not in record and "balloon.current" not in record
        return translate.quick(uuid, domain.name(), record, tuple(domain.info()) if thin else None)
    except libvirt.libvirtError:
        return None


def _flagged(conn: Conn, flag: int) -> frozenset[str]:
    try:
        return frozenset(domain.UUIDString() for domain in conn.listAllDomains(flag))
    except libvirt.libvirtError:
        return frozenset()


def _flags(item: Quick, autostart: bool, persistent: bool, saved: bool) -> Quick:
    return Quick(
        item.uuid,
        item.name,
        item.state,
        item.reason,
        item.vcpus,
        item.memory_bytes,
        autostart,
        persistent,
        saved and item.state == libvirt.VIR_DOMAIN_SHUTOFF,
    )


def _version(conn: Conn) -> str:
    number = int(conn.getVersion())
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
