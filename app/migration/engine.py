"""Walks an itinerary forward, or back; every step is in the journal before and after it is done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from app.migration.itinerary import itinerary
from app.migration.later import recheck
from app.migration.move import Move, Vanished
from app.migration.shield import uninterrupted
from app.migration.steps import Step
from app.tasks import StageState, Task, TaskState
from backends.errors import BackendError, Cancelled, Conflict, NotFound, OutcomeUnknown, Unreachable
from backends.model import Level, now

log = logging.getLogger(__name__)
MAKING = frozenset({"disks", "create"})
"""Steps that make things on the target: one that gave no answer may still be at it after the roll-back."""


async def forward(move: Move) -> None:
    """Do every step that is not done yet, then close the journal.

    On an error or a cancel everything is taken back and the error raised: the source is as it was. Past the point
    of no return, and where a side cannot say what it has, the journal stays open and the task is UNKNOWN. Vanished
    is for the caller to end.
    """
    record = move.journal.record
    steps = itinerary(move.plan, undoes=record.undoes)
    beyond = any(step.forward and step.name in record.begun for step in steps)
    move.doubted = set(record.disks)
    try:
        for step in steps:
            if step.name in record.done and not step.again(move):
                continue
            _enter(move.task, step.stage)
            beyond = beyond or step.forward
            await _do(move, step, stoppable=step.stoppable and not beyond)
    except (Exception, asyncio.CancelledError) as error:
        await _broke(move, error, beyond)
        if isinstance(error, OutcomeUnknown) and move.task.state != TaskState.UNKNOWN:
            raise Conflict(f"{error}; everything was taken back", cure="try again") from error
        raise
    _leave(move.task)
    await uninterrupted(move.journal.close("done"))


async def _do(move: Move, step: Step, *, stoppable: bool) -> None:
    move.repeated = step.name in move.journal.record.begun
    if stoppable:
        await uninterrupted(move.journal.intent(step.name))
        result = await step.run(move)
        await uninterrupted(move.journal.done(step.name, result))
        return

    async def whole() -> None:
        await move.journal.intent(step.name)
        await move.journal.done(step.name, await step.run(move))

    await _waited(move, whole(), step.forward)


async def _waited(move: Move, work: Coroutine[Any, Any, None], past_cancel: bool) -> None:
    """A short step is waited for; past the point of no return a cancel comes too late."""
    try:
        await uninterrupted(work)
    except asyncio.CancelledError:
        if not past_cancel:
            raise
        move.note("too late to cancel: it is on the other side already")


async def _broke(move: Move, error: BaseException, beyond: bool) -> None:
    if move.task.state == TaskState.UNKNOWN:
        move.note(f"not known: {error}")
        return
    if isinstance(error, Vanished):
        return
    if beyond and move.journal.record.undoes:
        await _undo_broke(move, error)
        return
    if beyond:
        move.note(f"the VM is on {move.plan.to.connection}; what is left to do waits: {error}")
        move.task.state = TaskState.UNKNOWN
        return
    reason = "cancelled" if isinstance(error, (asyncio.CancelledError, Cancelled)) else str(error)
    move.note(f"taking everything back: {reason}")
    try:
        await back(move)
    except Exception as second:
        move.note(f"taking it back waits: {second}")
        move.task.state = TaskState.UNKNOWN
        cure = second.cure if isinstance(second, BackendError) else ""
        raise OutcomeUnknown(f"{reason}; taking it back waits: {second}", cure=cure) from error


async def _undo_broke(move: Move, error: BaseException) -> None:
    """Taking a finished move back stopped in the middle. What is gone for good ends it; all else is waited for."""
    plan, sites = move.plan, move.tools.sites
    sides = tuple(dict.fromkeys((plan.vm.connection, plan.to.connection)))
    if isinstance(error, NotFound) and all(sites.get(name) is not None for name in sides):
        cure = f"look at {' and '.join(sides)}, and start the one that is left by hand"
        move.tools.tell(f"{move.task.title}: failed for good: {error}", Level.RED, plan.vm)
        await uninterrupted(move.journal.close("failed"))
        raise Conflict(f"{error}; it cannot go on", cure=cure) from error
    move.task.state = TaskState.UNKNOWN
    text = f"{error}; it has begun and waits for {' and '.join(_silent(move, sides) or sides)}"
    move.note(text)
    raise Unreachable(text, cure="it goes on by itself when both sides answer") from error


def _silent(move: Move, sides: tuple[str, ...]) -> list[str]:
    found = []
    for name in sides:
        try:
            move.tools.sites.driver(name)
        except BackendError:
            found.append(name)
    return found


async def back(move: Move) -> None:
    """Take back every step that was begun, last first, then close the journal. A cancel does not stop it.

    Raises what a side raises; the journal stays open then, and the next call goes on.
    """
    await _quietly(_back(move))


async def _quietly(work: Coroutine[Any, Any, None]) -> None:
    try:
        await uninterrupted(work)
    except asyncio.CancelledError:
        log.debug("cancelled while taking back: done all the same")


async def _back(move: Move) -> None:
    record = move.journal.record
    if not record.back:
        await move.journal.back()
    if (record.begun - record.done.keys()) & MAKING:
        await recheck(move.tools.store, move.plan.id, move.plan.to.connection)
    for step in reversed(itinerary(move.plan)):
        if step.undo is None or step.name not in record.begun or step.name in record.undone:
            continue
        await move.journal.undoing(step.name)
        await step.undo(move)
        await move.journal.undone(step.name)
    place = move.went or f"{move.plan.vm.connection} as before"
    move.note(f"everything was taken back: it is on {place}")
    move.tools.tell(f"{move.task.title}: taken back, nothing is left on the target", Level.AMBER, move.plan.vm)
    await move.journal.close("taken back")


def _enter(task: Task, name: str) -> None:
    for stage in task.stages:
        if stage.name == name and stage.state != StageState.RUNNING:
            stage.state, stage.began = StageState.RUNNING, stage.began or now()
        elif stage.name != name and stage.state == StageState.RUNNING:
            stage.state, stage.ended = StageState.DONE, now()


def _leave(task: Task) -> None:
    for stage in task.stages:
        if stage.state in (StageState.RUNNING, StageState.WAITING):
            stage.state, stage.ended = StageState.DONE, now()
