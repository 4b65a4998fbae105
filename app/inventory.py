"""The one live picture: what exists, where, and who wants to know when it changes.

Lives on the loop. Equal values are dropped; a poll never overwrites an event that came after the poll began;
only a completely listed scope removes objects.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from backends.model import Changed, Kind, Listing, Object, Origin, Ref, Sample, Scope, Vm, now

log = logging.getLogger(__name__)

Subscriber = Callable[["Delta"], None]
EVENTS = 10_000
LONGEST_LISTING = timedelta(minutes=10)
CONTAINERS = frozenset({Kind.DATACENTER, Kind.CLUSTER, Kind.HOST, Kind.ZONE})


@dataclass(frozen=True, slots=True)
class Delta:
    """One step of the inventory: what came, what changed (as it is now), what went (as it was)."""

    added: tuple[Object, ...] = ()
    changed: tuple[Object, ...] = ()
    removed: tuple[Object, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


class Inventory:
    """Ref -> object, with an index by parent and one by connection and kind. Use it on the loop only."""

    def __init__(self) -> None:
        self._objects: dict[Ref, Object] = {}
        self._children: dict[tuple[str, Ref | None], dict[Ref, None]] = {}
        self._kinds: dict[str, dict[Kind, dict[Ref, None]]] = {}
        self._evented: dict[Ref, datetime] = {}
        self._subscribers: list[Subscriber] = []
        self._samples: dict[Ref, Sample] = {}
        self._meter_subscribers: list[Callable[[dict[Ref, Sample]], None]] = []

    def __len__(self) -> int:
        return len(self._objects)

    def __contains__(self, ref: Ref) -> bool:
        return ref in self._objects

    def __iter__(self) -> Iterator[Object]:
        return iter(self._objects.values())

    def get(self, ref: Ref) -> Object | None:
        return self._objects.get(ref)

    def vm(self, ref: Ref) -> Vm | None:
        found = self._objects.get(ref)
        return found if isinstance(found, Vm) else None

    def children(self, connection: str, parent: Ref | None) -> list[Object]:
        """The objects right below `parent` (None: below the connection itself), in order of arrival."""
        return [self._objects[ref] for ref in self._children.get((connection, parent), ())]

    def of(self, connection: str, kind: Kind | None = None) -> list[Object]:
        """All objects of a connection, of one kind or of all; kind by kind, in order of arrival."""
        kinds = self._kinds.get(connection, {})
        wanted = kinds.values() if kind is None else [kinds.get(kind, {})]
        return [self._objects[ref] for refs in wanted for ref in refs]

    def subscribe(self, function: Subscriber) -> Callable[[], None]:
        """Call `function` with every Delta; the returned function ends that."""
        self._subscribers.append(function)
        return lambda: self._subscribers.remove(function)

    def subscribe_meters(self, function: Callable[[dict[Ref, Sample]], None]) -> Callable[[], None]:
        self._meter_subscribers.append(function)
        return lambda: self._meter_subscribers.remove(function)

    def sample(self, ref: Ref) -> Sample | None:
        """The newest reading of an object, None where there is none."""
        return self._samples.get(ref)

    def metered(self, samples: dict[Ref, Sample]) -> None:
        self._samples.update(samples)
        for function in tuple(self._meter_subscribers):
            function(samples)

    def apply(self, change: Changed) -> Delta:
        """Take in what a watch reported. Returns what really changed."""
        moment = now()
        self._forget_old_events(moment)
        for item in change.objects:
            self._evented[item.ref] = moment
        for ref in change.removed:
            self._evented[ref] = moment
        return self._commit([self._keep_details(item) for item in change.objects], change.removed)

    def listed(self, listing: Listing, began: datetime, connection: str | None = None) -> Delta:
        """Take in a listing of `connection` whose asking began at `began`. Events since then win over it.

        Without `connection` it is taken from the scope or the objects; an empty listing of everything then
        names none, and removes nothing.
        """

        gone: list[Ref] = []
        if listing.error is None:
            if connection is None:
                parent = listing.scope.parent
                connection = (
                    parent.connection if parent else next((item.ref.connection for item in listing.objects), "")
                )
            gone = self._missing(listing, began, connection)
        return self._commit(self._fresh(listing.objects, began), gone)

    def listed_part(self, objects: Iterable[Object], began: datetime) -> Delta:
        """Take in a part of a long listing; `listed_end` comes after the last one."""
        return self._commit(self._fresh(objects, began), ())

    def listed_end(self, listing: Listing, began: datetime, connection: str) -> Delta:
        """What a complete listing, taken in by parts, does not name is not there any more."""
        return self._commit((), self._missing(listing, began, connection))

    def _missing(self, listing: Listing, began: datetime, connection: str) -> list[Ref]:
        """What a complete listing should name and does not."""
        present = {item.ref for item in listing.objects}
        known = self._within(connection, listing.scope)
        return [ref for ref in known if ref not in present and not self._stale(ref, began)]

    def _stale(self, ref: Ref, began: datetime) -> bool:
        """Whether an event told of this since a listing was asked for."""
        at = self._evented.get(ref)
        return at is not None and at > began

    def _fresh(self, objects: Iterable[Object], began: datetime) -> list[Object]:
        return [self._keep_details(item) for item in objects if not self._stale(item.ref, began)]

    def _within(self, connection: str, scope: Scope) -> list[Ref]:
        """The known objects of a connection that a scope covers."""
        if scope.parent is not None:
            return [ref for ref in self._children.get((connection, scope.parent), ()) if ref.kind in scope.kinds]
        kinds = self._kinds.get(connection, {})
        return [ref for kind in scope.kinds for ref in kinds.get(kind, ())]

    def _forget_old_events(self, moment: datetime) -> None:
        """Events count only against a listing that was under way: none takes that long."""
        if len(self._evented) > 2 * len(self._objects) + EVENTS:
            self._evented = {ref: at for ref, at in self._evented.items() if moment - at < LONGEST_LISTING}

    def forget(self, connection: str) -> Delta:
        """Drop everything of a connection."""
        return self._commit((), [item.ref for item in self.of(connection)])

    def restore(self, objects: Iterable[Object]) -> Delta:
        """Fill from the store; never overwrites what is already known."""
        known, children, kinds = self._objects, self._children, self._kinds
        added = tuple(item for item in objects if item.ref not in known)
        parent: Ref | None = None
        siblings: dict[Ref, None] | None = None
        for item in added:
            ref = item.ref
            known[ref] = item
            # Most have the parent of the one before them; there may be 100,000.
            if siblings is None or item.parent is not parent or parent is None:
                parent = item.parent
                siblings = children.setdefault((ref.connection, parent), {})
                alike = kinds.setdefault(ref.connection, {})
            siblings[ref] = None
            alike.setdefault(ref.kind, {})[ref] = None
        return self._tell(Delta(added))

    def _keep_details(self, item: Object) -> Object:
        """A quick listing has no details yet: keep the known ones until they are fetched anew."""
        known = self._objects.get(item.ref)
        if isinstance(item, Vm) and isinstance(known, Vm) and known.detailed and not item.detailed:
            return replace(
                item,
                disks=item.disks or known.disks,
                nics=item.nics or known.nics,
                addresses=item.addresses or known.addresses,
                tags=item.tags or known.tags,
                group=item.group or known.group,
                os=item.os or known.os,
                machine=item.machine or known.machine,
                firmware=item.firmware or known.firmware,
                arch=item.arch or known.arch,
                created=item.created or known.created,
                autostart=known.autostart if item.autostart is None else item.autostart,
                manager=item.manager or known.manager,
                hindrances=item.hindrances or known.hindrances,
                detailed=known.origin != Origin.CACHE,
            )
        return item

    def _commit(self, objects: Iterable[Object], removed: Iterable[Ref]) -> Delta:
        added: list[Object] = []
        changed: list[Object] = []
        gone: list[Object] = []
        for item in objects:
            known = self._objects.get(item.ref)
            self._objects[item.ref] = item
            if known is None:
                self._children.setdefault((item.ref.connection, item.parent), {})[item.ref] = None
                self._kinds.setdefault(item.ref.connection, {}).setdefault(item.ref.kind, {})[item.ref] = None
                added.append(item)
                continue
            if known.parent != item.parent:
                self._children[(known.ref.connection, known.parent)].pop(known.ref, None)
                self._children.setdefault((item.ref.connection, item.parent), {})[item.ref] = None
            if known != item or known.origin == Origin.CACHE != item.origin:
                changed.append(item)
        for ref in removed:
            old = self._objects.pop(ref, None)
            if old is not None:
                self._children[(ref.connection, old.parent)].pop(ref, None)
                self._kinds[ref.connection][ref.kind].pop(ref, None)
                self._samples.pop(ref, None)
                gone.append(old)
        return self._tell(Delta(tuple(added), tuple(changed), tuple(gone)))

    def _tell(self, delta: Delta) -> Delta:
        if delta:
            for function in tuple(self._subscribers):
                # One that fails must not keep the change from the others, nor end the watch that brought it.
                try:
                    function(delta)
                except Exception:
                    log.exception("a subscriber of the inventory failed")
        return delta
