"""External viewers: what a program on the PATH is really given, and that secrets are in its private file only."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import app.consoles.viewer
from app.consoles import Console, ConsoleKind
from app.consoles.viewer import Viewer, connection_file, folder_of, program
from app.services import Services
from backends.consoles import Door, DoorTls
from backends.errors import AuthNeeded, Invalid, Unreachable, Unsupported
from backends.model import Kind, Ref
from tests.app.consoles.conftest import driver, running
from tests.app.fakes import contents, until

SECRET = "s3cret-of-the-screen"
REF = Ref("a", Kind.VM, "v1")
RECORDER = """#!/usr/bin/env python3
import json, os, sys, time
path = next(word for word in sys.argv if word.endswith((".vv", ".rdp")))
found = {"argv": sys.argv, "mode": os.stat(path).st_mode, "folder": os.stat(os.path.dirname(path)).st_mode,
         "text": open(path).read(), "environ": dict(os.environ)}
open(os.environ["RECORD"] + ".new", "w").write(json.dumps(found))
os.rename(os.environ["RECORD"] + ".new", os.environ["RECORD"])
while os.path.exists(os.environ["RECORD"]):
    time.sleep(0.02)
"""
"""A viewer that writes down what it was given, and runs as long as its notes are there."""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Puts a program on an otherwise empty PATH; returns where RECORDER writes."""
    folder = tmp_path / "bin"
    folder.mkdir()
    record = tmp_path / "record"
    monkeypatch.setenv("RECORD", str(record))
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setattr(app.consoles.viewer, "EARLY_S", 0.2)
    for name in ("python3", "sh"):
        (folder / name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(folder))

    def install(name: str, text: str = RECORDER) -> Path:
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
        return record

    return install


@pytest.fixture
def spice(services: Services, monkeypatch: pytest.MonkeyPatch) -> tuple[Ref, Console, list[str]]:
    """A VM with a SPICE screen; the list tells when its door is closed."""
    ref = running(services)
    closed: list[str] = []

    async def open_console(console: Console, *, force: bool = False) -> Door:
        tls = DoorTls(host="kvm.example")
        return Door(
            console=console,
            host="192.0.2.1",
            port=5900,
            tls_port=5901,
            password=SECRET,
            tls=tls,
            carrier="through SSH",
            release=lambda: closed.append("released"),
        )

    monkeypatch.setattr(driver(services), "open_console", open_console)
    return ref, Console(ref, ConsoleKind.SPICE, "Screen"), closed


async def given(record: Path) -> dict[str, Any]:
    await until(record.exists)
    return dict(json.loads(await asyncio.to_thread(record.read_text)))


async def test_a_spice_viewer_gets_its_secret_in_a_private_file_only(
    services: Services, spice: tuple[Ref, Console, list[str]], machine: Callable[..., Path]
) -> None:
    ref, console, closed = spice
    record = machine("remote-viewer")
    await services.consoles.viewer(ref, console)
    found = await given(record)
    lines = dict(line.split("=", 1) for line in found["text"].splitlines()[1:])
    assert found["text"].startswith("[virt-viewer]\n")
    assert lines["type"] == "spice"
    assert (lines["host"], lines["port"], lines["tls-port"]) == ("192.0.2.1", "5900", "5901")
    assert lines["password"] == SECRET
    assert lines["delete-this-file"] == "1"
    assert lines["host-subject"] == "CN=kvm.example"
    assert stat.S_IMODE(found["mode"]) == 0o600
    assert stat.S_IMODE(found["folder"]) == 0o700
    assert SECRET not in str(found["argv"]) + str(found["environ"])
    assert "/runtime/causeway-" in str(found["argv"])
    assert closed == [], "the way there is open as long as the viewer runs"
    record.unlink()
    await until(lambda: closed == ["released"])
    assert SECRET.encode() not in contents(services.home)
    trail = [line for line in await services.audit.trail() if line["what"] == "console"]
    assert [line["to"] for line in trail] == ["spice Screen"]


async def test_an_rdp_viewer(
    services: Services, spice: tuple[Ref, Console, list[str]], machine: Callable[..., Path]
) -> None:
    ref, _, closed = spice
    record = machine("xfreerdp")
    await services.consoles.viewer(ref, Console(ref, ConsoleKind.RDP, "Screen (RDP)"))
    found = await given(record)
    assert "full address:s:192.0.2.1:5900\n" in found["text"]
    assert f"password:s:{SECRET}\n" in found["text"]
    assert SECRET not in str(found["argv"])
    record.unlink()
    await until(lambda: closed == ["released"])


async def test_the_file_is_gone_once_it_is_read_and_what_a_crash_left_at_the_next_start(
    services: Services,
    spice: tuple[Ref, Console, list[str]],
    machine: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ref, console, closed = spice
    record = machine("remote-viewer")
    monkeypatch.setattr(app.consoles.viewer, "READ_S", 0.3)
    await services.consoles.viewer(ref, console)
    folder = folder_of(services.home)
    await until(lambda: not list(folder.glob("*.vv")))
    assert closed == []
    record.unlink()
    await until(lambda: closed == ["released"])
    # What `kill -9` leaves: nobody is there to remove it.
    monkeypatch.setattr(Viewer, "close", lambda self: None)
    monkeypatch.setattr(app.consoles.viewer, "READ_S", 600)
    await services.consoles.viewer(ref, console)
    assert any(SECRET in file.read_text() for file in folder.glob("*.vv"))
    left = folder_of(services.home.with_name("again"))
    folder.rename(left)
    again = await Services.open(services.home.with_name("again"), vault_key_file=services.home.with_name("key"))
    await again.recovered()
    assert not left.exists()
    await again.close()
    record.unlink()


async def test_over_an_open_network_a_viewer_is_told_of_the_encrypted_port_only_or_asked_about(
    services: Services,
    spice: tuple[Ref, Console, list[str]],
    machine: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ref, console, closed = spice
    record = machine("remote-viewer")
    before = await driver(services).open_console(console)
    tls_ports = [5901, 0, 0]

    async def open_console(console: Console, *, force: bool = False) -> Door:
        return replace(before, carrier="", tls_port=tls_ports.pop(0))

    monkeypatch.setattr(driver(services), "open_console", open_console)
    await services.consoles.viewer(ref, console)
    text = (await given(record))["text"]
    assert "tls-port=5901\n" in text
    assert "\nport=" not in text
    record.unlink()
    await until(lambda: closed == ["released"])
    with pytest.raises(AuthNeeded, match="unprotected") as caught:
        await services.consoles.viewer(ref, console)
    assert (caught.value.field, closed) == ("trust", ["released"] * 2)
    assert not record.exists()
    await services.consoles.trust((ref.connection, "kvm.example"))
    await services.consoles.viewer(ref, console)
    assert "\nport=5900\n" in (await given(record))["text"]
    record.unlink()


async def test_a_viewer_that_fails_at_once_is_an_error(
    services: Services, spice: tuple[Ref, Console, list[str]], machine: Callable[..., Path]
) -> None:
    ref, console, closed = spice
    machine("remote-viewer", f"#!/bin/sh\necho cannot open display with {SECRET} >&2\nexit 3\n")
    with pytest.raises(Unreachable, match=r"remote-viewer ended with 3: cannot open display with \.\.\.$"):
        await services.consoles.viewer(ref, console)
    assert closed == ["released"]
    assert list(folder_of(services.home).iterdir()) == []


async def test_a_viewer_that_fails_later_is_said(
    services: Services,
    spice: tuple[Ref, Console, list[str]],
    machine: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ref, console, _ = spice
    monkeypatch.setenv("PATH", os.environ["PATH"] + ":/usr/bin")
    machine("remote-viewer", "#!/bin/sh\nsleep 0.5\necho lost it\nexit 1\n")
    await services.consoles.viewer(ref, console)
    await until(lambda: any("the viewer ended: lost it" in event.text for event in services.events))


@pytest.mark.parametrize(
    ("system", "kind", "cure"),
    [
        ("ID=debian\n", ConsoleKind.SPICE, "apt install virt-viewer"),
        ("ID=linuxmint\nID_LIKE='ubuntu debian'\n", ConsoleKind.RDP, "apt install freerdp2-x11"),
        ("ID=opensuse-leap\nID_LIKE='suse opensuse'\n", ConsoleKind.SPICE, "zypper install virt-viewer"),
        ("ID=other\n", ConsoleKind.SPICE, "install virt-viewer"),
    ],
)
async def test_without_a_viewer_the_package_is_named_and_nothing_is_opened(
    services: Services,
    spice: tuple[Ref, Console, list[str]],
    machine: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    system: str,
    kind: ConsoleKind,
    cure: str,
) -> None:
    ref, _, closed = spice
    words = dict(line.split("=", 1) for line in system.replace("'", "").splitlines())
    monkeypatch.setattr(app.consoles.viewer.platform, "freedesktop_os_release", lambda: words)
    with pytest.raises(Unsupported, match="no viewer") as caught:
        await services.consoles.viewer(ref, Console(ref, kind, "Screen"))
    assert caught.value.cure == cure
    assert closed == []


def test_a_value_cannot_add_a_line() -> None:
    console = Console(REF, ConsoleKind.SPICE, "Screen")
    with pytest.raises(Invalid):
        connection_file(Door(console=console, host="h\nproxy=evil", port=1), "web")
    with pytest.raises(Invalid):
        connection_file(Door(console=console, host="h", port=1), "web\nproxy=evil")


def test_a_unix_socket_and_an_authority(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text("-----BEGIN-----\nabc\n-----END-----\n")
    door = Door(
        console=Console(REF, ConsoleKind.SPICE, "Screen"),
        host="/run/spice.sock",
        tls_port=1,
        tls=DoorTls(host="k", ca=str(authority)),
    )
    text = connection_file(door, "web")
    assert "unix-path=/run/spice.sock\n" in text
    assert "\nhost=" not in text
    assert "ca=-----BEGIN-----\\nabc\\n-----END-----\\n\n" in text


def test_a_screen_of_ours_needs_no_viewer() -> None:
    with pytest.raises(Unsupported):
        program(ConsoleKind.VNC)
