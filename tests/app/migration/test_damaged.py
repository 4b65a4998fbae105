"""What the store has of one migration cannot be read: the others are taken up all the same."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.migration import Mode
from app.migration.kept import SETTING
from app.tasks import TaskState
from tests.app.migration.killed import run_and_kill
from tests.app.migration.pair import Pair
from tests.app.migration.test_crashes import recovered


@pytest.mark.parametrize("entry", [{"do": "begin"}, {"do": "begin", "plan": 5, "task": "x", "version": 1}, {"do": 1}])
async def test_a_damaged_journal_holds_up_no_other(tmp_path: Path, entry: dict[str, object]) -> None:
    pair = await Pair.open(tmp_path)
    await pair.store.journal_append("damaged", entry)
    await pair.store.set_setting(SETTING, {"damaged": {"plan": {}, "known": 5}})
    await pair.close()
    assert await asyncio.to_thread(run_and_kill, tmp_path, Mode.COLD, 14, "after")
    pair = await Pair.open(tmp_path)
    try:
        (task,) = await recovered(pair)
        assert task.state == TaskState.INTERRUPTED, (task.error, task.log)
        undone = pair.tasks.undo(task.id)
        assert undone is not None
        await pair.tasks.wait(undone)
        assert undone.state == TaskState.DONE, undone.error
        assert [vm.ref.connection for vm in pair.running()] == ["a"]
        assert await pair.store.open_migrations() == ["damaged"], "it is told, and left alone"
    finally:
        await pair.close()
