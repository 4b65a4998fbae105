"""A move under way: its plan, its journal, both sides, and how to look at them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from app.migration.courier import Courier
from app.migration.journal import Journal
from app.migration.plan import Plan
from app.tasks import Task
from backends.driver import Driver, Exports, ExportSession, Imports, Locates, Powers
from backends.errors import Conflict, NotFound, Unreachable, Unsupported
from backends.model import Kind, Level, PowerAction, PowerState, Progress, Ref, Vm

if TYPE_CHECKING:
    from app.link import Connection
    from app.store import Store

log = logging.getLogger(__name__)
LOOK_EVERY_S = (0.1, 0.2, 0.5, 1.0)
SAID_LATELY = 6
AT_REST = frozenset({PowerState.OFF, PowerState.CRASHED})


class Vanished(NotFound):
    """The VM had arrived on the target and is surely not there any more: nothing is left to go on with."""


class Sites(Protocol):
    """What a move needs of app.connections."""

    def driver(self, name: str) -> Driver: ...
    def get(self, name: str) -> Connection | None: ...
    def subscribe(self, function: Callable[[Connection], None]) -> Callable[[], None]: ...


class Identities(Protocol):
    """What a move needs of app.identity."""

    def moved(self, uid: str, old: Ref, new: Ref) -> object: ...
    def uid_of(self, ref: Ref) -> str: ...
    def ref_of(self, uid: str) -> Ref | None: ...
    async def flush(self) -> None: ...


async def no_secrets(connection: str) -> Mapping[str, str]:
    return {}


@dataclass(slots=True, kw_only=True)
class Tools:
    """What every move uses. `secrets(connection)` gives what its mover must have; `tell` adds to the event log."""

    sites: Sites
    store: Store
    identity: Identities
    changed: Callable[[Task], None] = lambda task: None
    tell: Callable[[str, Level, Ref | None], object] = lambda text, level, ref: None
    secrets: Callable[[str], Awaitable[Mapping[str, str]]] = no_secrets
    courier: Courier = field(default_factory=Courier)
    folder: Path | None = None
    """Where movers keep what a broken copy needs to go on. None: such a copy begins again."""


@dataclass(slots=True)
class Move:
    """Handed to every step. Drivers are asked for anew each time: a connection may have been rebuilt."""

    plan: Plan
    task: Task
    journal: Journal
    tools: Tools
    session: ExportSession | None = None
    repeated: bool = False
    """The step at work was begun before, by an owner that ended in it."""
    doubted: set[int] = field(default_factory=set)
    """The disks that the source may have written since they were copied."""
    went: str = ""
    """Where the VM is after a roll-back, if another move took it away meanwhile."""
    waning: bool = False
    """The guest was told to shut down and may go off at any moment."""

    @property
    def source(self) -> Driver:
        return self.tools.sites.driver(self.plan.vm.connection)

    @property
    def target(self) -> Driver:
        return self.tools.sites.driver(self.plan.to.connection)

    @property
    def exports(self) -> Exports:
        driver = self.source
        if not isinstance(driver, Exports):
            raise Unsupported(f"{driver.name} cannot hand out disks")
        return driver

    @property
    def imports(self) -> Imports:
        driver = self.target
        if not isinstance(driver, Imports):
            raise Unsupported(f"{driver.name} cannot take in VMs")
        return driver

    @property
    def ran(self) -> bool:
        """Whether the VM ran when the move began."""
        return bool(self.journal.record.done.get("check", {}).get("running", self.plan.running))

    def note(self, text: str) -> bool:
        """Into the task's own log. False for what was said just before: a move that waits looks again and again."""
        if text in {said for _, said in self.task.log[-SAID_LATELY:]}:
            return False
        self.task.note(text)
        self.tools.changed(self.task)
        return True

    def progress(self, stage: str, progress: Progress) -> None:
        self.task.stage(stage).progress = progress
        self.tools.changed(self.task)


async def look(driver: Driver, ref: Ref | None = None, uuid: str = "") -> Vm | None:
    """The VM as its platform has it right now, by Ref or by UUID; None if it is surely not there.

    Raises Unreachable where that cannot be known.
    """
    if uuid and isinstance(driver, Locates):
        ref = await driver.locate(uuid)
        if ref is None:
            return None
    failed: Exception | None = None
    for scope in driver.scopes():
        if Kind.VM not in scope.kinds:
            continue
        listing = await driver.list(scope)
        failed = failed or listing.error
        for item in listing.objects:
            if isinstance(item, Vm) and (item.ref == ref if ref is not None else bool(uuid) and item.uuid == uuid):
                return item
    if failed is not None:
        raise Unreachable(f"{driver.name} cannot say whether the VM is there: {failed}") from failed
    return None


async def until(driver: Driver, ref: Ref, wanted: frozenset[PowerState], seconds: float) -> Vm:
    """Look at a VM until its state is one of `wanted`. Raises Conflict after `seconds`, NotFound if it is gone."""
    end = time.monotonic() + seconds
    tries = 0
    while True:
        vm = await look(driver, ref)
        if vm is None:
            raise NotFound(f"{driver.name} does not have the VM", object_name=ref.id)
        if vm.state in wanted:
            return vm
        if time.monotonic() > end:
            states = " or ".join(sorted(state.value for state in wanted))
            raise Conflict(f"{vm.name} is {vm.state} after {seconds:g} s, not {states}", object_name=vm.name)
        await asyncio.sleep(LOOK_EVERY_S[min(tries, len(LOOK_EVERY_S) - 1)])
        tries += 1


async def power(driver: Driver, ref: Ref, action: PowerAction) -> None:
    if not isinstance(driver, Powers):
        raise Unsupported(f"{driver.name} cannot {action} a VM")
    await driver.power(ref, action)


async def switch_on(driver: Driver, ref: Ref, seconds: float = 120.0) -> None:
    """Start a VM if it does not run, and see that it does."""
    vm = await look(driver, ref)
    if vm is None:
        raise NotFound(f"{driver.name} does not have the VM", object_name=ref.id)
    if vm.state in AT_REST:
        await power(driver, ref, PowerAction.START)
    elif vm.state == PowerState.PAUSED:
        await power(driver, ref, PowerAction.RESUME)
    await until(driver, ref, frozenset({PowerState.RUNNING}), seconds)


async def switch_off(driver: Driver, ref: Ref, seconds: float = 120.0) -> None:
    """Switch a VM off at once, wherever it is in its start. Nothing to do where it is gone."""
    vm = await look(driver, ref)
    if vm is None or vm.state in AT_REST:
        return
    await power(driver, ref, PowerAction.OFF)
    await until(driver, ref, AT_REST, seconds)
