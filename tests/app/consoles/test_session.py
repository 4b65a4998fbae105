"""Screens that follow their VM: pictures, passwords, gaps, moves, failures, and the deadlines."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from struct import pack
from typing import Any

import numpy
import pytest

import app.consoles.follow
import app.consoles.session
from app.consoles import ScreenSession, SessionEvent, SessionState, What
from app.services import Services
from backends.consoles import Console, ConsoleKind, Door
from backends.demo.consoles import ASKED
from backends.errors import AuthNeeded, Conflict, Denied, NotFound, Unreachable, Unsupported
from backends.model import LiveOptions, PowerAction, Ref
from tests.app.consoles.conftest import driver, running, vms
from tests.app.fakes import contents, until

Opener = Callable[..., Awaitable[ScreenSession]]


@pytest.fixture
async def opened(services: Services) -> AsyncIterator[Opener]:
    async def opening(ref: Ref, **words: Any) -> ScreenSession:
        session = services.consoles.screen(ref, **words)
        await session.open()
        await session.live()
        return session

    yield opening


class Calls:
    """Stands before a driver's open_console: counts, and fails as told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, inner: Any) -> None:
        self.count = 0
        self.failing: Callable[[], Exception | None] = lambda: None
        self.stuck = False
        self.doors: list[Door] = []
        self._inner = inner.open_console
        monkeypatch.setattr(inner, "open_console", self.open_console)

    async def open_console(self, console: Console, *, force: bool = False) -> Door:
        self.count += 1
        if self.stuck:
            await asyncio.Event().wait()
        error = self.failing()
        if error is not None:
            raise error
        door: Door = await self._inner(console, force=force)
        self.doors.append(door)
        return door


@pytest.fixture
def calls(services: Services, monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch, driver(services))


def picture(session: ScreenSession) -> numpy.ndarray:
    assert session.framebuffer is not None
    with session.framebuffer.lock:
        return session.framebuffer.pixels.copy()


async def test_a_picture_and_keys(services: Services, opened: Opener) -> None:
    session = await opened(running(services))
    before = picture(session)
    assert before.shape[:2] == (session.framebuffer.height, session.framebuffer.width)  # type: ignore[union-attr]
    assert len(numpy.unique(before.reshape(-1, 4), axis=0)) > 1, "the first picture is complete, not black"
    damage: list[SessionEvent] = []
    session.subscribe(lambda event: damage.append(event) if event.what == What.DAMAGED else None)
    for letter in "xyzzy":
        session.key(ord(letter), True)
        session.key(ord(letter), False)
    await until(lambda: damage and (picture(session) != before).any())
    assert session.client is not None
    assert session.security == "on this machine"


async def test_it_comes_back_with_the_last_picture_meanwhile(services: Services, opened: Opener, calls: Calls) -> None:
    ref = running(services)
    session = await opened(ref)
    kept = session.framebuffer
    calls.failing = lambda: Unreachable("not yet")
    driver(services)._hang_up(ref)
    await until(lambda: session.state == SessionState.RETRYING)
    assert session.framebuffer is kept
    assert session.client is None
    session.key(ord("x"), True)
    calls.failing = lambda: None
    await until(lambda: session.state == SessionState.LIVE)
    assert session.framebuffer is not kept
    assert session.gap_ms is not None
    assert session.gap_ms > 0


async def test_reboot_and_power_cycle(services: Services, opened: Opener) -> None:
    ref = running(services)
    session = await opened(ref)
    for action, state in (
        (PowerAction.REBOOT, SessionState.LIVE),
        (PowerAction.OFF, SessionState.GONE),
        (PowerAction.START, SessionState.LIVE),
    ):
        (task,) = services.actions.power([ref], action)
        await services.tasks.wait(task)
        await until(lambda state=state: session.state == state)  # type: ignore[misc]


async def test_it_follows_a_live_move(services: Services, opened: Opener) -> None:
    ref = running(services)
    session = await opened(ref)
    uid = session.uid
    to = next(item.ref for item in services.inventory.of("b") if item.ref.kind == "host")
    await driver(services).move_live(ref, driver(services, "b"), to, LiveOptions(), lambda progress: None)
    await until(lambda: session.gap_ms is not None and session.state == SessionState.LIVE)
    assert session.ref is not None and session.ref.connection == "b"
    assert session.uid == uid


async def test_a_stream_that_outlives_its_vm_is_left(
    services: Services, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.consoles.follow, "LINGER_S", 0.05)
    ref = running(services)
    session = await opened(ref)
    here = driver(services)
    monkeypatch.setattr(here, "_hang_up", lambda ref: None)
    to = next(item.ref for item in services.inventory.of("b") if item.ref.kind == "host")
    await here.move_live(ref, driver(services, "b"), to, LiveOptions(), lambda progress: None)
    await until(lambda: session.gap_ms is not None)
    assert session.state == SessionState.LIVE
    assert session.ref is not None
    assert session.ref.connection == "b"
    monkeypatch.setattr(driver(services, "b"), "_hang_up", lambda ref: None)
    (task,) = services.actions.power([session.ref], PowerAction.OFF)
    await services.tasks.wait(task)
    await until(lambda: session.state == SessionState.GONE)


async def test_a_password_the_platform_knows_is_used(services: Services, opened: Opener) -> None:
    session = await opened(running(services, "db-"))
    assert session.state == SessionState.LIVE


async def test_a_password_is_asked_for_once_per_session(services: Services) -> None:
    ref = running(services, "ldap-")
    session = services.consoles.screen(ref)
    states: list[SessionState] = []
    session.subscribe(lambda event: states.append(session.state) if event.what == What.STATUS else None)
    await session.open()
    with pytest.raises(AuthNeeded):
        await session.live()
    session.provide("not-this")
    await until(lambda: states.count(SessionState.AUTH_NEEDED) == 2)
    session.provide(ASKED)
    await until(lambda: session.state == SessionState.LIVE)
    states.clear()
    driver(services)._hang_up(ref)
    await until(lambda: session.gap_ms is not None)
    assert SessionState.AUTH_NEEDED not in states
    await session.close()
    assert ASKED not in repr(vars(session))
    assert ASKED.encode() not in contents(services.home)


async def test_a_wrong_password_waits_and_does_not_hammer(services: Services, calls: Calls) -> None:
    session = services.consoles.screen(running(services, "ldap-"))
    await session.open()
    session.provide("wrong")
    await until(lambda: session.state == SessionState.AUTH_NEEDED)
    asked = calls.count
    for _ in range(20):
        session.wake()
        await asyncio.sleep(0.01)
    assert calls.count <= asked + 1


async def test_several_share_one_screen(services: Services, opened: Opener) -> None:
    ref = running(services)
    sessions = [await opened(ref) for _ in range(3)]
    assert {session.state for session in sessions} == {SessionState.LIVE}
    before = picture(sessions[2])
    for letter in "hello":
        sessions[0].key(ord(letter), True)
        sessions[0].key(ord(letter), False)
    await until(lambda: (picture(sessions[2]) != before).any())


@pytest.mark.parametrize("way", ["view_only", "read_only"])
async def test_nothing_is_typed_where_it_must_not(
    services: Services, opened: Opener, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = running(services)
    if way == "read_only":
        await services.connections.set_read_only("a", True)
    session = await opened(ref, view_only=way == "view_only")
    sent: list[object] = []
    with monkeypatch.context() as patched:
        patched.setattr(services.consoles._loop, "call", lambda *words: sent.append(words))
        session.key(ord("x"), True)
        session.pointer(1, 1, 1)
        session.cut_text("x")
        session.resize(640, 480)
    assert sent == []


async def test_a_refusal_is_said_and_not_repeated(services: Services, calls: Calls) -> None:
    ref = running(services)
    calls.failing = lambda: Denied("not for you", cure="ask the owner")
    session = services.consoles.screen(ref)
    await session.open()
    await until(lambda: session.state == SessionState.FAILED)
    assert (session.status.text, session.status.cure) == ("not for you", "ask the owner")
    with pytest.raises(Denied, match="not for you"):
        await session.live()
    for _ in range(10):
        session.wake()
        await asyncio.sleep(0.005)
    assert calls.count == 1
    calls.failing = lambda: None
    session.retry()
    await session.live()


@pytest.mark.parametrize("error", [NotFound("no such console"), Conflict("somebody holds it")])
async def test_after_a_loss_not_there_is_not_an_answer_yet(
    services: Services, opened: Opener, calls: Calls, error: Exception
) -> None:
    ref = running(services)
    session = await opened(ref)
    left = iter([error, error])
    calls.failing = lambda: next(left, None)
    driver(services)._hang_up(ref)
    await until(lambda: session.gap_ms is not None)
    assert session.state == SessionState.LIVE


async def test_never_more_than_a_few_attempts_a_second(
    services: Services, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.consoles.follow, "BACKOFF_S", (0.0, 0.0))
    moments: list[float] = []

    def failing() -> Exception:
        moments.append(time.monotonic())
        return Unreachable("no")

    calls.failing = failing
    session = services.consoles.screen(running(services))
    await session.open()
    await until(lambda: len(moments) >= app.consoles.follow.TRIES_PER_S + 2)
    most = app.consoles.follow.TRIES_PER_S
    assert all(later - earlier > 0.99 for earlier, later in zip(moments, moments[most:], strict=False))


async def test_a_server_that_sends_nothing_is_given_up(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.consoles.session, "FRAME_S", 0.1)
    session, theirs = await mute(services, monkeypatch)
    await until(lambda: session.state == SessionState.RETRYING)
    assert "no picture" in session.status.text
    await session.close()
    theirs.close()


async def test_a_server_that_talks_nonsense_is_said_and_not_asked_again(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, theirs = await mute(services, monkeypatch)
    theirs.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await until(lambda: session.state == SessionState.FAILED)
    assert session.status.text
    await session.close()
    theirs.close()


async def test_a_flood_does_not_pile_up_before_a_busy_window(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each kind of news the last is what counts."""
    session, theirs = await mute(services, monkeypatch)
    heard: list[SessionEvent] = []
    session.subscribe(heard.append)
    painted = pack(">BxHHHHHi4s", 0, 1, 0, 0, 8, 8, 7, b"\x80abc")
    theirs.send(b"RFB 003.003\n" + pack(">IHH16sI", 1, 8, 8, bytes(16), 0) + painted)
    await until(lambda: session.state == SessionState.LIVE)
    assert session.framebuffer is not None
    before = session.framebuffer.serial
    theirs.send(b"\2" * 5000 + pack(">BxxxI", 3, 4) + b"last" + painted)
    for _ in range(2000):  # this loop is the busy one: nobody hears anything until all of it is decoded
        if session.framebuffer.serial > before:
            break
        time.sleep(0.01)  # noqa: ASYNC251
    await until(lambda: any(event.text == "last" for event in heard))
    assert sum(event.what == What.BELL for event in heard) == 1
    await session.close()
    theirs.close()


@pytest.mark.parametrize("state", ["opening", "handshake", "live", "failed", "gone", "auth"])
async def test_closing_is_quick_from_any_state(
    services: Services, calls: Calls, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    ref = running(services, "ldap-" if state == "auth" else "web-")
    if state == "gone":
        ref = next(vm.ref for vm in vms(services) if vm.state == "off")
    calls.stuck = state == "opening"
    if state == "failed":
        calls.failing = lambda: Denied("no")
    if state == "handshake":
        session, theirs = await mute(services, monkeypatch)
    else:
        session = services.consoles.screen(ref)
        await session.open()
    words = {"opening": "connecting", "handshake": "connecting", "auth": "auth-needed"}
    await until(lambda: session.state == words.get(state, state))
    await asyncio.sleep(0.02)
    async with asyncio.timeout(app.consoles.follow.CLOSE_S):
        await session.close()
    assert session.state == SessionState.CLOSED
    if state == "handshake":
        theirs.settimeout(30)
        assert theirs.recv(1) == b"", "its socket is closed"
        theirs.close()


async def test_a_door_that_opens_too_late_is_closed(
    services: Services, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.consoles.follow, "OPEN_S", 0.05)
    inner = driver(services)
    gate = asyncio.Event()
    opening = inner.open_console

    async def stubborn(console: Console, *, force: bool = False) -> Door:
        """As a driver whose blocking call cannot be taken back."""
        while True:
            try:
                await gate.wait()
                return await opening(console, force=force)  # type: ignore[no-any-return]
            except asyncio.CancelledError:
                continue

    monkeypatch.setattr(inner, "open_console", stubborn)
    session = services.consoles.screen(running(services))
    await session.open()
    await until(lambda: "did not open" in session.status.text)
    await session.close()
    gate.set()
    await until(lambda: calls.doors)
    await until(lambda: calls.doors[0].socket is None)


async def test_only_another_viewer_will_do(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    async def consoles(vm: Ref) -> list[Console]:
        return [Console(vm, ConsoleKind.SPICE, "Screen"), Console(vm, ConsoleKind.SERIAL, "Serial line")]

    monkeypatch.setattr(driver(services), "consoles", consoles)
    session = services.consoles.screen(running(services))
    await session.open()
    with pytest.raises(Unsupported, match="SPICE only"):
        await session.live()


async def test_a_paused_screen_stays_paused_over_a_loss(services: Services, opened: Opener) -> None:
    ref = running(services)
    session = await opened(ref)
    session.pause(True)
    driver(services)._hang_up(ref)
    await until(lambda: session.gap_ms is not None)
    # What was asked for before it was paused still comes.
    session.key(ord("x"), True)
    await asyncio.sleep(0.3)
    before = picture(session)
    for letter in "abc":
        session.key(ord(letter), True)
    await asyncio.sleep(0.1)
    assert (picture(session) == before).all()
    session.pause(False)
    await until(lambda: (picture(session) != before).any())


async def mute(services: Services, monkeypatch: pytest.MonkeyPatch) -> tuple[ScreenSession, socket.socket]:
    """A session on a server that never says a word."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    given = [ours]

    async def open_console(console: Console, *, force: bool = False) -> Door:
        if not given:
            raise Unreachable("no more of that: no picture")
        return Door(console=console, socket=given.pop(), carrier="on this machine")

    monkeypatch.setattr(driver(services), "open_console", open_console)
    session = services.consoles.screen(running(services))
    await session.open()
    return session, theirs
