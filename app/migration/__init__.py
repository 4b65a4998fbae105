"""Migrations: judge, plan, run, take back, and recover what an earlier run left."""

from __future__ import annotations

from app.migration.migrations import Migrations, Planned
from app.migration.plan import Forecast, Mapping, Mode, Path, Plan, Verdict

__all__ = ["Forecast", "Mapping", "Migrations", "Mode", "Path", "Plan", "Planned", "Verdict"]
