"""A connected host on the loop: what is known of its VMs, and how that is kept true by events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

from backends.errors import BackendError, Unreachable
from backends.libvirt import picture, translate
from backends.libvirt.client import Client
from backends.libvirt.translate import Details, Quick
from backends.model import Changed, Host, Kind, Object, Origin, Ref

BATCH = 50
"""How many domains' XML one call of the background fetch reads."""
REDEFINED = frozenset({"added", "removed", "metadata", "tunable", "disk", "tray", "agent", "blockjob"})
"""Events after which the details are read anew; every event has the state read anew."""
ADDRESS_AFTER_S = 5.0
"""A guest that has just started has no address yet: look again."""


class HostSession:
    """One host's VMs: quick part and details by UUID. Lives on the loop; reads through the client."""

    def __init__(self, name: str, client: Client) -> None:
        self.name = name
        self.client = client
        self.host: Host | None = None
        self.guests = True
        self._quick: dict[str, Quick] = {}
        self._details: dict[str, Details] = {}
        self._wanted: dict[str, None] = {}
        self._touched: dict[str, None] = {}
        self._queues: set[asyncio.Queue[Changed | BackendError]] = set()
        self._wake = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._subscribed = False
        self._ended = False
        """A cancel may be lost in wait_for (Python 3.11) when its call ends at that moment; this is not."""
        self._timers: set[asyncio.TimerHandle] = set()

    @property
    def parent(self) -> Ref:
        assert self.host is not None
        return self.host.ref

    def ref(self, uuid: str) -> Ref:
        return Ref(self.name, Kind.VM, uuid)

    async def begin(self) -> None:
        name = self.name
        self.host = await self.client.call(lambda conn: picture.host(conn, name))
        self.guests = not self.host.hypervisor.lower().startswith("test")

    async def list_vms(self) -> tuple[Object, ...]:
        """All VMs from one set of calls; details as far as they are known."""
        found = await self.client.call(picture.all_quick)
        self._quick = {item.uuid: item for item in found}
        for uuid in [uuid for uuid in self._details if uuid not in self._quick]:
            del self._details[uuid]
        if self._queues:
            self._want(item.uuid for item in found if item.uuid not in self._details)
        return tuple(self._vm(item.uuid, Origin.POLL) for item in found)

    async def refresh(self, uuid: str) -> None:
        """Read one VM anew, details too, and tell the watchers: after an action of our own."""
        item = await self.client.call(lambda conn: picture.one_quick(conn, uuid))
        self._store(uuid, item)
        if item is not None:
            guests = self.guests
            found = await self.client.call(lambda conn: picture.some_details(conn, [uuid], guests))
            self._details.update(found)
        self._tell([uuid])

    async def watch(self) -> AsyncIterator[Changed]:
        """Changes as they come. Raises Unreachable when the connection is lost."""
        queue: asyncio.Queue[Changed | BackendError] = asyncio.Queue()
        self._queues.add(queue)
        try:
            if not self._subscribed:
                self._subscribed = True
                await self.client.subscribe(self._on_event)
                self._worker = asyncio.create_task(self._work(), name=f"libvirt {self.name}")
            self._want(uuid for uuid in self._quick if uuid not in self._details)
            while True:
                item = await queue.get()
                if isinstance(item, BackendError):
                    raise item
                yield item
        finally:
            self._queues.discard(queue)

    def lost(self, reason: str) -> None:
        for queue in self._queues:
            queue.put_nowait(Unreachable(reason))

    async def end(self) -> None:
        for timer in self._timers:
            timer.cancel()
        if self._worker is not None:
            self._ended = True
            self._worker.cancel()
            self._wake.set()
            with suppress(asyncio.CancelledError):
                await self._worker
            self._worker = None
        self.lost(f"{self.name}: closed")

    def _on_event(self, event: str, ident: str, _details: tuple[Any, ...]) -> None:
        if event in ("pool", "network"):
            self._touched[f"{event}:{ident}"] = None
        else:
            self._touched[ident] = None
            if event in REDEFINED or event == "lifecycle":
                self._wanted[ident] = None
        self._wake.set()

    def _want(self, uuids: Any) -> None:
        self._wanted.update(dict.fromkeys(uuids))
        self._wake.set()

    async def _work(self) -> None:
        """Read what events touched, then details batch by batch; sleeps where there is nothing to do."""
        while not self._ended:
            await self._wake.wait()
            self._wake.clear()
            try:
                while not self._ended and (self._touched or self._wanted):
                    await self._read_touched()
                    await self._read_details()
            except Unreachable as error:
                self.lost(error.message)
                return
            except BackendError:
                continue

    async def _read_touched(self) -> None:
        touched, self._touched = list(self._touched), {}
        if not touched:
            return
        uuids = [item for item in touched if ":" not in item]
        if len(touched) > len(uuids):
            await self._read_containers()
        if not uuids:
            return
        found = await self.client.call(lambda conn: {uuid: picture.one_quick(conn, uuid) for uuid in uuids})
        for uuid, item in found.items():
            before = self._quick.get(uuid)
            self._store(uuid, item)
            if item is not None and item.state == 1 and (before is None or before.state != 1) and self.guests:
                self._later(uuid)
        self._tell(uuids)

    async def _read_containers(self) -> None:
        name, parent = self.name, self.parent
        objects: list[Object] = [*await self.client.call(lambda conn: picture.pools(conn, name, parent))]
        objects += await self.client.call(lambda conn: picture.networks(conn, name, parent))
        self._send(Changed(tuple(translate.with_origin(item, Origin.EVENT) for item in objects)))

    async def _read_details(self) -> None:
        batch = list(self._wanted)[:BATCH]
        for uuid in batch:
            del self._wanted[uuid]
        if batch:
            guests = self.guests
            found = await self.client.call(lambda conn: picture.some_details(conn, batch, guests))
            changed = [uuid for uuid, item in found.items() if self._details.get(uuid) != item]
            self._details.update(found)
            self._tell(changed)

    def _later(self, uuid: str) -> None:
        timer = asyncio.get_running_loop().call_later(ADDRESS_AFTER_S, self._want, (uuid,))
        self._timers = {item for item in self._timers if not item.cancelled() and item.when() > timer.when() - 60}
        self._timers.add(timer)

    def _store(self, uuid: str, item: Quick | None) -> None:
        if item is None:
            self._quick.pop(uuid, None)
            self._details.pop(uuid, None)
        else:
            self._quick[uuid] = item

    def _tell(self, uuids: Sequence[str]) -> None:
        present = tuple(self._vm(uuid, Origin.EVENT) for uuid in uuids if uuid in self._quick)
        gone = tuple(self.ref(uuid) for uuid in uuids if uuid not in self._quick)
        self._send(Changed(present, gone))

    def _send(self, change: Changed) -> None:
        if change.objects or change.removed:
            for queue in self._queues:
                queue.put_nowait(change)

    def _vm(self, uuid: str, origin: Origin) -> Object:
        return translate.vm(self.name, self.parent, self._quick[uuid], self._details.get(uuid), origin)
