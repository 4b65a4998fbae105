"""How a live move is ended: its disks' lines are cut before it is aborted, and again and again until it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from backends.errors import OutcomeUnknown
from backends.libvirt import live
from backends.model import LiveOptions

MOVE = live.Move("u", 1, 2, "qemu:///system", "10.0.0.2", LiveOptions(copy_storage=("vda",)))


class Host:
    """Stands for a Client: what it is asked runs at once and is noted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.post_copy = False
        monkeypatch.setattr(live, "ABORT_EVERY_S", 0.01)
        monkeypatch.setattr(live, "_in_post_copy", lambda conn, uuid: self.post_copy)
        monkeypatch.setattr(
            live, "_yank", lambda conn, uuid, memory: self.asked.append("memory" if memory else "disks")
        )
        monkeypatch.setattr(live, "_abort_job", lambda conn, uuid: self.asked.append("abort"))

    async def call(self, function: Callable[[Any], Any], **_: object) -> Any:
        return function(None)


async def until(done: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not done():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_the_disks_are_cut_before_every_abort_and_the_memory_later(monkeypatch: pytest.MonkeyPatch) -> None:
    host, work = Host(monkeypatch), asyncio.get_running_loop().create_future()
    monkeypatch.setattr(live, "YANK_AFTER_S", 0.1)
    aborting = asyncio.create_task(live._abort(host, MOVE, work))  # type: ignore[arg-type]
    await until(lambda: "memory" in host.asked)
    work.set_exception(OutcomeUnknown("gone"))
    await aborting
    assert host.asked[:4] == ["disks", "abort", "disks", "abort"]
    assert host.asked[-2:] == ["memory", "abort"]


async def test_what_does_not_end_in_time_is_ended_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    host, work = Host(monkeypatch), asyncio.get_running_loop().create_future()
    monkeypatch.setattr(live, "ABORTS_WITHIN_S", 0.05)
    with pytest.raises(OutcomeUnknown, match="does not end"):
        await live._abort(host, MOVE, work)  # type: ignore[arg-type]
    host.asked.clear()
    await until(lambda: "abort" in host.asked)
    work.set_result(None)
    await until(lambda: not live.ENDINGS)


async def test_a_vm_that_needs_the_rest_of_its_memory_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    host, work = Host(monkeypatch), asyncio.get_running_loop().create_future()
    host.post_copy = True
    monkeypatch.setattr(live, "ABORTS_WITHIN_S", 0.05)
    aborting = asyncio.create_task(live._abort(host, MOVE, work))  # type: ignore[arg-type]
    await asyncio.sleep(0.1)
    assert not aborting.done()
    work.set_result(None)
    await aborting
    assert host.asked == []
