"""What a verb says: plain dicts, as they go over the owner's socket and into --json."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from app.cli.refs import Usage
from backends.errors import BackendError

Row = dict[str, Any]
PART = 50
"""Rows per message; a task with a long log makes a long row."""


def parts(row: Row) -> Iterator[Row]:
    """A result with a long list goes in parts: a message between two processes has a limited length."""
    if row["type"] != "result":
        yield row
    elif not isinstance(row["data"], list):
        yield {**row, "gathered": False}
    else:
        for start in range(0, len(row["data"]), PART):
            yield {"type": "rows", "data": row["data"][start : start + PART]}
        yield {**row, "data": None, "gathered": True}


def result(*, ok: bool = True, data: object = None, message: str = "", cure: str = "") -> Row:
    return {"type": "result", "ok": ok, "data": data, "message": message, "cure": cure}


def warning(message: str, cure: str = "") -> Row:
    return {"type": "warning", "message": message, "cure": cure}


def failure(error: BackendError) -> Row:
    return {
        "type": "error",
        "exit": 2 if isinstance(error, Usage) else 1,
        "message": error.message,
        "cure": error.cure,
        "candidates": list(getattr(error, "candidates", ())),
    }
