"""The lab is what it says: real guests move live between its hosts, with and without shared storage, with TLS."""

from __future__ import annotations

import subprocess

import pytest

from app.playground.hosts import Host
from app.playground.running import call
from tests.lab.machine import Lab, LabGuest, until

pytestmark = pytest.mark.lab


def migrate(lab: Lab, guest: LabGuest, source: Host, target: Host, *flags: str) -> None:
    words = ["--live", *flags, guest.uuid, target.uri, "--migrateuri", f"tcp://{target.address}"]
    source.virsh("migrate", *words)


def moved(lab: Lab, guest: LabGuest, source: Host, target: Host) -> bool:
    """It runs on the target only, and it is the same boot going on."""
    last = guest.beats(source)[-1]
    first = guest.wait_beats(target)[0]
    return guest.where() == [target] and first.boot == last.boot and first.n > last.n - 2


@pytest.mark.parametrize("name", ["web-01", "db-01", "app-01"])
def test_guests_beat(lab: Lab, name: str) -> None:
    guest = lab.guest(name)
    beats = guest.wait_beats(guest.where()[0], 3)
    assert beats[-1].n > beats[-2].n
    assert beats[-1].up > beats[-2].up


def test_shared_storage_and_back_with_tls(lab: Lab, healed: Lab) -> None:
    guest = lab.make(lab.a, pool="shared", format="qcow2")
    guest.wait_beats(lab.a, 1)
    migrate(lab, guest, lab.a, lab.b, "--unsafe", "--persistent", "--undefinesource")
    assert moved(lab, guest, lab.a, lab.b)
    migrate(lab, guest, lab.b, lab.a, "--unsafe", "--tls", "--persistent", "--undefinesource")
    until(lambda: guest.where() == [lab.a], "it did not come back")


@pytest.mark.parametrize("flags", [(), ("--tls",)])
def test_non_shared_storage(lab: Lab, healed: Lab, flags: tuple[str, ...]) -> None:
    guest = lab.make(lab.a, pool="default", bootable=True)
    guest.wait_beats(lab.a, 1)
    migrate(lab, guest, lab.a, lab.b, "--copy-storage-all", *flags)
    assert moved(lab, guest, lab.a, lab.b)
    assert (lab.images(lab.b) / guest.file).stat().st_size == (lab.images(lab.a) / guest.file).stat().st_size


def test_peer_to_peer_over_tls(lab: Lab, fresh_guest: LabGuest) -> None:
    lab.a.virsh("migrate", "--live", "--p2p", fresh_guest.uuid, "qemu+tls://kvm-b/system")
    assert moved(lab, fresh_guest, lab.a, lab.b)


def test_pools_have_equal_paths_and_only_shared_is_shared(lab: Lab) -> None:
    paths = [{line.strip() for line in host.virsh("pool-dumpxml", "default").splitlines()} for host in lab.hosts]
    assert "<path>/var/lib/libvirt/images</path>" in paths[0] & paths[1]
    files = [set(host.run("ls", "/var/lib/libvirt/images").split()) for host in lab.hosts]
    assert "app-01.img" in files[0] - files[1]
    shared = [host.run("stat", "-c", "%d %i", "/var/lib/libvirt/shared") for host in lab.hosts]
    assert shared[0] == shared[1]


def test_serial_console_answers(lab: Lab, fresh_guest: LabGuest) -> None:
    assert f"boot={fresh_guest.beats(lab.a)[0].boot}" in fresh_guest.tell(lab.a, "status", "STATUS .*boots=")
    assert "commands: status" in fresh_guest.tell(lab.a, "kim", "UNKNOWN kim .*\\)")


def test_libvirtd_dies_and_the_guest_does_not(lab: Lab, fresh_guest: LabGuest) -> None:
    lab.a.kill_libvirtd()
    until(lambda: not lab.a.answers(), "libvirtd is still there")
    fresh_guest.wait_beats(lab.a)
    lab.a.start_libvirtd()
    assert "running" in lab.a.virsh("domstate", fresh_guest.uuid)


def test_frozen_libvirtd_answers_nobody_until_it_is_thawed(healed: Lab) -> None:
    healed.b.freeze()
    with pytest.raises(subprocess.TimeoutExpired):
        healed.b.virsh("list", timeout=2)
    healed.b.thaw()
    assert "db-01" in healed.b.virsh("list")


def test_power_cut_ends_everything_on_one_host_only(healed: Lab) -> None:
    guest = healed.make(healed.b, pool="default")
    guest.wait_beats(healed.b, 1)
    before = healed.a.running()
    healed.b.power_cut()
    assert (healed.b.running(), healed.b.commands(), healed.a.running()) == (set(), [], before)
    healed.b.start()
    assert "shut off" in healed.b.virsh("domstate", guest.uuid)


def test_unplugged_hosts_do_not_reach_each_other(healed: Lab) -> None:
    connect = ("bash", "-c", f"timeout 2 bash -c '</dev/tcp/{healed.b.address}/16514' && echo open || echo closed")
    assert healed.a.run(*connect).strip() == "open"
    healed.b.unplug()
    assert healed.a.run(*connect).strip() == "closed"
    healed.b.plug()
    until(lambda: healed.a.run(*connect).strip() == "open", "the cable does not carry")


def test_ssh_reaches_the_host(lab: Lab) -> None:
    ssh = lab.state.ssh
    assert ssh is not None
    files = f"keyfile={ssh.key}&known_hosts={ssh.known_hosts}&known_hosts_verify=normal&sshauth=privkey"
    uri = f"qemu+libssh://root@127.0.0.1:{ssh.port}/system?{files}"
    assert call("virsh", "-q", "-c", uri, "hostname").strip() == "kvm-b"
