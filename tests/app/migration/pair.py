"""Two demo platforms in folders, a real store, and the migrations between them; another process may open the same."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from app.identity import Identity
from app.inventory import Inventory
from app.link import Connection, ConnectionState
from app.migration import Migrations
from app.migration.courier import Courier
from app.store import Store
from app.tasks import Task, Tasks, TaskState
from backends.demo import Driver
from backends.driver import Settings
from backends.errors import NotFound, Unreachable
from backends.model import Kind, PowerAction, PowerState, Ref, Section, Vm, now


class TwoSites:
    """Stands for app.connections: two ready connections that a test can take away and give back."""

    def __init__(self, drivers: list[Driver], settings: dict[str, dict[str, str]]) -> None:
        self.down: set[str] = set()
        self._drivers = {driver.name: driver for driver in drivers}
        self._subscribers: list[Callable[[Connection], None]] = []
        self.connections = {
            driver.name: Connection(
                name=driver.name,
                kind="demo",
                section=Section.LOCAL,
                title=driver.name,
                settings=settings[driver.name],
                state=ConnectionState.READY,
                capabilities=driver.capabilities(),
            )
            for driver in drivers
        }

    def get(self, name: str) -> Connection | None:
        return self.connections.get(name)

    def driver(self, name: str) -> Driver:
        if name not in self._drivers:
            raise NotFound(f"no {name}")
        if name in self.down:
            raise Unreachable(f"{name} is not connected")
        return self._drivers[name]

    def subscribe(self, function: Callable[[Connection], None]) -> Callable[[], None]:
        self._subscribers.append(function)
        return lambda: self._subscribers.remove(function)

    def lose(self, name: str) -> None:
        self.down.add(name)
        self.connections[name].state = ConnectionState.RETRYING
        self._report(name)

    def regain(self, name: str) -> None:
        self.down.discard(name)
        self.connections[name].state = ConnectionState.READY
        self._report(name)

    def _report(self, name: str) -> None:
        for function in tuple(self._subscribers):
            function(self.connections[name])


class Pair:
    """Everything of one test. Made by `open`; `close` ends it."""

    a: Driver
    b: Driver
    sites: TwoSites
    store: Store
    identity: Identity
    inventory: Inventory
    tasks: Tasks
    migrations: Migrations

    @classmethod
    async def open(cls, home: Path, *, courier: Courier | None = None, **extra: str) -> Pair:
        pair = cls()
        settings = {
            name: {"path": str(home / name), "vms": "2" if name == "a" else "0", "hosts": "1", "move_seconds": "0.05"}
            for name in ("a", "b")
        }
        settings["a"].update({key[2:]: value for key, value in extra.items() if key.startswith("a_")})
        settings["b"].update({key[2:]: value for key, value in extra.items() if key.startswith("b_")})
        pair.a, pair.b = (Driver(name, Settings(settings[name])) for name in ("a", "b"))
        await pair.a.connect()
        await pair.b.connect()
        pair.sites = TwoSites([pair.a, pair.b], settings)
        pair.store = await Store.open(home)
        pair.identity = await Identity.open(pair.store)
        pair.inventory, pair.tasks = Inventory(), Tasks()
        await pair.refresh()
        pair.identity.follow(pair.inventory)
        pair.migrations = Migrations(pair.inventory, pair.sites, pair.tasks, pair.store, pair.identity, courier=courier)
        return pair

    async def refresh(self) -> None:
        for driver in (self.a, self.b):
            for scope in driver.scopes():
                self.inventory.listed(await driver.list(scope), now(), driver.name)
        for item in self.inventory:
            if isinstance(item, Vm):
                self.identity.seen(item)

    async def close(self) -> None:
        await self.migrations.close()
        await self.tasks.close()
        await self.identity.close()
        await self.store.close()
        await self.a.close()
        await self.b.close()

    @property
    def vm(self) -> Vm:
        """The VM that is moved: web-01, running on a."""
        self.a.world.load()
        return next(vm for vm in self.a.world.vms.values() if vm.name == "web-01")

    def to_b(self) -> Ref:
        return Ref("b", Kind.CONNECTION, "b")

    async def move(self, **wish: object) -> Task:
        planned = await self.migrations.plan(self.vm.ref, self.to_b(), **wish)  # type: ignore[arg-type]
        assert planned.verdict.allowed, planned.verdict
        return await self.tasks.wait(self.migrations.start(planned))

    async def rest(self, task: Task, seconds: float = 30.0) -> Task:
        """Until the task is neither at work nor waiting to be looked at."""
        end = time.monotonic() + seconds
        while task.active or (task.state == TaskState.UNKNOWN and not self.sites.down):
            assert time.monotonic() < end, (task.state, task.error, task.log)
            await asyncio.sleep(0.01)
        return task

    def runnable(self, name: str = "web-01") -> list[Vm]:
        """The VMs of that name that could run, on both sides, as an outsider reads them."""
        found = []
        for driver in (self.a, self.b):
            driver.world._stamp = 0
            driver.world.load()
            found += [
                vm for vm in driver.world.vms.values() if vm.name == name and vm.ref.id not in driver.world.fenced
            ]
        return found

    def running(self, name: str = "web-01") -> list[Vm]:
        return [vm for vm in self.runnable(name) if vm.state == PowerState.RUNNING]

    def leftovers(self) -> list[str]:
        """Files on both sides that belong to no VM."""
        found = []
        for driver in (self.a, self.b):
            used = {disk.source for vm in driver.world.vms.values() for disk in vm.disks}
            found += [path.name for path in driver.world.disks.iterdir() if path.name not in used]
        return found

    def disk_hash(self, driver: Driver, vm: Vm) -> str:
        return hashlib.sha256(driver.world.disk(vm.disks[0].source).read_bytes()).hexdigest()

    async def stop_vm(self) -> None:
        await self.a.power(self.vm.ref, PowerAction.OFF)
        await self.refresh()
