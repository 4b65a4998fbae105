"""A disk's way into EC2 and out again, and everything around it, on a real endpoint process."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.playground.endpoint import Endpoint
from backends.disks import DiskSink, DiskSource
from backends.ec2 import Driver
from backends.ec2.blocks import BLOCK
from backends.errors import Conflict, Invalid
from backends.model import DiskFacts, Kind, PowerAction, PowerState, Ref, Scope, Vm, VmSpec
from tests.backends.cloud import ec2_settings

MIB = 1024**2
SIZE = 5 * MIB + 3 * 512
ZONE = Ref("cloud", Kind.ZONE, "us-east-1")
SPEC = VmSpec(
    name="alpine",
    uuid="6f2b2d9e-6f8f-4d5e-9f6a-0d0a3c1f7a11",
    vcpus=1,
    memory_bytes=256 * MIB,
    disks=(DiskFacts(target="vda", size_bytes=SIZE, boot=True),),
    group="blue",
    tags=(("role", "web"),),
)


def disk_bytes(seed: int = 1) -> bytes:
    """Mostly empty, with data at both ends and a block that ends in the middle."""
    data = bytearray(SIZE)
    source = random.Random(seed)
    for start, length in ((0, 700_000), (3 * MIB + 512, 4096), (SIZE - 900, 900)):
        data[start : start + length] = source.randbytes(length)
    return bytes(data)


def fill(sink: DiskSink, data: bytes, start: int = 0) -> None:
    for offset in range(start, len(data), sink.block):
        sink.write(offset, data[offset : offset + sink.block])


def all_of(source: DiskSource) -> bytes:
    parts, end = [], 0
    for extent in source.extents():
        assert extent.offset == end
        end += extent.length
        parts.append(source.read(extent.offset, extent.length) if extent.data else bytes(extent.length))
    assert end == source.size
    return b"".join(parts)


async def arrive(driver: Driver, endpoint: Endpoint, migration: str, data: bytes) -> Ref:
    disk = await driver.prepare_disk(ZONE, SPEC, 0, pool="", migration=migration)
    sink = driver.open_sink(disk, ec2_settings(endpoint))
    fill(sink, data)
    return await driver.create_vm(ZONE, SPEC, [sink.commit()], migration=migration)


async def vm_at(driver: Driver, ref: Ref) -> Vm:
    listing = await driver.list(Scope(frozenset((Kind.VM,)), ZONE))
    assert listing.error is None
    return next(item for item in listing.objects if item.ref == ref and isinstance(item, Vm))


def left_over(ec2: Any, migration: str) -> list[str]:
    marked = [{"Name": "tag:causeway:migration", "Values": [migration]}]
    found = [each["SnapshotId"] for each in ec2.describe_snapshots(Filters=marked)["Snapshots"]]
    found += [each["ImageId"] for each in ec2.describe_images(Filters=marked)["Images"]]
    found += [each["VolumeId"] for each in ec2.describe_volumes(Filters=marked)["Volumes"]]
    for reservation in ec2.describe_instances(Filters=marked)["Reservations"]:
        found += [i["InstanceId"] for i in reservation["Instances"] if i["State"]["Name"] != "terminated"]
    return found


async def test_a_disk_goes_in_and_comes_out_the_same(
    driver: Driver, endpoint: Endpoint, ec2: Any, migration: str
) -> None:
    data = disk_bytes()
    disk = await driver.prepare_disk(ZONE, SPEC, 0, pool="gp2", migration=migration)
    assert await driver.prepare_disk(ZONE, SPEC, 0, pool="gp2", migration=migration) == disk
    json.dumps(dict(disk.args))
    sink = driver.open_sink(disk, ec2_settings(endpoint))
    fill(sink, data)
    ident = sink.commit()
    back = driver.read_back(disk, ident, ec2_settings(endpoint))
    assert hashlib.sha256(all_of(back)).digest() == hashlib.sha256(data).digest()
    assert sum(extent.length for extent in back.extents() if extent.data) < SIZE / 2
    back.close()

    ref = await driver.create_vm(ZONE, SPEC, [ident], migration=migration)
    assert await driver.create_vm(ZONE, SPEC, [ident], migration=migration) == ref
    vm = await vm_at(driver, ref)
    assert (vm.name, vm.group, vm.tags, vm.state) == ("alpine", "blue", (("role", "web"),), PowerState.RUNNING)
    assert vm.disks[0].size_bytes == 1024**3
    assert await driver.locate(SPEC.uuid) == ref
    await driver.adopt(ref, migration=migration)
    assert left_over(ec2, migration) == []

    await driver.power(ref, PowerAction.SHUTDOWN)
    session = await driver.begin_export(ref, migration=migration + "-back")
    source = driver.open_source(replace(session.disks[0], size_bytes=SIZE), ec2_settings(endpoint))
    assert hashlib.sha256(all_of(source)).digest() == hashlib.sha256(data).digest()
    assert source.read(600_000, 200_000) == data[600_000:800_000]
    source.close()
    await session.end()
    await session.end()
    assert left_over(ec2, migration + "-back") == []
    spec = await driver.vm_spec(ref)
    assert (spec.uuid, spec.firmware, spec.arch, spec.name) == (SPEC.uuid, "bios", "x86_64", "alpine")
    await driver.delete(ref, disks=True)
    assert await driver.locate(SPEC.uuid) is None


async def test_zeros_are_never_sent(driver: Driver, endpoint: Endpoint, ebs: Any, migration: str) -> None:
    disk = await driver.prepare_disk(ZONE, SPEC, 0, pool="", migration=migration)
    sink = driver.open_sink(disk, ec2_settings(endpoint))
    sink.zero(0, 4 * MIB)
    sink.write(4 * MIB, bytes(BLOCK - 1) + b"x")
    blocks = ebs.list_snapshot_blocks(SnapshotId=sink.commit())["Blocks"]
    assert [each["BlockIndex"] for each in blocks] == [8]
    await driver.discard_import(migration)


@pytest.mark.parametrize("mode", ["503", "throttle", "bad-checksum", "cut"])
async def test_a_faulty_endpoint_does_not_spoil_the_copy(
    driver: Driver, endpoint: Endpoint, ec2: Any, migration: str, mode: str
) -> None:
    data = disk_bytes()
    disk = await driver.prepare_disk(ZONE, SPEC, 0, pool="", migration=migration)
    endpoint.faults_file.write_text(json.dumps({"PutSnapshotBlock": {"mode": mode, "count": 3}}))
    sink = driver.open_sink(disk, ec2_settings(endpoint))
    if mode == "bad-checksum":
        with pytest.raises(Invalid):
            fill(sink, data)
            sink.commit()
        sink.abort()
        sink.abort()
    else:
        fill(sink, data)
        back = driver.read_back(disk, sink.commit(), ec2_settings(endpoint))
        assert all_of(back) == data
        back.close()
    await driver.discard_import(migration)
    assert left_over(ec2, migration) == []


async def test_only_the_hash_tells_of_a_byte_that_was_stored_wrongly(
    driver: Driver, endpoint: Endpoint, migration: str
) -> None:
    data = disk_bytes()
    disk = await driver.prepare_disk(ZONE, SPEC, 0, pool="", migration=migration)
    endpoint.faults_file.write_text(json.dumps({"PutSnapshotBlock": {"mode": "flip"}}))
    sink = driver.open_sink(disk, ec2_settings(endpoint))
    fill(sink, data)
    back = driver.read_back(disk, sink.commit(), ec2_settings(endpoint))
    read = all_of(back)
    # One byte of every block that was sent, also of one that had to be sent twice.
    middles = range(BLOCK // 2, len(data), BLOCK)
    sent = sum(any(data[at - BLOCK // 2 : at + BLOCK // 2]) for at in middles)
    assert sum(one != two for one, two in zip(read, data, strict=True)) == sent
    back.close()
    await driver.discard_import(migration)


async def test_a_block_that_was_spoiled_on_the_way_out_is_refused(
    driver: Driver, endpoint: Endpoint, migration: str
) -> None:
    disk = await driver.prepare_disk(ZONE, SPEC, 0, pool="", migration=migration)
    sink = driver.open_sink(disk, ec2_settings(endpoint))
    fill(sink, disk_bytes())
    back = driver.read_back(disk, sink.commit(), ec2_settings(endpoint))
    endpoint.faults_file.write_text(json.dumps({"GetSnapshotBlock": {"mode": "flip", "count": 1}}))
    assert all_of(back) == disk_bytes()
    endpoint.faults_file.write_text(json.dumps({"GetSnapshotBlock": {"mode": "flip"}}))
    with pytest.raises(Conflict, match="checksum"):
        back.read(0, BLOCK)
    back.close()
    await driver.discard_import(migration)


async def test_block_tokens_are_renewed(driver: Driver, endpoint: Endpoint, ebs: Any, migration: str) -> None:
    disk = await driver.prepare_disk(ZONE, SPEC, 0, pool="", migration=migration)
    sink = driver.open_sink(disk, ec2_settings(endpoint))
    fill(sink, disk_bytes())
    ident = sink.commit()
    back = driver.read_back(disk, ident, ec2_settings(endpoint))
    first = list(back.extents())
    ebs.list_snapshot_blocks(SnapshotId=ident)
    assert back.read(0, 700_000) == disk_bytes()[:700_000]
    assert list(back.extents()) == first
    back.close()
    await driver.discard_import(migration)


async def test_a_broken_copy_goes_on_where_its_sums_were_kept(
    driver: Driver, endpoint: Endpoint, migration: str, tmp_path: Path
) -> None:
    data = disk_bytes()
    prepared = await driver.prepare_disk(ZONE, SPEC, 0, pool="", migration=migration)
    disk = replace(prepared, args={**prepared.args, "sums": str(tmp_path / "sums")})
    killed = driver.open_sink(disk, ec2_settings(endpoint))
    assert killed.resume_at(0) == 0
    fill(killed, data[: 2 * MIB])
    killed.flush()
    fill(killed, data[: 4 * MIB], start=2 * MIB)
    assert driver.open_sink(prepared, ec2_settings(endpoint)).resume_at(2 * MIB) == 0
    second = driver.open_sink(disk, ec2_settings(endpoint))
    assert second.resume_at(2 * MIB + 5) == 2 * MIB
    fill(second, data, start=2 * MIB)
    # What the first sent after its last flush is sent again by the second, so the counts agree.
    ident = second.commit()
    back = driver.read_back(disk, ident, ec2_settings(endpoint))
    assert all_of(back) == data
    back.close()
    # Killed after the snapshot was completed, before anyone noted it: nothing is left to send.
    third = driver.open_sink(disk, ec2_settings(endpoint))
    assert third.resume_at(2 * MIB) == len(data)
    assert third.commit() == ident
    await driver.discard_import(migration)


async def test_fence_unfence_retire(driver: Driver, endpoint: Endpoint, ec2: Any, migration: str) -> None:
    ref = await arrive(driver, endpoint, migration, disk_bytes())
    await driver.adopt(ref, migration=migration)
    root = (await vm_at(driver, ref)).disks[0].source
    with pytest.raises(Conflict, match="running"):
        await driver.fence(ref, migration="m1")
    await driver.power(ref, PowerAction.OFF)
    for _ in range(2):
        await driver.fence(ref, migration="m1")
    vm = await vm_at(driver, ref)
    assert (vm.state, vm.disks) == (PowerState.OFF, ())
    with pytest.raises(Invalid, match="root"):
        await driver.power(ref, PowerAction.START)
    with pytest.raises(Conflict):
        await driver.unfence(ref, migration="m2")
    with pytest.raises(Conflict):
        await driver.fence(ref, migration="m2")
    for _ in range(2):
        await driver.unfence(ref, migration="m1")
    vm = await vm_at(driver, ref)
    assert vm.disks[0].source == root
    mapping = ec2.describe_instances(InstanceIds=[ref.id])["Reservations"][0]["Instances"][0]["BlockDeviceMappings"]
    assert mapping[0]["Ebs"]["DeleteOnTermination"] is True
    with pytest.raises(Conflict):
        await driver.retire(ref, migration="m1")
    await driver.fence(ref, migration="m1")
    for _ in range(2):
        await driver.retire(ref, migration="m1")
    assert await driver.locate(SPEC.uuid) is None
    assert ec2.describe_volumes(Filters=[{"Name": "volume-id", "Values": [root]}])["Volumes"] == []


async def test_discard_removes_all_of_a_migration(driver: Driver, endpoint: Endpoint, ec2: Any, migration: str) -> None:
    ref = await arrive(driver, endpoint, migration, disk_bytes())
    assert len(left_over(ec2, migration)) == 4
    for _ in range(2):
        await driver.discard_import(migration)
    assert left_over(ec2, migration) == []
    assert await driver.locate(ref.id) is None


async def test_abort_does_not_wait_for_an_endpoint_that_is_out(
    driver: Driver, endpoint: Endpoint, ec2: Any, migration: str
) -> None:
    disk = await driver.prepare_disk(ZONE, SPEC, 0, pool="", migration=migration)
    endpoint.faults_file.write_text(json.dumps({"PutSnapshotBlock": {"mode": "503"}}))
    sink = driver.open_sink(disk, ec2_settings(endpoint))
    sink.write(0, b"x" * BLOCK)
    await asyncio.wait_for(asyncio.to_thread(sink.abort), 30)
    assert left_over(ec2, migration) == []


async def test_many_disks_and_a_second_export_of_the_same_migration(
    driver: Driver, endpoint: Endpoint, ec2: Any, migration: str
) -> None:
    disks = (
        DiskFacts(target="vda", size_bytes=SIZE),
        DiskFacts(target="vdb", size_bytes=SIZE, boot=True),
        DiskFacts(target="vdc", size_bytes=2 * 1024**3 + 1),
    )
    spec = replace(SPEC, disks=disks, uuid="", name="three", firmware="uefi")
    ids = []
    for number in range(3):
        disk = await driver.prepare_disk(ZONE, spec, number, pool="", migration=migration)
        sink = driver.open_sink(disk, ec2_settings(endpoint))
        fill(sink, disk_bytes(number).ljust(6 * MIB, b"\0"))
        ids.append(sink.commit())
    ref = await driver.create_vm(ZONE, spec, ids, migration=migration)
    facts = await driver.export_facts(ref)
    found = [(disk.target, disk.boot, disk.size_bytes // 1024**3) for disk in facts.disks]
    assert found == [("/dev/sda1", True, 1), ("/dev/sdf", False, 1), ("/dev/sdg", False, 3)]
    assert (await driver.vm_spec(ref)).firmware == "uefi"
    await driver.power(ref, PowerAction.OFF)
    first = await driver.begin_export(ref, migration="again")
    second = await driver.begin_export(ref, migration="again")
    assert [dict(disk.args) for disk in first.disks] == [dict(disk.args) for disk in second.disks]
    for disk, seed in zip(first.disks, (1, 0, 2), strict=True):
        source = driver.open_source(replace(disk, size_bytes=SIZE), ec2_settings(endpoint))
        assert all_of(source) == disk_bytes(seed)
        source.close()
    await driver.discard_export("again")
    await driver.discard_import(migration)
    assert left_over(ec2, "again") + left_over(ec2, migration) == []
