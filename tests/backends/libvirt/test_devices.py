"""Screens and serial lines out of domain XML, and what hinders them on each kind of connection."""

from __future__ import annotations

import pytest

from backends.consoles import ConsoleKind
from backends.driver import Settings
from backends.libvirt import Driver
from backends.libvirt.consoles import Doors
from backends.libvirt.devices import Graphics, SerialLine, screens, secret, serial_lines
from backends.libvirt.uris import parse
from backends.ssh import SshConnection, SshHost

DOMAIN = "<domain><devices>{}</devices></domain>"


@pytest.mark.parametrize(
    ("graphics", "expected"),
    [
        (
            "<graphics type='vnc' port='5901' autoport='yes' listen='127.0.0.1'>"
            "<listen type='address' address='127.0.0.1'/></graphics>",
            Graphics(0, ConsoleKind.VNC, "127.0.0.1", 5901),
        ),
        (
            "<graphics type='vnc' socket='/run/x/vnc.sock'><listen type='socket' socket='/run/x/vnc.sock'/></graphics>",
            Graphics(0, ConsoleKind.VNC, socket="/run/x/vnc.sock"),
        ),
        ("<graphics type='vnc'><listen type='none'/></graphics>", Graphics(0, ConsoleKind.VNC)),
        (
            "<graphics type='spice' port='5900' tlsPort='5902' autoport='yes'>"
            "<listen type='network' address='10.0.0.7' network='lan'/></graphics>",
            Graphics(0, ConsoleKind.SPICE, "10.0.0.7", 5900, 5902),
        ),
        (
            "<graphics type='vnc' port='-1' listen='::'><listen type='address' address='::'/></graphics>",
            Graphics(0, ConsoleKind.VNC, "::"),
        ),
        (
            "<graphics type='sdl'/><graphics type='rdp' port='3389' listen='0.0.0.0'/>",
            Graphics(1, ConsoleKind.RDP, "0.0.0.0", 3389),
        ),
    ],
)
def test_where_a_screen_listens(graphics: str, expected: Graphics) -> None:
    assert screens(DOMAIN.format(graphics)) == (expected,)


def test_the_password_is_read_only_where_it_is_asked_for() -> None:
    xml = DOMAIN.format("<graphics type='spice' port='5900'/><graphics type='vnc' passwd='canary12' port='5901'/>")
    assert secret(xml, 1) == "canary12" and secret(xml, 0) == "" and secret(xml, 9) == ""
    assert "canary12" not in repr(screens(xml))


def test_serial_lines_once_each_by_alias() -> None:
    xml = DOMAIN.format(
        "<serial type='pty'><target type='isa-serial' port='0'/><alias name='serial0'/></serial>"
        "<serial type='tcp'><target port='1'/><alias name='ua-mine'/></serial>"
        "<console type='pty'><target type='serial' port='0'/><alias name='serial0'/></console>"
        "<console type='pty'><target type='virtio' port='1'/><alias name='console1'/></console>"
    )
    assert serial_lines(xml) == (
        SerialLine("serial0", "pty", "serial"),
        SerialLine("ua-mine", "tcp", "serial"),
        SerialLine("console1", "pty", "virtio"),
    )
    stopped = DOMAIN.format("<serial type='pty'><target port='0'/></serial><console type='pty'/>")
    assert serial_lines(stopped) == (SerialLine("serial0", "pty", "serial"),)
    only_console = DOMAIN.format("<console type='pty'><target type='serial' port='0'/></console>")
    assert serial_lines(only_console) == (SerialLine("serial0", "pty", "serial"),)


NONE = Graphics(0, ConsoleKind.VNC)
SOCKET = Graphics(0, ConsoleKind.VNC, socket="/run/x.sock")
LOOPBACK = Graphics(0, ConsoleKind.VNC, "127.0.0.1", 5900)
OPEN = Graphics(0, ConsoleKind.VNC, "0.0.0.0", 5900)
SPICE = Graphics(0, ConsoleKind.SPICE, "127.0.0.1", 5900)


@pytest.mark.parametrize(
    ("uri", "asyncssh", "reached", "hindered"),
    [
        ("qemu:///system", False, (NONE, SOCKET, LOOPBACK, OPEN, SPICE), (Graphics(0, ConsoleKind.SPICE),)),
        ("qemu+ssh://h/system", True, (SOCKET, LOOPBACK, OPEN, SPICE), (NONE,)),
        ("qemu+tls://h/system", False, (OPEN,), (NONE, SOCKET, LOOPBACK, SPICE)),
        ("qemu+tcp://h/system", False, (OPEN,), (NONE, SOCKET, LOOPBACK, SPICE)),
    ],
)
def test_what_hinders(uri: str, asyncssh: bool, reached: tuple[Graphics, ...], hindered: tuple[Graphics, ...]) -> None:
    ssh = SshConnection(SshHost(host="h")) if asyncssh else None
    doors = Doors(Driver("x", Settings({"uri": uri})), parse(uri), ssh, "")
    for screen in reached:
        assert doors._hindrance(screen) == ("", ""), screen
    for screen in hindered:
        hindrance, cure = doors._hindrance(screen)
        assert hindrance and cure, screen


def test_an_address_that_stands_for_all_is_the_hosts_own_name() -> None:
    where = parse("qemu+tls://far.example/system")
    doors = Doors(Driver("x", Settings({"uri": where.text()})), where, None, "")
    assert doors._reachable(OPEN) == "far.example"
    assert doors._reachable(Graphics(0, ConsoleKind.VNC, "10.0.0.7", 5900)) == "10.0.0.7"
