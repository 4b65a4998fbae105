"""kill -9 at every journal write: the next start finds exactly one VM that can run, and nothing left over."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from app.migration import Mode, live
from app.migration.job import Job
from app.paths import private_folder
from app.store import codec
from app.tasks import Task, TaskState
from backends.demo import Driver
from backends.demo.world import rebase
from backends.model import DiskSpec, PowerState
from tests.app.migration import cloudlike
from tests.app.migration.killed import run_and_kill
from tests.app.migration.pair import Pair


async def recovered(pair: Pair) -> list[Task]:
    tasks = await pair.migrations.recover()
    for task in tasks:
        await pair.rest(task)
    return tasks


async def judge(pair: Pair, answer: str) -> None:
    """After a crash: recover, answer what is asked, and count."""
    tasks = await recovered(pair)
    assert len(pair.runnable()) == 1, [vm.ref for vm in pair.runnable()]
    for task in tasks:
        assert task.log, "the next start says what it found"
        if task.state == TaskState.INTERRUPTED:
            assert "interrupted" in task.error
            if answer == "resume":
                pair.tasks.retry(task.id)
                await pair.tasks.wait(task)
                assert task.state == TaskState.DONE, (task.error, task.log)
            else:
                undone = pair.tasks.undo(task.id)
                assert undone is not None
                await pair.tasks.wait(undone)
                assert undone.state == TaskState.DONE, (undone.error, undone.log)
        assert task.state in (TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED), (task.state, task.error)
    (vm,) = pair.runnable()
    assert vm.state == PowerState.RUNNING, (vm.ref, [task.log for task in tasks])
    assert pair.leftovers() == []
    assert await pair.store.open_migrations() == []


@pytest.mark.parametrize("answer", ["resume", "take back"])
@pytest.mark.parametrize("mode", [Mode.COLD, Mode.LIVE])
async def test_kill_at_every_journal_write(tmp_path: Path, mode: Mode, answer: str) -> None:
    last, killed = 0, True
    when = "after" if answer == "resume" else "before"
    while killed:
        last += 1
        home = private_folder(tmp_path / str(last))
        killed = await asyncio.to_thread(run_and_kill, home, mode, last, when)
        pair = await Pair.open(home)
        try:
            await judge(pair, answer)
        except AssertionError as error:
            raise AssertionError(f"killed {when} write {last}: {error}") from error
        finally:
            await pair.close()
    assert last > (8 if mode == Mode.LIVE else 24), "the loop went over every write"


async def test_kill_at_every_write_of_a_move_into_a_cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There the source is fenced before the VM is made, because making it starts it."""
    monkeypatch.setattr(Driver, "starts_on_create", False, raising=False)
    cloudlike.apply(monkeypatch.setattr)
    last, killed = 0, True
    while killed:
        last += 1
        home = private_folder(tmp_path / str(last))
        killed = await asyncio.to_thread(run_and_kill, home, Mode.COLD, last, "after", "cloud")
        pair = await Pair.open(home)
        try:
            await judge(pair, "resume")
        except AssertionError as error:
            raise AssertionError(f"killed after write {last}: {error}") from error
        finally:
            await pair.close()
    assert last > 24


async def test_a_side_that_cannot_be_reached_means_unknown_and_nothing_touched(tmp_path: Path) -> None:
    assert run_and_kill(tmp_path, Mode.COLD, 14, "after")
    pair = await Pair.open(tmp_path)
    try:
        before = (pair.runnable(), pair.leftovers())
        pair.sites.lose("b")
        (task,) = await pair.migrations.recover()
        await asyncio.sleep(0.2)
        assert task.state == TaskState.UNKNOWN
        assert "nothing touched" in task.error
        assert (pair.runnable(), pair.leftovers()) == before
        pair.sites.regain("b")
        await pair.rest(task)
        assert task.state == TaskState.INTERRUPTED, (task.state, task.error)
        pair.tasks.retry(task.id)
        await pair.tasks.wait(task)
        assert task.state == TaskState.DONE, (task.error, task.log)
        assert [vm.ref.connection for vm in pair.running()] == ["b"]
    finally:
        await pair.close()


@pytest.mark.parametrize(
    ("here", "there", "ends", "runs_on"),
    [
        (PowerState.PAUSED, PowerState.RUNNING, TaskState.DONE, ["b"]),
        (PowerState.OFF, PowerState.RUNNING, TaskState.DONE, ["b"]),
        (None, PowerState.RUNNING, TaskState.DONE, ["b"]),
        (PowerState.PAUSED, None, TaskState.FAILED, ["a"]),
        (PowerState.RUNNING, None, TaskState.FAILED, ["a"]),
        (PowerState.OFF, None, TaskState.FAILED, []),
        (PowerState.RUNNING, PowerState.RUNNING, TaskState.UNKNOWN, ["a", "b"]),
        (None, None, TaskState.UNKNOWN, []),
        (PowerState.PAUSED, PowerState.PAUSED, TaskState.UNKNOWN, []),
    ],
)
async def test_what_an_interrupted_live_move_may_have_left(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    here: PowerState | None,
    there: PowerState | None,
    ends: TaskState,
    runs_on: list[str],
) -> None:
    """A VM that runs on the target is never resumed on the source; what is not clear is not touched."""
    monkeypatch.setattr(live, "SETTLE_S", 0.3)
    assert run_and_kill(tmp_path, Mode.LIVE, 4, "after")
    pair = await Pair.open(tmp_path)
    try:
        vm = pair.vm
        host = next(iter(pair.b.world.hosts)).ref
        for driver, state, place in ((pair.a, here, vm.parent), (pair.b, there, host)):
            assert place is not None
            if state is None:
                driver.world.vms.pop(vm.ref.id, None)
                driver.world.save()
            else:
                driver.world.put(replace(rebase(vm, driver.name, place), state=state))
        (task,) = await pair.migrations.recover()
        end = asyncio.get_running_loop().time() + 20
        while not (task.ended and not task.active and len(task.log) > 1):
            assert asyncio.get_running_loop().time() < end, (task.state, task.log)
            await asyncio.sleep(0.02)
        assert task.state == ends, (task.error, task.log)
        assert [item.ref.connection for item in pair.running()] == runs_on
        if ends == TaskState.DONE:
            assert (len(pair.runnable()), pair.a.world.fenced) == (1, {}), "nothing is left on the source"
    finally:
        await pair.close()


def test_a_mover_ends_with_its_parent(tmp_path: Path) -> None:
    """kill -9 of the owner in the middle of a copy: no process goes on writing."""
    source = tmp_path / "source.img"
    source.write_bytes(os.urandom(1 << 20) * 64)
    job = Job(
        source=DiskSpec(backend="demo", target="vda", size_bytes=64 << 20, args={"path": str(source)}),
        sink=DiskSpec(backend="demo", target="vda", size_bytes=64 << 20, args={"path": str(tmp_path / "sink.img")}),
        bandwidth_bps=1 << 20,
    )
    program = textwrap.dedent(
        """
        import subprocess, sys
        child = subprocess.Popen([sys.executable, "-m", "app.migration.mover"], stdin=subprocess.PIPE)
        child.stdin.write(sys.argv[1].encode() + b"\\n")
        child.stdin.flush()
        print(child.pid, flush=True)
        child.wait()
        """
    ).replace("\\\\", "\\")
    owner = subprocess.Popen(
        [sys.executable, "-c", program, codec.dumps(codec.encode(job))],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    assert owner.stdout is not None
    with owner.stdout:
        mover = psutil.Process(int(owner.stdout.readline()))
        while not (tmp_path / "sink.img.partial").exists():
            assert mover.is_running()
            time.sleep(0.05)
        owner.kill()
        owner.wait()
        psutil.wait_procs([mover], 60)
    assert not mover.is_running()
    assert (tmp_path / "sink.img.partial").exists()
    assert not (tmp_path / "sink.img").exists()
