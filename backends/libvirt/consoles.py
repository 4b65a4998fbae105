"""A VM's consoles by libvirt: which there are, what hinders them on this connection, and the ways to them.

- On this machine libvirt itself hands over a connected socket (openGraphicsFD), wherever the screen listens.
- Through SSH the screen's own socket or port on the host is dialled. (openGraphicsFD would end the whole connection.)
- By TLS and TCP the screen must listen on an address of the host that can be reached from here.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import libvirt

from backends.consoles import Console, ConsoleKind, Door, DoorTls
from backends.errors import Conflict, NotFound, Unreachable, Unsupported
from backends.libvirt import devices, picture, stream
from backends.libvirt.client import Conn
from backends.libvirt.devices import Graphics, SerialLine
from backends.libvirt.translate import RUNNING_STATES
from backends.libvirt.uris import Address
from backends.model import Ref
from backends.pump import hung_up
from backends.ssh import Place, SshConnection

if TYPE_CHECKING:
    from backends.libvirt import Driver

NAMES = {ConsoleKind.VNC: "Screen", ConsoleKind.SPICE: "Screen (SPICE)", ConsoleKind.RDP: "Screen (RDP)"}
ORDER = (ConsoleKind.VNC, ConsoleKind.SPICE, ConsoleKind.RDP)
CONNECT_S = 10.0
RELEASE_S = 5.0
CA = Path("/etc/pki/CA/cacert.pem")
"""Where libvirt and its friends look for the authority that signs hosts."""


class Doors:
    """The consoles of one connection's VMs. `ssh` is the connection's own, None where it has none."""

    def __init__(self, driver: Driver, where: Address, ssh: SshConnection | None, pkipath: str) -> None:
        self._driver = driver
        self._where = where
        self._ssh = ssh
        self._pkipath = pkipath
        self._lines: dict[tuple[str, str], stream.Opened] = {}

    @property
    def _local(self) -> bool:
        return self._where.transport in ("", "unix")

    async def offers(self, vm: Ref) -> Sequence[Console]:
        """All consoles of a VM, the best first."""
        uuid = vm.id
        name, state, xml = await self._driver.client.call(lambda conn: _read(conn, uuid))
        off = "" if state in RUNNING_STATES else f"{name} is not running"
        found: list[Console] = []
        for screen in sorted(devices.screens(xml), key=lambda one: ORDER.index(one.kind)):
            hindrance, cure = (off, "start it") if off else self._hindrance(screen)
            found.append(Console(vm, screen.kind, NAMES[screen.kind], str(screen.index), hindrance, cure))
        for line in devices.serial_lines(xml):
            hindrance, cure = (off, "start it") if off else _line_hindrance(line)
            label = "Virtio console" if line.target == "virtio" else "Serial line"
            found.append(Console(vm, ConsoleKind.SERIAL, label, line.alias, hindrance, cure))
        return _numbered(found)

    async def open(self, console: Console, force: bool) -> Door:
        """Raises NotFound, Conflict, Unsupported, Unreachable. A door that opens after a cancel is closed."""
        opening = asyncio.create_task(self._open(console, force))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_late)
            raise

    async def _open(self, console: Console, force: bool) -> Door:
        have = next(
            (one for one in await self.offers(console.vm) if (one.kind, one.id) == (console.kind, console.id)), None
        )
        if have is None:
            raise NotFound(f"this VM has no {console.kind} console {console.id}", object_name=console.vm.id)
        if have.hindrance:
            kind = Conflict if have.cure == "start it" else Unsupported
            raise kind(have.hindrance, object_name=console.vm.id, cure=have.cure)
        if have.kind == ConsoleKind.SERIAL:
            return await self._open_line(have, force)
        uuid, index = have.vm.id, int(have.id)
        screen, password = await self._driver.client.call(lambda conn: _screen(conn, uuid, index))
        if have.kind == ConsoleKind.VNC:
            made = await self._connect(uuid, screen)
            return Door(console=have, socket=made, password=password, tls=self._tls(), carrier=self._carrier(screen))
        return await self._for_viewer(have, screen, password)

    def hang_up(self) -> None:
        """End every serial line: the connection is closed, or lost. Never blocks."""
        for line in self._lines.values():
            with suppress(OSError):
                line.pumped.shutdown(socket.SHUT_RDWR)
        self._lines.clear()

    def _hindrance(self, screen: Graphics) -> tuple[str, str]:
        """Why a running VM's screen cannot be reached by this connection, and what helps."""
        if self._local and screen.kind == ConsoleKind.VNC:
            return "", ""
        if not screen.listens:
            return "its screen listens nowhere", "let it listen on a socket: <listen type='socket'/>"
        if self._local:
            return "", ""
        if self._where.transport == "ssh":
            if self._ssh is None:
                return "the system's ssh carries no consoles", "set “SSH by” of this connection to asyncssh"
            return "", ""
        if screen.socket or _loopback(screen.address):
            return (
                "its screen listens on its host only",
                "connect to the host by qemu+ssh, or let the screen listen on the host's address",
            )
        return "", ""

    def _carrier(self, screen: Graphics) -> str:
        if self._ssh is not None:
            return "through SSH"
        return "on this machine" if self._local or _loopback(self._reachable(screen)) else ""

    async def _connect(self, uuid: str, screen: Graphics) -> socket.socket:
        if self._local:
            return await self._driver.client.call(lambda conn: _handed_over(conn, uuid, screen.index))
        if self._ssh is not None:
            try:
                return await self._ssh.dial(_place(screen, screen.port))
            except NotFound as error:
                cure = "see that this user may open it there (root may), or let the screen listen on 127.0.0.1"
                raise NotFound(error.message, object_name=uuid, cure=cure) from None
        address = (self._reachable(screen), screen.port)
        return await self._driver.client.call(lambda _conn: _connected(address), deadline=2 * CONNECT_S)

    async def _for_viewer(self, console: Console, screen: Graphics, password: str) -> Door:
        """Where an external viewer finds a screen, as seen from here. A host that is a path is a unix socket."""
        door = Door(console=console, password=password, tls=self._tls(), carrier=self._carrier(screen))
        if self._ssh is None:
            door.host = screen.socket or self._reachable(screen)
            door.port, door.tls_port = screen.port, screen.tls_port
            return door
        door.host = "127.0.0.1"
        ends = ExitStack()
        door.release = ends.close
        try:
            if screen.socket or screen.port:
                door.port, end = await self._ssh.forward_port(_place(screen, screen.port))
                ends.callback(end)
            if screen.tls_port and not screen.socket:
                door.tls_port, end = await self._ssh.forward_port(_place(screen, screen.tls_port))
                ends.callback(end)
        except BaseException:
            door.close()
            raise
        return door

    async def _open_line(self, console: Console, force: bool) -> Door:
        uuid, alias = console.vm.id, console.id
        client = self._driver.client
        before = self._lines.get((uuid, alias))
        if before is not None and hung_up(before.pumped):
            over = before.released
            await client.call(lambda _conn: over.wait(RELEASE_S), what=console.label)
        made = await client.call(lambda conn: stream.open_line(conn, uuid, alias, force), what=console.label)
        self._lines[uuid, alias] = made
        return Door(console=console, socket=made.near)

    def _reachable(self, screen: Graphics) -> str:
        """The address of a screen as seen from here: one that stands for all of the host's is the host's name."""
        if screen.address in ("", "0.0.0.0", "::"):
            return self._where.host or "127.0.0.1"
        return screen.address

    def _tls(self) -> DoorTls:
        """What to ask of a screen that speaks TLS: the connection's own authority and certificate."""
        host = self._where.host or self._driver.hostname
        if not self._pkipath:
            return DoorTls(host=host, ca=str(CA) if CA.is_file() else "")
        folder = Path(self._pkipath)
        files = [folder / name for name in ("cacert.pem", "clientcert.pem", "clientkey.pem")]
        ca, certificate, key = (str(file) if file.is_file() else "" for file in files)
        return DoorTls(host=host, ca=ca, certificate=certificate, key=key)


def _close_late(opening: asyncio.Task[Door]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def _numbered(consoles: Sequence[Console]) -> Sequence[Console]:
    """The same, with a number on each label that several have."""
    seen: Counter[str] = Counter()
    often = Counter(one.label for one in consoles)
    found = []
    for one in consoles:
        seen[one.label] += 1
        found.append(replace(one, label=f"{one.label} {seen[one.label]}") if often[one.label] > 1 else one)
    return found


def _read(conn: Conn, uuid: str) -> tuple[str, int, str]:
    domain = picture.domain(conn, uuid)
    return domain.name(), int(domain.state()[0]), domain.XMLDesc(0)


def _screen(conn: Conn, uuid: str, index: int) -> tuple[Graphics, str]:
    """One screen with its password; "" where there is none, or this connection may not know it."""
    domain = picture.domain(conn, uuid)
    try:
        xml = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE)
    except libvirt.libvirtError:
        xml = domain.XMLDesc(0)
    found = next((one for one in devices.screens(xml) if one.index == index), None)
    if found is None:
        raise NotFound(f"{domain.name()} has this screen no more", object_name=uuid)
    return found, devices.secret(xml, index)


def _handed_over(conn: Conn, uuid: str, index: int) -> socket.socket:
    """A socket that libvirt has connected with the screen; without a password, since libvirt vouches for us."""
    fd = picture.domain(conn, uuid).openGraphicsFD(index, libvirt.VIR_DOMAIN_OPEN_GRAPHICS_SKIPAUTH)
    made = socket.socket(fileno=fd)
    made.setblocking(False)
    return made


def _connected(address: tuple[str, int]) -> socket.socket:
    try:
        made = socket.create_connection(address, timeout=CONNECT_S)
    except OSError as error:
        where = f"{address[0]}:{address[1]}"
        cure = "open this port in the host's firewall, or connect to the host by qemu+ssh"
        raise Unreachable(
            f"the screen at {where} does not answer: {error.strerror or 'no answer'}", cure=cure
        ) from None
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.setblocking(False)
    return made


def _place(screen: Graphics, port: int) -> Place:
    """Where a screen listens, as its host sees it."""
    if screen.socket:
        return Place(path=screen.socket)
    everywhere = screen.address in ("", "0.0.0.0", "::")
    return Place(host="127.0.0.1" if everywhere else screen.address, port=port)


def _line_hindrance(line: SerialLine) -> tuple[str, str]:
    if line.type in devices.OPENABLE:
        return "", ""
    return f"it goes to a {line.type}, which libvirt does not share", "make it a pty in the VM's definition"


def _loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
