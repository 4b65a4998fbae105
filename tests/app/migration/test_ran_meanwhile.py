"""A VM that was started and stopped elsewhere during its move: what it wrote then may not be lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from app.migration import Mode
from app.tasks import Task, TaskState
from backends.demo import Driver
from backends.model import PowerAction, PowerState
from tests.app.migration import cloudlike
from tests.app.migration.killed import run_and_kill
from tests.app.migration.pair import Pair
from tests.app.migration.test_crashes import recovered

AT = 3 << 20


async def runs(pair: Pair, *, writes: bool = True) -> None:
    """What another tool does: start it, let the guest write, stop it."""
    await pair.a.power(pair.vm.ref, PowerAction.START)
    await pair.refresh()
    if writes:
        with pair.a.world.disk(pair.vm.disks[0].source).open("r+b") as disk:
            disk.seek(AT)
            disk.write(b"written meanwhile")
    await pair.a.power(pair.vm.ref, PowerAction.OFF)
    await pair.refresh()


async def gone_on(pair: Pair) -> Task:
    """The interrupted move, resumed where that is asked."""
    (task,) = await recovered(pair)
    if task.state == TaskState.INTERRUPTED:
        pair.tasks.retry(task.id)
        await pair.tasks.wait(task)
    return task


def kept(pair: Pair) -> bytes:
    """What the disk of the only VM that can run holds where the guest wrote."""
    (vm,) = pair.runnable()
    with {"a": pair.a, "b": pair.b}[vm.ref.connection].world.disk(vm.disks[0].source).open("rb") as disk:
        disk.seek(AT)
        return disk.read(17)


def refused(pair: Pair, task: Task) -> None:
    """It was taken back: the source has what the guest wrote, and runs as it did."""
    assert task.state == TaskState.FAILED, task.log
    assert any("vda changed on a after it was copied" in text for _, text in task.log), task.log
    assert kept(pair) == b"written meanwhile"
    assert [(vm.ref.connection, vm.state) for vm in pair.runnable()] == [("a", PowerState.RUNNING)]
    assert pair.leftovers() == []


def once_done(pair: Pair, step: str, meddle: Callable[[], Awaitable[None]]) -> None:
    """Call `meddle` when a step of the move is done."""
    append = pair.store.journal_append

    async def meddling(migration: str, entry: Mapping[str, object]) -> int:
        number = await append(migration, entry)
        if (entry["do"], entry.get("step")) == ("done", step):
            await meddle()
        return number

    pair.store.journal_append = meddling  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("kind", "last"),
    [("host", 11), ("host", 14), ("host", 16), ("host", 19), ("cloud", 17)],
    ids=["copied", "verified", "released", "fencing", "fencing for a cloud"],
)
async def test_what_it_wrote_is_never_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, last: int
) -> None:
    """From "the disk is copied" to "the fence begins": all that the journal says is done was done to older bytes."""
    more = ("cloud",) if kind == "cloud" else ()
    if more:
        monkeypatch.setattr(Driver, "starts_on_create", False, raising=False)
        cloudlike.apply(monkeypatch.setattr)
    assert await asyncio.to_thread(run_and_kill, tmp_path, Mode.COLD, last, "after", *more)
    others = await Pair.open(tmp_path)
    await runs(others)
    await others.close()
    pair = await Pair.open(tmp_path)
    try:
        refused(pair, await gone_on(pair))
    finally:
        await pair.close()


@pytest.mark.parametrize("blind", [False, True], ids=["seen", "blind"])
@pytest.mark.parametrize("step", ["copy", "verify", "create"])
async def test_nor_is_it_in_a_move_that_goes_on(pair: Pair, step: str, blind: bool) -> None:
    """Seen by its events, or behind a line that broke meanwhile."""

    async def meddle() -> None:
        if blind:
            pair.sites.lose("a")
            await runs(others)
            pair.sites.regain("a")
        else:
            await runs(pair)

    others = await Pair.open(pair.store.path.parent)
    try:
        once_done(pair, step, meddle)
        refused(pair, await pair.move(mode=Mode.COLD))
    finally:
        await others.close()


async def test_one_that_wrote_nothing_moves(pair: Pair) -> None:
    once_done(pair, "copy", lambda: runs(pair, writes=False))
    task = await pair.move(mode=Mode.COLD)
    assert task.state == TaskState.DONE, (task.error, task.log)
    assert any("may have run since" in text for _, text in task.log), task.log
