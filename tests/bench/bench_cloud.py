"""A disk into the EC2 endpoint: our sink against a bare loop of the same API calls, and a mostly empty disk."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config

from app.playground.endpoint import Endpoint
from backends.ec2 import Driver
from backends.model import DiskFacts, DiskSpec, Kind, Ref, VmSpec
from tests.backends.cloud import ec2_settings, running_endpoint
from tests.bench.row import row

BLOCK = 512 * 1024
SIZE = 96 << 20
EMPTY = 2 << 30
ROUNDS = 5


def bare(endpoint: Endpoint, data: bytes) -> float:
    """Seconds of put and complete with nothing around them, as many puts at once as the sink has."""
    ebs = boto3.client(
        "ebs",
        endpoint_url=endpoint.url,
        region_name="us-east-1",
        aws_access_key_id=endpoint.access_key,
        aws_secret_access_key=endpoint.secret_key,
        config=Config(max_pool_connections=16),
    )
    snapshot = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]

    def put(index: int) -> bytes:
        part = data[index * BLOCK : (index + 1) * BLOCK]
        digest = hashlib.sha256(part).digest()
        ebs.put_snapshot_block(
            SnapshotId=snapshot,
            BlockIndex=index,
            BlockData=part,
            DataLength=BLOCK,
            Checksum=base64.b64encode(digest).decode(),
            ChecksumAlgorithm="SHA256",
        )
        return digest

    count = len(data) // BLOCK
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        digests = list(pool.map(put, range(count)))
    total = base64.b64encode(hashlib.sha256(b"".join(digests)).digest()).decode()
    ebs.complete_snapshot(
        SnapshotId=snapshot,
        ChangedBlocksCount=count,
        Checksum=total,
        ChecksumAlgorithm="SHA256",
        ChecksumAggregationMethod="LINEAR",
    )
    return time.monotonic() - began


async def prepared(driver: Driver, size: int, migration: str) -> DiskSpec:
    spec = VmSpec(name="bench", disks=(DiskFacts(target="vda", size_bytes=size),))
    to = Ref(driver.name, Kind.ZONE, "us-east-1")
    return await driver.prepare_disk(to, spec, 0, pool="", migration=migration)


def ours(endpoint: Endpoint, disk: DiskSpec, data: bytes) -> float:
    sink = Driver.open_sink(disk, ec2_settings(endpoint))
    # As the mover does; it makes the clients, which the bare loop has before its time begins too.
    sink.resume_at(0)
    began = time.monotonic()
    for offset in range(0, len(data), BLOCK):
        sink.write(offset, data[offset : offset + BLOCK])
    if disk.size_bytes > len(data):
        sink.zero(len(data), disk.size_bytes - len(data))
    sink.commit()
    return time.monotonic() - began


async def measure(endpoint: Endpoint) -> list[dict[str, object]]:
    data = os.urandom(SIZE)
    driver = Driver("cloud", ec2_settings(endpoint))
    await driver.connect()
    ratios, empties = [], []
    for number in range(ROUNDS):
        disk = await prepared(driver, SIZE, f"cwbenchfull{number}")
        mine = await asyncio.to_thread(ours, endpoint, disk, data)
        ratios.append(await asyncio.to_thread(bare, endpoint, data) / mine)
        disk = await prepared(driver, EMPTY, f"cwbenchempty{number}")
        empties.append(await asyncio.to_thread(ours, endpoint, disk, data[: 8 << 20]))
        for name in ("full", "empty"):
            await driver.discard_import(f"cwbench{name}{number}")
    await driver.close()
    return [
        row("disk into the cloud / bare loop of the same calls", statistics.median(ratios), "x", least=0.9),
        row("2 GiB disk with 8 MiB of data into the cloud", statistics.median(empties), "s", note="costs its data"),
    ]


def main() -> None:
    with running_endpoint() as endpoint:
        print(json.dumps(asyncio.run(measure(endpoint))))


if __name__ == "__main__":
    main()
