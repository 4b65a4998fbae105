"""Mutual TLS between real hosts: by the right name it opens, by another one it is said that the name is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.machine import Lab

pytestmark = pytest.mark.lab

PROGRAM = """
import asyncio, json, sys
from backends.driver import Settings
from backends.libvirt import Driver
async def main():
    found = await Driver("far", Settings({"uri": sys.argv[1], "pkipath": sys.argv[2]})).check()
    print(json.dumps([[item.code, item.field, item.cure] for item in found]))
asyncio.run(main())
"""

SCREEN = """
import asyncio, json, sys
from backends.driver import Settings
from backends.libvirt import Driver
from backends.model import Kind, Ref
async def main():
    driver = Driver("far", Settings({"uri": sys.argv[1], "pkipath": sys.argv[2]}))
    await driver.connect()
    found = []
    for uuid in sys.argv[3:]:
        screen = (await driver.consoles(Ref("far", Kind.VM, uuid)))[0]
        said = ""
        if not screen.hindrance:
            door = await driver.open_console(screen)
            said = (await asyncio.get_running_loop().sock_recv(door.socket, 12)).decode()
            assert door.tls.host == sys.argv[1].split("/")[2] and door.tls.ca
            door.close()
        found.append([screen.hindrance, screen.cure, said])
    await driver.close()
    print(json.dumps(found))
asyncio.run(main())
"""


def check(lab: Lab, address: str, pki: str) -> list[list[str]]:
    """What `check` says."""
    return told(lab, PROGRAM, address, pki)


def told(lab: Lab, program: str, address: str, *words: str) -> list[list[str]]:
    """What a program prints, run within the network of lab.a: nothing of it is reachable from the machine itself."""
    command = ["nsenter", "-t", str(lab.a.pid()), "-n", sys.executable, "-c", program, f"qemu+tls://{address}/system"]
    done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=60, check=True)
    found: list[list[str]] = json.loads(done.stdout)
    return found


@pytest.fixture
def pki(lab: Lab, healed: Lab, tmp_path: Path) -> str:
    """The folder of a client's files as libvirt's `pkipath` wants it: all of them side by side."""
    folder = tmp_path / "pki"
    folder.mkdir()
    source = lab.a.folder / "pki"
    for name, path in (
        ("cacert.pem", "CA/cacert.pem"),
        ("clientcert.pem", "libvirt/clientcert.pem"),
        ("clientkey.pem", "libvirt/private/clientkey.pem"),
    ):
        (folder / name).write_bytes((source / path).read_bytes())
    return str(folder)


def test_the_right_name_opens(lab: Lab, pki: str) -> None:
    assert check(lab, lab.b.address, pki) == []


def test_another_name_is_a_finding_of_its_own(lab: Lab, pki: str) -> None:
    """127.0.0.1 reaches lab.a, but its certificate does not say so."""
    found = check(lab, "127.0.0.1", pki)
    assert [(code, field) for code, field, _cure in found] == [("tls", "uri")] and found[0][2]


def test_no_files_is_about_the_folder(lab: Lab, healed: Lab) -> None:
    found = check(lab, lab.b.address, "/nowhere")
    assert [(code, field) for code, field, _cure in found] == [("tls", "pkipath")]


def test_a_screen_is_reached_where_it_listens_and_else_it_is_said(lab: Lab, pki: str) -> None:
    private = lab.make(lab.b)
    public = lab.make(
        lab.b,
        change=lambda xml: xml.replace("<listen type='socket'/>", "<listen type='address' address='0.0.0.0'/>"),
    )
    closed, opened = told(lab, SCREEN, lab.b.address, pki, private.uuid, public.uuid)
    assert "on its host only" in closed[0] and "qemu+ssh" in closed[1] and not closed[2]
    assert opened == ["", "", "RFB 003.008\n"]
