"""Consoles on real guests: keys in by the screen and out by the serial line, exact pictures, and coming back by itself
over a live move, a reboot and a killed libvirtd. kvm-a is on this machine, kvm-b behind SSH."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import pytest
import pytest_asyncio

from app.consoles import LineSession, ScreenSession, SessionEvent, SessionState, What
from app.consoles.rfb.keysyms import SCANCODES, SHIFT_L, strokes
from app.link import ConnectionState
from app.playground.hosts import Host
from app.services import Services
from app.tasks import TaskState
from backends.model import LiveOptions, PowerAction, Ref
from tests.app.consoles.test_png import read
from tests.lab.machine import Lab, LabGuest
from tests.lab.test_migration import known, place, until

pytestmark = [pytest.mark.lab, pytest.mark.asyncio(loop_scope="module")]
PACE_S = 0.03
"""A PC keyboard's queue is short."""
SHELL_S = 3.0
"""So long a shell may take to its prompt, where nothing tells from outside that it is there."""


@dataclass(slots=True)
class Desk:
    """A guest that is looked at: its screen and its line, open from the first test to the last."""

    lab: Lab
    services: Services
    guest: LabGuest
    screen: ScreenSession
    line: LineSession
    said: bytearray = field(default_factory=bytearray)
    states: list[tuple[SessionState, str]] = field(default_factory=list)

    @property
    def host(self) -> Host:
        (host,) = self.guest.where()
        return host

    @property
    def ref(self) -> Ref:
        assert self.screen.ref is not None
        return self.screen.ref

    async def live(self, seconds: float = 60.0) -> None:
        """Both are, and both on the host where the guest runs."""

        def both() -> bool:
            sessions = (self.screen, self.line)
            return all(one.state == SessionState.LIVE for one in sessions) and self.ref.connection == self.host.name

        await until(both, f"not live: {self.screen.status} {self.line.status}", seconds)

    async def answers(self, command: bytes, answer: bytes, seconds: float = 90.0) -> None:
        """The line takes a command and says something after it."""
        self.said.clear()
        assert self.line.write(command + b"\n")
        await until(lambda: answer in self.said, f"no {answer!r} in {bytes(self.said[-500:])!r}", seconds)

    async def type(self, text: str) -> None:
        """Keys as a person presses them, and Return."""
        for one in strokes(text + "\n"):
            held = [(SHIFT_L, SCANCODES[SHIFT_L])] if one.shift else []
            for keysym, scancode in [*held, (one.keysym, one.scancode)]:
                self.screen.key(keysym, True, scancode)
            for keysym, scancode in [(one.keysym, one.scancode), *held]:
                self.screen.key(keysym, False, scancode)
            await asyncio.sleep(PACE_S)

    async def login(self, name: str) -> None:
        """Type a name at the login on the screen and read it off the serial line; then there is a shell."""
        self.said.clear()
        await self.type(name)
        wanted = f"LOGIN {name}".encode()
        await until(lambda: wanted in self.said, f"{name} did not log in")
        await asyncio.sleep(SHELL_S)

    async def says(self, word: str) -> None:
        """Type a command in the screen's shell and read what it says off the serial line."""
        self.said.clear()
        await self.type(f'echo "<{word}>" | tee /dev/ttyS0')
        await until(lambda: f"\n<{word}>".encode() in self.said.replace(b"\r", b""), f"no {word} on the line")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def services(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Services]:
    """The program without a screen: kvm-a by its socket, kvm-b through SSH."""
    folder = tmp_path_factory.mktemp("program")
    opened = await Services.open(folder / "home", vault_key_file=folder / "key")
    way = lab.state.ssh
    assert way is not None, "this machine has no sshd"
    far = {
        "uri": f"qemu+ssh://root@127.0.0.1:{way.port}/system",
        "keyfile": str(way.key),
        "known_hosts": str(way.known_hosts),
        "migration_host": lab.b.address,
    }
    try:
        seed = next(one for one in lab.state.connections if one.name == "kvm-a")
        await opened.connections.add(seed.kind, seed.name, seed.settings, seed.secrets)
        await opened.connections.add("libvirt", "kvm-b", far, {})
        await until(
            lambda: all(item.state == ConnectionState.READY and item.listed for item in opened.connections.all()),
            "the connections are not ready",
        )
        yield opened
    finally:
        await opened.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(lab: Lab, services: Services) -> AsyncIterator[Desk]:
    guest = await asyncio.to_thread(lab.make, lab.a)
    await asyncio.to_thread(guest.wait_beats, lab.a)
    ref = (await known(services, "kvm-a", guest.name)).ref
    made = Desk(lab, services, guest, services.consoles.screen(ref), services.consoles.line(ref))
    made.line.attach(lambda data: made.said.extend(data))

    def note(event: SessionEvent) -> None:
        if event.what == What.STATUS:
            made.states.append((made.screen.state, made.screen.status.text))

    made.screen.subscribe(note)
    await made.screen.open()
    await made.line.open()
    yield made
    await made.screen.close()
    await made.line.close()
    lab.heal()
    lab.clear()


async def test_what_is_typed_on_the_screen_comes_out_of_the_serial_line(desk: Desk) -> None:
    await desk.live()
    await desk.login("screen")
    await desk.says("Shift AND: more_~|{}@#'")
    await desk.answers(b"status", b"STATUS n=")
    await desk.type("exit")
    await asyncio.sleep(SHELL_S)
    await desk.login("again")


async def test_the_picture_is_qemus_own_pixel_for_pixel(desk: Desk, tmp_path: Path) -> None:
    await desk.answers(b"quiet", b"")
    await asyncio.sleep(2)
    ours = read(await desk.services.consoles.screenshot(desk.ref))
    path = tmp_path / "theirs"
    desk.host.virsh("screenshot", desk.guest.uuid, str(path))
    theirs = picture(path.read_bytes())
    assert ours.shape == theirs.shape
    assert (ours[:, :, :3] == theirs[:, :, :3]).all()
    assert len(numpy.unique(ours.reshape(-1, 4), axis=0)) > 1
    await desk.answers(b"loud", b"HB n=")


async def test_a_live_move_to_a_host_behind_ssh_and_back_under_open_consoles(desk: Desk) -> None:
    uid = desk.screen.uid
    for target in ("kvm-b", "kvm-a"):
        desk.states.clear()
        desk.screen.gap_ms = desk.line.gap_ms = None
        planned = await desk.services.migrations.plan(desk.ref, place(target), live=LiveOptions())
        assert planned.verdict.allowed, planned.verdict
        task = await desk.services.tasks.wait(desk.services.migrations.start(planned))
        assert task.state == TaskState.DONE, (task.error, task.log)
        await desk.live()
        assert desk.ref.connection == target
        assert desk.screen.uid == uid
        assert desk.screen.security == ("through SSH" if target == "kvm-b" else "on this machine")
        assert SessionState.FAILED not in [state for state, _ in desk.states]
        assert desk.screen.gap_ms is not None
        assert desk.line.gap_ms is not None
        print(f"to {target}: screen {desk.screen.gap_ms:.0f} ms, line {desk.line.gap_ms:.0f} ms away, {desk.states}")
        await desk.says(f"on {target}")
        await desk.answers(b"status", b"STATUS n=")


async def test_a_reboot_of_the_guest(desk: Desk) -> None:
    boot = boots(desk)
    assert desk.line.write(b"reboot\n")
    await until(lambda: boots(desk) != boot, "it does not boot again", 240)
    await desk.live()
    await desk.login("again")


async def test_off_and_on_again(desk: Desk) -> None:
    for action, state in ((PowerAction.OFF, SessionState.GONE), (PowerAction.START, SessionState.LIVE)):
        (task,) = desk.services.actions.power([desk.ref], action)
        await desk.services.tasks.wait(task)
        assert task.state == TaskState.DONE, task.error
        await until(lambda state=state: desk.screen.state == desk.line.state == state, f"not {state}")  # type: ignore[misc]
    await desk.answers(b"", b"HB n=", 240)
    await desk.login("on-again")


async def test_libvirtd_killed_and_back(desk: Desk) -> None:
    host = desk.host
    connection = desk.services.connections.get(host.name)
    assert connection is not None
    host.kill_libvirtd()
    await until(lambda: desk.line.state != SessionState.LIVE, "the line has not noticed")
    await desk.type("echo blind | tee /dev/ttyS0")
    await until(lambda: "\nblind\n" in desk.guest.serial(host), "the screen hangs on libvirtd")
    assert desk.screen.state == SessionState.LIVE
    await asyncio.to_thread(host.start)
    await until(lambda: connection.state == ConnectionState.READY, "not connected again")
    await desk.live()
    await desk.answers(b"status", b"STATUS n=")
    await desk.says("libvirtd is back")


def boots(desk: Desk) -> str:
    """The guest's newest boot id, as its heartbeats have it."""
    return desk.guest.beats(desk.host)[-1].boot


def picture(data: bytes) -> numpy.ndarray[Any, Any]:
    """What `virsh screenshot` wrote, PNG or PPM, as `read` gives it."""
    if data.startswith(b"\x89PNG"):
        return read(data)
    found = re.match(rb"P6\s+(\d+)\s+(\d+)\s+255\s", data)
    assert found, data[:20]
    width, height = int(found[1]), int(found[2])
    rgb = numpy.frombuffer(data[found.end() :], dtype=numpy.uint8).reshape(height, width, 3)
    return numpy.dstack([rgb[:, :, ::-1], numpy.full((height, width), 255, dtype=numpy.uint8)])
