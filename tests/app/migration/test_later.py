"""What moves owe afterwards: a late arrival goes, a kept source goes when its time is over, and never before."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from app.migration import Mode, kept
from app.tasks import TaskState
from backends.driver import Settings
from backends.errors import OutcomeUnknown
from backends.model import Ref
from tests.app.migration.pair import Pair


async def settle(pair: Pair) -> None:
    """The next start of the program, until all that is owed was looked at."""
    await pair.migrations.recover()
    while pair.migrations._later._work:
        for work in tuple(pair.migrations._later._work):
            await work


async def test_a_vm_that_is_made_after_the_roll_back_is_removed_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = await Pair.open(tmp_path)
    make, late = pair.b.create_vm, []

    async def silent(*args: object, **values: object) -> object:
        late.append((args, values))
        raise OutcomeUnknown("create: no answer within 30 s")

    monkeypatch.setattr(pair.b, "create_vm", silent)
    task = await pair.move(mode=Mode.COLD)
    assert task.state == TaskState.FAILED, task.error
    ((args, values),) = late
    vm = next(vm for vm in pair.a.world.vms.values() if vm.name == "web-01")
    host = next(iter(pair.b.world.hosts)).ref
    monkeypatch.undo()
    spec, migration = args[1], str(values["migration"])
    sinks = [await pair.b.prepare_disk(host, spec, 0, pool="", migration=migration)]  # type: ignore[arg-type]
    sink = pair.b.open_sink(sinks[0], Settings({}))
    ident = sink.commit()
    await make(host, spec, [ident], migration=migration)  # type: ignore[arg-type]
    assert len(pair.runnable()) == 2, "the late arrival is there"
    await pair.close()
    again = await Pair.open(tmp_path)
    try:
        await settle(again)
        assert [item.ref for item in again.runnable()] == [vm.ref]
        assert again.leftovers() == []
    finally:
        await again.close()


@pytest.mark.parametrize("there", [True, False])
async def test_a_kept_source_is_deleted_when_its_time_is_over_and_the_other_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    pair = await Pair.open(tmp_path)
    source = pair.vm.ref
    task = await pair.move(mode=Mode.COLD)
    assert task.state == TaskState.DONE, task.error
    if not there:
        (vm,) = pair.runnable()
        pair.b.world.vms.pop(vm.ref.id)
        pair.b.world.save()
    await settle(pair)
    assert source.id in pair.a.world.vms, "its time is not over"
    await pair.close()
    real = kept.now
    monkeypatch.setattr("app.migration.later.now", lambda: real() + timedelta(days=8))
    again = await Pair.open(tmp_path)
    try:
        await settle(again)
        (retired,) = [task for task in again.tasks.all() if task.kind == "retire"]
        assert retired.state == (TaskState.DONE if there else TaskState.FAILED), retired.error
        again.a.world.load()
        assert (source.id in again.a.world.vms) is not there
        assert bool(again.migrations.fenced(source)) is not there
    finally:
        await again.close()


async def test_what_is_being_taken_back_at_its_last_moment_is_not_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time is over in the middle of an Undo: one of the two has it, the other leaves it alone."""
    pair = await Pair.open(tmp_path)
    try:
        source = pair.vm.ref
        task = await pair.move(mode=Mode.COLD)
        held, reached, unfence = asyncio.Event(), asyncio.Event(), pair.a.unfence

        async def slow(vm: Ref, *, migration: str) -> None:
            reached.set()
            await held.wait()
            await unfence(vm, migration=migration)

        monkeypatch.setattr(pair.a, "unfence", slow)
        undo = pair.tasks.undo(task.id)
        assert undo is not None
        await asyncio.wait_for(reached.wait(), 30)
        real = kept.now
        monkeypatch.setattr("app.migration.later.now", lambda: real() + timedelta(days=8))
        pair.migrations._later.begin()
        await asyncio.gather(*pair.migrations._later._work)
        held.set()
        await pair.tasks.wait(undo)
        assert undo.state == TaskState.DONE, undo.error
        assert [vm.ref for vm in pair.runnable()] == [source]
        assert not [task for task in pair.tasks.all() if task.kind == "retire"]
    finally:
        await pair.close()


async def test_what_is_being_deleted_is_not_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = await Pair.open(tmp_path)
    try:
        task = await pair.move(mode=Mode.COLD)
        held, reached, retire = asyncio.Event(), asyncio.Event(), pair.a.retire

        async def slow(vm: Ref, *, migration: str) -> None:
            reached.set()
            await held.wait()
            await retire(vm, migration=migration)

        monkeypatch.setattr(pair.a, "retire", slow)
        real = kept.now
        monkeypatch.setattr("app.migration.later.now", lambda: real() + timedelta(days=8))
        pair.migrations._later.begin()
        await asyncio.wait_for(reached.wait(), 30)
        undo = pair.tasks.undo(task.id)
        assert undo is not None
        await pair.tasks.wait(undo)
        assert (undo.state, "already" in undo.error) == (TaskState.FAILED, True), undo.error
        held.set()
        await asyncio.gather(*pair.migrations._later._work)
        assert [vm.ref.connection for vm in pair.running()] == ["b"]
    finally:
        await pair.close()
