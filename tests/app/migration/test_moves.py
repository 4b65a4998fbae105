"""Moves between two strict platforms: what arrives, what stays, what is taken back."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from app.migration import Mapping, Mode
from app.migration.courier import Courier
from app.tasks import StageState, TaskState
from backends.errors import Invalid
from backends.model import PowerAction, PowerState
from tests.app.migration.pair import Pair


async def test_a_running_vm_moves_cold_and_runs_there_with_the_same_bytes(pair: Pair) -> None:
    vm = pair.vm
    pair.a.world.materialize(vm)
    before, uid = pair.disk_hash(pair.a, vm), pair.identity.uid_of(vm.ref)
    task = await pair.move(mode=Mode.COLD)
    assert task.state == TaskState.DONE, (task.error, task.log)
    (moved,) = pair.running()
    assert moved.ref.connection == "b"
    assert str(moved.ref) == task.result["target_ref"]
    assert pair.disk_hash(pair.b, moved) == before
    assert moved.uuid == vm.uuid
    assert pair.runnable() == [moved]
    assert pair.a.world.fenced
    assert pair.leftovers() == []
    assert pair.identity.uid_of(moved.ref) == uid
    assert isinstance(task.result["downtime_s"], float)
    assert task.result["bytes_sent"]
    assert all(stage.state == StageState.DONE for stage in task.stages)
    assert [stage.name for stage in task.stages] == ["Prepare", "Copy", "Verify", "Switch", "Tidy"]
    assert await pair.store.open_migrations() == []


async def test_a_vm_that_is_off_stays_off(pair: Pair) -> None:
    await pair.stop_vm()
    task = await pair.move()
    assert task.state == TaskState.DONE, task.error
    (moved,) = pair.runnable()
    assert (moved.ref.connection, moved.state) == ("b", PowerState.OFF)


async def test_undo_of_a_cold_move_brings_it_back(pair: Pair) -> None:
    task = await pair.move(mode=Mode.COLD)
    assert "is lost" in task.undo
    undone = pair.tasks.undo(task.id)
    assert undone is not None
    await pair.tasks.wait(undone)
    assert undone.state == TaskState.DONE, (undone.error, undone.log)
    (vm,) = pair.runnable()
    assert (vm.ref.connection, vm.state) == ("a", PowerState.RUNNING)
    assert pair.leftovers() == []
    assert pair.identity.uid_of(vm.ref) == task.uid


async def test_a_live_move_and_its_undo(pair: Pair) -> None:
    vm = pair.vm
    uid = pair.identity.uid_of(vm.ref)
    task = await pair.move()
    assert task.state == TaskState.DONE, (task.error, task.log)
    assert task.result["mode"] == "live"
    assert task.result["downtime_s"] == pytest.approx(0.04)
    (moved,) = pair.running()
    assert moved.ref.connection == "b"
    assert pair.identity.uid_of(moved.ref) == uid
    await pair.refresh()
    undone = pair.tasks.undo(task.id)
    assert undone is not None
    await pair.tasks.wait(undone)
    assert undone.state == TaskState.DONE, (undone.error, undone.log)
    assert [vm.ref.connection for vm in pair.running()] == ["a"]


async def test_a_copy_leaves_the_source_alone_and_is_another_vm(pair: Pair) -> None:
    await pair.stop_vm()
    task = await pair.move(copy=True)
    assert task.state == TaskState.DONE, (task.error, task.log)
    first, second = pair.runnable()
    assert {first.ref.connection, second.ref.connection} == {"a", "b"}
    assert first.uuid != second.uuid
    assert pair.identity.uid_of(first.ref) != pair.identity.uid_of(second.ref)
    assert pair.a.world.fenced == {}
    undone = pair.tasks.undo(task.id)
    assert undone is not None
    await pair.tasks.wait(undone)
    assert [vm.ref.connection for vm in pair.runnable()] == ["a"]
    assert pair.leftovers() == []


@pytest.mark.parametrize("call", ["prepare_disk", "create_vm", "open_sink"])
@pytest.mark.parametrize("error", ["quota", "denied", "throttled"])
async def test_an_error_of_the_target_leaves_everything_as_it_was(tmp_path: Path, call: str, error: str) -> None:
    pair = await Pair.open(tmp_path, b_faults=f"{call}={error}")
    try:
        before = pair.vm
        task = await pair.move(mode=Mode.COLD)
        assert task.state == TaskState.FAILED, (task.state, task.error)
        assert "a fault that was asked for" in task.error
        assert [(vm.ref, vm.state) for vm in pair.runnable()] == [(before.ref, PowerState.RUNNING)]
        assert pair.leftovers() == []
        assert pair.b.world.vms == {}
        assert await pair.store.open_migrations() == []
    finally:
        await pair.close()


@pytest.mark.parametrize("call", ["begin_export", "fence", "power"])
async def test_an_error_of_the_source_leaves_everything_as_it_was(pair: Pair, call: str) -> None:
    pair.a.faults.add(call, "denied")
    before = pair.vm
    task = await pair.move(mode=Mode.COLD)
    assert task.state == TaskState.FAILED
    assert [(vm.ref, vm.state) for vm in pair.runnable()] == [(before.ref, PowerState.RUNNING)]
    assert pair.leftovers() == []
    assert pair.b.world.vms == {}


async def test_a_failed_move_can_be_tried_again(pair: Pair) -> None:
    pair.b.faults.add("create_vm", "quota")
    task = await pair.move(mode=Mode.COLD)
    assert task.state == TaskState.FAILED
    pair.tasks.retry(task.id)
    await pair.tasks.wait(task)
    assert task.state == TaskState.DONE, (task.error, task.log)
    assert [vm.ref.connection for vm in pair.running()] == ["b"]
    assert pair.leftovers() == []


async def test_a_flipped_byte_on_the_target_fails_before_the_switch(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry = pair.migrations._tools.courier.carry

    async def flip(job, secrets, tell):  # type: ignore[no-untyped-def]
        done = await carry(job, secrets, tell)
        if not job.disk_id:
            (path,) = pair.b.world.disks.glob("cw*-0.img")
            data = bytearray(path.read_bytes())
            data[4_000_000] ^= 1
            path.write_bytes(data)
        return done

    monkeypatch.setattr(pair.migrations._tools.courier, "carry", flip)
    task = await pair.move(mode=Mode.COLD)
    assert task.state == TaskState.FAILED
    assert "is not what was sent" in task.error
    assert [vm.ref.connection for vm in pair.running()] == ["a"]
    assert pair.leftovers() == []


@pytest.mark.parametrize("step", ["disks", "stop", "copy", "verify", "create", "fence", "start", "confirm"])
async def test_cancel_at_any_step_takes_everything_back(pair: Pair, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = pair.vm
    planned = await pair.migrations.plan(before.ref, pair.to_b(), mode=Mode.COLD)
    append = pair.store.journal_append

    async def watched(migration, entry):  # type: ignore[no-untyped-def]
        number = await append(migration, entry)
        if entry["do"] == "intent" and entry["step"] == step:
            pair.tasks.cancel(task.id)
        return number

    monkeypatch.setattr(pair.store, "journal_append", watched)
    task = pair.migrations.start(planned)
    await pair.tasks.wait(task)
    assert task.state == TaskState.CANCELLED, (task.error, task.log)
    assert [(vm.ref, vm.state) for vm in pair.runnable()] == [(before.ref, PowerState.RUNNING)]
    assert pair.leftovers() == []
    assert pair.b.world.vms == {}


@pytest.mark.parametrize("step", ["adopt", "identity"])
async def test_past_the_point_of_no_return_a_cancel_is_too_late(
    pair: Pair, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = await pair.migrations.plan(pair.vm.ref, pair.to_b(), mode=Mode.COLD)
    append = pair.store.journal_append

    async def watched(migration, entry):  # type: ignore[no-untyped-def]
        number = await append(migration, entry)
        if entry["do"] == "intent" and entry["step"] == step:
            pair.tasks.cancel(task.id)
        return number

    monkeypatch.setattr(pair.store, "journal_append", watched)
    task = pair.migrations.start(planned)
    await pair.tasks.wait(task)
    assert task.state == TaskState.DONE, (task.error, task.log)
    assert [vm.ref.connection for vm in pair.running()] == ["b"]


async def test_cancel_of_a_live_move_leaves_it_where_it_was(tmp_path: Path) -> None:
    pair = await Pair.open(tmp_path, a_move_seconds="20")
    try:
        planned = await pair.migrations.plan(pair.vm.ref, pair.to_b())
        task = pair.migrations.start(planned)
        under_way = asyncio.Event()
        pair.tasks.subscribe(lambda task: under_way.set() if task.stages[1].progress.done_bytes else None)
        await under_way.wait()
        pair.tasks.cancel(task.id)
        await pair.tasks.wait(task)
        assert task.state == TaskState.CANCELLED, (task.error, task.log)
        assert [vm.ref.connection for vm in pair.running()] == ["a"]
        assert pair.b.world.vms == {}
    finally:
        await pair.close()


async def test_a_vm_started_during_the_copy_is_not_left_behind(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = pair.vm.ref
    append = pair.store.journal_append

    async def watched(migration, entry):  # type: ignore[no-untyped-def]
        if entry["do"] == "intent" and entry["step"] == "fence":
            await pair.a.power(ref, PowerAction.START)
        return await append(migration, entry)

    monkeypatch.setattr(pair.store, "journal_append", watched)
    task = await pair.move(mode=Mode.COLD)
    assert task.state == TaskState.FAILED
    assert "was started during the move" in task.error
    assert [vm.ref.connection for vm in pair.running()] == ["a"]
    assert pair.leftovers() == []


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("print('hello')", "makes no sense"),
        ("print('[1]')", "makes no sense"),
        ("import os; os._exit(9)", "exit code 9"),
        ("import sys; print('boom', file=sys.stderr); sys.exit(2)", "boom"),
        ('print(\'{"event": "error", "type": "Denied", "message": "not you"}\')', "not you"),
        ("print('x' * 200000)", "makes no sense"),
    ],
)
async def test_a_mover_that_misbehaves_fails_the_move_and_nothing_else(tmp_path: Path, program: str, said: str) -> None:
    pair = await Pair.open(tmp_path, courier=Courier((sys.executable, "-c", program)))
    try:
        task = await pair.move(mode=Mode.COLD)
        assert task.state == TaskState.FAILED, (task.error, task.log)
        assert said in task.error
        assert [vm.ref.connection for vm in pair.running()] == ["a"]
        assert pair.leftovers() == []
    finally:
        await pair.close()


async def test_what_is_red_does_not_start(pair: Pair) -> None:
    await pair.stop_vm()
    planned = await pair.migrations.plan(pair.vm.ref, pair.to_b(), mode=Mode.LIVE)
    assert not planned.verdict.allowed
    with pytest.raises(Invalid, match="does not run"):
        pair.migrations.start(planned)


async def test_one_vm_moves_once_at_a_time(pair: Pair) -> None:
    planned = await pair.migrations.plan(pair.vm.ref, pair.to_b(), mode=Mode.COLD)
    task = pair.migrations.start(planned)
    second = await pair.migrations.plan(pair.vm.ref, pair.to_b(), mode=Mode.COLD)
    assert second.verdict.text == "a move of it is under way"
    await pair.tasks.wait(task)
    assert task.state == TaskState.DONE


async def test_what_is_kept_for_undo_says_so(pair: Pair) -> None:
    ref = pair.vm.ref
    await pair.move(mode=Mode.COLD)
    assert "kept for Undo" in pair.migrations.fenced(ref)
    assert not pair.migrations.quick([ref], pair.to_b()).allowed


async def test_a_mapping_that_does_not_exist_is_red(pair: Pair) -> None:
    planned = await pair.migrations.plan(
        pair.vm.ref, pair.to_b(), mapping=Mapping(networks=(("lan", "nowhere"),), storage="nothing")
    )
    codes = {finding.code for finding in planned.verdict.findings}
    assert {"network", "storage"} <= codes


async def test_quick_says_what_the_full_plan_says(pair: Pair) -> None:
    quick = pair.migrations.quick([pair.vm.ref], pair.to_b())
    planned = await pair.migrations.plan(pair.vm.ref, pair.to_b())
    assert quick.colour == planned.verdict.colour == "green"
    assert quick.text == planned.verdict.text == "live, stops about 40 ms"
    same = pair.migrations.quick([pair.vm.ref], pair.vm.parent)  # type: ignore[arg-type]
    assert (same.colour, same.text) == ("red", "is already here")


async def test_experience_makes_the_next_forecast(pair: Pair) -> None:
    await pair.move(mode=Mode.COLD)
    assert (await pair.store.setting("migration.experience"))["rates"]["cold demo>demo"] > 0
