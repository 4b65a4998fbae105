"""Real moves between the lab's hosts and its cloud, judged from outside: which QEMU runs, and what the guest says."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from app.link import ConnectionState
from app.migration import Mode, Planned
from app.playground.hosts import Host
from app.playground.running import call
from app.services import Services
from app.tasks import Task, TaskState
from backends.model import Kind, PowerState, Ref, Vm
from tests.lab.machine import Beat, Lab, LabGuest

pytestmark = pytest.mark.lab


async def until(done: Callable[[], object], failure: str, seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, failure
        await asyncio.sleep(0.1)


@pytest_asyncio.fixture
async def services(lab: Lab, healed: Lab, tmp_path: Path) -> AsyncIterator[Services]:
    """The program without a screen, on the lab's two hosts and its cloud."""
    opened = await Services.open(tmp_path / "home", vault_key_file=tmp_path / "key")
    try:
        for seed in lab.state.connections:
            if seed.kind in ("libvirt", "ec2"):
                await opened.connections.add(seed.kind, seed.name, seed.settings, seed.secrets)
        await until(
            lambda: all(item.state == ConnectionState.READY and item.listed for item in opened.connections.all()),
            "the connections are not ready",
        )
        yield opened
    finally:
        await opened.close()


async def beats(guest: LabGuest, host: Host, more: int = 2, seconds: float = 240.0) -> Beat:
    """Its `more`th heartbeat from now on, on a host; a boot without KVM on a busy machine takes its time."""
    seen = len(guest.beats(host))
    await until(lambda: len(guest.beats(host)) >= seen + more, f"{guest.name} does not beat on {host.name}", seconds)
    return guest.beats(host)[-1]


async def console(host: Host, name: str, seconds: float = 240.0) -> str:
    """What a guest says on its serial console, up to its first heartbeat."""
    import libvirt

    def listen() -> str:
        connection = libvirt.open(host.uri)
        said, end = b"", time.monotonic() + seconds
        try:
            stream = connection.newStream(libvirt.VIR_STREAM_NONBLOCK)
            connection.lookupByName(name).openConsole(None, stream, libvirt.VIR_DOMAIN_CONSOLE_FORCE)
            while b"HB n=" not in said:
                assert time.monotonic() < end, said[-2000:]
                more = stream.recv(4096)
                if isinstance(more, bytes):
                    said += more
                else:
                    time.sleep(0.2)
            stream.abort()
        finally:
            connection.close()
        return said.decode(errors="replace")

    return await asyncio.to_thread(listen)


def place(name: str) -> Ref:
    return Ref(name, Kind.CONNECTION, name)


async def known(services: Services, connection: str, name: str) -> Vm:
    """The VM as the inventory has it, once it does."""
    found: list[Vm] = []

    def look() -> bool:
        found[:] = [item for item in services.inventory if isinstance(item, Vm) and item.name == name]
        found[:] = [item for item in found if item.ref.connection == connection]
        return bool(found)

    await until(look, f"{name} is not seen on {connection}")
    return found[0]


async def planned(services: Services, guest: LabGuest, source: str, target: str, **wish: object) -> Planned:
    vm = await known(services, source, guest.name)
    plan = await services.migrations.plan(vm.ref, place(target), **wish)  # type: ignore[arg-type]
    assert plan.verdict.allowed, plan.verdict
    return plan


async def moved(services: Services, guest: LabGuest, source: str, target: str, **wish: object) -> Task:
    plan = await planned(services, guest, source, target, **wish)
    task = await services.tasks.wait(services.migrations.start(plan))
    assert task.state == TaskState.DONE, (task.error, task.log)
    assert await services.store.open_migrations() == []
    return task


@pytest.mark.parametrize(("pool", "format"), [("", "raw"), ("shared", "qcow2"), ("default", "raw")])
async def test_live_there_and_back(lab: Lab, services: Services, pool: str, format: str) -> None:
    guest = lab.make(lab.a, pool=pool, format=format)
    await beats(guest, lab.a, 1)
    boot = guest.beats(lab.a)[-1].boot
    uid = services.identity.uid_of((await known(services, "kvm-a", guest.name)).ref)
    task = await moved(services, guest, "kvm-a", "kvm-b")
    assert task.result["mode"] == "live"
    assert task.result["downtime_s"] is not None
    assert guest.where() == [lab.b]
    assert (await beats(guest, lab.b)).boot == boot
    assert services.identity.uid_of(Ref.parse(str(task.result["target_ref"]))) == uid
    if pool == "default":
        assert not (lab.images(lab.a) / guest.file).exists()
    await known(services, "kvm-b", guest.name)
    undone = services.tasks.undo(task.id)
    assert undone is not None
    await services.tasks.wait(undone)
    assert undone.state == TaskState.DONE, (undone.error, undone.log)
    assert guest.where() == [lab.a]
    assert (await beats(guest, lab.a)).boot == boot


async def test_cold_between_hosts_and_undo(lab: Lab, services: Services) -> None:
    guest = lab.make(lab.a, pool="default", bootable=True)
    await beats(guest, lab.a, 1)
    task = await moved(services, guest, "kvm-a", "kvm-b", mode=Mode.COLD)
    assert guest.where() == [lab.b]
    await beats(guest, lab.b)
    assert guest.uuid not in lab.a.virsh("list", "--all", "--uuid")
    undone = services.tasks.undo(task.id)
    assert undone is not None
    await services.tasks.wait(undone)
    assert undone.state == TaskState.DONE, (undone.error, undone.log)
    assert guest.where() == [lab.a]
    assert guest.uuid not in lab.b.virsh("list", "--all", "--uuid")
    await beats(guest, lab.a)


async def test_what_another_tool_let_it_write_during_its_move_is_not_lost(lab: Lab, services: Services) -> None:
    """Started and stopped by virsh after the copy was verified: the clone that was copied shows the older bytes."""
    guest = lab.make(lab.a, pool="default", format="qcow2", start=False)
    disk, append = lab.images(lab.a) / guest.file, services.store.journal_append

    def seen(ref: Ref) -> PowerState | None:
        vm = services.inventory.vm(ref)
        return None if vm is None else vm.state

    async def meddling(migration: str, entry: Mapping[str, object]) -> int:
        number = await append(migration, entry)
        if (entry["do"], entry.get("step")) == ("done", "verify"):
            lab.a.virsh("start", guest.uuid, "--paused")
            ref = Ref("kvm-a", Kind.VM, guest.uuid)
            await until(lambda: seen(ref) == PowerState.PAUSED, "its start is not seen")
            lab.a.virsh("destroy", guest.uuid)
            call("qemu-io", "-f", "qcow2", "-c", "write -P 0xab 3M 64k", str(disk))
        return number

    services.store.journal_append = meddling  # type: ignore[method-assign]
    plan = await planned(services, guest, "kvm-a", "kvm-b", mode=Mode.COLD)
    task = await services.tasks.wait(services.migrations.start(plan))
    assert task.state == TaskState.FAILED, task.log
    assert "vda changed on kvm-a after it was copied" in task.error
    assert [guest.uuid in host.virsh("list", "--all", "--uuid") for host in lab.hosts] == [True, False]
    assert "pattern" not in call("qemu-io", "-f", "qcow2", "-c", "read -P 0xab 3M 64k", str(disk))
    assert [path for host in lab.hosts for path in lab.images(host).glob(f"*{plan.plan.id}*")] == []


async def test_a_moved_vm_that_is_deleted_by_hand_is_rescued_by_undo(lab: Lab, services: Services) -> None:
    guest = lab.make(lab.a, pool="default", start=False)
    ref = (await known(services, "kvm-a", guest.name)).ref
    await until(lambda: not services.migrations.quick([ref], place("cloud")).allowed, "its host's kernel is not seen")
    held = services.migrations.quick([ref], place("cloud"))
    opened = (await services.migrations.plan(ref, place("cloud"))).verdict
    assert (held.colour, held.text) == (opened.colour, opened.text), "while it is held it is judged as in the plan"
    assert "kernel" in held.text
    task = await moved(services, guest, "kvm-a", "kvm-b")
    await known(services, "kvm-b", guest.name)
    assert lab.a.virsh("list", "--all", "--uuid").split().count(guest.uuid) == 0
    lab.b.virsh("undefine", guest.uuid, "--remove-all-storage")
    await until(lambda: "is gone from kvm-b" in task.undo, f"a rescue is not offered: {task.undo}")
    assert "is lost" in task.undo
    undone = services.tasks.undo(task.id)
    assert undone is not None
    await services.tasks.wait(undone)
    assert undone.state == TaskState.DONE, (undone.error, undone.log)
    assert [host for host in lab.hosts if guest.uuid in host.virsh("list", "--all", "--uuid").split()] == [lab.a]
    lab.a.virsh("start", guest.name)
    assert guest.where() == [lab.a]
    assert await services.store.open_migrations() == []


async def test_to_the_cloud_and_back_with_the_same_bytes_and_it_boots(lab: Lab, services: Services) -> None:
    guest = lab.make(lab.a, pool="default", bootable=True, start=False)
    file = lab.images(lab.a) / guest.file
    sent, length = await asyncio.to_thread(digest, file), file.stat().st_size
    first = await moved(services, guest, "kvm-a", "cloud")
    assert guest.uuid not in lab.a.virsh("list", "--all", "--uuid")
    away = file.with_suffix(".away")
    file.rename(away)
    try:
        there = Ref.parse(str(first.result["target_ref"]))
        await until(lambda: there in services.inventory, "the instance is not seen")
        back = await services.migrations.plan(there, place("kvm-b"))
        assert back.verdict.allowed, back.verdict
        task = await services.tasks.wait(services.migrations.start(back))
        assert task.state == TaskState.DONE, (task.error, task.log)
        assert services.identity.uid_of(Ref.parse(str(task.result["target_ref"]))) == first.uid
        inside = Path(lab.b.virsh("domblklist", guest.name, "--details").split()[-1])
        path = (lab.images(lab.b) if inside.parent.name == "images" else lab.shared) / inside.name
        assert await asyncio.to_thread(digest, path, length) == sent
        lab.b.virsh("start", guest.name)
        assert "HB n=" in await console(lab.b, guest.name)
    finally:
        away.rename(file)
        if guest.name in lab.b.virsh("list", "--name").split():
            lab.b.virsh("destroy", guest.name)


def digest(path: Path, length: int = -1) -> str:
    with path.open("rb") as file:
        return hashlib.sha256(file.read(length)).hexdigest()
