"""The moved VM is deleted by hand on the target: whenever that happens, exactly one VM can run, or is offered back."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from app.migration import Mode, interrupted
from app.migration.courier import Courier, Event
from app.migration.job import Job
from app.migration.mover import Mover
from app.paths import private_folder
from app.tasks import Task, TaskState
from backends.errors import Unreachable
from backends.model import Kind, PowerAction, PowerState, Ref, now
from tests.app.migration import cloudlike
from tests.app.migration.pair import Pair
from tests.app.migration.test_later import settle


class Killed(BaseException):
    """Ends the program where it is: nothing of a move catches it."""


class Near(Courier):
    """Copies in a thread: what a process is for is tested elsewhere."""

    async def carry(self, job: Job, secrets: Mapping[str, str], tell: Callable[[Event], None]) -> Event:
        events: list[Event] = []
        final = await asyncio.to_thread(Mover(job, events.append, threading.Event()).run)
        for event in events:
            tell(event)
        return final


@pytest_asyncio.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    opened = await Pair.open(tmp_path, courier=Near())
    yield opened
    await opened.close()


def remove_by_hand(pair: Pair) -> bool:
    """What an outsider does on b; False where there is nothing yet."""
    pair.b.world._stamp = 0
    pair.b.world.load()
    vms = [vm for vm in pair.b.world.vms.values() if vm.name == "web-01"]
    for vm in vms:
        pair.b._drop(vm, disks=True)
    return bool(vms)


async def undone(pair: Pair, task: Task) -> Task:
    undo = pair.tasks.undo(task.id)
    assert undo is not None, (task.state, task.error, task.undo)
    return await pair.tasks.wait(undo)


async def test_undo_says_that_it_is_gone_and_brings_the_kept_one_back_when_asked_again(pair: Pair) -> None:
    kept = pair.vm.ref
    task = await pair.move(mode=Mode.COLD)
    remove_by_hand(pair)
    first = await undone(pair, task)
    assert first.state == TaskState.FAILED
    assert "not on b any more: nothing was touched" in first.error
    assert "is lost" in first.cure
    assert pair.runnable() == []
    assert "is gone from b: brings back the one kept on a" in task.undo
    assert "what changed in it since" in task.undo
    second = await undone(pair, task)
    assert second.state == TaskState.DONE, (second.error, second.log)
    (vm,) = pair.runnable()
    assert (vm.ref, vm.state) == (kept, PowerState.RUNNING)
    assert pair.migrations.fenced(kept) == ""
    assert pair.identity.uid_of(kept) == task.uid
    assert await pair.store.open_migrations() == []
    again = await pair.move(mode=Mode.COLD)
    assert again.state == TaskState.DONE, again.error


async def test_what_the_tree_sees_is_offered_at_once_and_taken_back_when_it_returns(pair: Pair) -> None:
    task = await pair.move(mode=Mode.COLD)
    await pair.refresh()
    (there,) = pair.runnable()
    remove_by_hand(pair)
    await pair.refresh()
    assert "is gone from b" in task.undo
    assert pair.migrations.fenced(pair.vm.ref), "it is locked away as long as nobody asked for it"
    pair.b.world.put(there)
    await pair.refresh()
    assert "Stops web-01 on b" in task.undo
    undo = await undone(pair, task)
    assert undo.state == TaskState.DONE, undo.error
    assert [vm.ref.connection for vm in pair.running()] == ["a"]
    assert len(pair.runnable()) == 1


async def test_a_vm_that_came_back_is_not_deleted_by_a_rescue(pair: Pair) -> None:
    task = await pair.move(mode=Mode.COLD)
    (there,) = pair.runnable()
    remove_by_hand(pair)
    assert (await undone(pair, task)).state == TaskState.FAILED
    pair.b.world.put(there)
    refused = await undone(pair, task)
    assert refused.state == TaskState.FAILED
    assert "on b again: nothing was touched" in refused.error
    assert [vm.ref for vm in pair.running()] == [there.ref]


@pytest.mark.parametrize("how", ["elsewhere", "unreachable", "kept one gone", "kept one runs"])
async def test_a_rescue_that_could_make_two_or_none_is_refused(pair: Pair, how: str) -> None:
    kept = pair.vm
    task = await pair.move(mode=Mode.COLD)
    await pair.refresh()
    (there,) = pair.runnable()
    if how == "elsewhere":
        # Taken away by other hands, under another name of its platform but with its UUID.
        remove_by_hand(pair)
        await pair.refresh()
        pair.b.world.vms["moved"] = there.__class__(
            ref=Ref("b", Kind.VM, "moved"), name="moved", parent=there.parent, uuid=there.uuid, state=PowerState.OFF
        )
        pair.b.world.save()
    elif how == "unreachable":
        remove_by_hand(pair)
        await pair.refresh()
        pair.sites.lose("b")
    elif how == "kept one gone":
        remove_by_hand(pair)
        await pair.a.delete(kept.ref, disks=True)
    else:
        remove_by_hand(pair)
        pair.a.world.fenced.clear()
        await pair.a.power(kept.ref, PowerAction.START)
    before = pair.runnable()
    for _ in range(2):
        refused = await undone(pair, task)
        assert refused.state == TaskState.FAILED, (refused.state, refused.error)
        assert refused.cure or how == "unreachable"
    assert pair.runnable() == before
    assert await pair.store.open_migrations() == []


async def test_the_offer_survives_the_program(tmp_path: Path) -> None:
    pair = await Pair.open(tmp_path, courier=Near())
    task = await pair.move(mode=Mode.COLD)
    remove_by_hand(pair)
    assert (await undone(pair, task)).state == TaskState.FAILED
    await pair.close()
    again = await Pair.open(tmp_path, courier=Near())
    try:
        again.tasks.adopt(task)
        await again.migrations.recover()
        assert "is gone from b" in task.undo
        undo = await undone(again, task)
        assert undo.state == TaskState.DONE, undo.error
        assert [vm.ref.connection for vm in again.running()] == ["a"]
    finally:
        await again.close()


async def test_a_copy_that_is_gone_has_nothing_left_to_delete(pair: Pair) -> None:
    await pair.stop_vm()
    task = await pair.move(mode=Mode.COLD, copy=True)
    remove_by_hand(pair)
    undo = await undone(pair, task)
    assert undo.state == TaskState.DONE, undo.error
    assert [vm.ref.connection for vm in pair.runnable()] == ["a"]


async def writes(pair: Pair, last: int, then: Any) -> list[int]:
    """From now on `then()` is called before the `last`th journal write; how many there were is counted."""
    append, count = pair.store.journal_append, [0]

    async def writing(migration: str, entry: dict[str, Any]) -> int:
        count[0] += 1
        if count[0] == last:
            then()
        return int(await append(migration, entry))

    pair.store.journal_append = writing  # type: ignore[method-assign, assignment]
    return count


async def ended(pair: Pair, task: Task, where: str) -> None:
    """Whatever a move found when its VM was removed: over, and one VM runs here or is offered back."""
    assert task.state in (TaskState.FAILED, TaskState.DONE), (where, task.state, task.error, task.log)
    assert await pair.store.open_migrations() == [], where
    assert len(pair.runnable()) <= 1, where
    if not pair.runnable():
        assert len(pair.a.world.vms) == 2, f"{where}: one is kept"
        for _ in range(2):
            undo = await undone(pair, task)
            if undo.state == TaskState.DONE:
                break
        assert undo.state == TaskState.DONE, (where, undo.error)
    else:
        assert task.state == TaskState.FAILED, where
    assert [vm.ref.connection for vm in pair.running()] == ["a"], where


@pytest.mark.parametrize("cloud", [False, True])
@pytest.mark.parametrize("killed", [False, True])
async def test_it_is_removed_at_any_moment_of_the_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cloud: bool, killed: bool
) -> None:
    """Before every journal write from its creation on; with and without the end of the program at that moment."""
    if cloud:
        monkeypatch.setattr("backends.demo.Driver.starts_on_create", False, raising=False)
        cloudlike.apply(monkeypatch.setattr)
    offered, last, total = 0, 15, 99
    while last <= total:
        home = private_folder(tmp_path / str(last))
        pair = await Pair.open(home, courier=Near())
        removed: list[bool] = []

        def act(pair: Pair = pair, removed: list[bool] = removed) -> None:
            removed.append(remove_by_hand(pair))
            if killed and removed[0]:
                raise Killed

        count = await writes(pair, last, act)
        try:
            planned = await pair.migrations.plan(pair.vm.ref, pair.to_b(), mode=Mode.COLD)
            task = pair.migrations.start(planned)
            try:
                await pair.tasks.wait(task)
                running = pair.tasks._running.get(task.id)
                assert running is None
            except Killed:
                pass
            total = count[0] if not (removed and removed[0]) else total
            if removed and removed[0] and killed:
                await pair.close()
                pair = await Pair.open(home, courier=Near())
                (task,) = await pair.migrations.recover()
                await pair.rest(task)
            if removed and removed[0]:
                offered += bool(task.undo)
                await ended(pair, task, f"before write {last}")
        finally:
            await pair.close()
        last += 1
    assert offered >= 2, "it was removed after the point of no return as well"


async def test_a_rescue_is_killed_at_every_journal_write(tmp_path: Path) -> None:
    begun = private_folder(tmp_path / "begun")
    pair = await Pair.open(begun, courier=Near())
    kept = pair.vm.ref
    task = await pair.move(mode=Mode.COLD)
    remove_by_hand(pair)
    assert (await undone(pair, task)).state == TaskState.FAILED
    offered = task.undo
    await pair.close()
    last, done = 0, False
    while not done:
        last += 1
        home = tmp_path / str(last)
        shutil.copytree(begun, home)
        pair = await Pair.open(home, courier=Near())
        task.undo = offered
        pair.tasks.adopt(task)
        await pair.migrations.recover()

        def kill() -> None:
            raise Killed

        await writes(pair, last, kill)
        undo = pair.tasks.undo(task.id)
        assert undo is not None
        await pair.tasks.wait(undo)
        done = undo.state == TaskState.DONE
        assert len(pair.runnable()) <= 1
        await pair.close()
        again = await Pair.open(home, courier=Near())
        try:
            again.tasks.adopt(task)
            for found in await again.migrations.recover():
                await again.rest(found)
            if not again.runnable():
                assert (await undone(again, task)).state == TaskState.DONE
            assert [vm.ref for vm in again.running()] == [kept], last
            assert len(again.runnable()) == 1
            assert await again.store.open_migrations() == []
        finally:
            await again.close()
    assert last > 8


async def test_a_vm_that_is_started_again_under_an_undo_is_stopped_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kept one's side does not answer, and somebody starts the stopped one meanwhile: never two."""
    monkeypatch.setattr(interrupted, "ASK_AGAIN_S", 0.05)
    task = await pair.move(mode=Mode.COLD)
    (there,) = pair.runnable()
    unfence = pair.a.unfence

    async def unreachable(*args: Any, **words: Any) -> None:
        pair.a.unfence = unfence  # type: ignore[method-assign]
        await pair.b.power(there.ref, PowerAction.START)
        raise Unreachable("no answer")

    pair.a.unfence = unreachable  # type: ignore[method-assign]
    undo = await undone(pair, task)
    await pair.rest(undo)
    assert undo.state == TaskState.DONE, (undo.error, undo.log)
    assert [vm.ref.connection for vm in pair.running()] == ["a"]
    assert len(pair.runnable()) == 1


async def test_a_live_move_whose_vm_vanishes_keeps_the_disks_and_ends(pair: Pair) -> None:
    removed: list[str] = []
    kept = pair.vm.disks[0].source

    async def remove_leftovers(paths: Any, target: object) -> tuple[str, ...]:
        removed.extend(paths)
        return tuple(paths)

    pair.a.remove_leftovers = remove_leftovers  # type: ignore[attr-defined, method-assign]
    moved = pair.identity.moved

    def by_hand(*args: Any) -> object:
        remove_by_hand(pair)
        return moved(*args)

    pair.identity.moved = by_hand  # type: ignore[method-assign, assignment]
    task = await pair.move(mode=Mode.LIVE)
    assert task.state == TaskState.FAILED, (task.state, task.error)
    assert "is gone from b" in task.error
    assert kept in task.cure
    assert removed == []
    assert await pair.store.open_migrations() == []


async def test_a_kept_source_outlives_its_time_while_the_other_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = await Pair.open(tmp_path, courier=Near())
    try:
        task = await pair.move(mode=Mode.COLD)
        source = pair.vm.ref
        remove_by_hand(pair)
        monkeypatch.setattr("app.migration.later.now", lambda: now() + timedelta(days=8))
        await settle(pair)
        (retired,) = [item for item in pair.tasks.all() if item.kind == "retire"]
        assert retired.state == TaskState.FAILED
        assert "undo its move" in retired.cure
        pair.a.world.load()
        assert source.id in pair.a.world.vms
        assert any(past.task == task.id for past in pair.migrations._kept)
    finally:
        await pair.close()
