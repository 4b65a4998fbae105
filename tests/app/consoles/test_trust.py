"""Screens over a network that anybody may cut into: an evil server in the place of the right one, on real TCP."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import pack

import pytest

from app.cli.console import screenshot
from app.consoles import ScreenSession, SessionState
from app.consoles.trust import LOST, PLAIN, Known, recall
from app.services import Services
from backends.consoles import Console, Door, DoorTls
from backends.errors import AuthNeeded
from backends.model import Ref
from tests.app.consoles.conftest import driver, running
from tests.app.consoles.rfb.authority import Authority
from tests.app.consoles.rfb.test_security import CHALLENGE, FRAME, HELLO, INIT, Venc, certified, read
from tests.app.fakes import until

HOST = "screen.example"
HERE = ("a", HOST)


class Network:
    """Where the host's screens should be; `serve` is who answers there."""

    def __init__(self) -> None:
        self.serve: Callable[[socket.socket], None] = self.evil
        self.proofs: list[bytes] = []
        self.calls = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                self.calls += 1
                threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    def evil(self, peer: socket.socket) -> None:
        """Offers nothing but a VNC password, and keeps the answer."""
        peer.settimeout(20)
        with peer, contextlib.suppress(OSError):
            peer.sendall(HELLO)
            read(peer, 12)
            peer.sendall(b"\1\2")
            read(peer, 1)
            peer.sendall(CHALLENGE)
            self.proofs.append(read(peer, 16))
            peer.sendall(pack(">I", 0))
            read(peer, 1)
            peer.sendall(INIT + FRAME)
            while peer.recv(4096):
                pass

    def dial(self) -> socket.socket:
        made = socket.create_connection(self._listener.getsockname())
        made.setblocking(False)
        return made

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network()
    yield made
    made.close()


@pytest.fixture
def ref(services: Services, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ref:
    """A VM whose screen is out there, with a password that the platform knows."""
    authority = Authority(tmp_path / "ca")
    server = Venc(certified(authority, HOST), [261])
    network.right = server.serve  # type: ignore[attr-defined]

    async def open_console(console: Console, *, force: bool = False) -> Door:
        tls = DoorTls(host=HOST, ca=str(authority.ca))
        return Door(console=console, socket=network.dial(), password="secret12", tls=tls)

    monkeypatch.setattr(driver(services), "open_console", open_console)
    return running(services)


async def opened(services: Services, ref: Ref) -> ScreenSession:
    session = services.consoles.screen(ref)
    await session.open()
    await until(lambda: session.state in (SessionState.LIVE, SessionState.UNPROVEN))
    return session


async def test_a_host_that_has_shown_a_certificate_must_again(services: Services, ref: Ref, network: Network) -> None:
    network.serve = network.right  # type: ignore[attr-defined]
    session = await opened(services, ref)
    assert session.state == SessionState.LIVE
    await session.close()
    assert await recall(services.store, HERE) == Known.PROVEN
    assert await recall(services.store, ("a", "other.example")) == Known.NOTHING
    network.serve = network.evil
    session = await opened(services, ref)
    assert (session.state, session.status.text) == (SessionState.UNPROVEN, LOST)
    calls = network.calls
    await asyncio.sleep(0.3)
    assert network.calls == calls, "it does not try again by itself"
    assert network.proofs == []
    network.serve = network.right  # type: ignore[attr-defined]
    session.retry()
    await until(lambda: session.state == SessionState.LIVE)


async def test_the_word_for_once_and_for_always(services: Services, ref: Ref, network: Network) -> None:
    first, second = await opened(services, ref), await opened(services, ref)
    assert (first.state, first.status.text) == (SessionState.UNPROVEN, PLAIN)
    assert network.proofs == []
    first.trust()
    await until(lambda: first.state == SessionState.LIVE)
    assert len(network.proofs) == 1
    assert second.state == SessionState.UNPROVEN
    assert await recall(services.store, HERE) == Known.NOTHING
    await services.consoles.trust(HERE)
    await until(lambda: second.state == SessionState.LIVE)
    third = await opened(services, ref)
    assert third.state == SessionState.LIVE
    assert any(line["result"] == "unproven" for line in await services.audit.trail())


async def test_the_command_line_names_its_switch(
    services: Services, ref: Ref, network: Network, tmp_path: Path
) -> None:
    args = {"ref": str(ref), "path": str(tmp_path / "a.png")}
    with pytest.raises(AuthNeeded) as caught:
        _ = [row async for row in screenshot(services, args)]
    assert "--unproven" in caught.value.cure
    assert network.proofs == []
    rows = [row async for row in screenshot(services, args | {"unproven": True})]
    assert rows[-1]["data"]["width"] == 4
    assert (tmp_path / "a.png").exists()
