"""Undo and retry after the VM went on: never two that can run, and a move that never began is over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from app.migration import Mode
from app.migration.journal import Journal
from app.tasks import Task, TaskState
from backends.model import Kind, PowerAction, PowerState, Ref
from tests.app.migration.pair import Pair


@pytest.mark.parametrize("mode", [Mode.COLD, Mode.LIVE])
async def test_a_move_is_not_taken_back_while_its_vm_is_elsewhere(tmp_path: Path, mode: Mode) -> None:
    pair = await Pair.open(tmp_path)
    try:
        first = await pair.move(mode=Mode.COLD)
        await pair.refresh()
        (there,) = pair.runnable()
        planned = await pair.migrations.plan(there.ref, Ref("a", Kind.CONNECTION, "a"), mode=mode)
        second = await pair.tasks.wait(pair.migrations.start(planned))
        assert second.state == TaskState.DONE, second.error
        assert first.undo == "", "it is not offered while a later move stands"
        assert first.result["undo_first"] == second.id
        assert pair.tasks.undo(first.id) is None
        first.undo = "asked for all the same"
        undone = pair.tasks.undo(first.id)
        assert undone is not None
        await pair.tasks.wait(undone)
        assert undone.state == TaskState.FAILED
        assert f"undo {second.id}" in undone.error
        vms = [*pair.a.world.vms.values(), *pair.b.world.vms.values()]
        (vm,) = [vm for vm in vms if vm.name == "web-01" and vm.state == PowerState.RUNNING]
        assert vm.ref.connection == "a"
        assert pair.migrations.fenced(vm.ref) == "", "it came back, it may be started and moved"
        assert await pair.store.open_migrations() == []
    finally:
        await pair.close()


async def test_a_finished_move_is_not_run_again(tmp_path: Path) -> None:
    pair = await Pair.open(tmp_path)
    try:
        task = await pair.move(mode=Mode.COLD)
        fenced = dict(pair.a.world.fenced)
        pair.tasks.retry(task.id)
        await pair.tasks.wait(task)
        assert [vm.ref.connection for vm in pair.runnable()] == ["b"]
        assert pair.a.world.fenced == fenced, "the source is locked away as before"
    finally:
        await pair.close()


async def test_a_retry_waits_for_the_other_move(tmp_path: Path) -> None:
    pair = await Pair.open(tmp_path)
    try:
        planned = await pair.migrations.plan(pair.vm.ref, pair.to_b(), mode=Mode.COLD)
        first = pair.migrations.start(planned)
        pair.tasks.cancel(first.id)
        await pair.tasks.wait(first)
        again = await pair.migrations.plan(pair.vm.ref, pair.to_b(), mode=Mode.COLD)
        assert again.verdict.allowed, "a move that never began is not under way"
        second = pair.migrations.start(again)
        pair.tasks.retry(first.id)
        await pair.tasks.wait(first)
        await pair.tasks.wait(second)
        assert {first.state, second.state} == {TaskState.FAILED, TaskState.DONE}, (first.error, second.error)
        assert [vm.ref.connection for vm in pair.running()] == ["b"]
        assert len(pair.runnable()) == 1
    finally:
        await pair.close()


async def undone(pair: Pair, task: Task) -> Task:
    """The task that took `task` back, or tried to."""
    undo = pair.tasks.undo(task.id)
    assert undo is not None, "it was offered"
    return await pair.tasks.wait(undo)


async def test_moves_are_taken_back_last_first(tmp_path: Path) -> None:
    pair = await Pair.open(tmp_path)
    try:
        first = await pair.move(mode=Mode.COLD)
        await pair.refresh()
        (there,) = pair.runnable()
        planned = await pair.migrations.plan(there.ref, Ref("a", Kind.CONNECTION, "a"), mode=Mode.COLD)
        second = await pair.tasks.wait(pair.migrations.start(planned))
        assert (first.undo, second.undo != "") == ("", True)
        last = await undone(pair, second)
        assert last.state == TaskState.DONE, last.error
        assert "is lost" in first.undo, "now it is the last one"
        await pair.refresh()
        last = await undone(pair, first)
        assert last.state == TaskState.DONE, last.error
        assert [vm.ref.connection for vm in pair.running()] == ["a"]
        assert len(pair.runnable()) == 1
    finally:
        await pair.close()


async def test_a_move_whose_kept_vm_is_gone_stops_nothing(tmp_path: Path) -> None:
    pair = await Pair.open(tmp_path)
    try:
        kept = pair.vm.ref
        task = await pair.move(mode=Mode.COLD)
        await pair.a.delete(kept, disks=True)
        for _ in range(2):
            undo = await undone(pair, task)
            assert undo.state == TaskState.FAILED
            assert "not on a any more" in undo.error
        assert [vm.ref.connection for vm in pair.running()] == ["b"], "it runs on"
        assert await pair.store.open_migrations() == []
    finally:
        await pair.close()


async def test_a_moved_vm_that_went_away_by_other_hands_is_not_started_here(tmp_path: Path) -> None:
    pair = await Pair.open(tmp_path)
    try:
        task = await pair.move(mode=Mode.COLD)
        fenced = dict(pair.a.world.fenced)
        (there,) = pair.runnable()
        await pair.b.power(there.ref, PowerAction.OFF)
        await pair.b.delete(there.ref, disks=True)
        undo = await undone(pair, task)
        assert undo.state == TaskState.FAILED
        assert "not on b any more" in undo.error
        assert pair.runnable() == []
        assert pair.a.world.fenced == fenced
    finally:
        await pair.close()


@pytest.mark.parametrize("side", ["a", "b"])
async def test_an_undo_that_could_not_begin_is_over(tmp_path: Path, side: str) -> None:
    pair = await Pair.open(tmp_path)
    try:
        task = await pair.move(mode=Mode.COLD)
        pair.sites.lose(side)
        undo = await undone(pair, task)
        assert undo.state == TaskState.FAILED
        assert await pair.store.open_migrations() == [], "nothing is left to go on with"
        assert pair.migrations.awaited() == set()
        pair.sites.regain(side)
        assert [vm.ref.connection for vm in pair.running()] == ["b"]
        again = await undone(pair, task)
        assert again.state == TaskState.DONE, again.error
        assert [vm.ref.connection for vm in pair.running()] == ["a"]
    finally:
        await pair.close()


async def test_an_undo_that_was_only_written_down_is_not_gone_on_with(tmp_path: Path) -> None:
    pair = await Pair.open(tmp_path)
    try:
        task = await pair.move(mode=Mode.COLD)
        (past,) = list(pair.migrations._kept)
        await Journal.begin(pair.store, past.plan, "crashed", undoes=True, known=past.known)
        (found,) = await pair.migrations.recover()
        assert (found.id, found.state) == ("crashed", TaskState.FAILED)
        assert await pair.store.open_migrations() == []
        assert [vm.ref.connection for vm in pair.running()] == ["b"]
        again = await undone(pair, task)
        assert again.state == TaskState.DONE, again.error
    finally:
        await pair.close()


async def test_an_undo_whose_kept_vm_vanishes_in_the_middle_ends(tmp_path: Path) -> None:
    pair = await Pair.open(tmp_path)
    told: list[str] = []
    try:
        kept = pair.vm.ref
        task = await pair.move(mode=Mode.COLD)
        pair.migrations._tools.tell = lambda text, level, ref: told.append(text)
        (past,) = list(pair.migrations._kept)
        journal = await Journal.begin(pair.store, past.plan, "crashed", undoes=True, known=past.known)
        await journal.intent("undo-stop")
        await pair.a.delete(kept, disks=True)
        (found,) = await pair.migrations.recover()
        await pair.migrations.looked()
        await pair.rest(found)
        assert found.state == TaskState.FAILED, (found.state, found.error, found.log)
        assert found.cure
        assert await pair.store.open_migrations() == []
        assert len([text for text in told if "for good" in text]) == 1
        assert task.state == TaskState.DONE
    finally:
        await pair.close()


async def test_a_twin_by_other_hands_stops_the_undo_before_it_begins(tmp_path: Path) -> None:
    pair = await Pair.open(tmp_path)
    try:
        task = await pair.move(mode=Mode.COLD)
        (there,) = pair.runnable()
        twin = replace(there, ref=Ref("b", Kind.VM, "by-hand"), name="by-hand", disks=())
        pair.b.world.vms[twin.ref.id] = twin
        pair.b.world.save()
        await pair.refresh()
        undo = await undone(pair, task)
        assert undo.state == TaskState.FAILED
        assert "as well" in undo.error or "by now" in undo.error
        assert [vm.ref.connection for vm in pair.running()] == ["b"]
    finally:
        await pair.close()


async def test_an_undo_that_had_begun_says_whom_it_waits_for(tmp_path: Path) -> None:
    pair = await Pair.open(tmp_path)
    try:
        task = await pair.move(mode=Mode.COLD)
        undo = pair.tasks.undo(task.id)
        assert undo is not None

        stop = pair.b.power

        async def power(ref: Ref, action: PowerAction) -> None:
            await stop(ref, action)
            if not pair.sites.down:
                pair.sites.lose("a")

        pair.b.power = power  # type: ignore[method-assign]
        await pair.tasks.wait(undo)
        assert undo.state == TaskState.UNKNOWN
        assert "waits for a" in undo.error
        assert task.undo == "", "it is under way"
        pair.sites.regain("a")
        await pair.rest(undo)
        assert undo.state == TaskState.DONE, undo.error
        assert [vm.ref.connection for vm in pair.running()] == ["a"]
    finally:
        await pair.close()
