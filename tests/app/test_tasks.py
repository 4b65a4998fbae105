"""A task tells how it ended, whatever its work does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from app import redaction
from app.store import Store, codec
from app.tasks import Offer, Stage, StageState, Task, Tasks, TaskState
from backends.errors import Cancelled, Conflict, OutcomeUnknown, Unreachable
from backends.model import Kind, Ref, now

REF = Ref("a", Kind.VM, "1")


def new(**more: object) -> Task:
    return Task("power", "Start web-01", ref=REF, **more)  # type: ignore[arg-type]


async def nothing(task: Task) -> None:
    task.note("done")


def raising(error: BaseException) -> Callable[[Task], Awaitable[None]]:
    async def work(task: Task) -> None:
        raise error

    return work


async def test_work_runs_and_its_stages_end() -> None:
    tasks = Tasks()
    states: list[TaskState] = []
    tasks.subscribe(lambda task: states.append(task.state))

    async def work(task: Task) -> None:
        task.stage("Copy").state = StageState.RUNNING
        tasks.changed(task)

    task = await tasks.wait(tasks.start(new(stages=[Stage("Copy"), Stage("Tidy")]), work))
    assert states == [TaskState.QUEUED, TaskState.RUNNING, TaskState.RUNNING, TaskState.DONE]
    assert [stage.state for stage in task.stages] == [StageState.DONE, StageState.WAITING]
    assert task.ended is not None and task.stages[0].ended is not None
    assert tasks.get(task.id) is task and await tasks.wait(task) is task


@pytest.mark.parametrize(
    ("error", "state", "text", "cure"),
    [
        (Conflict("taken", cure="rename"), TaskState.FAILED, "taken", "rename"),
        (Unreachable("no answer"), TaskState.FAILED, "no answer", ""),
        (OutcomeUnknown("timed out"), TaskState.UNKNOWN, "timed out", ""),
        (Cancelled("stopped"), TaskState.CANCELLED, "cancelled", ""),
        (asyncio.CancelledError(), TaskState.CANCELLED, "cancelled", ""),
    ],
)
async def test_every_end_has_its_state(error: BaseException, state: TaskState, text: str, cure: str) -> None:
    tasks = Tasks()
    task = new(stages=[Stage("Copy", StageState.RUNNING)])
    await tasks.wait(tasks.start(task, raising(error)))
    assert (task.state, task.error, task.cure) == (state, text, cure)
    assert task.stages[0].state == StageState.FAILED


async def test_a_bug_is_a_failed_task_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    task = await (tasks := Tasks()).wait(tasks.start(new(), raising(KeyError("oops"))))
    assert task.state == TaskState.FAILED and task.error == "KeyError: 'oops'"
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_a_secret_in_an_error_does_not_get_into_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_forms", set())
    monkeypatch.setattr(redaction, "_pattern", None)
    redaction.remember("hunter22")

    async def work(task: Task) -> None:
        task.note("using hunter22")
        raise Conflict("refused hunter22", cure="not hunter22")

    task = await (tasks := Tasks()).wait(tasks.start(new(), work))
    assert "hunter22" not in str(codec.encode(task))


async def test_what_cannot_be_known_stays_unknown() -> None:
    async def work(task: Task) -> None:
        task.state = TaskState.UNKNOWN
        raise Unreachable("the target does not answer")

    task = await (tasks := Tasks()).wait(tasks.start(new(), work))
    assert task.state == TaskState.UNKNOWN and not task.active


@pytest.mark.parametrize("begun", [True, False])
async def test_cancel_before_and_after_the_first_step(begun: bool) -> None:
    tasks = Tasks()
    cleaned: list[bool] = []

    async def work(task: Task) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    task = tasks.start(new(), work)
    if begun:
        await asyncio.sleep(0)
        assert task.state == TaskState.RUNNING
    tasks.cancel(task.id)
    tasks.cancel("unknown")
    await tasks.wait(task)
    await asyncio.sleep(0)
    assert (task.state, task.error, cleaned) == (TaskState.CANCELLED, "cancelled", [True] * begun)
    assert task.ended is not None
    tasks.retry(task.id)
    await asyncio.sleep(0)
    assert task.state == TaskState.RUNNING
    await tasks.close()
    assert task.state == TaskState.CANCELLED


async def test_retry_runs_the_same_work_once() -> None:
    tasks = Tasks()
    runs: list[int] = []

    async def work(task: Task) -> None:
        runs.append(1)
        await asyncio.sleep(0)
        if len(runs) == 1:
            raise Conflict("taken", cure="wait")

    task = await tasks.wait(tasks.start(new(stages=[Stage("Copy", StageState.RUNNING)]), work))
    assert task.state == TaskState.FAILED
    tasks.retry(task.id)
    assert (task.active, task.error, task.cure, task.ended) == (True, "", "", None)
    assert task.stages[0].state == StageState.WAITING
    tasks.retry(task.id)
    await tasks.wait(task)
    assert (task.state, len(runs)) == (TaskState.DONE, 2)


async def test_what_an_earlier_run_left_without_work_cannot_be_retried() -> None:
    tasks = Tasks()
    task = new(state=TaskState.INTERRUPTED)
    tasks.adopt(task)
    tasks.retry(task.id)
    assert task.state == TaskState.INTERRUPTED
    tasks.adopt(task, nothing)
    tasks.retry(task.id)
    await tasks.wait(task)
    assert task.state == TaskState.DONE


async def test_undo_takes_back_once_and_can_be_tried_again() -> None:
    tasks = Tasks()
    undone: list[Task] = []

    async def back(task: Task) -> None:
        undone.append(task)
        if len(undone) == 1:
            raise Unreachable("not now")

    target = Ref("b", Kind.VM, "1")
    task = tasks.start(new(undo="start it again", target=target, uid="u"), nothing, back)
    assert tasks.undo(task.id) is None
    await tasks.wait(task)
    undo = tasks.undo(task.id)
    assert undo is not None and (undo.ref, undo.target, undo.uid) == (target, REF, "u")
    assert tasks.undo(task.id) is None
    await tasks.wait(undo)
    assert undo.state == TaskState.FAILED and undo.retryable
    tasks.retry(undo.id)
    await tasks.wait(undo)
    assert undo.state == TaskState.DONE and undone == [undo, undo]


async def test_the_undo_of_a_move_shows_the_way_back() -> None:
    tasks = Tasks()
    there = Ref("b", Kind.VM, "1")
    moved = Task("move", "web-01 a -> b", ref=REF, target=there, state=TaskState.DONE, undo="moves it back")
    stuck = Task("move", "web-01 a -> b", ref=REF, target=there, state=TaskState.INTERRUPTED, undo="tidies")
    for task, title in ((moved, "Undo: web-01 b -> a"), (stuck, "Undo: web-01 a -> b")):
        tasks.adopt(task, undo=nothing)
        undo = tasks.undo(task.id)
        assert undo is not None and undo.title == title
        assert task.result["undone_by"] == undo.id
        await tasks.wait(undo)


async def test_undo_has_its_time() -> None:
    tasks = Tasks()
    task = tasks.start(new(undo="x", undo_until=now() - timedelta(seconds=1)), nothing, nothing)
    await tasks.wait(task)
    assert tasks.undo(task.id) is None
    task.undo_until = now() + timedelta(days=1)
    assert tasks.undo(task.id) is not None
    await tasks.close()


async def test_who_looks_on_cannot_break_the_work(caplog: pytest.LogCaptureFixture) -> None:
    tasks = Tasks()
    told: list[TaskState] = []

    def broken(task: Task) -> None:
        raise RuntimeError("bad widget")

    tasks.subscribe(broken)
    stop = tasks.subscribe(lambda task: told.append(task.state))
    task = await tasks.wait(tasks.start(new(), nothing))
    assert task.state == TaskState.DONE and told[-1] == TaskState.DONE
    assert "bad widget" in caplog.text
    stop()
    tasks.changed(task)
    assert len(told) == 3


async def test_close_cancels_what_runs_and_what_has_not_begun() -> None:
    tasks = Tasks()

    async def forever(task: Task) -> None:
        await asyncio.Event().wait()

    running = tasks.start(new(), forever)
    await asyncio.sleep(0)
    queued = tasks.start(new(), forever)
    await tasks.close()
    await asyncio.sleep(0)
    assert {running.state, queued.state} == {TaskState.CANCELLED}
    assert [task.id for task in tasks.all()] == [queued.id, running.id]


async def test_tasks_outlive_the_process_through_the_store(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    tasks = Tasks()
    pending: list[dict[str, object]] = []
    tasks.subscribe(lambda task: pending.append(codec.encode(task)))
    task = await tasks.wait(tasks.start(new(stages=[Stage("Copy")], undo="back"), nothing))
    for row in pending:
        await store.save_task(row)
    await store.close()
    again = await Store.open(tmp_path)
    (row,) = await again.tasks()
    assert codec.decode(Task, row) == task
    await again.close()


async def test_only_what_can_be_done_is_offered() -> None:
    tasks = Tasks()

    async def work(task: Task) -> None:
        raise Conflict("not now")

    def stored() -> Task:
        return Task("move", "x", state=TaskState.INTERRUPTED, retryable=True, undo="back")

    known, alone = stored(), stored()
    tasks.adopt(known, work, work)
    tasks.adopt(alone)
    assert tasks.offers(known) == {Offer.RESUME, Offer.UNDO}
    assert tasks.offers(alone) == frozenset()
    tasks.retry(known.id)
    assert tasks.offers(known) == {Offer.CANCEL}
    await tasks.wait(known)
    assert tasks.offers(known) == {Offer.RETRY, Offer.UNDO}
    known.undo_until = now() - timedelta(seconds=1)
    assert tasks.offers(known) == {Offer.RETRY}
    assert tasks.undo(known.id) is None
