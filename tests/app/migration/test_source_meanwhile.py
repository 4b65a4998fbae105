"""What befalls the source while it moves: the guest goes off late, or somebody deletes the VM."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from app.migration import Mode
from app.tasks import Offer, TaskState
from backends.demo import Driver
from backends.model import PowerAction, PowerState, Ref
from tests.app.migration.killed import run_and_kill
from tests.app.migration.pair import Pair
from tests.app.migration.test_crashes import recovered


async def test_a_cancel_while_the_guest_shuts_down_leaves_it_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, power, late = asyncio.Event(), Driver.power, set[asyncio.Task[None]]()

    async def slow(self: Driver, ref: Ref, action: PowerAction) -> None:
        if action != PowerAction.SHUTDOWN:
            return await power(self, ref, action)

        async def goes_off() -> None:
            await asyncio.sleep(0.5)
            await power(self, ref, PowerAction.OFF)

        late.add(asyncio.create_task(goes_off()))
        asked.set()

    monkeypatch.setattr(Driver, "power", slow)
    pair = await Pair.open(tmp_path)
    try:
        planned = await pair.migrations.plan(pair.vm.ref, pair.to_b(), mode=Mode.COLD)
        task = pair.migrations.start(planned)
        await asyncio.wait_for(asked.wait(), 30)
        pair.tasks.cancel(task.id)
        await pair.tasks.wait(task)
        await asyncio.gather(*late)
        assert task.state == TaskState.CANCELLED, (task.error, task.log)
        assert [(vm.ref.connection, vm.state) for vm in pair.runnable()] == [("a", PowerState.RUNNING)]
        assert pair.leftovers() == []
    finally:
        await pair.close()


async def test_the_copy_of_a_vm_that_was_deleted_meanwhile_is_kept(tmp_path: Path) -> None:
    pair = await Pair.open(tmp_path)
    try:
        ref, append = pair.vm.ref, pair.store.journal_append

        async def deleting(migration: str, entry: Mapping[str, object]) -> int:
            number = await append(migration, entry)
            if (entry["do"], entry.get("step")) == ("done", "verify"):
                await pair.a.delete(ref, disks=True)
            return number

        pair.store.journal_append = deleting  # type: ignore[method-assign]
        task = await pair.move(mode=Mode.COLD)
        assert task.state == TaskState.UNKNOWN
        assert "gone from a" in task.error
        (kept,) = pair.runnable()
        assert (kept.ref.connection, kept.state) == ("b", PowerState.OFF)
        assert pair.disk_hash(pair.b, kept), "its disk is there"
    finally:
        await pair.close()


async def test_a_vm_that_another_folder_moved_first_runs_as_it_did(tmp_path: Path) -> None:
    """The other one saw it off, because this one had stopped it for the copy: it would be left off over there."""
    pair = await Pair.open(tmp_path)
    other = await Pair.open(tmp_path / "other", a_path=str(tmp_path / "a"), b_path=str(tmp_path / "b"))
    append = pair.store.journal_append

    async def overtaken(migration: str, entry: Mapping[str, object]) -> int:
        number = await append(migration, entry)
        if (entry["do"], entry.get("step")) == ("done", "verify"):
            await other.refresh()
            task = await other.move(mode=Mode.COLD)
            assert task.state == TaskState.DONE, task.error
            assert [vm.state for vm in pair.runnable()] == [PowerState.OFF], "it was off when that one looked"
        return number

    pair.store.journal_append = overtaken  # type: ignore[method-assign]
    try:
        task = await pair.move(mode=Mode.COLD)
        assert task.state == TaskState.FAILED, task.log
        assert "another move took web-01 to b" in [text for _, text in task.log]
        assert [(vm.ref.connection, vm.state) for vm in pair.runnable()] == [("b", PowerState.RUNNING)]
        assert pair.leftovers() == []
    finally:
        await other.close()
        await pair.close()


async def test_a_resume_refused_because_the_vm_was_started_offers_no_dead_retry(tmp_path: Path) -> None:
    assert await asyncio.to_thread(run_and_kill, tmp_path, Mode.COLD, 14, "after")
    pair = await Pair.open(tmp_path)
    try:
        (task,) = await recovered(pair)
        assert pair.tasks.offers(task) == {Offer.RESUME, Offer.UNDO}
        await pair.a.power(pair.vm.ref, PowerAction.START)
        pair.tasks.retry(task.id)
        await pair.tasks.wait(task)
        assert (task.state, task.cure) == (TaskState.FAILED, "move it again")
        assert pair.tasks.offers(task) == frozenset(), "it was taken back: there is nothing to go on with"
        assert [(vm.ref.connection, vm.state) for vm in pair.runnable()] == [("a", PowerState.RUNNING)]
        assert pair.leftovers() == []
        await pair.refresh()
        again = await pair.move(mode=Mode.COLD)
        assert again.state == TaskState.DONE, (again.error, again.log)
    finally:
        await pair.close()
