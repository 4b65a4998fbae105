"""What cannot work is said before anything is touched: exit code 1, the reason, the cure."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.lab.machine import Lab, LabGuest
from tests.lab.program import Answer, Program, copied, defined, leftovers, prepared, runs

pytestmark = pytest.mark.lab
HOSTDEV = """<hostdev mode='subsystem' type='pci'><source><address bus='0x3f' slot='0x1f'/></source></hostdev>
</devices>"""
TINY = """<pool type='dir'><name>tiny</name><target><path>/var/lib/libvirt/tiny</path></target></pool>"""


@pytest.fixture(scope="module")
def connected(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Program:
    return prepared(lab, tmp_path_factory.mktemp("program"))


@pytest.fixture
def program(lab: Lab, healed: Lab, connected: Program, tmp_path: Path) -> Program:
    return copied(connected, tmp_path)


@pytest.fixture
def guest(lab: Lab, healed: Lab) -> LabGuest:
    return lab.make(lab.a, pool="default")


def refused(program: Program, guest: LabGuest, *words: str, reason: str, cure: str = "") -> Answer:
    """`plan` is red and `move` ends with 1 and says why; the guest was not touched."""
    before, where = defined(guest.lab, guest), runs(guest.lab, guest)
    answer = program.run("move", f"kvm-a/{guest.name}", *words)
    assert answer.code == 1, answer
    said = f"{answer.data} {answer.words}"
    assert re.search(reason, said), said
    assert cure in said, said
    assert defined(guest.lab, guest) == before
    assert runs(guest.lab, guest) == where
    assert leftovers(guest) == []
    assert program.open_migrations() == []
    return answer


def test_a_taken_name_and_no_room_and_a_passed_device(lab: Lab, guest: LabGuest, program: Program) -> None:
    twin = lab.make(lab.b, start=False)
    lab.b.virsh("undefine", twin.name)
    other = lab.a.virsh("dumpxml", guest.name, "--inactive")
    other = re.sub(r"<uuid>.*?</uuid>", f"<uuid>{twin.uuid}</uuid>", other)
    (lab.b.folder / "lib/twin.xml").write_text(other, encoding="utf-8")
    lab.b.virsh("define", str(lab.b.folder / "lib/twin.xml"))
    refused(program, guest, "--to", "kvm-b", reason="exists there already", cure="another name")
    lab.b.virsh("undefine", guest.name)

    (lab.b.folder / "lib/tiny").mkdir(exist_ok=True)
    lab.b.run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "/var/lib/libvirt/tiny")
    (lab.b.folder / "lib/tiny.xml").write_text(TINY, encoding="utf-8")
    lab.b.virsh("pool-create", str(lab.b.folder / "lib/tiny.xml"))
    try:
        with (lab.images(lab.a) / guest.file).open("r+b") as file:
            file.write(b"\1" * (1 << 20))
        where = ("--to", "kvm-b", "--storage", "tiny")
        refused(program, guest, *where, "--mode", "cold", reason="tiny has .* free", cure="choose other storage")
        refused(program, guest, *where, reason="tiny has .* free", cure="choose other storage")
    finally:
        lab.b.virsh("pool-destroy", "tiny")
        lab.b.run("umount", "/var/lib/libvirt/tiny")

    lab.a.virsh("destroy", guest.name)
    mine = lab.a.virsh("dumpxml", guest.name, "--inactive").replace("</devices>", HOSTDEV)
    (lab.a.folder / "lib/mine.xml").write_text(mine, encoding="utf-8")
    lab.a.virsh("define", str(lab.a.folder / "lib/mine.xml"))
    refused(program, guest, "--to", "kvm-b", reason="passed through", cure="detach it first")


def test_a_host_that_is_not_there(lab: Lab, guest: LabGuest, program: Program, tmp_path: Path) -> None:
    bad = program.connect("libvirt", "nowhere", uri=f"qemu+unix:///system?socket={tmp_path}/none")
    assert bad.code == 1
    assert "uri" in f"{bad.data}{bad.words}"
    lab.b.kill_libvirtd()
    answer = program.run("move", f"kvm-a/{guest.name}", "--to", "kvm-b")
    assert answer.code == 1
    assert "kvm-b" in f"{answer.data}{answer.words}"
    assert lab.a in guest.where()
    lab.b.start_libvirtd()
    assert program.open_migrations() == []


def test_closed_ports_never_stop_a_running_vm(lab: Lab, guest: LabGuest, program: Program) -> None:
    """The platform could have moved it live: only a person decides that it is stopped instead."""
    lab.b.run("ip", "route", "add", "blackhole", f"{lab.a.address}/32")
    try:
        refused(program, guest, "--to", "kvm-b", reason="migration ports there are closed", cure="49152-49215")
        chosen = program.run("plan", f"kvm-a/{guest.name}", "--to", "kvm-b", "--mode", "cold")
        assert chosen.data["verdict"] != "red", chosen
    finally:
        lab.b.run("ip", "route", "del", "blackhole", f"{lab.a.address}/32")


def test_equal_paths_are_not_shared_storage_and_a_running_vm_is_not_copied(
    lab: Lab, guest: LabGuest, program: Program
) -> None:
    """Both hosts have a pool `default` at the same path; it is not the same bytes, and the plan says so."""
    planned = program.run("plan", f"kvm-a/{guest.name}", "--to", "kvm-b")
    assert planned.code == 0, planned
    codes = {finding["code"] for finding in planned.data["findings"]}
    assert {"not-shared", "copies-storage"} <= codes, planned.data
    refused(program, guest, "--to", "kvm-b", "--copy", reason="only disks at rest", cure="stop it first")
