"""A step of a move: what it does, in which stage, and how it is taken back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from app.migration.move import Move
from app.migration.plan import Plan

PREPARE, COPY, SWITCH, VERIFY, TIDY = "Prepare", "Copy", "Switch", "Verify", "Tidy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step. `run` and `undo` may be called again after a crash and find their work done.

    `describe(plan)` is its line in the plan; `when(plan)` whether it belongs to this plan at all.
    `again(move)`: whether who takes a broken move up does it anew, though it is done: what it made lived only as long
    as its process, or what it proved may not be true any more.
    `forward`: from here on nothing is taken back any more; errors wait and go on.
    `stoppable`: a cancel ends it at once; the others are short, and are waited for.
    """

    name: str
    stage: str
    describe: Callable[[Plan], str]
    run: Callable[[Move], Awaitable[dict[str, Any]]]
    when: Callable[[Plan], bool] = lambda plan: True
    undo: Callable[[Move], Awaitable[None]] | None = None
    again: Callable[[Move], bool] = lambda move: False
    forward: bool = False
    stoppable: bool = False
