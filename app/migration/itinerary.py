"""The itinerary of a move: its steps, built purely from its plan."""

from __future__ import annotations

from app.migration import cold, live
from app.migration.plan import Mode, Plan
from app.migration.steps import Step


def itinerary(plan: Plan, *, undoes: bool = False) -> tuple[Step, ...]:
    """The steps of a plan, or of taking a finished one back."""
    table: tuple[Step, ...] = cold.UNDO if undoes else live.STEPS if plan.mode == Mode.LIVE else cold.STEPS
    return tuple(step for step in table if step.when(plan))


def stage_names(steps: tuple[Step, ...]) -> tuple[str, ...]:
    """The stages that people see, in order."""
    return tuple(dict.fromkeys(step.stage for step in steps))


def in_words(plan: Plan) -> tuple[str, ...]:
    """The steps as the plan shows them."""
    return tuple(text for step in itinerary(plan) if (text := step.describe(plan)))
