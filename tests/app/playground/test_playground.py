"""The playground comes, heals, keeps others out, and goes without a trace, also after it was cut off at any moment."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import playground
from app.playground import service
from app.playground.errors import PlaygroundError
from app.playground.service import Playground
from tests.lab.machine import Lab, LabGuest, until

pytestmark = pytest.mark.lab
ROOT = Path(__file__).parents[3]
ELSEWHERE = ("/etc", "/run", "/var/lib", "/var/log", "/var/cache", "/srv", "/dev", "/usr/local")
"""Where a playground might leave a file beside its own folder; two levels of it are compared."""
CLEAN: dict[str, set[str]] = {"mounts": set(), "links": set(), "files": set(), "processes": set()}
UP = "import asyncio, sys; from pathlib import Path; from app import playground; "
UP += "asyncio.run(playground.up(Path(sys.argv[1]), print))"


def commands(mark: str) -> list[str]:
    """Command lines that name `mark`, or whose process carries it."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if mark.encode() in text:
            found.append(text.decode(errors="replace"))
    return found


def trace(key: str) -> dict[str, list[str]]:
    """What a playground could leave on this machine."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()]
    links = sorted(path.name for path in Path("/sys/class/net").iterdir())
    tops = [Path(top) for top in ELSEWHERE]
    files = sorted(str(path) for top in tops if top.is_dir() for path in [*top.glob("*"), *top.glob("libvirt/*")])
    return {"mounts": mounts, "links": links, "files": files, "processes": commands(key)}


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder with a short path, as most have."""
    place = tmp_path_factory.mktemp("pg") / "home"
    yield place
    asyncio.run(playground.down(place))


def test_up_and_down_twice_without_a_trace(home: Path) -> None:
    home.mkdir()
    key = Playground(home).key
    Path("/var/cache/causeway").mkdir(exist_ok=True)
    before = trace(key)
    state = asyncio.run(playground.up(home))
    assert state.running
    assert [host.name for host in state.hosts] == ["kvm-a", "kvm-b"]
    during = trace(key)
    assert [set(during[name]) - set(before[name]) for name in ("links", "mounts", "files")] == [set(), set(), set()]
    running = [host.running() for host in Playground(home).hosts]
    assert [len(uuids) for uuids in running] == [2, 1]
    assert asyncio.run(playground.up(home)) == state
    assert [host.running() for host in Playground(home).hosts] == running
    for _ in range(2):
        asyncio.run(playground.down(home))
        assert {name: set(now) - set(before[name]) for name, now in trace(key).items()} == CLEAN
        assert list(home.iterdir()) == []
        assert playground.status(home) == playground.State()


@pytest.mark.parametrize("seconds", [0.1, 0.3, 0.5, 0.8, 1.5])
def test_killed_up_is_cleaned_and_completed(home: Path, seconds: float) -> None:
    """The moments lie in the making of folders, hosts and guests; none of them may matter."""
    home.mkdir()
    key = Playground(home).key
    before = trace(key)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    for repair in (False, True):
        process = subprocess.Popen([sys.executable, "-c", UP, str(home)], env=environment, stdout=subprocess.DEVNULL)
        until((home / "playground").exists, "up does not begin")
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if repair:
            assert asyncio.run(playground.up(home)).running
            assert [len(host.running()) for host in Playground(home).hosts] == [2, 1]
        asyncio.run(playground.down(home))
        assert {name: set(now) - set(before[name]) for name, now in trace(key).items()} == CLEAN
        assert list(home.iterdir()) == []


def test_what_died_is_restarted_and_what_was_deleted_stays_deleted(home: Path) -> None:
    asyncio.run(playground.up(home))
    place = Playground(home)
    first, second = place.hosts
    second.virsh("destroy", "db-01")
    second.virsh("undefine", "db-01")
    first.power_cut()
    place.cloud.stop()
    assert not playground.status(home).running
    assert asyncio.run(playground.up(home)).running
    assert (len(first.running()), second.running()) == (2, set())
    os.kill(place.switch.pid() or 0, signal.SIGKILL)
    until(lambda: place.switch.pid() is None, "the switch does not end")
    assert asyncio.run(playground.up(home)).running
    first.run("bash", "-c", f"until timeout 2 bash -c '</dev/tcp/{second.address}/16514'; do sleep 0.1; done")


def test_nothing_is_open_to_another_user(lab: Lab) -> None:
    nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    for host in lab.hosts:
        words = [*nobody, "virsh", "-c", host.uri, "list"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert "Permission denied" in done.stderr
    assert subprocess.run([*nobody, "ls", lab.playground.folder], capture_output=True, check=False).returncode != 0
    ssh = lab.state.ssh
    assert ssh is not None
    assert [path.stat().st_mode & 0o777 for path in (ssh.key, ssh.known_hosts, lab.state.endpoint_key or ssh.key)] == [
        0o600
    ] * 3
    words = ["ssh", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"]
    words += ["-o", "IdentitiesOnly=yes", "-i", "/dev/null", "-p", str(ssh.port), "root@127.0.0.1", "true"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert "Permission denied (publickey)" in done.stderr


def test_the_machine_itself_listens_on_loopback_only(lab: Lab) -> None:
    """Of all ports of the machine's own network, the playground's are sshd's and the cloud's."""
    ours = {pid for mark in [lab.playground.key] for pid in service.processes.marked(mark)}
    for host in lab.hosts:
        ours |= {pid for pid, _ in host.commands()}
    own = service.processes.namespace(os.getpid(), "net")
    inodes = set()
    for pid in ours:
        if service.processes.namespace(pid, "net") == own:
            for handle in Path(f"/proc/{pid}/fd").iterdir():
                if handle.is_symlink() and str(handle.readlink()).startswith("socket:["):
                    inodes.add(str(handle.readlink())[8:-1])
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{table}").read_text(encoding="utf-8").splitlines()[1:]:
            words = line.split()
            if words[9] in inodes and (words[3] == "0A" or table.startswith("udp")):
                address, _, port = words[1].partition(":")
                found.add((address, int(port, 16)))
    state = lab.state
    assert state.ssh is not None
    ports = {state.ssh.port, int(state.endpoint_url.rpartition(":")[2])}
    assert found == {("0100007F", port) for port in ports}


def test_consoles_are_unix_sockets(lab: Lab, fresh_guest: LabGuest) -> None:
    assert "type='socket'" in lab.a.virsh("dumpxml", fresh_guest.uuid)
    found = lab.a.run("ss", "-Htln")
    assert {line.split()[3].rpartition(":")[2] for line in found.splitlines()} == {"16514"}


def test_another_user_may_be_the_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind sudo: the user reaches what root made, the folders are theirs, and the cloud runs as them."""
    user = pwd.getpwnam("games")
    monkeypatch.setenv("SUDO_UID", str(user.pw_uid))
    monkeypatch.setenv("SUDO_GID", str(user.pw_gid))
    with tempfile.TemporaryDirectory(prefix="pg-") as outer:
        Path(outer).chmod(0o755)
        home = Path(outer) / ".local/home"
        try:
            assert asyncio.run(playground.up(home)).running
            place = Playground(home)
            for folder in (home.parent, home, place.folder, place.sockets):
                assert (folder.stat().st_uid, folder.stat().st_mode & 0o777) == (user.pw_uid, 0o700)
            cloud = service.processes.marked(f"{place.key}/cloud", anyone=True)
            assert {Path(f"/proc/{pid}").stat().st_uid for pid in cloud} == {user.pw_uid}
            words = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "virsh", "-c"]
            done = subprocess.run([*words, place.hosts[0].uri, "list"], capture_output=True, text=True, check=False)
            assert "web-01" in done.stdout
        finally:
            asyncio.run(playground.down(home))
        assert service.processes.marked(place.key, anyone=True) == []


def test_a_long_path_gets_short_sockets(tmp_path: Path) -> None:
    home = tmp_path / ("x" * 120)
    place = Playground(home)
    try:
        asyncio.run(playground.up(home))
        assert place.sockets == Path("/run") / f"causeway-{place.key}"
        assert place.sockets.stat().st_mode & 0o777 == 0o700
        assert "web-01" in place.hosts[0].virsh("list")
    finally:
        asyncio.run(playground.down(home))
    assert not place.sockets.exists()


def test_two_playgrounds_share_no_name(tmp_path: Path) -> None:
    one, two = Playground(tmp_path / "one"), Playground(tmp_path / "two")
    assert one.key != two.key
    assert not {one.uuid(name) for name in service.HOSTS} & {two.uuid(name) for name in service.HOSTS}


def test_who_is_not_root_gets_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for verb, call in (("up", playground.up), ("down", playground.down)):
        with pytest.raises(PlaygroundError, match="root") as error:
            asyncio.run(call(tmp_path))
        program = Path(sys.executable).with_name("causeway")
        assert error.value.cure == f"sudo {program} --home {tmp_path} playground {verb}"
    assert list(tmp_path.iterdir()) == []


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "PATH", "/nonexistent")
    with pytest.raises(PlaygroundError) as error:
        asyncio.run(playground.up(tmp_path))
    assert error.value.cure.startswith("sudo apt-get install libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients")
    assert list(tmp_path.iterdir()) == []


def test_secrets_do_not_show(lab: Lab) -> None:
    seeds = {seed.name: seed for seed in lab.state.connections}
    assert list(seeds) == ["kvm-a", "kvm-b", "cloud", "cloud-libcloud"]
    secret = seeds["cloud"].secrets["secret_access_key"]
    assert secret
    assert secret not in repr(lab.state)
    assert secret not in json.dumps(lab.playground.record.guests)


def test_a_used_network_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    first = service._free_network("0123456789")
    taken = json.dumps([{"addr_info": [{"local": f"{first}.1", "prefixlen": 20}]}])
    monkeypatch.setattr(service, "call", lambda *_: taken)
    other = service._free_network("0123456789")
    assert other.rpartition(".")[0] == first.rpartition(".")[0]
    assert int(other.rpartition(".")[2]) // 16 != int(first.rpartition(".")[2]) // 16


def test_a_stranger_on_the_port_means_another_port() -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        assert service.free_port(port) != port
    assert service.free_port(port) == port
