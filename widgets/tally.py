"""Counts per site, kept up to date by deltas, so that nobody walks the inventory to show a number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from app.inventory import Delta, Inventory
from backends.model import Host, Kind, Object, PowerState, Ref, Vm


@dataclass(slots=True)
class SiteCount:
    """What a site holds: VMs by state, hosts and zones."""

    states: Counter[PowerState] = field(default_factory=Counter)
    places: int = 0

    @property
    def vms(self) -> int:
        return sum(self.states.values())

    @property
    def running(self) -> int:
        return self.states[PowerState.RUNNING]


class Tally:
    """Follows the inventory. `changes` counts the objects that came, changed or went, for the rate."""

    def __init__(self, inventory: Inventory) -> None:
        self._sites: dict[str, SiteCount] = {}
        self._states: dict[Ref, PowerState] = {}
        self.changes = 0
        self._take(inventory)
        self.unsubscribe = inventory.subscribe(self._changed)

    def site(self, name: str) -> SiteCount:
        return self._sites.get(name) or SiteCount()

    @property
    def vms(self) -> int:
        return len(self._states)

    @property
    def running(self) -> int:
        return sum(site.running for site in self._sites.values())

    def _take(self, objects: Iterable[Object]) -> None:
        for item in objects:
            site = self._sites.get(item.ref.connection)
            if site is None:
                site = self._sites[item.ref.connection] = SiteCount()
            if isinstance(item, Vm):
                site.states[item.state] += 1
                self._states[item.ref] = item.state
            elif isinstance(item, Host) or item.ref.kind == Kind.ZONE:
                site.places += 1

    def _changed(self, delta: Delta) -> None:
        self.changes += len(delta.added) + len(delta.changed) + len(delta.removed)
        self._take(delta.added)
        for item in delta.changed:
            if isinstance(item, Vm) and item.ref in self._states:
                states = self._sites[item.ref.connection].states
                states[self._states[item.ref]] -= 1
                states[item.state] += 1
                self._states[item.ref] = item.state
        for item in delta.removed:
            site = self._sites[item.ref.connection]
            if isinstance(item, Vm):
                site.states[self._states.pop(item.ref)] -= 1
            elif isinstance(item, Host) or item.ref.kind == Kind.ZONE:
                site.places -= 1
