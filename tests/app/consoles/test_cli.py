"""`causeway console` as people type it: alone and beside a running owner, on a real pseudo-terminal."""

from __future__ import annotations

import asyncio
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli.console import line
from app.services import Services
from tests.app.cli.shell import ROOT, Shell
from tests.app.consoles.conftest import running

OWNER = """
import asyncio, sys
from pathlib import Path
from app.cli.channel import Desk
from app.owner import Owner
from app.services import Services

async def main():
    home = Path(sys.argv[1])
    owner = Owner.acquire(home)
    services = await Services.open(home)
    services.on_front = lambda: None
    services.on_console = lambda ref: print("shown", ref, flush=True)
    await owner.serve(Desk(services).handle)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    assert not services.consoles._sessions, "a line was left open"
    await services.close()
    owner.release()
    print("closed", flush=True)

asyncio.run(main())
"""
LEAVE = b"\x1d"
TYPISTS: list[Typist] = []


class Typist:
    """A person at a terminal in which causeway runs."""

    def __init__(self, shell: Shell, *words: str) -> None:
        self.fd, theirs = pty.openpty()
        self.before = termios.tcgetattr(theirs)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app", *words],
            cwd=ROOT,
            env=shell.env,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        self.theirs = theirs
        self.seen = b""
        TYPISTS.append(self)

    def wait_for(self, words: bytes, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while words not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, (words, self.seen)
            if select.select([self.fd], [], [], left)[0]:
                self.seen += os.read(self.fd, 65536)

    def type(self, keys: bytes) -> None:
        self.seen = b""
        os.write(self.fd, keys)

    def ended(self) -> int:
        code = self.process.wait(30)
        assert termios.tcgetattr(self.theirs) == self.before, "the terminal is as it was"
        return code

    def leave(self) -> None:
        """Whatever became of it: nothing of it stays."""
        self.process.kill()
        self.process.wait(30)
        os.close(self.theirs)
        os.close(self.fd)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A data folder that no test changes."""
    shell = Shell(tmp_path_factory.mktemp("console"))
    shell.connect(a={"vms": "12"})
    return shell


@pytest.fixture(autouse=True)
def nobody_stays() -> Iterator[None]:
    yield
    while TYPISTS:
        TYPISTS.pop().leave()


@pytest.fixture
def owner(shell: Shell) -> Iterator[subprocess.Popen[str]]:
    """A process that owns the data folder and has a window."""
    words = [sys.executable, "-c", OWNER, str(shell.home)]
    process = subprocess.Popen(words, cwd=ROOT, env=shell.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    rest, _ = process.communicate("", timeout=30)
    assert rest.endswith("closed\n")


def talk(shell: Shell) -> None:
    """Log in, look, interrupt with Ctrl+C what runs there, and leave."""
    typist = Typist(shell, "console", "a/web-01", "--serial")
    typist.wait_for(b"Ctrl+] leaves")
    typist.wait_for(b"login:")
    typist.type(b"root\r")
    typist.wait_for(b":~# ")
    typist.type(b"hostname\r")
    typist.wait_for(b"\r\nweb-01\r\n")
    typist.type(b"flood 10000000\r")
    typist.wait_for(b"\r\n")
    typist.type(b"\x03")
    typist.wait_for(b"^C\r\n")
    typist.type(LEAVE)
    assert typist.ended() == 0


def test_the_serial_line_alone(shell: Shell) -> None:
    talk(shell)
    for number in (signal.SIGTERM, signal.SIGHUP):
        typist = Typist(shell, "console", "a/web-01", "--serial")
        typist.wait_for(b"login:")
        typist.process.send_signal(number)
        assert typist.ended() == 128 + number


def test_the_serial_line_and_the_window_beside_a_running_owner(shell: Shell, owner: subprocess.Popen[str]) -> None:
    talk(shell)
    held = Typist(shell, "console", "a/web-01", "--serial")
    held.wait_for(b"Ctrl+] leaves")
    second = Typist(shell, "console", "a/web-01", "--serial")
    second.wait_for(b"another session")
    assert second.ended() == 1
    second = Typist(shell, "console", "a/web-01", "--serial", "--force")
    second.wait_for(b"Ctrl+] leaves")
    held.wait_for(b"another session")
    held.type(LEAVE)
    assert held.ended() == 0
    second.process.kill()
    second.process.wait(30)
    done = shell.run("console", "a/web-01")
    assert done.returncode == 0, done.stderr
    assert owner.stdout is not None
    ref = shell.vms()["a/web-01"]["ref"]
    assert owner.stdout.readline() == f"shown {ref}\n"


def test_what_cannot_be_is_said(shell: Shell, tmp_path: Path) -> None:
    done = shell.run("console", "a/web-01")
    assert done.returncode == 1
    assert "no window is open" in done.stderr
    assert "--screenshot" in done.stderr
    done = shell.run("console", "a/web-01", "--serial")
    assert done.returncode == 2
    assert "no terminal" in done.stderr
    assert shell.run("console", "a/nobody", "--screenshot", str(tmp_path / "x.png")).returncode == 2
    assert shell.run("console", "a/web-01", "--screenshot", str(tmp_path / "none" / "x.png")).returncode == 2
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "x" * 300):
        done = shell.run("console", "a/web-01", "--screenshot", str(tmp_path / name))
        assert (done.returncode, "Errno" in done.stderr) == (2, False), done.stderr
    assert list(tmp_path.glob("*.png")) == []


def test_json_with_nowhere_to_go_is_a_failure_before_anything_is_done(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    words = [sys.executable, "-m", "app", "console", "a/web-01", "--screenshot", str(path), "--json"]
    closed = ["sh", "-c", 'exec "$@" >&-', "sh", *words]
    done = subprocess.run(closed, cwd=ROOT, env=shell.env, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, path.exists()) == (1, False)
    assert "standard output is closed" in done.stderr


def test_a_picture_of_the_screen_and_kept_output(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    row = shell.json("console", "a/web-01", "--screenshot", str(path))
    assert (row["path"], row["bytes"]) == (str(path), path.stat().st_size)
    assert path.read_bytes().startswith(b"\x89PNG")
    off = next(name for name, vm in shell.vms().items() if vm["state"] == "off")
    done = shell.run("console", off, "--screenshot", str(path))
    assert done.returncode == 1
    assert "is off" in done.stderr
    name = next(name for name, vm in shell.vms("state:running").items() if "/cache-" in name)
    typist = Typist(shell, "console", name, "--serial")
    typist.wait_for(b"login:")
    assert typist.ended() == 0


async def test_whoever_is_gone_leaves_nothing_waiting(services: Services) -> None:
    """The terminal on the other side was killed: the verb is cancelled while it waits."""
    before = asyncio.all_tasks()
    rows = line(services, {"ref": f"a/{running(services).id}"})
    row = await anext(rows)
    assert row["type"] == "line"
    going = asyncio.ensure_future(anext(rows))
    await asyncio.sleep(0.05)
    going.cancel()
    await asyncio.wait({going})
    await asyncio.sleep(0)
    assert asyncio.all_tasks() - before == set()
