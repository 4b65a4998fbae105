"""SPICE and RDP in the viewers that people have installed: judged by their windows, by QEMU and by what is sent."""

from __future__ import annotations

import socket
import ssl
import subprocess
from pathlib import Path

import pytest
from PySide6.QtGui import QImage

from app.consoles.viewer import command, connection_file, folder_of, program
from backends.consoles import Console, ConsoleKind, Door
from backends.model import Kind, Ref
from tests.app.consoles.rfb.authority import Authority
from tests.e2e.desktop import desktop, eventually
from tests.e2e.test_real_move import Program, causeway, place
from tests.lab.machine import Lab
from widgets.theme import LIGHT

pytestmark = pytest.mark.e2e
SECRET = "s3cret-77"
WHICH = (560, 137)
"""The button that names the console and has a menu of the others."""
VNC = "<graphics type='vnc'><listen type='socket'/></graphics>"
SPICE = f"<graphics type='spice' passwd='{SECRET}'><listen type='socket'/></graphics>"


def command_lines() -> str:
    """What every process of this machine was started with."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(found)


def is_live(image: QImage) -> bool:
    """Whether the pill beside the console's name is green."""
    return any(image.pixelColor(x, WHICH[1]).name() == LIGHT.ok_bg for x in range(WHICH[0], 720))


@pytest.mark.lab
def test_remote_viewer_shows_a_spice_guest_of_a_host_behind_ssh(lab: Lab, healed: Lab, tmp_path: Path) -> None:
    guest = lab.make(lab.b, memory=32, change=lambda xml: xml.replace(VNC, SPICE))
    way = lab.state.ssh
    assert way is not None
    home = tmp_path / "home"
    causeway(home, "connect", "libvirt", "far", "--set", f"uri={way.uri}")
    talking = lambda: lab.b.virsh("qemu-monitor-command", guest.uuid, "--hmp", "info spice")  # noqa: E731
    assert "Channels: none" in talking()
    with desktop(tmp_path) as screen:
        program = Program(home, screen)
        eventually(lambda: place(home, guest.name) == "far", "the guest in the tree")
        program.point_at(guest.name)
        screen.key("ctrl+o")
        eventually(lambda: is_live(screen.shot()), "the VM's serial line, which is what opens here")
        screen.click(*WHICH)
        screen.key("Down", "Return")
        screen.window(rf"^{guest.name} \(1\)$", 30)
        eventually(lambda: "channel: 1:0" in talking(), f"the main channel in {talking()}")
        screen.shot("seen")
        words = command_lines()
        assert "remote-viewer" in words
        assert SECRET not in words
        assert [*home.rglob("*.vv"), *folder_of(home).glob("*.vv")] == [], "the viewer has read it and removed it"
        program.end()


def test_freerdp_dials_what_its_file_names_and_asks_nobody_for_the_certificate(tmp_path: Path) -> None:
    """A server's part up to TLS: what comes inside of it comes from a client that has taken the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*Authority(tmp_path / "ca").sign("web"))
    console = Console(Ref("far", Kind.VM, "1"), ConsoleKind.RDP, "")
    with socket.create_server(("127.0.0.1", 0)) as listener, desktop(tmp_path) as screen:
        listener.settimeout(20)
        port = listener.getsockname()[1]
        file = tmp_path / "web.rdp"
        door = Door(console=console, host="127.0.0.1", port=port, user="anna", password=SECRET)
        file.write_text(connection_file(door, "web"), encoding="utf-8")
        words = command(program(ConsoleKind.RDP), str(file))
        env = screen.env | {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
        viewer = subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL)
        try:
            peer, _ = listener.accept()
            peer.settimeout(20)
            asked = peer.recv(4096)
            peer.sendall(bytes.fromhex("030000130ed000001234000200080001000000"))  # MS-RDPBCGR 2.2.1.2.1: TLS it is
            with context.wrap_socket(peer, server_side=True) as inside:
                went_on = inside.recv(4096)
        finally:
            viewer.kill()
            viewer.wait()
    assert b"Cookie: mstshash=anna\r\n" in asked
    assert went_on[:2] == b"\x03\x00", "the certificate was not taken"
