"""A VM that was started and stopped elsewhere while its move was interrupted: what it wrote then may not be lost."""

from __future__ import annotations

import asyncio
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


async def writes(home: Path) -> None:
    """What another tool does: start it, let the guest write, stop it. Only the platform is there, not the program."""
    pair = await Pair.open(home)
    try:
        await pair.a.power(pair.vm.ref, PowerAction.START)
        with pair.a.world.disk(pair.vm.disks[0].source).open("r+b") as disk:
            disk.seek(AT)
            disk.write(b"written meanwhile")
        await pair.a.power(pair.vm.ref, PowerAction.OFF)
    finally:
        await pair.close()


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
    await writes(tmp_path)
    pair = await Pair.open(tmp_path)
    try:
        task = await gone_on(pair)
        assert task.state == TaskState.FAILED, task.log
        assert any("vda changed on a after it was copied" in text for _, text in task.log), task.log
        assert kept(pair) == b"written meanwhile"
        assert [(vm.ref.connection, vm.state) for vm in pair.runnable()] == [("a", PowerState.RUNNING)]
        assert pair.leftovers() == []
    finally:
        await pair.close()
