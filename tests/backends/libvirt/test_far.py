"""A real host over SSH: one connection for control, bulk on its own, and what keeps it from being opened."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncssh
import psutil
import pytest
import pytest_asyncio

from app.link import ConnectionState
from app.migration import Mode
from app.playground import SshState
from app.services import Services
from app.tasks import TaskState
from backends.driver import Settings
from backends.errors import AuthNeeded, HostKeyMismatch, Unreachable
from backends.libvirt import Driver
from backends.model import Kind, PowerAction, PowerState, Ref, Vm
from tests.lab.machine import Lab

pytestmark = pytest.mark.lab


@pytest.fixture
def way(lab: Lab, healed: Lab) -> SshState:
    found = lab.state.ssh
    assert found is not None, "this machine has no sshd"
    return found


def settings(lab: Lab, way: SshState, **changes: str) -> dict[str, str]:
    uri = f"qemu+ssh://root@127.0.0.1:{way.port}/system"
    files = {"keyfile": str(way.key), "known_hosts": str(way.known_hosts)}
    return {"uri": uri, "migration_host": lab.b.address} | files | changes


@pytest_asyncio.fixture
async def far(lab: Lab, way: SshState) -> AsyncIterator[Driver]:
    driver = Driver("far", Settings(settings(lab, way)))
    await driver.connect()
    yield driver
    await driver.close()


def connections(way: SshState) -> list[int]:
    """The process ids behind the established TCP connections at the host's sshd, as the kernel sees them."""
    return [
        item.pid or 0
        for item in psutil.net_connections("tcp")
        if item.status == psutil.CONN_ESTABLISHED and item.laddr.port == way.port
    ]


async def until(done: Callable[[], object], failure: str, seconds: float = 90.0) -> None:
    try:
        async with asyncio.timeout(seconds):
            while not done():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(failure) from None


async def test_list_watch_and_power_over_one_connection(lab: Lab, way: SshState, far: Driver) -> None:
    guest = await asyncio.to_thread(lab.make, lab.b, start=False)
    ref = Ref("far", Kind.VM, guest.uuid)
    seen: list[PowerState] = []

    async def follow() -> None:
        async for change in far.watch():
            seen.extend(item.state for item in change.objects if isinstance(item, Vm) and item.ref == ref)

    following = asyncio.create_task(follow())
    for scope in far.scopes():
        assert (await far.list(scope)).error is None
    await far.power(ref, PowerAction.START)
    await until(lambda: PowerState.RUNNING in seen, "the start is not seen")
    await until(lambda: guest.where() == [lab.b], "it does not run")
    assert ref in await far.meter()
    await asyncio.to_thread(lab.b.virsh, "suspend", guest.uuid)
    await until(lambda: seen[-1] == PowerState.PAUSED, "what another client did is not seen")
    await far.power(ref, PowerAction.OFF)
    await until(lambda: seen[-1] == PowerState.OFF, "the end is not seen")
    assert len(connections(way)) == 1
    following.cancel()
    await asyncio.wait([following])
    await far.close()
    await until(lambda: not connections(way), "the connection is not closed")


async def test_another_host_key_is_refused_before_anything_is_sent(lab: Lab, way: SshState, tmp_path: Path) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    swapped = tmp_path / "known_hosts"
    swapped.write_text(f"[127.0.0.1]:{way.port} {other}", encoding="utf-8")
    log = lab.b.folder / "sshd.log"
    before = len(log.read_text(encoding="utf-8"))
    driver = Driver("far", Settings(settings(lab, way, known_hosts=str(swapped))))
    with pytest.raises(HostKeyMismatch):
        await driver.connect()
    found = await driver.check()
    assert [(item.code, item.field) for item in found] == [("host-key", "known_hosts")] and found[0].cure
    await until(lambda: len(log.read_text(encoding="utf-8")) > before, "sshd says nothing")
    said = log.read_text(encoding="utf-8")[before:]
    assert "preauth" in said and "Accepted" not in said and "user root" not in said, said


async def test_a_host_that_nobody_knows_is_refused_too(lab: Lab, way: SshState, tmp_path: Path) -> None:
    empty = tmp_path / "known_hosts"
    empty.write_text("", encoding="utf-8")
    with pytest.raises(HostKeyMismatch):
        await Driver("far", Settings(settings(lab, way, known_hosts=str(empty)))).connect()


async def test_another_key_needs_credentials(lab: Lab, way: SshState, tmp_path: Path) -> None:
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(tmp_path / "other"))
    driver = Driver("far", Settings(settings(lab, way, keyfile=str(tmp_path / "other"))))
    with pytest.raises(AuthNeeded):
        await driver.connect()
    assert [(item.code, item.field) for item in await driver.check()] == [("auth", "keyfile")]


@pytest_asyncio.fixture
async def services(lab: Lab, way: SshState, tmp_path: Path) -> AsyncIterator[Services]:
    """The program without a screen: one host by its socket, the other by SSH."""
    opened = await Services.open(tmp_path / "home", vault_key_file=tmp_path / "key")
    try:
        near = next(seed for seed in lab.state.connections if seed.name == "kvm-a")
        await opened.connections.add("libvirt", "near", near.settings, near.secrets)
        await opened.connections.add("libvirt", "far", settings(lab, way), {})
        await until(
            lambda: all(item.state == ConnectionState.READY and item.listed for item in opened.connections.all()),
            "the connections are not ready",
        )
        yield opened
    finally:
        await opened.close()


async def test_a_cut_is_seen_and_healed(services: Services, way: SshState) -> None:
    states: list[ConnectionState] = []
    link = services.connections.get("far")
    assert link is not None
    services.connections.subscribe(lambda item: states.append(item.state) if item is link else None)
    driver = services.connections.driver("far")
    for pid in connections(way):
        os.kill(pid, signal.SIGKILL)
    await until(lambda: ConnectionState.RETRYING in states, "the cut is not seen")
    with pytest.raises(Unreachable):
        services.connections.driver("far")
    assert driver is not link.driver
    await until(lambda: link.state == ConnectionState.READY and link.listed, "it does not come back")
    assert len(connections(way)) == 1


@pytest.mark.parametrize(("mode", "most"), [(Mode.LIVE, 1), (Mode.COLD, 2)])
async def test_a_move_to_it_and_back(lab: Lab, way: SshState, services: Services, mode: Mode, most: int) -> None:
    """Control stays on one SSH connection; the bytes of disks have their own, and only while they are copied."""
    cold = mode == Mode.COLD
    guest = await asyncio.to_thread(lambda: lab.make(lab.a, pool="default", start=not cold))
    lab.a.virsh("autostart", guest.uuid)
    counts = [len(connections(way))]
    for source, target, host in (("near", "far", lab.b), ("far", "near", lab.a)):
        ref = Ref(source, Kind.VM, guest.uuid)
        await until(lambda ref=ref: ref in services.inventory, "the VM is not seen")  # type: ignore[misc]
        plan = await services.migrations.plan(ref, Ref(target, Kind.CONNECTION, target), mode=mode)
        assert plan.verdict.allowed, plan.verdict
        task = services.migrations.start(plan)
        ended = asyncio.create_task(services.tasks.wait(task))
        while not ended.done():
            counts.append(len(await asyncio.to_thread(connections, way)))
            await asyncio.sleep(0.02)
        assert task.state == TaskState.DONE, (task.error, task.log)
        assert guest.where() == ([] if cold else [host])
        assert guest.uuid in host.virsh("list", "--all", "--uuid")
        assert "enable" in next(line for line in host.virsh("dominfo", guest.uuid).splitlines() if "Autostart" in line)
    assert max(counts) == most
    await until(lambda: len(connections(way)) == 1, "the connection for bulk data stays")
