"""A post-copy move that broke off after its switch: the VM on the target needs what is on the source."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.migration import Mode, interrupted
from app.tasks import TaskState
from backends.demo.world import rebase
from backends.driver import Driver
from backends.errors import Conflict, Unreachable
from backends.model import LiveOptions, LiveResult, PowerState, Ref
from tests.app.migration.pair import Pair


class Halves:
    """A platform's live move that breaks off half way `times` times; what the source is told to let go is noted."""

    def __init__(self, pair: Pair, times: int, error: Exception) -> None:
        self.pair, self.times, self.error = pair, times, error
        self.calls = 0
        self.gone: list[Ref] = []
        self._let_go = pair.a.let_go
        pair.a.move_live = self.move_live  # type: ignore[method-assign, assignment]
        pair.a.let_go = self.let_go  # type: ignore[method-assign]

    async def let_go(self, vm: Ref, target: Driver) -> None:
        self.gone.append(vm)
        await self._let_go(vm, target)

    async def move_live(self, vm: Ref, *args: Any) -> LiveResult:
        self.calls += 1
        source, target = self.pair.a.world, self.pair.b.world
        here = source.get(vm)
        there = rebase(replace(here, state=PowerState.RUNNING), "b", next(iter(target.hosts)).ref)
        target.put(there)
        if self.calls <= self.times:
            source.put(replace(here, state=PowerState.MIGRATING))
            raise self.error
        source.remove(vm)
        return LiveResult(target=there.ref, seconds=0.1, downtime_s=None, bytes_sent=1)


async def test_it_is_gone_on_with_and_the_source_is_left_alone(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupted, "ASK_AGAIN_S", 0.05)
    halves = Halves(pair, 6, Unreachable("the line broke"))
    task = await pair.move(mode=Mode.LIVE, live=LiveOptions(post_copy=True))
    assert task.state == TaskState.UNKNOWN
    assert "not all of its memory is there" in task.error
    await pair.rest(task)
    assert task.state == TaskState.DONE, (task.error, task.log)
    assert halves.calls == 7
    texts = [text for _, text in task.log]
    assert len(texts) == len(set(texts)), "what is looked at again and again is said once"
    assert halves.gone == [], "the half that is on the source was not touched"
    assert [vm.ref.connection for vm in pair.running()] == ["b"]
    assert len(pair.runnable()) == 1


async def test_a_hand_over_that_the_platform_does_not_know_as_post_copy_is_over(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guest had not been switched yet: all of its memory is on the target, and what waits here must not resume."""
    monkeypatch.setattr(interrupted, "ASK_AGAIN_S", 0.05)
    halves = Halves(pair, 1, Conflict("a VM of this UUID is on the target already"))
    task = await pair.move(mode=Mode.LIVE, live=LiveOptions(post_copy=True))
    await pair.rest(task)
    assert task.state == TaskState.DONE, (task.error, task.log)
    assert [ref.connection for ref in halves.gone] == ["a"]
    assert [vm.ref.connection for vm in pair.running()] == ["b"]
    assert (len(pair.runnable()), pair.a.world.fenced) == (1, {}), "nothing is left on the source"
