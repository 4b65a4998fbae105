"""Migrations: judge, plan, run, take back, and recover what an earlier run left."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from app.migration.plan import Forecast, Mapping, Mode, Path, Plan, Verdict

if TYPE_CHECKING:
    from app.migration.migrations import Migrations, Planned

__all__ = ["Forecast", "Mapping", "Migrations", "Mode", "Path", "Plan", "Planned", "Verdict"]


def __getattr__(name: str) -> Any:
    """The engine is not loaded by a mover, which is a process for every disk."""
    if name in ("Migrations", "Planned"):
        return getattr(import_module("app.migration.migrations"), name)
    raise AttributeError(name)
