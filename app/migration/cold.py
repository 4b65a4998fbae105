"""The steps of a cold move: stop, copy, verify, switch. At every moment at most one side can run the VM.

    source runnable   check disks stop export copy verify release create | fence
    target runnable                                                      |       start confirm | adopt identity

A target that starts a VM by making it has `fence` before `create`. Up to `confirm` everything can be taken back;
from `adopt` on the VM lives on the target.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import datetime
from typing import Any

from app.migration import transfer
from app.migration.move import AT_REST, Move, Vanished, look, power, switch_off, switch_on, until
from app.migration.plan import Plan
from app.migration.shield import uninterrupted
from app.migration.source import end_export, export, fence, release, source_vm, unfence, verify
from app.migration.steps import COPY, PREPARE, SWITCH, TIDY, VERIFY, Step
from app.store import codec
from backends.driver import Deletes
from backends.errors import BackendError, Conflict, Denied, Invalid, NotFound, Unsupported
from backends.model import PowerAction, PowerState, Ref, VmSpec, now

Result = dict[str, Any]
CONFIRM_S = 300.0
WANING_S = 30.0
"""So long a guest that was told to shut down is waited for when the move is taken back."""
RUNNING = frozenset({PowerState.RUNNING})


def spec_of(plan: Plan) -> VmSpec:
    """What is to be made on the target. Raises Invalid for a plan without one."""
    if plan.spec is None:
        raise Invalid("the plan does not say what the VM is")
    return plan.spec


def made(move: Move) -> Ref:
    """The VM that this migration made on the target."""
    return codec.decode(Ref, move.journal.record.done["create"]["ref"])


async def check(move: Move) -> Result:
    vm = await source_vm(move)
    if vm.state not in AT_REST | RUNNING and not move.plan.copy:
        raise Conflict(f"{vm.name} is {vm.state}", cure="let it run, or stop it")
    return {"running": vm.state == PowerState.RUNNING}


async def disks(move: Move) -> Result:
    plan, spec = move.plan, spec_of(move.plan)
    sinks = [
        await move.imports.prepare_disk(plan.to, spec, number, pool=plan.mapping.storage, migration=plan.id)
        for number in range(len(spec.disks))
    ]
    return {"sinks": [codec.encode(sink) for sink in sinks]}


async def discard(move: Move) -> None:
    await move.imports.discard_import(move.plan.id)
    await asyncio.to_thread(transfer.forget, move)


async def stop(move: Move) -> Result:
    """Shut the guest down; past the deadline force it off only where the plan says so."""
    plan = move.plan
    if not move.ran:
        return {"at": ""}
    began = now()
    vm = await source_vm(move)
    if vm.state not in AT_REST:
        move.note(f"shutting {vm.name} down")
        move.waning = True
        try:
            await uninterrupted(power(move.source, plan.vm, PowerAction.SHUTDOWN))
        except BackendError:
            move.waning = False
            raise
        try:
            await until(move.source, plan.vm, AT_REST, plan.shutdown_s)
        except Conflict:
            move.waning = False
            if not plan.force_stop:
                raise Conflict(
                    f"{vm.name} did not shut down within {plan.shutdown_s:g} s",
                    cure="shut it down inside, or let the plan force it off",
                ) from None
            move.note(f"{vm.name} did not shut down: forced off")
            await switch_off(move.source, plan.vm)
        move.waning = False
    return {"at": began.isoformat()}


async def start_source_again(move: Move) -> None:
    """It ran when the move began, so it runs again: here, or where another Causeway took it while it was off for us."""
    if not move.ran:
        return
    try:
        await _start_here(move)
    except (NotFound, Denied, Conflict):
        uuid = spec_of(move.plan).uuid
        there = await look(move.target, None, uuid) if uuid else None
        if there is None:
            raise
        move.went = there.ref.connection
        move.note(f"another move took {there.name} to {move.went}")
        await switch_on(move.target, there.ref)


async def _start_here(move: Move) -> None:
    vm = await source_vm(move)
    if vm.state in RUNNING and move.waning:
        # A guest that was asked to shut down cannot be asked to stay: it may go off after the cancel.
        move.note(f"waiting for {vm.name}: it was told to shut down")
        with contextlib.suppress(Conflict):
            vm = await until(move.source, move.plan.vm, AT_REST, WANING_S)
    if vm.state in AT_REST:
        move.note(f"starting {vm.name} again on {move.plan.vm.connection}")
        await switch_on(move.source, move.plan.vm)


async def create(move: Move) -> Result:
    ids = [disk["id"] for disk in move.journal.record.done["copy"]["disks"]]
    ref = await move.imports.create_vm(move.plan.to, spec_of(move.plan), ids, migration=move.plan.id)
    return {"ref": codec.encode(ref)}


async def start(move: Move) -> Result:
    wanted = move.ran and move.plan.start
    if wanted:
        await switch_on(move.target, made(move), CONFIRM_S)
    elif move.plan.starts_on_create:
        await until(move.target, made(move), RUNNING | AT_REST, CONFIRM_S)
        await switch_off(move.target, made(move), CONFIRM_S)
    return {"running": wanted}


async def stop_target(move: Move) -> None:
    if "create" in move.journal.record.done:
        await switch_off(move.target, made(move), CONFIRM_S)


async def confirm(move: Move) -> Result:
    """Ask both sides: the target has the VM as it should be, the source does not run it."""
    wanted = RUNNING if move.journal.record.done["start"]["running"] else AT_REST | RUNNING
    vm = await until(move.target, made(move), wanted, CONFIRM_S)
    if not move.plan.copy:
        old = await look(move.source, move.plan.vm)
        if old is not None and old.state not in AT_REST:
            raise Conflict(f"{vm.name} runs on {move.plan.vm.connection} as well")
    stopped = move.journal.record.done.get("stop", {}).get("at")
    downtime = (now() - datetime.fromisoformat(stopped)).total_seconds() if stopped else 0.0
    return {"state": vm.state.value, "downtime_s": round(downtime, 3)}


async def adopt(move: Move) -> Result:
    plan = move.plan
    try:
        if await look(move.target, made(move)) is None:
            raise NotFound("it was just seen there")
        await move.imports.adopt(made(move), migration=plan.id)
    except NotFound as error:
        if await look(move.target, made(move)) is not None:
            raise
        kept = "undo the move: that brings back the one kept on" if not plan.copy else "copy it again: it is on"
        text = f"{plan.name} is gone from {plan.to.connection}: it was removed there before its move was done"
        raise Vanished(text, cure=f"{kept} {plan.vm.connection}") from error
    return {}


async def identity(move: Move) -> Result:
    if not move.plan.copy and move.plan.uid:
        move.tools.identity.moved(move.plan.uid, move.plan.vm, made(move))
        await move.tools.identity.flush()
    return {}


def _did(move: Move, step: str) -> bool:
    return step in move.journal.record.done


def _moves(plan: Plan) -> bool:
    return not plan.copy


def _stops(plan: Plan) -> str:
    return f"Shut {plan.name} down on {plan.vm.connection}" if plan.running else ""


def _makes_disks(plan: Plan) -> str:
    count = len(plan.spec.disks) if plan.spec else 0
    return f"Make {'an empty disk' if count == 1 else f'{count} empty disks'} on {plan.to.connection}"


def _fences(plan: Plan) -> str:
    return f"Lock {plan.name} on {plan.vm.connection}: it cannot start there by accident, and is kept"


def _confirms(plan: Plan) -> str:
    if plan.running and plan.start:
        return f"See that it runs on {plan.to.connection}"
    return f"See that it is on {plan.to.connection}"


def _keeps(plan: Plan) -> str:
    if plan.copy:
        return f"{plan.name} stays as it is on {plan.vm.connection}"
    return f"Keep the old one on {plan.vm.connection} for {plan.keep_source_days} days, for Undo"


FENCE = Step(name="fence", stage=SWITCH, describe=_fences, run=fence, undo=unfence)

STEPS = (
    Step(
        name="check",
        stage=PREPARE,
        describe=lambda plan: f"Check {plan.name} on {plan.vm.connection} and the room on {plan.to.connection}",
        run=check,
    ),
    Step(
        name="disks",
        stage=PREPARE,
        describe=_makes_disks,
        run=disks,
        undo=discard,
    ),
    Step(name="stop", stage=PREPARE, describe=_stops, when=_moves, run=stop, undo=start_source_again, stoppable=True),
    Step(
        name="export",
        stage=COPY,
        describe=lambda plan: "",
        run=export,
        undo=end_export,
        again=lambda move: not _did(move, "copy"),
    ),
    Step(
        name="copy",
        stage=COPY,
        describe=lambda plan: f"Copy the disks through this workstation to {plan.to.connection}",
        run=transfer.copy,
        stoppable=True,
    ),
    Step(
        name="verify",
        stage=VERIFY,
        describe=lambda plan: "Read the disks back and compare them with what was sent (SHA-256)",
        run=verify,
        again=lambda move: bool(move.doubted) and not _did(move, "fence"),
        stoppable=True,
    ),
    Step(name="release", stage=VERIFY, describe=lambda plan: "", run=release),
    replace(FENCE, when=lambda plan: _moves(plan) and plan.starts_on_create),
    Step(
        name="create",
        stage=SWITCH,
        describe=lambda plan: f"Make {plan.name} on {plan.to.connection}",
        run=create,
        undo=discard,
    ),
    replace(FENCE, when=lambda plan: _moves(plan) and not plan.starts_on_create),
    Step(
        name="start",
        stage=SWITCH,
        describe=lambda plan: f"Start it on {plan.to.connection}" if plan.running and plan.start else "",
        run=start,
        undo=stop_target,
    ),
    Step(name="confirm", stage=SWITCH, describe=_confirms, run=confirm),
    Step(name="adopt", stage=TIDY, describe=lambda plan: "", run=adopt, forward=True),
    Step(name="identity", stage=TIDY, describe=_keeps, run=identity, forward=True),
)


async def undo_stop(move: Move) -> Result:
    """Stop the moved VM, gently where it listens."""
    vm = await look(move.target, made(move))
    if vm is not None and vm.state not in AT_REST:
        try:
            await power(move.target, vm.ref, PowerAction.SHUTDOWN)
            await until(move.target, vm.ref, AT_REST, move.plan.shutdown_s)
        except (Conflict, Unsupported):
            await switch_off(move.target, vm.ref)
    return {}


async def undo_fence(move: Move) -> Result:
    await unfence(move)
    return {}


async def undo_start(move: Move) -> Result:
    """Only the kept one: the moved one is what goes."""
    if move.ran:
        await _start_here(move)
    return {}


async def undo_identity(move: Move) -> Result:
    if move.plan.uid:
        move.tools.identity.moved(move.plan.uid, made(move), move.plan.vm)
        await move.tools.identity.flush()
    return {}


async def undo_remove(move: Move) -> Result:
    driver = move.target
    if await look(driver, made(move)) is None:
        return {}
    if not isinstance(driver, Deletes):
        raise Unsupported(f"{driver.name} cannot delete a VM", cure="delete the stopped one there by hand")
    try:
        await driver.delete(made(move), disks=True)
    except NotFound:
        move.note("it was gone already")
    except BackendError as error:
        move.note(f"the stopped VM stays on {driver.name}: {error}")
    return {}


UNDO = (
    Step(
        name="undo-stop",
        stage=PREPARE,
        describe=lambda plan: f"Stop {plan.name} on {plan.to.connection}",
        run=undo_stop,
        again=lambda move: not _did(move, "undo-fence"),
        forward=True,
    ),
    Step(
        name="undo-fence",
        stage=SWITCH,
        describe=lambda plan: f"Unlock it on {plan.vm.connection}",
        when=_moves,
        run=undo_fence,
        forward=True,
    ),
    Step(name="undo-start", stage=SWITCH, describe=lambda plan: "", when=_moves, run=undo_start, forward=True),
    Step(name="undo-identity", stage=TIDY, describe=lambda plan: "", when=_moves, run=undo_identity, forward=True),
    Step(
        name="undo-remove",
        stage=TIDY,
        describe=lambda plan: f"Delete it on {plan.to.connection}",
        run=undo_remove,
        forward=True,
    ),
)
