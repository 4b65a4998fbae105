"""What a mover is given: the session that a driver opened, and a place of its own for what a broken copy needs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest_asyncio

from app.migration import Mode
from app.migration.courier import Courier, Event
from app.migration.job import Job
from app.tasks import TaskState
from backends.demo import Driver
from backends.driver import Settings, SignsIn
from tests.app.migration.pair import Pair


class Noting(Courier):
    """A courier that notes what it carries."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[tuple[Job, Mapping[str, str]]] = []

    async def carry(self, job: Job, secrets: Mapping[str, str], tell: Callable[[Event], None]) -> Event:
        self.jobs.append((job, secrets))
        return await super().carry(job, secrets, tell)


@pytest_asyncio.fixture
async def noting(tmp_path: Path) -> AsyncIterator[tuple[Pair, Noting]]:
    courier = Noting()
    pair = await Pair.open(tmp_path, courier=courier)
    pair.migrations._tools.folder = tmp_path / "copies"
    yield pair, courier
    await pair.close()


class Lending(Driver):
    """The demo platform, opened with a code that is good once."""

    def mover_settings(self) -> Settings:
        return Settings({**self._settings.values, "key": "lent"}, {"session_token": "t0ken"})


async def test_a_session_that_was_opened_with_a_code_is_lent_to_the_mover(noting: tuple[Pair, Noting]) -> None:
    pair, courier = noting
    pair.b.__class__ = Lending
    assert isinstance(pair.b, SignsIn)
    task = await pair.move(mode=Mode.COLD)
    assert task.state == TaskState.DONE, (task.error, task.log)
    for job, secrets in courier.jobs:
        assert job.sink_settings["key"] == "lent"
        assert secrets["sink.session_token"] == "t0ken"


async def test_a_place_for_a_broken_copy_is_the_owners_only_and_gone_afterwards(
    noting: tuple[Pair, Noting], tmp_path: Path
) -> None:
    pair, courier = noting
    task = await pair.move(mode=Mode.COLD)
    assert task.state == TaskState.DONE, (task.error, task.log)
    given = [Path(str(job.sink.args["sums"])) for job, _ in courier.jobs if job.source is not None]
    assert given
    assert {path.parent for path in given} == {tmp_path / "copies"}
    assert len(set(given)) == len(given)
    assert (tmp_path / "copies").stat().st_mode & 0o777 == 0o700
    assert list((tmp_path / "copies").iterdir()) == []
