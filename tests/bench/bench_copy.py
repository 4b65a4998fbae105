"""Disk copies against the tool of the trade: file to file against `qemu-img convert`.

    python -m tests.bench.bench_copy [--json] [--mib 2048] [--rounds 5]

Medians; ours is the whole mover process, hash of the source included; reading back and comparing has its own column.
Both sides end with their bytes on disk.
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
from collections.abc import Callable
from pathlib import Path

from app.migration.courier import Courier
from app.migration.job import Job
from backends.model import DiskSpec
from tests.bench.row import row

MIB = 1 << 20


def fill(path: Path, mib: int) -> None:
    dice = random.Random(1)
    with path.open("wb") as file:
        for _ in range(mib):
            file.write(dice.randbytes(MIB))


def durable(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def seconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def carry(job: Job) -> dict[str, object]:
    return dict(asyncio.run(Courier().carry(job, {}, lambda event: None)))


def spec(path: Path, size: int) -> DiskSpec:
    return DiskSpec(backend="demo", target="vda", size_bytes=size, args={"path": str(path)})


def ours(source: Path, target: Path, size: int) -> tuple[float, float]:
    """Seconds of a copy and of its verification."""
    done: dict[str, object] = {}
    copied = seconds(lambda: done.update(carry(Job(source=spec(source, size), sink=spec(target, size)))))
    back: dict[str, object] = {}
    job = Job(sink=spec(target, size), disk_id=str(done["id"]), length=size)
    verified = seconds(lambda: back.update(carry(job)))
    assert back["digest"] == done["digest"]
    return copied, verified


def theirs(source: Path, target: Path) -> float:
    def work() -> None:
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "raw", source, target], check=True)
        durable(target)

    return seconds(work)


def measure(mib: int, rounds: int, folder: Path) -> list[dict[str, object]]:
    source, size = folder / "source.img", mib * MIB
    fill(source, mib)
    pairs: list[tuple[float, float, float]] = []
    for number in range(rounds):
        a, b = folder / f"ours-{number}.img", folder / f"theirs-{number}.img"
        # Whoever goes second finds a fuller page cache: they take turns.
        if number % 2:
            copied, verified = ours(source, a, size)
            other = theirs(source, b)
        else:
            other = theirs(source, b)
            copied, verified = ours(source, a, size)
        pairs.append((copied, verified, other))
        a.unlink()
        b.unlink()
    copied, verified, other = (statistics.median(column) for column in zip(*pairs, strict=True))
    note = f"ours {copied:.2f} s, qemu-img {other:.2f} s, {mib} MiB, median of {rounds}"
    return [
        row("copy: file to file, against qemu-img convert", other / copied, "x", least=0.95, note=note),
        row("copy: read back and compare", verified, "s", note="not part of the copy"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--mib", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(asked.mib, asked.rounds, Path(folder))
    if asked.json:
        json.dump(found, sys.stdout, indent=1)
        print()
    else:
        for line in found:
            print("  ".join(f"{name}={value}" for name, value in line.items()))


if __name__ == "__main__":
    main()
