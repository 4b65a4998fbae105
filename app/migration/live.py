"""The steps of a live move: the platform moves the VM, and both sides are asked what became of it.

What is seen decides, never what a call returned: a VM that runs on the target is never resumed on the source.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import PurePosixPath
from typing import Any

from app.migration.move import AT_REST, Move, Vanished, look, power, until
from app.migration.plan import Path, Plan
from app.migration.shield import uninterrupted
from app.migration.steps import COPY, PREPARE, SWITCH, TIDY, Step
from app.store import codec
from app.tasks import TaskState
from backends.driver import MovesLive, RemovesLeftovers, Rescues
from backends.errors import BackendError, Conflict, NotFound, OutcomeUnknown, Unsupported
from backends.model import Kind, Object, PowerAction, PowerState, Progress, Ref, StoragePool, Vm, Volume

Result = dict[str, Any]
SETTLE_S = 60.0
LEFT_ALONE_S = 8.0
"""How long a source that waits in the hand-over, with nothing on the target, may still be about to go on itself."""
TRANSIENT = frozenset({PowerState.MIGRATING, PowerState.STARTING, PowerState.STOPPING})


def _uuid(plan: Plan) -> str:
    return plan.spec.uuid if plan.spec is not None else plan.vm.id


async def check(move: Move) -> Result:
    vm = await look(move.source, move.plan.vm)
    if vm is None:
        raise NotFound(f"{move.plan.name} is not on {move.plan.vm.connection} any more")
    if vm.state != PowerState.RUNNING:
        raise Conflict(f"{vm.name} is {vm.state}: only a running VM moves live", cure="move it cold")
    return {"running": True, "free": await _free(move)}


async def _free(move: Move) -> list[str]:
    """Where the disks that go along will lie on the target. Raises Conflict where something lies there already."""
    plan, driver = move.plan, move.target
    disks = [disk for disk in (plan.spec.disks if plan.spec else ()) if disk.target in plan.live.copy_storage]
    paths = [PurePosixPath(disk.source) for disk in disks]
    if not paths:
        return []
    found: list[Object] = []
    for scope in driver.scopes():
        if scope.kinds & {Kind.POOL, Kind.VOLUME}:
            listing = await driver.list(scope)
            if listing.error is not None:
                raise listing.error
            found += listing.objects
    pools = {item.name: item.path for item in found if isinstance(item, StoragePool)}
    if plan.live.pool in pools:
        paths = [PurePosixPath(pools[plan.live.pool]) / path.name for path in paths]
    taken = {item.path for item in found if isinstance(item, Volume)}
    for path in map(str, paths):
        if path in taken:
            raise Conflict(f"{path} exists on {plan.to.connection} already", cure="remove it there", field="storage")
    return [str(path) for path in paths]


async def carry(move: Move) -> Result:
    """Let the platform move it. However that ends, look where the VM is."""
    plan, source = move.plan, move.source
    if move.repeated and not (plan.live.post_copy and _half_way(move, *await both(move))):
        return await settled(move, None)
    if not isinstance(source, MovesLive):
        raise Unsupported(f"{source.name} cannot move a running VM")

    def progress(value: Progress) -> None:
        move.progress(COPY, value)

    try:
        result = await source.move_live(plan.vm, move.target, plan.to, plan.live, progress)
    except (BackendError, asyncio.CancelledError) as error:
        move.note(f"the move ended early: {error or 'cancelled'}")
        return await uninterrupted(settled(move, error))
    return {
        "ref": codec.encode(result.target),
        "seconds": result.seconds,
        "downtime_s": result.downtime_s,
        "bytes": result.bytes_sent,
        "leftovers": list(result.leftovers),
    }


async def both(move: Move) -> tuple[Vm | None, Vm | None]:
    """The VM on source and target as they are now. Raises Unreachable where one side cannot say."""
    uuid = _uuid(move.plan)

    async def side(name: str, ref: Ref | None) -> Vm | None:
        return await look(move.tools.sites.driver(name), ref, uuid)

    here, there = await asyncio.gather(
        side(move.plan.vm.connection, move.plan.vm), side(move.plan.to.connection, None), return_exceptions=True
    )
    for found in (here, there):
        if isinstance(found, BaseException):
            move.task.state = TaskState.UNKNOWN
            raise found
    assert not isinstance(here, BaseException)
    assert not isinstance(there, BaseException)
    return here, there


def _half_way(move: Move, here: Vm | None, there: Vm | None) -> bool:
    """Whether a post-copy move broke off after its switch: the target runs it and needs the memory on the source."""
    migrating = here is not None and here.state == PowerState.MIGRATING
    return move.plan.live.post_copy and migrating and there is not None and there.state != PowerState.OFF


async def settled(move: Move, error: BaseException | None) -> Result:
    """Find out which side has the VM after a move that broke off, and leave it running there alone.

    Returns as the move itself would when the target runs it. Raises `error` (or Conflict) when the source does:
    it is as it was. Where nothing can be said the task is UNKNOWN and nothing is touched.
    """
    name, plan = move.plan.name, move.plan
    began = time.monotonic()
    end = began + SETTLE_S
    pause = 0.2
    while True:
        here, there = await both(move)
        # A Conflict says that its platform knows nothing of a post-copy to go on with.
        if _half_way(move, here, there) and not isinstance(error, Conflict):
            move.task.state = TaskState.UNKNOWN
            raise OutcomeUnknown(
                f"{name} was switched to {plan.to.connection}, but not all of its memory is there: nothing was touched",
                cure="it goes on when both hosts reach each other; leave the paused one alone",
            )
        if there is not None and there.state == PowerState.RUNNING:
            if here is not None and here.state == PowerState.RUNNING and here.ref != there.ref:
                move.task.state = TaskState.UNKNOWN
                raise OutcomeUnknown(
                    f"{name} runs on {plan.vm.connection} and on {plan.to.connection}: nothing was touched",
                    cure="switch one of them off by hand, at once: they may write to the same disk",
                )
            move.note(f"{name} runs on {plan.to.connection}: going on from there")
            return {"ref": codec.encode(there.ref), "downtime_s": None}
        unsure = there is not None or here is None or here.state in TRANSIENT
        left_alone = here is not None and here.state == PowerState.MIGRATING and there is None
        if not unsure or time.monotonic() > (min(end, began + LEFT_ALONE_S) if left_alone else end):
            break
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 2.0)
    on_its_own = plan.live.peer_to_peer or plan.live.tunnelled
    if here is not None and here.state == PowerState.RUNNING and not (there is not None and on_its_own):
        if there is not None:
            move.note(f"a part of {name} is left on {plan.to.connection} ({there.state})")
        move.note(f"{name} runs on {plan.vm.connection} as before")
        raise error or Conflict("the move was interrupted; the VM is where it was", cure="try again")
    if here is not None and here.state in (PowerState.PAUSED, PowerState.MIGRATING) and there is None:
        move.note(f"{name} was left paused on {plan.vm.connection} and is not on {plan.to.connection}: resuming it")
        await _resume(move, here)
        raise error or Conflict("the move was interrupted; the VM was resumed where it was", cure="try again")
    if here is not None and here.state in AT_REST and there is None:
        text = f"{name} is off on {plan.vm.connection} and not on {plan.to.connection}: its host failed meanwhile"
        raise Conflict(text, cure=f"start it on {plan.vm.connection}")
    move.task.state = TaskState.UNKNOWN
    states = f"{here.state if here else 'not there'} on {plan.vm.connection}, {there.state if there else 'not there'}"
    raise OutcomeUnknown(f"{name} is {states} on {plan.to.connection}: nothing was touched", cure="look at both sides")


async def _resume(move: Move, here: Vm) -> None:
    """Let the source go on; a platform that can asks once more that the target does not have it."""
    driver = move.source
    try:
        if not isinstance(driver, Rescues):
            await power(driver, here.ref, PowerAction.RESUME)
        elif not await driver.rescue(here.ref, move.target):
            raise OutcomeUnknown(f"{here.name} came up on {move.plan.to.connection} meanwhile: nothing was touched")
        await until(driver, here.ref, frozenset({PowerState.RUNNING}), SETTLE_S)
    except BackendError:
        move.task.state = TaskState.UNKNOWN
        raise


async def uncopy(move: Move) -> None:
    """Remove the half-written disks of a move that did not happen; none of them was there when it began."""
    paths = move.journal.record.done.get("check", {}).get("free") or []
    driver = move.target
    if not paths or not isinstance(driver, RemovesLeftovers):
        return
    _here, there = await both(move)
    if there is not None:
        move.task.state = TaskState.UNKNOWN
        raise OutcomeUnknown(f"{there.name} is {there.state} on {move.plan.to.connection}: its disks were not touched")
    removed = await driver.remove_leftovers(tuple(paths), move.source)
    if removed:
        move.note(f"removed on {move.plan.to.connection}: {', '.join(removed)}")


async def confirm(move: Move) -> Result:
    """Never trust a success alone: the target runs it, and the source does not have it any more."""
    here, there = await both(move)
    plan, name = move.plan, move.plan.name
    if there is None and (here is None or here.state in AT_REST):
        raise _vanished(move, here)
    if there is None or there.state != PowerState.RUNNING:
        move.task.state = TaskState.UNKNOWN
        state = there.state if there is not None else "not there"
        raise OutcomeUnknown(f"{name} is {state} on {plan.to.connection} after its move", cure="look at both sides")
    if here is not None and here.ref != there.ref:
        await _let_go(move, here)
    return {"ref": codec.encode(there.ref), "state": there.state.value}


def _vanished(move: Move, here: Vm | None = None) -> Vanished:
    """It ran on the target and is gone: what is left of it on the source stays."""
    plan = move.plan
    text = f"{plan.name} is gone from {plan.to.connection}: it was removed there before its move was done"
    if here is not None:
        return Vanished(text, cure=f"it is {here.state} on {plan.vm.connection}: start it there")
    left = ", ".join(_copied(move))
    return Vanished(text, cure=f"its disks are still on {plan.vm.connection}: {left}" if left else "")


def _copied(move: Move) -> list[str]:
    """The disks that a copy left on the source."""
    plan = move.plan
    known = move.journal.record.done["move"].get("leftovers")
    return known or [
        disk.source for disk in (plan.spec.disks if plan.spec else ()) if disk.target in plan.live.copy_storage
    ]


async def _let_go(move: Move, here: Vm) -> None:
    """What is left of the VM on the source must never resume or start, and a whole move leaves nothing there."""
    if here.state == PowerState.RUNNING:
        await settled(move, None)
    source = move.source
    assert isinstance(source, MovesLive)
    move.note(f"the old {here.name} was left {here.state} on {move.plan.vm.connection}: removing it")
    await source.let_go(here.ref, move.target)


async def tidy(move: Move) -> Result:
    """The disks that were copied are not needed on the source any more, as long as the target has the VM."""
    plan, driver = move.plan, move.source
    paths = _copied(move)
    if not paths or not isinstance(driver, RemovesLeftovers):
        return {"removed": []}
    if await look(move.target, None, _uuid(plan)) is None:
        raise _vanished(move)
    removed = await driver.remove_leftovers(tuple(paths), move.target)
    if removed:
        move.note(f"removed on {plan.vm.connection}: {', '.join(removed)}")
    return {"removed": list(removed)}


async def identity(move: Move) -> Result:
    new = codec.decode(Ref, move.journal.record.done["confirm"]["ref"])
    if move.plan.uid:
        move.tools.identity.moved(move.plan.uid, move.plan.vm, new)
        await move.tools.identity.flush()
    return {}


def _moves(plan: Plan) -> str:
    what = "memory goes" if plan.path == Path.NONE else "memory and disks go"
    return f"Move {plan.name} while it runs: {what} from {plan.vm.connection} to {plan.to.connection}"


STEPS = (
    Step(
        name="check",
        stage=PREPARE,
        describe=lambda plan: f"Check {plan.name} on {plan.vm.connection} and the room on {plan.to.connection}",
        run=check,
    ),
    Step(name="move", stage=COPY, describe=_moves, run=carry, undo=uncopy, stoppable=True),
    Step(
        name="confirm",
        stage=SWITCH,
        describe=lambda plan: f"Ask both sides: it runs on {plan.to.connection} and only there",
        run=confirm,
        forward=True,
    ),
    Step(
        name="identity",
        stage=TIDY,
        describe=lambda plan: "",
        run=identity,
        forward=True,
    ),
    Step(
        name="tidy",
        stage=TIDY,
        describe=lambda plan: f"Remove the copied disks on {plan.vm.connection}" if plan.live.copy_storage else "",
        run=tidy,
        forward=True,
    ),
)
