"""What the inventory already knows of a move's two sides, and where a VM lands: quick enough for every row."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from app.inventory import CONTAINERS, Inventory
from app.link import ConnectionState
from app.migration.move import Sites
from backends.model import (
    DiskFacts,
    Host,
    Kind,
    Network,
    Object,
    Ref,
    SourceFacts,
    StoragePool,
    TargetFacts,
    Vm,
    Zone,
)

if TYPE_CHECKING:
    from app.link import Connection

KEPT_S = 2.0
"""How long what is below a place is believed while a VM is held over it."""
PLACES = frozenset({Kind.HOST, Kind.ZONE, Kind.CONNECTION, Kind.CLUSTER, Kind.DATACENTER})
Facts = TypeVar("Facts", SourceFacts, TargetFacts)


@dataclass(frozen=True, slots=True)
class _Below:
    """What stands right below a host or zone."""

    until: float
    names: frozenset[str]
    uuids: frozenset[str]
    pools: tuple[StoragePool, ...]
    networks: tuple[Network, ...]


class QuickFacts:
    """Facts from the inventory alone. Lives on the loop; nothing is asked of a platform."""

    def __init__(self, inventory: Inventory, sites: Sites) -> None:
        self._inventory = inventory
        self._sites = sites
        self._below: dict[Ref, _Below] = {}
        self._places: dict[Ref, tuple[float, Ref]] = {}

    def source(self, vm: Vm) -> SourceFacts:
        disks = tuple(
            DiskFacts(
                target=disk.target,
                size_bytes=disk.size_bytes or 0,
                format=disk.format or "raw",
                source=disk.source,
                pool=disk.pool,
                bus=disk.bus,
                boot=disk.boot,
                readonly=disk.readonly,
                device=disk.device,
            )
            for disk in vm.disks
        )
        connection = self._sites.get(vm.ref.connection)
        platform = connection.kind if connection is not None else ""
        facts = SourceFacts(
            vm=vm,
            capabilities=frozenset(),
            platform=platform,
            disks=disks,
            nics=vm.nics,
            blocking=vm.hindrances,
        )
        return switches(facts, connection)

    def target(self, to: Ref) -> TargetFacts:
        connection = self._sites.get(to.connection)
        platform = connection.kind if connection is not None else ""
        below = self._below_of(to)
        place = self._inventory.get(to)
        facts = TargetFacts(
            ref=to,
            capabilities=frozenset(),
            platform=platform,
            pools=below.pools,
            networks=below.networks,
            names=below.names if to.kind == Kind.HOST else frozenset(),
            uuids=below.uuids,
            archs=frozenset({place.arch}) if isinstance(place, Host) and place.arch else frozenset(),
        )
        return switches(facts, connection)

    def place(self, to: Ref, vm: Ref | None = None) -> Ref:
        """The host or zone that a drop on `to` means: itself, or the best one below it."""
        if to.kind in (Kind.HOST, Kind.ZONE):
            return to
        known = self._places.get(to)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        own = self._inventory.get(vm) if vm is not None else None
        found = sorted(
            self._hosts(to),
            key=lambda item: (
                own is not None and item.ref == own.parent,
                isinstance(item, Zone) and not item.available,
                isinstance(item, Host) and item.maintenance,
                len(self._inventory.children(item.ref.connection, item.ref)),
                item.name,
            ),
        )
        best = found[0].ref if found else to
        self._places[to] = (time.monotonic() + KEPT_S, best)
        return best

    def _hosts(self, to: Ref) -> Iterator[Object]:
        parent = None if to.kind == Kind.CONNECTION else to
        for item in self._inventory.children(to.connection, parent):
            if item.ref.kind in (Kind.HOST, Kind.ZONE):
                yield item
            elif item.ref.kind in CONTAINERS:
                yield from self._hosts(item.ref)

    def _below_of(self, to: Ref) -> _Below:
        known = self._below.get(to)
        if known is not None and known.until > time.monotonic():
            return known
        children = self._inventory.children(to.connection, to)
        vms = [item for item in children if isinstance(item, Vm)]
        below = _Below(
            time.monotonic() + KEPT_S,
            frozenset(vm.name for vm in vms),
            frozenset(vm.uuid for vm in vms if vm.uuid),
            tuple(item for item in children if isinstance(item, StoragePool)),
            tuple(item for item in children if isinstance(item, Network)),
        )
        self._below = {ref: item for ref, item in self._below.items() if item.until > time.monotonic()}
        self._below[to] = below
        return below


def switches(facts: Facts, connection: Connection | None) -> Facts:
    """Facts with what the connection says: whether it is there, read-only, and what it can do."""
    if connection is None:
        return replace(facts, online=False)
    return replace(
        facts,
        online=connection.state == ConnectionState.READY,
        read_only=connection.read_only,
        capabilities=frozenset(connection.capabilities) or facts.capabilities,
    )
