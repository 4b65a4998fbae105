"""SSH to a guest: a real SSH server on loopback stands for it; the session sees to keys, passwords, sizes and ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import asyncssh
import pytest

import app.consoles.shell
from app.consoles import SessionState
from app.consoles.shell import ShellSession, reachable
from app.services import Services
from backends.errors import AuthNeeded, HostKeyMismatch
from tests.app.consoles.conftest import driver, running
from tests.app.consoles.test_line import Terminal
from tests.app.fakes import contents, until

SECRET = "correct horse battery"


@dataclass
class Guest:
    """The SSH server of a guest. Its shell echoes lines, says its size, and ends at `exit`."""

    port: int = 0
    processes: list[asyncssh.SSHServerProcess[bytes]] = field(default_factory=list)
    passwords: list[str] = field(default_factory=list)

    async def shell(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        self.processes.append(process)
        process.stdout.write(b"welcome\r\n")
        line = b""
        while True:
            try:
                key = await process.stdin.read(1)
            except asyncssh.TerminalSizeChanged as change:
                process.stdout.write(f"size {change.width}x{change.height}\r\n".encode())
                continue
            if not key or line + key == b"exit\r":
                process.exit(0)
                return
            line = b"" if key == b"\r" else line + key
            process.stdout.write(b"<" + key + b">")


class Server(asyncssh.SSHServer):
    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        self._guest.passwords.append(password)
        return (username, password) == ("admin", SECRET)


@pytest.fixture
async def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Guest]:
    """A guest at 127.0.0.1 whose host key is known."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setattr(app.consoles.shell, "reachable", list)
    made, key = Guest(), asyncssh.generate_private_key("ssh-ed25519")
    listener = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=lambda: Server(made),
        server_host_keys=[key],
        process_factory=made.shell,
        encoding=None,
        line_editor=False,
    )
    made.port = listener.get_port()
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/known_hosts").write_text(f"[127.0.0.1]:{made.port} {key.export_public_key().decode()}")
    yield made
    listener.close()
    await listener.wait_closed()


def addressed(services: Services, *addresses: str) -> ShellSession:
    """A session on a VM that has these addresses."""
    ref = running(services)
    vm = services.inventory.vm(ref)
    assert vm is not None
    driver(services)._put(replace(vm, addresses=addresses))
    return services.consoles.shell(ref, "admin")


@pytest.fixture
async def session(services: Services, guest: Guest) -> AsyncIterator[ShellSession]:
    """Open, and asking for the password."""
    made = addressed(services, "127.0.0.1")
    made._port = guest.port
    await until(lambda: made.vm is not None and made.vm.addresses == ("127.0.0.1",))
    await made.open()
    with pytest.raises(AuthNeeded):
        await made.live()
    yield made
    await made.close()


async def logged_in(session: ShellSession) -> Terminal:
    terminal = Terminal()
    session.attach(terminal)
    session.provide(SECRET)
    await session.live()
    await until(lambda: b"welcome\r\n" in terminal.text)
    return terminal


async def test_a_password_is_asked_for_and_kept_for_the_session_only(
    services: Services, session: ShellSession, guest: Guest
) -> None:
    session.provide("wrong")
    await until(lambda: guest.passwords == ["wrong"] and session.state == SessionState.AUTH_NEEDED)
    terminal = await logged_in(session)
    session.write(b"a\x03")
    await until(lambda: b"<a><\x03>" in terminal.text)
    guest.processes[-1].channel.get_connection().abort()
    await until(lambda: session.gap_ms is not None)
    assert guest.passwords == ["wrong", SECRET, SECRET], "it is not asked for again"
    assert SECRET.encode() not in contents(services.home)
    trail = [line["to"] for line in await services.audit.trail() if line["what"] == "console"]
    assert trail == ["ssh admin@127.0.0.1"]


async def test_the_terminal_has_the_windows_size(session: ShellSession, guest: Guest) -> None:
    session.resize(100, 30)
    terminal = await logged_in(session)
    assert guest.processes[0].term_size[:2] == (100, 30)
    assert guest.processes[0].term_type == "xterm-256color"
    session.resize(132, 43)
    await until(lambda: b"size 132x43" in terminal.text)


async def test_a_shell_that_ends_stays_ended_until_it_is_asked_for(session: ShellSession) -> None:
    terminal = await logged_in(session)
    session.write(b"exit\r")
    await until(lambda: session.state == SessionState.FAILED)
    assert "has ended" in session.status.text
    terminal.text = b""
    session.retry()
    await until(lambda: b"welcome" in terminal.text)


async def test_an_unknown_host_key_is_never_taken(services: Services, guest: Guest) -> None:
    (Path.home() / ".ssh/known_hosts").write_text("")
    session = addressed(services, "127.0.0.1")
    session._port = guest.port
    await until(lambda: session.vm is not None and session.vm.addresses)
    await session.open()
    with pytest.raises(HostKeyMismatch):
        await session.live()
    assert session.state == SessionState.FAILED
    await session.close()


async def test_it_waits_for_an_address(services: Services, guest: Guest) -> None:
    session = addressed(services)
    session._port = guest.port
    await until(lambda: session.vm is not None and not session.vm.addresses)
    await session.open()
    await until(lambda: session.state == SessionState.FAILED)
    assert "no address" in session.status.text
    addressed(services, "127.0.0.1")
    await until(lambda: session.state == SessionState.AUTH_NEEDED)
    await session.close()
    await asyncio.sleep(0)


def test_only_addresses_that_lead_to_the_guest() -> None:
    given = ["127.0.0.1", "::1", "fe80::1", "2001:db8::5", "10.0.0.7/24", "nonsense", "0.0.0.0"]
    assert reachable(given) == ["10.0.0.7", "2001:db8::5"]
