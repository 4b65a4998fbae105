"""A connected host on the loop: what is known of its VMs, and how that is kept true by events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import libvirt

from backends.errors import BackendError, Unreachable
from backends.libvirt import picture, translate
from backends.libvirt.client import Client
from backends.libvirt.translate import Details, Quick
from backends.model import Changed, Host, Kind, Object, Origin, Ref

BATCH = 50
"""How many domains' XML one call of the background fetch reads."""
REDEFINED = frozenset({"added", "removed", "metadata", "tunable", "disk", "tray", "agent", "blockjob"})
"""Events after which the details are read anew; every event has the state read anew."""
BEGUN = ((libvirt.VIR_DOMAIN_EVENT_STARTED,), (libvirt.VIR_DOMAIN_EVENT_RESUMED,))
"""How a lifecycle event begins after which a guest runs."""
DETAILS_S = 600.0
"""What such a call may take: a guest's agent that hangs costs 5 s each."""
RECHECK_S = 60.0
ADDRESS_AFTER_S = 5.0
"""A guest that has just started has no address yet: look again, and after twice that. A lease comes without event."""
AGENT_AFTER_S = 2.0
"""So long after an agent has connected it is asked. It may miss what comes at once, as after a live move; libvirt then
waits 5 s for it and, meanwhile, up to a second in every other call of the connection (seen in 9.0)."""
ADDRESS_LAST_S = 60.0
"""Past a pause of so long it is not looked for any more: a guest without agent and lease has none that can be seen."""


class HostSession:
    """One host's VMs: quick part and details by UUID. Lives on the loop; reads through the client."""

    def __init__(self, name: str, client: Client) -> None:
        self.name = name
        self.client = client
        self.host: Host | None = None
        self.guests = True
        self._quick: dict[str, Quick] = {}
        self._details: dict[str, Details] = {}
        self._wanted: dict[str, bool] = {}
        """Whose details are to be read, and whether the guest is asked for its addresses."""
        self._touched: dict[str, None] = {}
        self._queues: set[asyncio.Queue[Changed | BackendError]] = set()
        self._woken_by_event = asyncio.Event()
        self._woken_for_details = asyncio.Event()
        self._workers: list[asyncio.Task[None]] = []
        self._rechecked = time.monotonic()
        self._subscribed = False
        self._ended = False
        """A cancel may be lost in wait_for (Python 3.11) when its call ends at that moment; this is not."""
        self._timers: dict[str, asyncio.TimerHandle] = {}

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
        """Read one VM anew, its definition too, and tell the watchers: after an action of our own, which never waits
        for the guest: its addresses come later."""
        item = await self.client.call(lambda conn: picture.one_quick(conn, uuid))
        self._store(uuid, item)
        if item is not None:
            self._take(await self.client.call(lambda conn: picture.some_details(conn, {uuid: False})))
        self._tell([uuid])

    async def recheck(self) -> None:
        """Look once a minute for what has no event: autostart. Called by the meter, so only while somebody looks."""
        if time.monotonic() - self._rechecked < RECHECK_S:
            return
        self._rechecked = time.monotonic()
        found = await self.client.call(picture.autostarting)
        changed = [item for item in self._quick.values() if item.autostart != (item.uuid in found)]
        for item in changed:
            self._quick[item.uuid] = replace(item, autostart=item.uuid in found)
        self._tell([item.uuid for item in changed])

    async def watch(self) -> AsyncIterator[Changed]:
        """Changes as they come. Raises Unreachable when the connection is lost."""
        queue: asyncio.Queue[Changed | BackendError] = asyncio.Queue()
        self._queues.add(queue)
        try:
            if not self._subscribed:
                self._subscribed = True
                await self.client.subscribe(self._on_event)
                # Two, because details may wait for a guest's agent, and a change of state must not.
                for wake, step in (
                    (self._woken_by_event, self._read_touched),
                    (self._woken_for_details, self._read_details),
                ):
                    self._workers.append(asyncio.create_task(self._work(wake, step), name=f"libvirt {self.name}"))
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
        for timer in self._timers.values():
            timer.cancel()
        self._ended = True
        for wake in (self._woken_by_event, self._woken_for_details):
            wake.set()
        for worker in self._workers:
            worker.cancel()
        if self._workers:
            await asyncio.wait(self._workers)
        self.lost(f"{self.name}: closed")

    def _on_event(self, event: str, ident: str, details: tuple[Any, ...]) -> None:
        if event in ("pool", "network"):
            self._touched[f"{event}:{ident}"] = None
        else:
            self._touched[ident] = None
            # Not by what was known of it: an action's own look may be faster than its event.
            begun = event == "lifecycle" and details[:1] in BEGUN
            if event in REDEFINED or event == "lifecycle":
                self._want((ident,), addresses=not begun and event != "agent")
            if begun or event == "agent":
                self._later(ident, ADDRESS_AFTER_S if begun else AGENT_AFTER_S)
        self._woken_by_event.set()

    def _want(self, uuids: Iterable[str], *, addresses: bool = True) -> None:
        for uuid in uuids:
            self._wanted[uuid] = (addresses and self.guests) or self._wanted.get(uuid, False)
        self._woken_for_details.set()

    async def _work(self, wake: asyncio.Event, step: Callable[[], Awaitable[bool]]) -> None:
        """Take one step after the other while there is something to do; sleeps where there is nothing."""
        while not self._ended:
            await wake.wait()
            wake.clear()
            try:
                while not self._ended and await step():
                    pass
            except Unreachable as error:
                self.lost(error.message)
                return
            except BackendError:
                wake.set()

    async def _read_touched(self) -> bool:
        """Read anew what events touched. False where there was nothing."""
        touched, self._touched = list(self._touched), {}
        uuids = [item for item in touched if ":" not in item]
        if len(touched) > len(uuids):
            await self._read_containers()
        if not uuids:
            return bool(touched)
        found = await self.client.call(lambda conn: {uuid: picture.one_quick(conn, uuid) for uuid in uuids})
        for uuid, item in found.items():
            self._store(uuid, item)
        self._tell(uuids)
        return True

    async def _read_containers(self) -> None:
        name, parent = self.name, self.parent
        objects: list[Object] = [*await self.client.call(lambda conn: picture.pools(conn, name, parent))]
        objects += await self.client.call(lambda conn: picture.networks(conn, name, parent))
        self._send(Changed(tuple(translate.with_origin(item, Origin.EVENT) for item in objects)))

    async def _read_details(self) -> bool:
        """Read the next batch of details. False where there was nothing."""
        batch = {uuid: self._wanted.pop(uuid) for uuid in list(self._wanted)[:BATCH]}
        if batch:
            self._tell(
                self._take(await self.client.call(lambda conn: picture.some_details(conn, batch), deadline=DETAILS_S))
            )
        return bool(batch)

    def _take(self, found: Mapping[str, Details]) -> list[str]:
        """Keep details; who was not asked for its addresses has those that it had. Returns whose are not as before."""
        changed = []
        for uuid, item in found.items():
            known = self._details.get(uuid)
            if item.addresses is None:
                item = replace(item, addresses=known.addresses if known is not None else ())
            if known != item:
                changed.append(uuid)
            self._details[uuid] = item
        return changed

    def _later(self, uuid: str, seconds: float, *, again: bool = False) -> None:
        """Look again for the addresses of a guest that has just started, until it has one or is gone."""
        if not self.guests:
            return

        def look() -> None:
            del self._timers[uuid]
            known = self._details.get(uuid)
            if uuid not in self._quick or (again and known is not None and known.addresses):
                return
            self._want((uuid,))
            if seconds < ADDRESS_LAST_S:
                self._later(uuid, 2 * seconds, again=True)

        if uuid in self._timers:
            self._timers[uuid].cancel()
        self._timers[uuid] = asyncio.get_running_loop().call_later(seconds, look)

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
