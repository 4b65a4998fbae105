"""What is offered under "Advanced" for a live move, on real hosts: each is seen from outside while it is at work.

One guest goes there and back; it is the same boot all the time.
"""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from app.link import ConnectionState
from app.migration import Mapping, Planned
from app.playground.hosts import Host
from app.services import Services
from app.tasks import Task, TaskState
from backends.libvirt.probe import Verdicts
from backends.model import Level, LiveOptions
from tests.lab.machine import Lab, LabGuest
from tests.lab.test_migration import known, place, until

pytestmark = [pytest.mark.lab, pytest.mark.asyncio(loop_scope="module")]
MIB = 1 << 20
SLOW = 12 * MIB
POOL = "<pool type='dir'><name>elsewhere</name><target><path>/var/lib/libvirt/elsewhere</path></target></pool>"
WRAPPED = """#!/usr/bin/python3
import ctypes, os, struct, sys
rules = [(0x20, 0, 0, 0), (0x15, 0, 1, 323), (0x06, 0, 0, 0x50001), (0x06, 0, 0, 0x7FFF0000)]  # EPERM for userfaultfd
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
program = struct.pack("HxxxxxxP", len(rules), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program) == 0
os.execv("/usr/bin/qemu-nbd", [sys.argv[0], *sys.argv[1:]])
"""
REAL = "/usr/bin/qemu-nbd"
"""Where kvm-b has the real QEMU meanwhile: a neighbour of it, so that it finds its firmware."""
LAN = "type='network'"
PLUGGED = ("<source network='lan'/>", "<source bridge='br7'/>")
NETWORK = "<network><name>dmz</name><forward mode='bridge'/><bridge name='br0'/></network>"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def services(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Services]:
    """The program without a screen, on the lab's two hosts."""
    folder = tmp_path_factory.mktemp("program")
    opened = await Services.open(folder / "home", vault_key_file=folder / "key")
    try:
        for seed in lab.state.connections:
            if seed.kind == "libvirt":
                await opened.connections.add(seed.kind, seed.name, seed.settings, seed.secrets)
        await until(
            lambda: all(item.state == ConnectionState.READY and item.listed for item in opened.connections.all()),
            "the connections are not ready",
        )
        yield opened
    finally:
        await opened.close()


@dataclass(slots=True)
class Traveller:
    """The guest that goes there and back."""

    lab: Lab
    services: Services
    guest: LabGuest
    boot: str

    @property
    def source(self) -> Host:
        (host,) = self.guest.where()
        return host

    @property
    def target(self) -> Host:
        return next(host for host in self.lab.hosts if host != self.source)

    async def plan(self, live: LiveOptions, mapping: Mapping = Mapping()) -> Planned:  # noqa: B008
        vm = await known(self.services, self.source.name, self.guest.name)
        return await self.services.migrations.plan(vm.ref, place(self.target.name), live=live, mapping=mapping)

    async def begin(self, live: LiveOptions, mapping: Mapping = Mapping()) -> Task:  # noqa: B008
        planned = await self.plan(live, mapping)
        assert planned.verdict.allowed, planned.verdict
        return self.services.migrations.start(planned)

    async def arrive(self, task: Task, host: Host) -> None:
        """It is over, and the guest runs on there and nowhere else, as the same boot."""
        await self.services.tasks.wait(task)
        assert task.state == TaskState.DONE, (task.error, task.log)
        assert self.guest.where() == [host]
        assert self.guest.uuid in host.virsh("list", "--state-running", "--uuid")
        seen = len(self.guest.beats(host))
        await until(lambda: len(self.guest.beats(host)) > seen, "it does not beat")
        assert self.guest.beats(host)[-1].boot == self.boot

    def monitor(self, host: Host, command: str) -> str:
        """What its QEMU says."""
        return host.virsh("qemu-monitor-command", self.guest.uuid, "--hmp", command)

    async def seen(self, host: Host, pattern: str, command: str) -> str:
        """Wait until QEMU's answer on a host matches."""
        said = ""

        def look() -> bool:
            nonlocal said
            said = self.monitor(host, command)
            return re.search(pattern, said) is not None

        await until(look, f"not seen: {pattern}: {said}")
        return said


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one(lab: Lab, services: Services) -> AsyncIterator[Traveller]:
    guest = lab.make(lab.a)
    await asyncio.to_thread(guest.wait_beats, lab.a, 1)
    yield Traveller(lab, services, guest, guest.beats(lab.a)[-1].boot)
    lab.heal()
    lab.clear()


def lines(host: Host) -> int:
    """The connections on which memory comes in from another host."""
    said = host.run("ss", "-Htn", "state", "established", "sport >= :49152 and sport <= :49215")
    return len(said.splitlines())


async def test_bandwidth_and_parallel_connections(one: Traveller) -> None:
    source, target = one.source, one.target
    task = await one.begin(LiveOptions(parallel=3, bandwidth_bps=SLOW))
    await until(lambda: lines(target) == 4, f"not one line and three beside it: {lines(target)}")
    assert re.search(rf"max-bandwidth: {SLOW}\b", one.monitor(source, "info migrate_parameters"))
    assert "multifd-channels: 3" in one.monitor(source, "info migrate_parameters")
    await one.arrive(task, target)


async def test_tunnelled_needs_no_port_and_no_clear_text(one: Traveller) -> None:
    source, target = one.source, one.target
    planned = await one.plan(LiveOptions(tunnelled=True, bandwidth_bps=SLOW))
    assert planned.verdict.allowed, planned.verdict
    task = one.services.migrations.start(planned)
    await one.seen(source, "status: active", "info migrate")
    assert lines(target) == 0
    await one.arrive(task, target)


async def test_auto_converge_slows_a_guest_that_writes_faster_than_the_line(one: Traveller) -> None:
    source, target = one.source, one.target
    one.guest.tell(source, "dirty 24", "DIRTY")
    task = await one.begin(LiveOptions(auto_converge=True, bandwidth_bps=SLOW))
    await one.seen(source, r"cpu throttle percentage: [1-9]", "info migrate")
    one.guest.tell(source, "clean", "CLEAN")
    await one.arrive(task, target)


async def test_post_copy_ends_a_move_that_would_never_end(one: Traveller) -> None:
    source, target = one.source, one.target
    one.guest.tell(source, "dirty 24", "DIRTY")
    events = ["event", "--domain", one.guest.uuid, "--event", "lifecycle", "--loop", "--timeout", "200"]
    watcher = subprocess.Popen(  # noqa: ASYNC220
        ["virsh", "-q", "-c", source.uri, *events], stdout=subprocess.PIPE, text=True
    )
    try:
        await one.arrive(await one.begin(LiveOptions(post_copy=True, bandwidth_bps=SLOW)), target)
    finally:
        watcher.send_signal(signal.SIGINT)
        said, _ = watcher.communicate(timeout=30)
    assert "Suspended Post-copy" in said
    one.guest.tell(target, "clean", "CLEAN")


@pytest.fixture
def without_userfaultfd(lab: Lab) -> Iterator[Lab]:
    """kvm-b's QEMU may not use userfaultfd, as on a host that restricts it."""
    emulator, folder = "/usr/bin/qemu-system-x86_64", lab.b.folder / "lib"
    (folder / "qemu-wrapped").write_text(WRAPPED, encoding="utf-8")
    (folder / "qemu-wrapped").chmod(0o755)
    lab.b.run("mount", "--bind", emulator, REAL)
    lab.b.run("mount", "--bind", "/var/lib/libvirt/qemu-wrapped", emulator)
    yield lab
    lab.b.run("umount", emulator)
    lab.b.run("umount", REAL)


async def test_a_host_that_refuses_post_copy_is_known_before(
    without_userfaultfd: Lab, one: Traveller, services: Services
) -> None:
    target: Any = services.connections.driver("kvm-b")
    target.probes = Verdicts()
    if one.source == without_userfaultfd.b:
        await one.arrive(await one.begin(LiveOptions()), without_userfaultfd.a)
    refused = await one.plan(LiveOptions(post_copy=True))
    target.probes = Verdicts()
    facts = refused.target
    assert (facts.ports_open, facts.encrypted_transport, facts.post_copy) == (True, True, False)
    (red,) = [item for item in refused.verdict.findings if item.level == Level.RED]
    assert (red.code, "userfaultfd" in red.cure) == ("post-copy", True)
    assert (await one.plan(LiveOptions())).verdict.allowed


@pytest.fixture
def elsewhere(lab: Lab) -> Iterator[Lab]:
    """kvm-b with a pool, a network and a bridge that kvm-a does not have; another VM there uses the bridge."""
    folder = lab.b.folder / "lib/elsewhere"
    folder.mkdir(exist_ok=True)
    (lab.b.folder / "lib/made.xml").write_text(POOL, encoding="utf-8")
    lab.b.virsh("pool-create", str(lab.b.folder / "lib/made.xml"))
    (lab.b.folder / "lib/made.xml").write_text(NETWORK, encoding="utf-8")
    lab.b.virsh("net-create", str(lab.b.folder / "lib/made.xml"))
    lab.b.run("ip", "link", "add", "br7", "type", "bridge")
    lab.b.run("ip", "link", "set", "br7", "up")
    lab.make(lab.b, start=False, change=lambda xml: xml.replace(LAN, "type='bridge'", 1).replace(*PLUGGED))
    yield lab
    lab.clear()
    lab.b.virsh("net-destroy", "dmz")
    lab.b.virsh("pool-destroy", "elsewhere")
    lab.b.run("ip", "link", "del", "br7")


@pytest.mark.parametrize("network", ["dmz", "br7"])
async def test_disks_and_networks_of_other_names(elsewhere: Lab, services: Services, network: str) -> None:
    """The disk lands in a pool of another path, the NIC on another network or bridge, now and after the next boot."""
    lab = elsewhere
    guest = lab.make(lab.a, pool="default")
    await asyncio.to_thread(guest.wait_beats, lab.a, 1)
    it = Traveller(lab, services, guest, guest.beats(lab.a)[-1].boot)
    task = await it.begin(LiveOptions(), Mapping(networks=(("lan", network),), storage="elsewhere"))
    await it.arrive(task, lab.b)
    for words in ((), ("--inactive",)):
        text = lab.b.virsh("dumpxml", guest.uuid, *words)
        assert f"<source file='/var/lib/libvirt/elsewhere/{guest.file}'" in text
        assert re.search(rf"<source (network|bridge)='{network}'", text), text
        assert "network='lan'" not in text
    assert (lab.b.folder / "lib/elsewhere" / guest.file).exists()
    assert not (lab.images(lab.a) / guest.file).exists()
    assert lab.b.run("ip", "-o", "link", "show", "master", "br7" if network == "br7" else "br0").count("vnet") >= 1
