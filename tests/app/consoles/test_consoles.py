"""What there is to open, and the deadlines before a session."""

from __future__ import annotations

import asyncio

import pytest

import app.consoles.consoles
from app.consoles import ConsoleKind
from app.services import Services
from backends.errors import Unreachable
from tests.app.consoles.conftest import driver, running


async def test_the_offers_of_a_vm(services: Services) -> None:
    offers = await services.consoles.offers(running(services))
    assert [one.kind for one in offers] == [ConsoleKind.VNC, ConsoleKind.SERIAL]


async def test_a_connection_that_does_not_answer_has_a_deadline(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(ref: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(app.consoles.consoles, "ANSWER_S", 0.05)
    monkeypatch.setattr(driver(services), "consoles", never)
    with pytest.raises(Unreachable, match="does not answer"):
        await services.consoles.offers(running(services))


async def test_closing_the_services_hangs_up_everything(services: Services) -> None:
    sessions = [services.consoles.screen(running(services)), services.consoles.line(running(services))]
    sessions[1].attach(lambda data: None)  # type: ignore[attr-defined]
    for session in sessions:
        await session.open()
        await session.live()
    await services.consoles.close()
    assert {session.state for session in sessions} == {"closed"}
    assert not services.consoles._sessions
