"""The bytes of a cold move: one mover per disk, then one that reads the disk back. Used by the cold itinerary."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.migration.job import Job
from app.migration.move import Move
from app.migration.planning import plain
from app.migration.steps import COPY, VERIFY
from app.store import codec
from backends.driver import Settings, SignsIn
from backends.errors import Conflict, Invalid, Unreachable
from backends.model import DiskSpec, Progress

log = logging.getLogger(__name__)
Result = dict[str, Any]
RATE_OVER_S = 5.0


class Meter:
    """Adds the disks of a stage up to one progress with a rate over the last seconds."""

    def __init__(self, move: Move, stage: str, sizes: list[int]) -> None:
        self._move = move
        self._stage = stage
        self._totals = sizes
        self._done = [0] * len(sizes)
        self._seen: list[tuple[float, int]] = []

    def tell(self, disk: int, done: int, total: int, text: str) -> None:
        self._done[disk], self._totals[disk] = done, total
        moment, whole = time.monotonic(), sum(self._done)
        self._seen = [item for item in self._seen if moment - item[0] < RATE_OVER_S] + [(moment, whole)]
        since, before = self._seen[0]
        rate = (whole - before) / (moment - since) if moment > since else 0.0
        progress = Progress(done_bytes=whole, total_bytes=sum(self._totals), rate_bps=max(0.0, rate), text=text)
        self._move.progress(self._stage, progress)

    @property
    def bytes(self) -> int:
        return sum(self._done)


def _sinks(move: Move) -> list[DiskSpec]:
    return [codec.decode(DiskSpec, item) for item in move.journal.record.done["disks"]["sinks"]]


def _sums(move: Move, number: int) -> Path | None:
    """Where the mover of a disk keeps the checksums of what it sent, in the data folder, for nobody else to read."""
    folder = move.tools.folder
    if folder is None:
        return None
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / f"{move.plan.id}.{number}"


def forget(move: Move) -> None:
    """Remove what the movers kept for a copy that breaks. Idempotent."""
    for number in range(len(move.plan.spec.disks) if move.plan.spec is not None else 0):
        path = _sums(move, number)
        if path is not None:
            path.unlink(missing_ok=True)


async def _settings(move: Move, name: str) -> Settings:
    """What a mover opens a disk of this connection with."""
    connection = move.tools.sites.get(name)
    try:
        driver = move.tools.sites.driver(name)
        if isinstance(driver, SignsIn):
            return await asyncio.to_thread(driver.mover_settings)
    except Unreachable as error:
        # What was saved is as good: it is the mover that will find out whether the other side answers by now.
        log.debug("%s: %s", name, error)
    return Settings(dict(connection.settings) if connection is not None else {}, await move.tools.secrets(name))


async def _run(move: Move, job: Job, tell: Any) -> Mapping[str, Any]:
    """Start a mover with the settings of both connections; secrets go by their own way."""
    secrets: dict[str, str] = {}
    values: dict[str, dict[str, str]] = {}
    sides = (("sink", job.sink, move.plan.to.connection), ("source", job.source, move.plan.vm.connection))
    for side, spec, name in sides:
        if spec is None:
            continue
        settings = await _settings(move, name)
        values[side] = dict(settings.values)
        for key, value in settings.secrets.items():
            secrets[f"{side}.{key}"] = value
    full = Job(
        source=job.source,
        source_settings=values.get("source", {}),
        sink=job.sink,
        sink_settings=values.get("sink", {}),
        disk_id=job.disk_id,
        length=job.length,
        resume=job.resume,
        bandwidth_bps=job.bandwidth_bps,
    )
    return await move.tools.courier.carry(full, secrets, tell)


async def copy(move: Move) -> Result:
    """Copy every disk that is not copied yet; each one goes on at the offset that the journal knows."""
    record = move.journal.record
    sinks = _sinks(move)
    meter = Meter(move, COPY, [sink.size_bytes for sink in sinks])
    began = time.monotonic()
    for number, sink in enumerate(sinks):
        if number not in record.disks:
            await _copy_disk(move, number, _source_of(move, sink), sink, meter)
    seconds = time.monotonic() - began
    return {
        "disks": [record.disks[number] for number in range(len(sinks))],
        "bytes": meter.bytes,
        "seconds": round(seconds, 3),
    }


async def _copy_disk(move: Move, number: int, source: DiskSpec, sink: DiskSpec, meter: Meter) -> None:
    writes: set[asyncio.Task[None]] = set()

    def tell(event: Mapping[str, Any]) -> None:
        if event["event"] == "progress":
            meter.tell(number, int(event["done"]), int(event["total"]), sink.target)
        elif event["event"] == "safe":
            writing = asyncio.ensure_future(move.journal.safe(number, int(event["offset"])))
            writes.add(writing)
        elif event["event"] == "note":
            move.note(f"{sink.target}: {event['text']}")

    sums = await asyncio.to_thread(_sums, move, number)
    job = Job(
        source=source,
        sink=sink if sums is None else replace(sink, args={**sink.args, "sums": str(sums)}),
        resume=move.journal.record.safe.get(number, 0),
        bandwidth_bps=move.plan.live.bandwidth_bps,
    )
    try:
        done = await _run(move, job, tell)
    finally:
        if writes:
            await asyncio.gather(*writes)
    await move.journal.disk(number, {"id": done["id"], "digest": done["digest"], "size": done["size"]})


async def verify(move: Move) -> Result:
    """Read every written disk back, over the source's own length. Raises Invalid where a byte differs."""
    sinks = _sinks(move)
    copied = move.journal.record.done["copy"]["disks"]
    meter = Meter(move, VERIFY, [int(disk["size"]) for disk in copied])
    for number, (sink, disk) in enumerate(zip(sinks, copied, strict=True)):
        job = Job(sink=sink, disk_id=str(disk["id"]), length=int(disk["size"]))
        if await _digest(move, job, meter, number, sink.target) != disk["digest"]:
            raise Invalid(
                f"disk {sink.target} on {move.plan.to.connection} is not what was sent",
                cure="move it again; if that repeats, look at the target's storage",
            )
    return {"digests": [disk["digest"] for disk in copied]}


async def compare(move: Move, numbers: list[int]) -> None:
    """Read these disks of the source again. Raises Conflict where one is not what was copied."""
    sinks, copied = _sinks(move), move.journal.record.done["copy"]["disks"]
    meter = Meter(move, VERIFY, [int(copied[number]["size"]) for number in numbers])
    for place, number in enumerate(numbers):
        target = sinks[number].target
        job = Job(source=_source_of(move, sinks[number]))
        if await _digest(move, job, meter, place, target) != copied[number]["digest"]:
            raise Conflict(
                f"disk {target} changed on {move.plan.vm.connection} after it was copied: the VM ran during its move",
                cure="move it again",
            )


async def _digest(move: Move, job: Job, meter: Meter, place: int, target: str) -> str:
    def tell(event: Mapping[str, Any]) -> None:
        if event["event"] == "progress":
            meter.tell(place, int(event["done"]), int(event["total"]), target)

    return str((await _run(move, job, tell))["digest"])


def _source_of(move: Move, sink: DiskSpec) -> DiskSpec:
    """The source's disk that goes into this one. Raises Invalid where it is not there any more."""
    if move.session is None:
        raise Invalid("the source's disks are not open")
    found = {plain(disk.target): disk for disk in move.session.disks}
    if plain(sink.target) not in found:
        raise Invalid(f"the source has no disk {sink.target}")
    return found[plain(sink.target)]
