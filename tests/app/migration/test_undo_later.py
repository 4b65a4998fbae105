"""Undo and retry after the VM went on: never two that can run, and a move that never began is over."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.migration import Mode
from app.tasks import TaskState
from backends.model import Kind, PowerState, Ref
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
        undone = pair.tasks.undo(first.id)
        assert undone is not None
        await pair.tasks.wait(undone)
        assert undone.state == TaskState.FAILED
        assert "cannot be taken back" in undone.error
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
