"""Fixtures of the migration tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.app.migration.pair import Pair


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Identities are written at once: every close would wait for their next time."""
    monkeypatch.setattr("app.identity.GATHER_S", 0.001)


@pytest_asyncio.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    opened = await Pair.open(tmp_path)
    yield opened
    await opened.close()
