"""Consoles of real guests: screens and serial lines, on this machine, through SSH and by TLS."""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from backends.consoles import Console, ConsoleKind, Door
from backends.driver import Settings
from backends.errors import Conflict, NotFound
from backends.libvirt import Driver
from backends.model import Kind, PowerAction, Ref
from tests.backends.libvirt.test_far import connections, settings
from tests.backends.rfb import Rfb
from tests.conformance.consoles import claimed_consoles_work
from tests.lab.machine import Lab, LabGuest

pytestmark = pytest.mark.lab

VNC_PASSWORD = "canary12"
KEY_S = 0.03
MORE = """
    <graphics type='spice'><listen type='socket'/></graphics>
    <console type='pty'><target type='virtio' port='1'/></console>
    <serial type='file'><source path='/dev/null'/><target port='1'/></serial>
"""


def richer(xml: str) -> str:
    return xml.replace("type='vnc'", f"type='vnc' passwd='{VNC_PASSWORD}'").replace("    <video>", f"{MORE}    <video>")


class Line:
    """What is read off a serial line, and what is typed on it."""

    def __init__(self, door: Door) -> None:
        assert door.socket is not None and not door.socket.getblocking()
        self.socket = door.socket
        self.heard = ""

    async def until(self, pattern: str, seconds: float = 60) -> re.Match[str]:
        try:
            async with asyncio.timeout(seconds):
                while (found := re.search(pattern, self.heard)) is None:
                    data = await asyncio.get_running_loop().sock_recv(self.socket, 1 << 16)
                    assert data, f"the line ended; it said {self.heard[-500:]!r}"
                    self.heard += data.decode(errors="replace")
        except TimeoutError:
            raise AssertionError(f"no {pattern!r} in {self.heard[-1500:]!r}") from None
        return found

    async def type(self, text: str) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, text.encode())

    async def end(self, seconds: float = 60) -> None:
        """Read to the end of the stream."""
        async with asyncio.timeout(seconds):
            while await asyncio.get_running_loop().sock_recv(self.socket, 1 << 16):
                pass
        self.socket.close()


@pytest.fixture
def guest(lab: Lab, healed: Lab) -> LabGuest:
    """A guest of one's own on lab.b with a password on its screen, a virtio console, and a line to a file."""
    made = lab.make(lab.b, change=richer)
    made.wait_beats(lab.b, 1)
    return made


@pytest.fixture(params=["unix", "ssh"])
def way_in(lab: Lab, request: pytest.FixtureRequest) -> Settings:
    """The same host by its own socket, and by SSH."""
    if request.param == "unix":
        return Settings({"uri": lab.b.uri})
    assert lab.state.ssh is not None, "this machine has no sshd"
    return Settings(settings(lab, lab.state.ssh))


@pytest_asyncio.fixture
async def driver(way_in: Settings) -> AsyncIterator[Driver]:
    made = Driver("host", way_in)
    await made.connect()
    yield made
    await made.close()


def ref(guest: LabGuest) -> Ref:
    return Ref("host", Kind.VM, guest.uuid)


async def offers(driver: Driver, guest: LabGuest, kind: ConsoleKind) -> list[Console]:
    return [one for one in await driver.consoles(ref(guest)) if one.kind == kind]


async def serial(driver: Driver, guest: LabGuest, *, force: bool = False) -> Line:
    first = (await offers(driver, guest, ConsoleKind.SERIAL))[0]
    return Line(await driver.open_console(first, force=force))


async def spice_answers(door: Door) -> None:
    """A viewer of its own finds the screen at the forwarded port, for as long as the door is open."""
    reader, writer = await asyncio.open_connection(door.host, door.port)
    # SpiceLinkMess: magic, version 2.2, size, session 0, channel main, no capabilities.
    writer.write(struct.pack("<4sIII IBB III", b"REDQ", 2, 2, 18, 0, 1, 0, 0, 0, 18))
    assert await reader.readexactly(4) == b"REDQ"
    writer.close()
    door.close()
    async with asyncio.timeout(60):
        with pytest.raises(ConnectionError):
            while True:
                (await asyncio.open_connection(door.host, door.port))[1].close()
                await asyncio.sleep(0.02)


async def test_screen_and_lines(lab: Lab, driver: Driver, way_in: Settings, guest: LabGuest) -> None:
    """One guest's consoles from end to end: what there is, what they carry, whom they belong to, how they end."""
    by_ssh = "ssh" in driver.uri
    await claimed_consoles_work(driver, ref(guest), silent=("console1",))
    found = await driver.consoles(ref(guest))
    assert [(one.kind, one.label, one.id) for one in found] == [
        (ConsoleKind.VNC, "Screen", "0"),
        (ConsoleKind.SPICE, "Screen (SPICE)", "1"),
        (ConsoleKind.SERIAL, "Serial line 1", "serial0"),
        (ConsoleKind.SERIAL, "Serial line 2", "serial1"),
        (ConsoleKind.SERIAL, "Virtio console", "console1"),
    ]
    assert [one.id for one in found if one.hindrance] == ["serial1"]
    door = await driver.open_console(found[0])
    assert door.socket is not None and VNC_PASSWORD not in repr(door)
    screen = Rfb(door.socket)
    await screen.begin(door.password if by_ssh else "")
    assert (screen.width, screen.name) == (720, f"QEMU ({guest.name})")
    line = await serial(driver, guest)
    await line.type("status\n")
    await line.until(r"STATUS n=\d+")
    await screen.type("root\n", KEY_S)
    await line.until(r"LOGIN root")
    await screen.type("seq 1 5000 >/dev/ttyS0\n", KEY_S)
    await line.until(r"\b5000\b")
    numbers = re.findall(r"^(\d+)\r?$", line.heard, re.MULTILINE)
    assert numbers == [str(number) for number in range(1, 5001)], "the line lost something"
    paravirtual = Line(await driver.open_console(found[4]))
    await screen.type("exec 3<>/dev/hvc0; echo ping >&3; cat <&3 >/dev/ttyS0 &\n", KEY_S)
    await paravirtual.until("ping")
    await paravirtual.type("by virtio\n")
    await line.until("by virtio")
    paravirtual.socket.close()

    with pytest.raises(Conflict, match="another session") as caught:
        await serial(driver, guest)
    assert caught.value.cure
    mine = await serial(driver, guest, force=True)
    await line.end()
    await mine.type("status\n")
    await mine.until("STATUS")
    mine.socket.close()
    first = (await offers(driver, guest, ConsoleKind.SERIAL))[0]
    opening = asyncio.create_task(driver.open_console(first))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    async with asyncio.timeout(60):
        while True:
            try:
                again = await serial(driver, guest)
                break
            except Conflict:
                await asyncio.sleep(0.02)

    spice = await driver.open_console(found[1])
    if by_ssh:
        await spice_answers(spice)
        assert lab.state.ssh is not None
        assert len(set(connections(lab.state.ssh))) == 1, "a console made a connection of its own"
    else:
        assert spice.host.startswith("/") and spice.host.endswith("spice.sock") and not spice.port
    with pytest.raises(NotFound):
        await driver.open_console(Console(ref(guest), ConsoleKind.SPICE, "none", "7"))

    await driver.power(ref(guest), PowerAction.OFF)
    await again.end()
    with pytest.raises(EOFError):
        await screen.read(1 << 24)
    door.close()
    for one in await driver.consoles(ref(guest)):
        assert one.hindrance == f"{guest.name} is not running" and one.cure == "start it"
    with pytest.raises(Conflict):
        await driver.open_console(found[0])


async def test_a_connection_that_goes_takes_its_lines_along(lab: Lab, fresh_guest: LabGuest) -> None:
    host = Driver("host", Settings({"uri": lab.a.uri}))
    await host.connect()
    line = await serial(host, fresh_guest)
    await line.until("HB n=")
    await host.close()
    await line.end(10)
    await host.connect()
    line = await serial(host, fresh_guest)
    await line.until("HB n=")
    lab.a.kill_libvirtd()
    await line.end(10)
    await host.close()
