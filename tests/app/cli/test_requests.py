"""What a stranger on the owner's socket may send: anything. It is told what was wrong with it, in words."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from app.cli.requests import MAY, NEEDS
from app.cli.verbs import VERBS, serve
from app.services import Services

WRONG: tuple[Any, ...] = (None, 7, True, "text", ["text", 7], {"a": {"b": 1}}, [[]], {"tls": 3}, {"parallel": -1})
RIGHT: dict[str, Any] = {"refs": ["x"], "seeds": [], "settings": {}, "secrets": {}}


@pytest_asyncio.fixture
async def services(tmp_path: Path) -> AsyncIterator[Services]:
    opened = await Services.open(tmp_path / "home")
    yield opened
    await opened.close()


async def last(services: Services, request: dict[str, Any]) -> dict[str, Any]:
    rows = [row async for row in serve(services, request)]
    return dict(rows[-1])


def in_words(row: dict[str, Any]) -> bool:
    """Whether an answer is none, or an error that a person can read."""
    return row["type"] == "result" or not row["message"].split(":")[0].endswith(("Error", "Exception"))


async def test_every_argument_of_another_type_is_refused_in_words(services: Services) -> None:
    for verb in VERBS:
        checks = NEEDS.get(verb, {}) | MAY.get(verb, {})
        for key, value in itertools.product(checks, WRONG):
            given = {name: RIGHT.get(name, "x") for name in NEEDS.get(verb, {})}
            row = await last(services, {"verb": verb, "args": {**given, key: value}})
            if not checks[key](value):
                assert (row["type"], row["exit"]) == ("error", 1), (verb, key, value, row)
            assert in_words(row), (verb, key, value, row)


async def test_what_is_missing_is_named(services: Services) -> None:
    for verb in VERBS:
        row = await last(services, {"verb": verb, "args": {}})
        assert in_words(row), (verb, row)
        for name in NEEDS.get(verb, {}):
            assert name in row["message"]


@pytest.mark.parametrize(
    "request_", [{}, {"verb": 7}, {"verb": ["ls"]}, {"verb": "ls", "args": [1]}, {"verb": "ls", "args": "x"}]
)
async def test_a_request_that_is_none(services: Services, request_: dict[str, Any]) -> None:
    row = await last(services, request_)
    assert row["message"] == "a request names a verb and its arguments"
