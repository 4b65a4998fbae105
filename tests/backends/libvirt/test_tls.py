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


def check(lab: Lab, address: str, pki: str) -> list[list[str]]:
    """What `check` says, from within the network of lab.a: nothing of it is reachable from the machine itself."""
    pid = str(lab.a.pid())
    uri = f"qemu+tls://{address}/system"
    words = ["nsenter", "-t", pid, "-n", sys.executable, "-c", PROGRAM, uri, pki]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
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
