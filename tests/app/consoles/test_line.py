"""Text lines: typing, back-pressure, kept output, and coming back wherever the VM goes."""

from __future__ import annotations

import asyncio
import concurrent.futures
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from app.consoles import ConsoleKind, LineSession, SessionState, What
from app.consoles.line import UNSENT
from app.services import Services
from backends.consoles import Console, Door
from backends.model import LiveOptions, PowerAction, Ref
from tests.app.consoles.conftest import driver, running, vms
from tests.app.fakes import until


class Terminal:
    """What a terminal would be given."""

    def __init__(self) -> None:
        self.text = b""
        self.threads: set[str] = set()

    def __call__(self, data: bytes) -> None:
        self.threads.add(threading.current_thread().name)
        self.text += data


Opener = Callable[..., Awaitable[tuple[LineSession, Terminal]]]


@pytest.fixture
async def opened(services: Services) -> AsyncIterator[Opener]:
    """Opens a line with a terminal on it."""

    async def opening(ref: Ref, console: Console | None = None) -> tuple[LineSession, Terminal]:
        session = services.consoles.line(ref, console)
        terminal = Terminal()
        session.attach(terminal)
        await session.open()
        await session.live()
        return session, terminal

    return opening


async def test_typing_and_reading(services: Services, opened: Opener) -> None:
    ref = running(services)
    session, terminal = await opened(ref)
    assert session.interactive
    assert session.write(b"root\r")
    await until(lambda: b":~# " in terminal.text)
    session.write(b"hostname\r")
    name = services.inventory.vm(ref).name.encode()  # type: ignore[union-attr]
    await until(lambda: b"hostname\r\n" + name in terminal.text)
    assert terminal.threads == {"consoles"}, "bytes never come on the window's loop"


async def test_who_opened_it_is_in_the_trail_once(services: Services, opened: Opener) -> None:
    ref = running(services)
    session, _ = await opened(ref)
    driver(services)._hang_up(ref)
    await until(lambda: session.gap_ms is not None)
    lines = [line for line in await services.audit.trail() if line["what"] == "console"]
    assert [(line["who"], line["ref"], line["to"]) for line in lines] == [
        (services.who, str(ref), "serial Serial line")
    ]


async def test_it_comes_back_after_a_cut_and_says_how_long_it_was_away(services: Services, opened: Opener) -> None:
    ref = running(services)
    session, terminal = await opened(ref)
    seen: list[SessionState] = []
    session.subscribe(lambda event: seen.append(session.state) if event.what == What.STATUS else None)
    driver(services)._hang_up(ref)
    await until(lambda: session.gap_ms is not None)
    assert set(seen[:-1]) == {SessionState.RETRYING}
    assert seen[-1] == SessionState.LIVE
    assert session.gap_ms is not None
    assert 0 < session.gap_ms < 5000
    session.write(b"root\r")
    await until(lambda: b":~# " in terminal.text)


async def test_it_waits_for_a_vm_that_is_off(services: Services, opened: Opener) -> None:
    ref = running(services)
    session, terminal = await opened(ref)
    (task,) = services.actions.power([ref], PowerAction.OFF)
    await services.tasks.wait(task)
    await until(lambda: session.state == SessionState.GONE)
    assert "off" in session.status.text
    assert not session.write(b"x")
    terminal.text = b""
    (task,) = services.actions.power([ref], PowerAction.START)
    await services.tasks.wait(task)
    await until(lambda: session.state == SessionState.LIVE)
    await until(lambda: b"login:" in terminal.text)


async def test_it_follows_a_live_move_to_another_connection(services: Services, opened: Opener) -> None:
    ref = running(services)
    session, terminal = await opened(ref)
    uid = session.uid
    here, there = driver(services), driver(services, "b")
    to = next(item.ref for item in services.inventory.of("b") if item.ref.kind == "host")
    await here.move_live(ref, there, to, LiveOptions(), lambda progress: None)
    await until(lambda: session.state == SessionState.LIVE and session.ref.connection == "b")  # type: ignore[union-attr]
    assert session.uid == uid
    assert session.gap_ms is not None
    terminal.text = b""
    session.write(b"root\r")
    await until(lambda: b":~# " in terminal.text)


async def test_a_terminal_that_does_not_keep_up_stops_the_reading(services: Services) -> None:
    ref = running(services)
    session = services.consoles.line(ref)
    taken = concurrent.futures.Future[None]()
    pieces: list[bytes] = []

    def feed(data: bytes) -> Awaitable[object] | None:
        pieces.append(data)
        return None if taken.done() else asyncio.wrap_future(taken)

    session.attach(feed)
    await session.open()
    await session.live()
    await until(lambda: pieces)
    session.write(b"root\r")
    session.write(b"hostname\r")
    await asyncio.sleep(0.1)
    assert len(pieces) == 1, "nothing is read while the first piece is not taken"
    taken.set_result(None)
    await until(lambda: b"hostname\r\n" in b"".join(pieces))


async def test_nothing_is_read_without_a_terminal(services: Services) -> None:
    session = services.consoles.line(running(services))
    await session.open()
    await session.live()
    terminal = Terminal()
    session.attach(terminal)
    await until(lambda: b"login:" in terminal.text)


async def test_kept_output_is_shown_and_refreshed(services: Services, opened: Opener) -> None:
    ref = running(services, "cache-")
    session, terminal = await opened(ref)
    assert not session.interactive
    await until(lambda: b"login:" in terminal.text)
    assert not session.write(b"x")
    terminal.text = b""
    session.refresh()
    await until(lambda: b"login:" in terminal.text)
    assert terminal.text.startswith(b"\x1bc"), "it is read anew, not added"
    assert session.state == SessionState.LIVE


async def test_kept_output_is_read_of_a_vm_that_is_off(services: Services, opened: Opener) -> None:
    ref = running(services, "cache-")
    session, terminal = await opened(ref)
    (task,) = services.actions.power([ref], PowerAction.OFF)
    await services.tasks.wait(task)
    await until(lambda: session.vm is not None and session.vm.state == "off")
    terminal.text = b""
    session.refresh()
    await until(lambda: b"login:" in terminal.text)
    assert session.state == SessionState.LIVE


async def test_somebody_else_holds_it_until_it_is_taken_over(services: Services, opened: Opener) -> None:
    ref = running(services)
    first, _ = await opened(ref)
    second = services.consoles.line(ref)
    second.attach(lambda data: None)
    await second.open()
    await until(lambda: second.state == SessionState.FAILED)
    assert "another session" in second.status.text
    assert second.status.cure
    second.take_over()
    await until(lambda: second.state == SessionState.LIVE)
    await until(lambda: first.state != SessionState.LIVE)
    first.take_over()
    await until(lambda: first.state == SessionState.LIVE)
    await until(lambda: second.state == SessionState.RETRYING and "another session" in second.status.text)
    assert first.state == SessionState.LIVE, "who was put out does not fight"


async def test_a_read_only_connection_takes_no_typing(services: Services, opened: Opener) -> None:
    session, terminal = await opened(running(services))
    await services.connections.set_read_only("a", True)
    assert not session.write(b"root\r")
    await services.connections.set_read_only("a", False)
    assert session.write(b"root\r")
    await until(lambda: b":~# " in terminal.text)


async def test_a_line_that_takes_nothing_bounds_what_waits(
    services: Services, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = running(services)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    async def open_console(console: Console, *, force: bool = False) -> Door:
        return Door(console=console, socket=ours)

    monkeypatch.setattr(driver(services), "open_console", open_console)
    session, _ = await opened(ref)
    piece = b"x" * (UNSENT // 4)
    written = 0
    while session.write(piece) and written < 3 * UNSENT:
        written += len(piece)
    assert UNSENT <= written < 3 * UNSENT
    await session.close()
    theirs.close()


async def test_a_vm_without_a_line_says_so(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = running(services)

    async def consoles(vm: Ref) -> list[Console]:
        return [Console(vm, ConsoleKind.VNC, "Screen")]

    monkeypatch.setattr(driver(services), "consoles", consoles)
    session = services.consoles.line(ref)
    await session.open()
    await until(lambda: session.state == SessionState.FAILED)
    assert "no serial line" in session.status.text


async def test_off_from_the_beginning(services: Services) -> None:
    vm = next(vm for vm in vms(services) if vm.state == "off")
    session = services.consoles.line(vm.ref)
    await session.open()
    await until(lambda: session.state == SessionState.GONE)
    await session.close()
    assert session.state == SessionState.CLOSED
