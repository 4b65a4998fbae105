"""Disk copies against the tools of the trade: `qemu-img convert` from file to file, `nbdcopy` to an NBD server.

    python -m tests.bench.bench_copy [--json] [--mib 2048] [--rounds 5]

Medians of times taken in turns. Both sides end with their bytes on disk. What verification costs has its own column:
the hash of the source, reading back and comparing. The start of our process is a row of its own as well.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.migration.courier import MOVER, Courier
from app.migration.job import Job
from backends.model import DiskSpec
from backends.nbd import unix_uri
from tests.bench.row import row

MIB = 1 << 20
NBD_MOVER = (sys.executable, "-m", "tests.bench.nbd_mover")


@dataclass(frozen=True, slots=True)
class Ours:
    """Seconds: until our process was at work, of the copy until it is durable, of all that proves it."""

    start: float
    copy: float
    verify: float


def fill(path: Path, mib: int) -> None:
    dice = random.Random(1)
    with path.open("wb") as file:
        for _ in range(mib):
            file.write(dice.randbytes(MIB))
        os.fsync(file.fileno())


def durable(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def seconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def spec(size: int, **args: str) -> DiskSpec:
    return DiskSpec(backend="demo", target="vda", size_bytes=size, args=args)


def ours(command: Sequence[str], source: DiskSpec, sink: DiskSpec) -> Ours:
    """One copy and its verification by movers. Raises AssertionError where what was written is not what was read."""
    moments: dict[str, float] = {}

    def tell(event: Mapping[str, Any]) -> None:
        moments.setdefault(str(event["event"]), time.monotonic())

    courier = Courier(command)
    began = time.monotonic()
    done = asyncio.run(courier.carry(Job(source=source, sink=sink), {}, tell))
    ended = time.monotonic()
    job = Job(sink=sink, disk_id=str(done["id"]), length=source.size_bytes)
    back = asyncio.run(courier.carry(job, {}, lambda event: None))
    assert back["digest"] == done["digest"]
    copied = moments.get("copied", ended)
    return Ours(moments["begun"] - began, copied - moments["begun"], time.monotonic() - copied)


def in_turns(rounds: int, mine: Callable[[int], Ours], theirs: Callable[[int], float]) -> tuple[list[Ours], float]:
    """Whoever goes second finds a fuller page cache: they take turns. The median of theirs."""
    found, others = [], []
    for number in range(rounds):
        for turn in (number % 2, 1 - number % 2):
            os.sync()
            if turn:
                found.append(mine(number))
            else:
                others.append(theirs(number))
    return found, statistics.median(others)


def rows(name: str, tool: str, found: list[Ours], other: float, mib: int) -> list[dict[str, object]]:
    copy, verify = (statistics.median(getattr(one, part) for one in found) for part in ("copy", "verify"))
    note = f"ours {copy:.2f} s, {tool} {other:.2f} s, {mib} MiB, median of {len(found)}"
    return [
        row(f"copy: {name}, against {tool}", other / copy, "x", least=0.95, note=note),
        row(f"copy: {name}, verification", verify, "s", note="hash of the source, read back, compare"),
    ]


def to_file(folder: Path, source: Path, mib: int, rounds: int) -> list[dict[str, object]]:
    size = mib * MIB

    def mine(number: int) -> Ours:
        target = folder / "ours.img"
        target.unlink(missing_ok=True)
        return ours(MOVER, spec(size, path=str(source)), spec(size, path=str(target)))

    def theirs(number: int) -> float:
        target = folder / "theirs.img"
        target.unlink(missing_ok=True)

        def work() -> None:
            subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "raw", source, target], check=True)
            durable(target)

        return seconds(work)

    found, other = in_turns(rounds, mine, theirs)
    for name in ("ours.img", "theirs.img"):
        (folder / name).unlink()
    start = statistics.median(one.start for one in found)
    return [
        *rows("file to file", "qemu-img convert", found, other, mib),
        row("copy: start of our process", start, "s", note="once a disk, not part of the copy"),
    ]


@contextmanager
def server(folder: Path, mib: int) -> Iterator[str]:
    """The URI of a qemu-nbd with an empty disk."""
    image, sock = folder / "served.img", folder / "nbd.sock"
    with image.open("wb") as file:
        file.truncate(mib * MIB)
    command = ["qemu-nbd", "-t", "-e", "16", "-k", str(sock), "-f", "raw", "-x", "disk", "--discard=unmap", str(image)]
    process = subprocess.Popen(command)
    try:
        while not sock.exists():
            assert process.poll() is None
            time.sleep(0.01)
        yield unix_uri(str(sock), "disk")
    finally:
        process.terminate()
        process.wait()
        image.unlink()
        sock.unlink(missing_ok=True)


def to_nbd(folder: Path, source: Path, mib: int, rounds: int) -> list[dict[str, object]]:
    size = mib * MIB

    def mine(number: int) -> Ours:
        with server(folder, mib) as uri:
            return ours(NBD_MOVER, spec(size, path=str(source)), spec(size, nbd=uri))

    def theirs(number: int) -> float:
        with server(folder, mib) as uri:
            command = ["nbdcopy", "--destination-is-zero", "--flush", "--", str(source), uri]
            return seconds(lambda: subprocess.run(command, check=True))

    found, other = in_turns(rounds, mine, theirs)
    return rows("file to NBD", "nbdcopy", found, other, mib)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--mib", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "source.img"
        fill(source, asked.mib)
        found = [bench for way in (to_file, to_nbd) for bench in way(folder, source, asked.mib, asked.rounds)]
    if asked.json:
        print(json.dumps(found, indent=1))
    else:
        for line in found:
            print("  ".join(f"{name}={value}" for name, value in line.items()))


if __name__ == "__main__":
    main()
