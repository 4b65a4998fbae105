"""Live migration on the playground: what we add to libvirt's own time, and the whole against `virsh migrate`.

    python -m tests.bench.bench_live [--json] [--rounds 5] [--mib-per-s 3]

A playground of its own in a folder of its own, gone afterwards. The guest's disk is shared, so that its memory moves.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from app import playground
from app.migration import Mode, Planned
from app.playground.hosts import Host
from app.playground.service import Playground
from app.services import Services
from app.tasks import TaskState
from backends.libvirt import live
from backends.model import Kind, LiveOptions, Ref, Vm
from tests.bench.row import row
from tests.lab.machine import Lab, LabGuest

MIB = 1 << 20
PATIENCE_S = 240.0


@contextmanager
def lab() -> Iterator[Lab]:
    with tempfile.TemporaryDirectory() as name:
        home = Path(name) / "playground"
        try:
            asyncio.run(playground.up(home, lambda line: print(line, file=sys.stderr)))
            yield Lab(Playground(home))
        finally:
            asyncio.run(playground.down(home))


@asynccontextmanager
async def program(place: Lab) -> AsyncIterator[Services]:
    """The program without a screen, on both hosts."""
    home = place.home.parent / "home"
    services = await Services.open(home, vault_key_file=home.parent / "key")
    try:
        for seed in place.state.connections:
            if seed.kind == "libvirt":
                await services.connections.add(seed.kind, seed.name, seed.settings, seed.secrets)
        await until(lambda: all(item.listed for item in services.connections.all()), "the hosts are not listed")
        yield services
    finally:
        await services.close()


async def until(done: Callable[[], object], failure: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(failure)
        await asyncio.sleep(0.05)


class Calls:
    """When libvirt's own call began and when it returned, of the last move."""

    def __init__(self) -> None:
        self.began = self.ended = 0.0
        migrate = live._migrate

        def timed(*arguments: Any) -> None:
            self.began = time.monotonic()
            try:
                migrate(*arguments)
            finally:
                self.ended = time.monotonic()

        live._migrate = timed


class Road:
    """A guest that goes from one host to the other and back, by us or by virsh."""

    def __init__(self, place: Lab, services: Services, guest: LabGuest) -> None:
        self._place = place
        self._services = services
        self._guest = guest
        self._calls = Calls()

    async def ours(self, options: LiveOptions) -> tuple[float, float]:
        """One move: seconds from the task's start to its end, and those of them that were not libvirt's call."""
        planned = await self._planned(options)
        began = time.monotonic()
        task = await self._services.tasks.wait(self._services.migrations.start(planned))
        ended = time.monotonic()
        if task.state != TaskState.DONE:
            raise RuntimeError(f"{task.error}: {task.log}")
        return ended - began, (self._calls.began - began) + (ended - self._calls.ended)

    async def virsh(self, options: LiveOptions) -> float:
        """One move by virsh with the flags that we would have used: its seconds."""
        planned = await self._planned(options)
        source, target = self._ends()
        chosen = planned.plan.live
        words = ["--live", "--persistent", "--undefinesource", "--bandwidth", str(options.bandwidth_bps // MIB)]
        words += [flag for flag, on in (("--unsafe", chosen.unsafe), ("--tls", chosen.tls)) if on]
        words += [self._guest.uuid, target.uri, "--migrateuri", f"tcp://{target.address}"]
        began = time.monotonic()
        await asyncio.to_thread(source.virsh, "migrate", *words, timeout=PATIENCE_S)
        return time.monotonic() - began

    def _ends(self) -> tuple[Host, Host]:
        (source,) = self._guest.where()
        return source, self._place.b if source == self._place.a else self._place.a

    async def _planned(self, options: LiveOptions) -> Planned:
        source, target = self._ends()
        found: list[Ref] = []

        def seen() -> bool:
            vms = [item for item in self._services.inventory if isinstance(item, Vm) and item.uuid == self._guest.uuid]
            found[:] = [item.ref for item in vms]
            return [ref.connection for ref in found] == [source.name]

        await until(seen, f"{self._guest.name} is not seen on {source.name}")
        to = Ref(target.name, Kind.CONNECTION, target.name)
        planned = await self._services.migrations.plan(found[0], to, mode=Mode.LIVE, live=options)
        if not planned.verdict.allowed or planned.plan.live.copy_storage:
            raise RuntimeError(f"not the move that is to be measured: {planned.verdict}")
        return planned


async def measure(place: Lab, rounds: int, mib_per_s: int) -> list[dict[str, object]]:
    guest = await asyncio.to_thread(place.make, place.a, pool="shared")
    await asyncio.to_thread(guest.wait_beats, place.a)
    async with program(place) as services:
        road = Road(place, services, guest)
        overheads = [(await road.ours(LiveOptions()))[1] for _ in range(rounds)]
        slow = LiveOptions(bandwidth_bps=mib_per_s * MIB)
        # Both ways for both, so that neither has the quicker direction.
        mine, theirs = [(await road.ours(slow))[0]], [await road.virsh(slow)]
        theirs.append(await road.virsh(slow))
        mine.append((await road.ours(slow))[0])
    own, other = statistics.mean(mine), statistics.mean(theirs)
    times = ", ".join(f"{value:.2f}" for value in overheads)
    ratio = row(
        f"live move at {mib_per_s} MiB/s, against virsh migrate",
        own / other if other >= 15 else None,
        "x",
        most=1.05,
        note=f"ours {own:.2f} s, virsh {other:.2f} s, the same flags, there and back"
        + " (15 s or more)" * (other >= 15),
    )
    return [row("live move: own overhead", statistics.median(overheads), "s", most=0.3, note=f"of {times}"), ratio]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mib-per-s", type=int, default=3)
    asked = parser.parse_args()
    with lab() as place:
        found = asyncio.run(measure(place, asked.rounds, asked.mib_per_s))
    if asked.json:
        print(json.dumps(found, indent=1))
    else:
        for line in found:
            print("  ".join(f"{name}={value}" for name, value in line.items()))


if __name__ == "__main__":
    main()
