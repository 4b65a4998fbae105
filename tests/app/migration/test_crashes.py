"""kill -9 at every journal write: the next start finds exactly one VM that can run, and nothing left over."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from app.migration import Mode
from app.tasks import Task, TaskState
from backends.model import PowerState
from tests.app.migration.pair import Pair

MOVE = textwrap.dedent(
    """
    import asyncio, os, signal, sys
    from pathlib import Path
    from app.migration import Mode
    from tests.app.migration.pair import Pair

    home, mode, last, when = Path(sys.argv[1]), Mode(sys.argv[2]), int(sys.argv[3]), sys.argv[4]

    async def main():
        pair = await Pair.open(home)
        append, count = pair.store.journal_append, 0

        async def killing(migration, entry):
            nonlocal count
            count += 1
            if count == last and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            number = await append(migration, entry)
            if count == last and when == "after":
                os.kill(os.getpid(), signal.SIGKILL)
            return number

        pair.store.journal_append = killing
        task = await pair.move(mode=mode)
        print(count, task.state, task.error)
        await pair.close()

    asyncio.run(main())
    """
)


def run_and_kill(home: Path, mode: Mode, last: int, when: str) -> bool:
    """A process that moves web-01 and is killed at a journal write. False: it came to its end before that."""
    done = subprocess.run(
        [sys.executable, "-c", MOVE, str(home), mode.value, str(last), when],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


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
        home = tmp_path / str(last)
        killed = await asyncio.to_thread(run_and_kill, home, mode, last, when)
        pair = await Pair.open(home)
        try:
            await judge(pair, answer)
        except AssertionError as error:
            raise AssertionError(f"killed {when} write {last}: {error}") from error
        finally:
            await pair.close()
    assert last > (8 if mode == Mode.LIVE else 24), "the loop went over every write"
