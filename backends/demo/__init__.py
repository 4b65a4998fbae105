"""The in-memory reference driver: every capability, byte-true disks, latency and faults on demand.

It is the first run for those without a hypervisor, the double in tests, and the example a new driver is copied from.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from backends import driver as contract
from backends.consoles import Console, Door
from backends.demo.consoles import Switchboard
from backends.demo.importing import Importing
from backends.demo.world import World, objects, rebase
from backends.errors import BackendError, Conflict, Denied, Invalid, Unreachable
from backends.model import (
    Changed,
    Finding,
    Kind,
    Level,
    Listing,
    LiveOptions,
    LiveResult,
    PowerAction,
    PowerState,
    Progress,
    Ref,
    Sample,
    Scope,
    now,
)

METERED = 2000
FROM: dict[PowerAction, frozenset[PowerState]] = {
    PowerAction.START: frozenset({PowerState.OFF, PowerState.CRASHED}),
    PowerAction.SHUTDOWN: frozenset({PowerState.RUNNING}),
    PowerAction.OFF: frozenset({PowerState.RUNNING, PowerState.PAUSED}),
    PowerAction.REBOOT: frozenset({PowerState.RUNNING}),
    PowerAction.RESET: frozenset({PowerState.RUNNING, PowerState.PAUSED}),
    PowerAction.PAUSE: frozenset({PowerState.RUNNING}),
    PowerAction.RESUME: frozenset({PowerState.PAUSED}),
    PowerAction.SAVE: frozenset({PowerState.RUNNING, PowerState.PAUSED}),
    PowerAction.RESTORE: frozenset({PowerState.SUSPENDED}),
}
TO: dict[PowerAction, PowerState] = {
    PowerAction.START: PowerState.RUNNING,
    PowerAction.SHUTDOWN: PowerState.OFF,
    PowerAction.OFF: PowerState.OFF,
    PowerAction.REBOOT: PowerState.RUNNING,
    PowerAction.RESET: PowerState.RUNNING,
    PowerAction.PAUSE: PowerState.PAUSED,
    PowerAction.RESUME: PowerState.RUNNING,
    PowerAction.SAVE: PowerState.SUSPENDED,
    PowerAction.RESTORE: PowerState.RUNNING,
}


class Driver(Importing):
    """The connection itself; Core, Exporting and Importing are the rest of it."""

    async def check(self) -> list[Finding]:
        found = []
        for name in ("vms", "hosts"):
            if not (self._settings[name] or "0").isdigit():
                found.append(Finding(level=Level.RED, code="number", field=name, message="must be a number"))
        if self._settings["password"] == "wrong":
            found.append(Finding(level=Level.RED, code="auth", field="password", message="the password is wrong"))
        return found

    async def connect(self) -> None:
        await self._call("connect")
        for finding in await self.check():
            raise Invalid(finding.message, field=finding.field)
        if self._world is None:
            folder = self._settings["path"]
            self._world = await asyncio.to_thread(
                World,
                self.name,
                vms=min(int(self._settings["vms"] or 12), 100_000),
                hosts=int(self._settings["hosts"] or 2),
                folder=Path(folder) if folder else None,
            )
            self._consoles = Switchboard(self._world, self.faults, float(self._settings["latency"] or 0))
        rate = float(self._settings["changes"] or 0)
        if rate and self._churn is None:
            self._churn = asyncio.create_task(self._change_at(rate))

    def scopes(self) -> Sequence[Scope]:
        return (
            Scope(frozenset({Kind.HOST})),
            Scope(frozenset({Kind.VM})),
            Scope(frozenset({Kind.POOL, Kind.NETWORK})),
        )

    async def list(self, scope: Scope) -> Listing:
        try:
            await self._call("list")
        except BackendError as error:
            return Listing(scope, (), error)
        return Listing(scope, objects(self.world, scope.kinds))

    async def close(self) -> None:
        if self._churn is not None:
            self._churn.cancel()
            self._churn = None
        if self._consoles is not None:
            self._consoles.close()
            self._consoles = None
        if self._world is not None:
            await asyncio.to_thread(self._world.close)
            self._world = None

    async def watch(self) -> AsyncIterator[Changed]:
        queue: asyncio.Queue[Changed | BackendError] = asyncio.Queue()
        self._watchers.add(queue)
        try:
            while True:
                item = await queue.get()
                if isinstance(item, BackendError):
                    raise item
                yield item
        finally:
            self._watchers.discard(queue)

    def lose(self) -> None:
        """Cut the connection, as a dead server would."""
        for queue in self._watchers:
            queue.put_nowait(Unreachable(f"{self.name}: the connection is lost"))
        if self._consoles is not None:
            self._consoles.close()

    async def power(self, ref: Ref, action: PowerAction) -> None:
        await self._call("power")
        vm = self.world.get(ref)
        if action == PowerAction.START and ref.id in self.world.fenced:
            raise Denied(f"{vm.name} was moved away; starting it would make two of it", cure="undo the move")
        if vm.state not in FROM[action]:
            raise Conflict(f"{vm.name} is {vm.state}: cannot {action}", object_name=vm.name)
        state = TO[action]
        if action not in (PowerAction.PAUSE, PowerAction.RESUME):
            self._hang_up(ref)
        started = now() if state == PowerState.RUNNING and vm.state != PowerState.PAUSED else vm.started
        self._put(replace(vm, state=state, native_state=state.value, started=started))

    async def autostart(self, ref: Ref, enabled: bool) -> None:
        await self._call("autostart")
        self._put(replace(self.world.get(ref), autostart=enabled))

    async def delete(self, ref: Ref, *, disks: bool) -> None:
        await self._call("delete")
        vm = self.world.get(ref)
        if vm.state not in (PowerState.OFF, PowerState.CRASHED):
            raise Conflict(f"{vm.name} is {vm.state}: stop it first", object_name=vm.name)
        self._drop(vm, disks=disks)

    async def rename(self, ref: Ref, name: str) -> None:
        await self._call("rename")
        if not name.strip():
            raise Invalid("a VM needs a name", field="name")
        if any(vm.name == name for vm in self.world.vms.values()):
            raise Conflict(f"the name {name} is taken", field="name")
        self._put(replace(self.world.get(ref), name=name))

    async def tag(self, ref: Ref, tags: Mapping[str, str]) -> None:
        await self._call("tag")
        vm = self.world.get(ref)
        merged = {**dict(vm.tags), **tags}
        group = merged.pop("group", vm.group)
        self._put(replace(vm, group=group, tags=tuple(sorted((k, v) for k, v in merged.items() if v))))

    async def meter(self) -> Mapping[Ref, Sample]:
        await self._call("meter")
        at = time.time()
        running = (vm for vm in self.world.vms.values() if vm.state == PowerState.RUNNING)
        return {vm.ref: self.world.sample(vm, at) for vm, _ in zip(running, range(METERED), strict=False)}

    async def consoles(self, vm: Ref) -> Sequence[Console]:
        await self._call("consoles")
        return self._switchboard.offers(self.world.get(vm))

    async def open_console(self, console: Console, *, force: bool = False) -> Door:
        await self._call("open_console")
        return await self._switchboard.open(console, force)

    async def describe(self, ref: Ref) -> str:
        await self._call("describe")
        return "\n".join(f"{line}" for line in repr(self.world.get(ref)).split(", "))

    async def move_live(
        self,
        vm: Ref,
        target: contract.Driver,
        to: Ref,
        options: LiveOptions,
        progress: Callable[[Progress], None],
    ) -> LiveResult:
        await self._call("move_live")
        if not isinstance(target, Driver):
            raise Invalid("a live move needs a target of the same platform")
        if to.kind not in (Kind.HOST, Kind.CONNECTION):
            raise Invalid(f"{to} is no place for a VM")
        moving = self.world.get(vm)
        if moving.state != PowerState.RUNNING:
            raise Conflict(f"{moving.name} is {moving.state}: only a running VM moves live")
        began = time.monotonic()
        steps, seconds = 20, float(self._settings["move_seconds"] or 1)
        self.world.materialize(moving)
        for step in range(steps):
            total = moving.memory_bytes
            progress(Progress(done_bytes=total * step // steps, total_bytes=total, rate_bps=total / seconds))
            await asyncio.sleep(seconds / steps)
        await target._call("arrive")
        parent = to if to.kind == Kind.HOST else target.world.hosts[0].ref
        arrived = rebase(moving, target.name, parent)
        if target.world is not self.world:
            for disk in moving.disks:
                data = self.world.disk(disk.source).read_bytes()
                target.world.disk(disk.source).write_bytes(data)
            self._put(replace(moving, state=PowerState.PAUSED, native_state="migrating"))
        self._hang_up(vm)
        target._put(arrived)
        if target.world is not self.world:
            self._drop(moving, disks=True)
        took = time.monotonic() - began
        return LiveResult(target=arrived.ref, seconds=took, downtime_s=0.04, bytes_sent=moving.memory_bytes)

    async def let_go(self, vm: Ref, target: contract.Driver) -> None:
        await self._call("let_go")
        self.world.load()
        here = self.world.vms.get(vm.id)
        if here is None or not isinstance(target, Driver) or target.world is self.world:
            return
        place = await target.locate(here.uuid)
        there = target.world.get(place) if place is not None else None
        if there is None or there.state != PowerState.RUNNING or here.state == PowerState.RUNNING:
            state = there.state if there is not None else "not there"
            raise Conflict(f"{here.name} is {here.state} here and {state} on the target: nothing was touched")
        self._drop(here, disks=True)

    async def locate(self, uuid: str) -> Ref | None:
        await self._call("locate")
        self.world.load()
        return next((vm.ref for vm in self.world.vms.values() if vm.uuid == uuid), None)

    async def _change_at(self, rate: float) -> None:
        """Make `rate` changes per second, in batches of a twentieth of a second."""
        dice = random.Random(1)
        keys = list(self.world.vms)
        while keys:
            batch = []
            for _ in range(max(1, round(rate / 20))):
                vm = self.world.vms.get(dice.choice(keys))
                if vm is not None:
                    state = PowerState.PAUSED if vm.state == PowerState.RUNNING else PowerState.RUNNING
                    batch.append(replace(vm, state=state, native_state=state.value, seen=now()))
            for vm in batch:
                self.world.vms[vm.ref.id] = vm
            self._tell(Changed(objects=tuple(batch)))
            await asyncio.sleep(1 / 20)
