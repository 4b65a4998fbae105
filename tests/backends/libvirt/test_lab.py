"""The driver on two real hosts."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from backends.disks import DiskSink, DiskSource
from backends.driver import Settings
from backends.errors import Conflict
from backends.libvirt import Driver
from backends.model import Kind, LiveOptions, PowerAction, Progress, Ref
from tests.lab.machine import Lab

pytestmark = pytest.mark.lab
MIB = 1 << 20
MIGRATION = "cwlabtest000001"
Pair = tuple[Driver, Driver]


@pytest.fixture
async def pair(lab: Lab, healed: Lab) -> AsyncIterator[Pair]:
    seeds = {seed.name: seed for seed in lab.state.connections if seed.kind == "libvirt"}
    made = [Driver(host.name, Settings(seeds[host.name].settings, seeds[host.name].secrets)) for host in lab.hosts]
    for driver in made:
        await driver.connect()
    yield made[0], made[1]
    for driver in made:
        await driver.close()


def vm(driver: Driver, uuid: str) -> Ref:
    return Ref(driver.name, Kind.VM, uuid)


def copy(source: DiskSource, sink: DiskSink) -> tuple[str, int]:
    """Copy what is data. Returns the sink's id and the bytes that were sent."""
    sent = 0
    for extent in source.extents():
        for at in range(extent.offset, extent.offset + extent.length, MIB) if extent.data else ():
            data = source.read(at, min(MIB, extent.offset + extent.length - at))
            sink.write(at, data)
            sent += len(data)
    return sink.commit(), sent


def digest(source: DiskSource) -> str:
    found = hashlib.sha256()
    for at in range(0, source.size, MIB):
        found.update(source.read(at, min(MIB, source.size - at)))
    source.close()
    return found.hexdigest()


async def test_sharedness_is_proved_and_equal_paths_prove_nothing(lab: Lab, pair: Pair) -> None:
    a, b = pair
    before = {path for host in lab.hosts for path in lab.images(host).iterdir()}
    for pool, expected in (("shared", {"shared"}), ("default", set())):
        guest = await asyncio.to_thread(lab.make, lab.a, pool=pool, start=False)
        facts = await b.import_facts(b.session.parent, await a.export_facts(vm(a, guest.uuid)), a)
        assert facts.shared_pools == expected
        assert facts.ports_open is True
        assert "default" in {item.name for item in facts.pools}
    for host in lab.hosts:
        left = {path for path in lab.images(host).iterdir() if path not in before}
        assert not [path for path in left if path.name.startswith("causeway")]
        assert "causeway-probe" not in host.virsh("list", "--all", "--name")


async def test_live_with_its_disk_cancelled_then_done(lab: Lab, pair: Pair) -> None:
    a, b = pair
    guest = await asyncio.to_thread(lab.make, lab.a, pool="default")
    boot = (await asyncio.to_thread(guest.wait_beats, lab.a))[-1].boot
    ref, to, seen = vm(a, guest.uuid), b.session.parent, list[Progress]()
    slow = LiveOptions(copy_storage=("vda",), bandwidth_bps=MIB)
    moving = asyncio.create_task(a.move_live(ref, b, to, slow, seen.append))
    async with asyncio.timeout(60):
        while not seen:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    moving.cancel()
    with suppress(asyncio.CancelledError):
        await moving
    assert moving.cancelled()
    assert await b.locate(guest.uuid) is None and guest.where() == [lab.a]
    assert not (lab.images(lab.b) / guest.file).exists()
    fast = LiveOptions(copy_storage=("vda",))
    result = await a.move_live(ref, b, to, fast, seen.append)
    assert result.target == vm(b, guest.uuid) and result.downtime_s is not None
    assert (await asyncio.to_thread(guest.wait_beats, lab.b))[-1].boot == boot
    assert await a.locate(guest.uuid) is None and guest.where() == [lab.b]
    assert await a.remove_leftovers(result.leftovers, b) == result.leftovers
    assert not (lab.images(lab.a) / guest.file).exists()


async def test_a_disk_of_that_name_on_the_target_is_a_conflict(lab: Lab, pair: Pair) -> None:
    a, b = pair
    guest = await asyncio.to_thread(lab.make, lab.a, pool="default")
    other = lab.images(lab.b) / guest.file
    other.write_bytes(b"mine")
    with pytest.raises(Conflict):
        await a.move_live(
            vm(a, guest.uuid), b, b.session.parent, LiveOptions(copy_storage=("vda",)), lambda _progress: None
        )
    assert other.read_bytes() == b"mine" and guest.where() == [lab.a]


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
async def test_cold_there_fenced_and_back(lab: Lab, pair: Pair, kind: str) -> None:
    a, b = pair
    guest = await asyncio.to_thread(lambda: lab.make(lab.a, pool="default", bootable=True, format=kind, start=False))
    ref = vm(a, guest.uuid)
    spec = await a.vm_spec(ref)
    export = await a.begin_export(ref, migration=MIGRATION)
    disk = await b.prepare_disk(b.session.parent, spec, 0, pool="default", migration=MIGRATION)

    def work() -> tuple[str, bool, int]:
        source = a.open_source(export.disks[0], a._settings)
        ident, sent = copy(source, b.open_sink(disk, b._settings))
        source.close()
        there = digest(b.read_back(disk, ident, b._settings))
        return ident, there == digest(a.open_source(export.disks[0], a._settings)), sent

    ident, equal, sent = await asyncio.to_thread(work)
    assert equal and sent < export.disks[0].size_bytes
    await export.end()
    await a.fence(ref, migration=MIGRATION)
    assert await a.locate(guest.uuid) is None
    arrived = await b.create_vm(b.session.parent, spec, [ident], migration=MIGRATION)
    assert await b.create_vm(b.session.parent, spec, [ident], migration=MIGRATION) == arrived
    await b.power(arrived, PowerAction.START)
    await asyncio.to_thread(guest.wait_beats, lab.b)
    await b.discard_import(MIGRATION)
    assert await b.locate(guest.uuid) is None
    await a.unfence(ref, migration=MIGRATION)
    assert await a.locate(guest.uuid) == ref
    left = [item.name for host in lab.hosts for item in lab.images(host).iterdir() if MIGRATION in item.name]
    assert left == []
