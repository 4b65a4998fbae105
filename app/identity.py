"""A VM's name for life: given at first sight, kept over rename and migration, known again by its platform UUID.

What Causeway keeps about a VM (group, tags, where it has been) hangs on the uid, so it goes along.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import uuid
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from sys import intern
from typing import TYPE_CHECKING

from app.inventory import Delta, Inventory
from backends.errors import BackendError
from backends.model import Kind, Ref, Vm, now

if TYPE_CHECKING:
    from app.store import Store

log = logging.getLogger(__name__)
GATHER_S = 0.5
PORTION = 1000
MOVING_S = 300.0
"""How long a VM may be seen at both places while somebody else moves it."""


@dataclass(slots=True)
class _Known:
    """One VM: where it is now, its platform UUID, the host that showed it, and what hangs on it.

    `since` is when it came to where it is (seconds since 1970), `past` where it was before. There are 100,000 of
    these.
    """

    uid: str
    ref: Ref
    uuid: str = ""
    host: str = ""
    group: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    since: float = 0.0
    past: tuple[tuple[Ref, float], ...] = ()


class Identity:
    """uid <-> Ref over time. Everything is answered from memory; changes are written in the background.

    Parameter `store`: where identities are kept; None keeps them in memory only.
    """

    def __init__(self, store: Store | None = None) -> None:
        self._store = store
        self._loaded = store is None
        self._known: dict[str, _Known] = {}
        self._uids: dict[Ref, str] = {}
        self._by_uuid: dict[str, tuple[str, ...]] = {}
        self._aliases: dict[str, str] = {}
        self._vanished: dict[str, None] = {}
        self._dirty: set[str] = set()
        self._dropped: set[str] = set()
        self._writing: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._stops: list[Callable[[], None]] = []

    @classmethod
    async def open(cls, store: Store) -> Identity:
        """With everything that the store knows."""
        identity = cls(store)
        await identity.load()
        return identity

    async def load(self) -> None:
        """Take in what the store knows, some milliseconds at a time.

        A uid that is given before this ends becomes another word for the one that the store knows.
        """
        if self._store is None:
            return
        rows = await self._store.identities()
        for start in range(0, len(rows), PORTION):
            self._restore(rows[start : start + PORTION])
            await asyncio.sleep(0)
        self._loaded = True
        if self._dirty:
            self._changed(next(iter(self._dirty)))

    async def close(self) -> None:
        """Follow no longer and write what is left."""
        for stop in self._stops:
            stop()
        self._stops.clear()
        self._closing.set()
        if self._writing is not None:
            await asyncio.wait({self._writing})
        await self.flush()

    async def flush(self) -> None:
        """Write what changed, now. What cannot be written stays for the next time."""
        if self._store is None or not self._loaded or not (self._dirty or self._dropped):
            return
        dirty, self._dirty = self._dirty, set()
        dropped, self._dropped = self._dropped, set()
        try:
            await self._store.delete_identity(dropped)
            await self._store.save_identity([_row(self._known[uid]) for uid in dirty if uid in self._known])
        except BackendError as error:
            self._dirty |= dirty
            self._dropped |= dropped
            log.error("cannot write identities: %s", error)

    def follow(self, inventory: Inventory) -> None:
        """See every VM that comes, and note those that go, until close()."""

        def on_delta(delta: Delta) -> None:
            for item in delta.removed:
                if isinstance(item, Vm):
                    self.gone(item.ref)
            for item in (*delta.added, *delta.changed):
                if isinstance(item, Vm):
                    self.seen(item)

        self._stops.append(inventory.subscribe(on_delta))

    # Who is who

    def uid_of(self, ref: Ref) -> str:
        """The uid of what is at `ref`; given now if it was never seen."""
        return self._uids.get(ref) or self._new(ref).uid

    def seen(self, vm: Vm) -> str:
        """The uid of a VM as its platform shows it now.

        A VM that was never seen there is an old acquaintance where it has the UUID of one that vanished, or of
        one on the same host (reached by another connection); of two with equal UUIDs on two hosts each is its own.
        """
        host = vm.parent.id if vm.parent is not None and vm.parent.kind == Kind.HOST else ""
        uid = self._uids.get(vm.ref)
        if uid is None:
            uid = self._recognised(vm, host)
            if uid is None:
                return self._new(vm.ref, vm.uuid, host).uid
        known = self._known[uid]
        if uid in self._vanished:
            self._vanished.pop(uid, None)
            self._place(known, vm.ref)
        if (known.uuid, known.host) != (vm.uuid or known.uuid, host or known.host) and known.ref == vm.ref:
            self._set_uuid(known, vm.uuid or known.uuid)
            known.host = host or known.host
            self._changed(uid)
        return uid

    def gone(self, ref: Ref) -> None:
        """What was at `ref` is not there any more. Its uid waits for it to turn up elsewhere, or has it already:
        a move by someone else shows at the new place first."""
        uid = self._uids.get(ref)
        if uid is None or self._known[uid].ref != ref:
            return
        known = self._known[uid]
        self._vanished.pop(uid, None)
        self._vanished[uid] = None
        fresh = [twin for twin in self._twins(known.uuid) if twin.uid not in self._vanished and _newborn(twin)]
        if len(fresh) == 1:
            self._merge(fresh[0].uid, known)
            self._place(known, fresh[0].ref)
            known.host = fresh[0].host
            self._vanished.pop(uid, None)

    def true(self, uid: str) -> str:
        """The uid that one which was given too early stands for; else the same."""
        return self._aliases.get(uid, uid)

    def ref_of(self, uid: str) -> Ref | None:
        """Where the VM is, or was seen last; None for a uid that is not known."""
        known = self._find(uid)
        return known.ref if known is not None else None

    def moved(self, uid: str, old: Ref, new: Ref) -> None:
        """A task of ours moved the VM from `old` to `new`: whatever was seen there already is this VM."""
        known = self._find(uid)
        if known is None:
            known = self._new(old)
        newborn = self._uids.get(new)
        if newborn is not None and newborn != known.uid:
            self._merge(newborn, known)
        self._place(known, new)
        self._vanished.pop(known.uid, None)
        known.host = ""
        # What is still to be seen at the old place, a fenced source, is a VM of its own from now on.
        if self._uids.get(old) == known.uid and old != new:
            del self._uids[old]

    def also(self, vm: Vm, there: Container[Ref]) -> list[str]:
        """The other connections that show a VM of its platform UUID: itself by another way, or a copy of it.

        Parameter `there`: what is shown now (the inventory).
        """
        refs = [known.ref for known in self._twins(vm.uuid)]
        return sorted({ref.connection for ref in refs if ref != vm.ref and ref in there})

    def history(self, uid: str) -> list[tuple[Ref, datetime]]:
        """Where the VM has been and since when, oldest first."""
        known = self._find(uid)
        if known is None:
            return []
        return [(ref, datetime.fromtimestamp(at, UTC)) for ref, at in (*known.past, (known.ref, known.since))]

    # What hangs on it

    def group_of(self, uid: str) -> str:
        known = self._find(uid)
        return known.group if known is not None else ""

    def set_group(self, uid: str, group: str) -> None:
        """Put a VM into a group; empty takes it out. An unknown uid is ignored."""
        known = self._find(uid)
        if known is not None and known.group != group:
            known.group = group
            self._changed(known.uid)

    def tags_of(self, uid: str) -> tuple[tuple[str, str], ...]:
        known = self._find(uid)
        return known.tags if known is not None else ()

    def set_tags(self, uid: str, tags: Mapping[str, str] | Iterable[tuple[str, str]]) -> None:
        """Replace the tags that Causeway keeps of a VM. An unknown uid is ignored."""
        known = self._find(uid)
        fresh = tuple(sorted(dict(tags).items()))
        if known is not None and known.tags != fresh:
            known.tags = fresh
            self._changed(known.uid)

    # Inside

    def _restore(self, rows: list[tuple[str, ...]]) -> None:
        for row in rows:
            try:
                known = _known(row)
            except (TypeError, ValueError) as error:
                log.warning("the identity %r cannot be read: %s", row[0], error)
                continue
            early = self._uids.get(known.ref)
            self._take(known)
            if early is not None and early != known.uid and early in self._dirty:
                self._merge(early, known)

    def _find(self, uid: str) -> _Known | None:
        return self._known.get(self._aliases.get(uid, uid))

    def _recognised(self, vm: Vm, host: str) -> str | None:
        if not vm.uuid:
            return None
        twins = self._twins(vm.uuid)
        same_host = [known for known in twins if host and known.host == host and known.ref != vm.ref]
        # Of several that are waiting, the one that vanished last is where it was last.
        waiting = [known for uid in self._vanished for known in twins if known.uid == uid]
        found = [*same_host, *reversed(waiting)]
        if not found:
            return None
        self._uids[vm.ref] = found[0].uid
        return found[0].uid

    def _twins(self, platform: str) -> list[_Known]:
        """All that have this platform UUID."""
        return [self._known[uid] for uid in self._by_uuid.get(platform, ())] if platform else []

    def _new(self, ref: Ref, platform: str = "", host: str = "") -> _Known:
        known = _Known(uuid.uuid4().hex[:16], ref, platform, host, since=now().timestamp())
        self._take(known)
        self._changed(known.uid)
        return known

    def _take(self, known: _Known) -> None:
        self._known[known.uid] = known
        self._uids[known.ref] = known.uid
        if known.uuid:
            self._by_uuid[known.uuid] = (*self._by_uuid.get(known.uuid, ()), known.uid)

    def _place(self, known: _Known, ref: Ref) -> None:
        self._uids[ref] = known.uid
        if known.ref != ref:
            known.past = (*known.past, (known.ref, known.since))
            known.ref, known.since = ref, now().timestamp()
            self._changed(known.uid)

    def _set_uuid(self, known: _Known, platform: str) -> None:
        if known.uuid:
            self._by_uuid[known.uuid] = tuple(uid for uid in self._by_uuid.get(known.uuid, ()) if uid != known.uid)
        known.uuid = platform
        if platform:
            self._by_uuid[platform] = (*self._by_uuid.get(platform, ()), known.uid)

    def _merge(self, newborn: str, into: _Known) -> None:
        """A uid that was given too early, while the move was under way, becomes another word for the real one."""
        other = self._known.pop(newborn)
        self._set_uuid(other, "")
        for ref, uid in list(self._uids.items()):
            if uid == newborn:
                self._uids[ref] = into.uid
        for alias, uid in list(self._aliases.items()):
            if uid == newborn:
                self._aliases[alias] = into.uid
        self._aliases[newborn] = into.uid
        into.group = into.group or other.group
        into.tags = into.tags or other.tags
        self._vanished.pop(newborn, None)
        self._dirty.discard(newborn)
        self._dropped.add(newborn)
        self._changed(into.uid)

    def _changed(self, uid: str) -> None:
        self._dirty.add(uid)
        if self._store is None or not self._loaded or self._writing is not None:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # Without a loop there is nothing to write beside; close() writes it.
        self._writing = loop.create_task(self._write_soon(), name="identity")

    async def _write_soon(self) -> None:
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), GATHER_S)
            await self.flush()
        finally:
            self._writing = None


def _newborn(known: _Known) -> bool:
    """Whether a uid was given so lately that a move may have been under way."""
    return not known.past and now().timestamp() - known.since < MOVING_S


def _row(known: _Known) -> tuple[str, ...]:
    past = [(ref.connection, ref.kind.value, ref.id, at) for ref, at in known.past]
    history = json.dumps([known.since, *past]) if past else str(known.since)
    tags = json.dumps(known.tags) if known.tags else ""
    ref = known.ref
    return (known.uid, ref.connection, ref.kind.value, ref.id, known.uuid, known.host, known.group, tags, history)


def _known(row: tuple[str, ...]) -> _Known:
    """One identity from its stored row. Raises TypeError or ValueError for garbage."""
    uid, connection, kind, ident, platform, host, group, tags, history = row
    known = _Known(uid, Ref(intern(connection), Kind(kind), ident))
    known.uuid = ident if platform == ident else platform
    known.host, known.group = intern(host), intern(group)
    known.tags = tuple((key, value) for key, value in json.loads(tags)) if tags else ()
    known.since, *past = json.loads(history) if history.startswith("[") else (float(history),)
    known.past = tuple((Ref(name, Kind(what), where), at) for name, what, where, at in past)
    return known
