"""What to do about a migration whose owner ended: look at both sides first, then go on, go back, or wait."""

from __future__ import annotations

from enum import StrEnum
from typing import NoReturn

from app.migration.engine import back
from app.migration.itinerary import itinerary
from app.migration.journal import VERSION, Record
from app.migration.move import Move, look
from app.migration.plan import Mode
from app.tasks import TaskState
from backends.errors import Conflict
from backends.model import PowerState, Vm

SWITCHING = frozenset({"fence", "create"})


class Next(StrEnum):
    """What becomes of an interrupted migration."""

    FORWARD = "forward"
    """It goes on by itself: the VM may be on the target already, or all bytes are there and verified."""
    BACK = "back"
    """It is taken back by itself: that had begun, or an older version made it."""
    ASK = "ask"
    """It was copying: a person says whether it goes on or goes back."""


def what_next(record: Record) -> Next:
    """From the journal alone. Pure."""
    if record.undoes:
        return Next.FORWARD
    beyond = any(step.forward and step.name in record.begun for step in itinerary(record.plan))
    if record.back:
        return Next.BACK
    if record.version != VERSION:
        return Next.FORWARD if beyond else Next.BACK
    if beyond or record.plan.mode == Mode.LIVE or record.begun & SWITCHING:
        return Next.FORWARD
    if record.plan.copy or record.begun <= {"check"}:
        return Next.BACK
    return Next.ASK


async def found(move: Move) -> str:
    """Ask both sides what they have, in plain words. Raises Unreachable where one cannot say."""
    plan, record = move.plan, move.journal.record
    uuid = plan.spec.uuid if plan.spec is not None else ""
    here = await look(move.source, plan.vm)
    there = await look(move.target, None, uuid) if uuid else None
    step = _last_step(record)
    return (
        f"interrupted {step}; {plan.name} is {_state(here)} on {plan.vm.connection}, "
        f"{_state(there)} on {plan.to.connection}"
    )


def _state(vm: Vm | None) -> str:
    return "not there" if vm is None else PowerState(vm.state).value


def _last_step(record: Record) -> str:
    steps = [step for step in itinerary(record.plan, undoes=record.undoes) if step.name in record.begun]
    if not steps:
        return "before anything was touched"
    last = steps[-1]
    after = "after" if last.name in record.done else "in"
    return f"{after} step {last.name!r} ({last.stage})"


async def release(move: Move) -> None:
    """An interrupted copy holds nothing of the source while it waits for an answer."""
    if "export" in move.journal.record.begun and "release" not in move.journal.record.done:
        await move.exports.discard_export(move.plan.id)


async def go_back(move: Move) -> NoReturn:
    """Take an interrupted migration back: its task ends as failed, and says that nothing is left."""
    try:
        await back(move)
    except Exception:
        move.task.state = TaskState.UNKNOWN
        raise
    raise Conflict("it was interrupted and taken back: the VM is where it was", cure="start it again")
