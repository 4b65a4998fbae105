"""`lab`: the playground, once per test run. `fresh_guest`: a running guest of one's own, removed afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from app import playground
from app.playground.service import Playground
from tests.lab.machine import Lab, LabGuest


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The real hosts. Without root or packages this fails, and says what to do."""
    home = tmp_path_factory.mktemp("lab")
    try:
        asyncio.run(playground.up(home, print))
        yield Lab(Playground(home))
    finally:
        asyncio.run(playground.down(home))


@pytest.fixture
def fresh_guest(lab: Lab) -> Iterator[LabGuest]:
    """A running guest without a disk on lab.a; whatever the test did to the hosts is healed afterwards."""
    guest = lab.make(lab.a)
    guest.wait_beats(lab.a, 1)
    yield guest
    lab.heal()
    lab.remove(guest)


@pytest.fixture
def healed(lab: Lab) -> Iterator[Lab]:
    """The lab for a test that breaks it; extra guests of it are removed too."""
    yield lab
    lab.heal()
    lab.clear()
