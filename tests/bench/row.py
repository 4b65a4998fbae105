"""One line of the bench table."""

from __future__ import annotations


def row(
    name: str, value: float | None, unit: str, *, most: float | None = None, least: float | None = None, note: str = ""
) -> dict[str, object]:
    """A figure, its goal (at most or at least) and whether it is met."""
    goal = f"<= {most:g}" if most is not None else f">= {least:g}" if least is not None else ""
    ok = value is not None and (most is None or value <= most) and (least is None or value >= least)
    return {"name": name, "value": value, "unit": unit, "goal": goal, "ok": ok, "note": note}
