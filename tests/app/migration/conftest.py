"""Fixtures of the migration tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.app.migration.pair import Pair


@pytest_asyncio.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    opened = await Pair.open(tmp_path)
    yield opened
    await opened.close()
