"""Which mode and path a move takes, and how long it should last: pure, from facts and from what earlier moves took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.migration.plan import Forecast, Mode, Path, Plan
from backends.driver import Capability
from backends.model import DiskFacts, PowerState, SourceFacts, TargetFacts

MIB = 1 << 20
DEFAULT_RATES = {Mode.LIVE: 400.0 * MIB, Mode.COLD: 80.0 * MIB, Mode.WARM: 80.0 * MIB}
DEFAULT_LIVE_STOP_S = 0.04
OVERHEAD_S = {Mode.LIVE: 1.0, Mode.COLD: 5.0, Mode.WARM: 5.0}
NEWEST_WEIGHT = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """What earlier moves took, by route ("live demo>demo"): bytes per second, and the guest's stop in seconds."""

    rates: Mapping[str, float]
    stops: Mapping[str, float]

    def learn(self, route: str, *, rate_bps: float | None, stop_s: float | None) -> Experience:
        """This experience with one more move in it; newer moves weigh more."""

        def blend(known: Mapping[str, float], value: float | None) -> Mapping[str, float]:
            if value is None or value <= 0:
                return known
            old = known.get(route, value)
            return {**known, route: old + NEWEST_WEIGHT * (value - old)}

        return Experience(rates=blend(self.rates, rate_bps), stops=blend(self.stops, stop_s))


NO_EXPERIENCE = Experience(rates={}, stops={})


def route(mode: Mode, source: str, target: str) -> str:
    """The key of an Experience: moves between the same platforms are alike."""
    return f"{mode.value} {source}>{target}"


def pair(plan: Plan) -> str:
    """The key of an Experience of just these two connections: what it knows comes before that of their platforms."""
    return f"{plan.mode.value} {plan.vm.connection} to {plan.to.connection}"


def choose_mode(source: SourceFacts, target: TargetFacts, *, copy: bool) -> Mode:
    """Live where the platform can move a running VM by itself, else cold."""
    live = (
        not copy
        and source.vm.state == PowerState.RUNNING
        and source.platform == target.platform
        and Capability.MOVE_LIVE in source.capabilities
        and Capability.MOVE_LIVE in target.capabilities
    )
    return Mode.LIVE if live else Mode.COLD


def is_shared(disk: DiskFacts, target: TargetFacts) -> bool:
    """Whether this disk's storage was proved to be the same bytes on both sides."""
    return bool(disk.pool) and disk.pool in target.shared_pools


def moving_disks(source: SourceFacts, target: TargetFacts, mode: Mode) -> tuple[DiskFacts, ...]:
    """The disks whose bytes must go over: all of a cold move, those on storage that is not shared of a live one."""
    disks = tuple(disk for disk in source.disks if disk.device == "disk")
    if mode != Mode.LIVE:
        return disks
    return tuple(disk for disk in disks if not disk.readonly and not is_shared(disk, target))


def choose_path(source: SourceFacts, target: TargetFacts, mode: Mode) -> Path:
    if mode != Mode.LIVE:
        return Path.WORKSTATION
    return Path.DIRECT if moving_disks(source, target, mode) else Path.NONE


def forecast(plan: Plan, source: SourceFacts, target: TargetFacts, known: Experience = NO_EXPERIENCE) -> Forecast:
    """Seconds, stop and bytes of a plan. Bytes are None where no disk is known yet (quick facts)."""
    key = route(plan.mode, source.platform, target.platform)
    rate = known.rates.get(pair(plan), known.rates.get(key, DEFAULT_RATES[plan.mode]))
    measured = not {pair(plan), key}.isdisjoint(known.rates)
    if plan.live.bandwidth_bps:
        rate = min(rate, float(plan.live.bandwidth_bps))
    disks = moving_disks(source, target, plan.mode)
    size = sum(disk.size_bytes if disk.allocated_bytes is None else disk.allocated_bytes for disk in disks)
    if plan.mode == Mode.LIVE:
        size += source.vm.memory_bytes
        stop = known.stops.get(pair(plan), known.stops.get(key, DEFAULT_LIVE_STOP_S))
        return Forecast(seconds=OVERHEAD_S[plan.mode] + size / rate, downtime_s=stop, bytes=size, measured=measured)
    if not source.disks:
        return Forecast()
    seconds = OVERHEAD_S[plan.mode] + size / rate
    stops = source.vm.state == PowerState.RUNNING and not plan.copy
    return Forecast(seconds=seconds, downtime_s=seconds if stops else 0.0, bytes=size, measured=measured)


def duration(seconds: float) -> str:
    """Seconds in the words of a row: 40 ms, 2.5 s, 6 min, 3 h."""
    if seconds < 1:
        return f"{max(1, round(seconds * 1000))} ms"
    if seconds < 10:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.0f} h"


def size(count: float) -> str:
    """Bytes in the words of a row: 512 MiB, 8 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.1f} {unit}".replace(".0 ", " ")
        count /= 1024
    return f"{count:.1f} TiB".replace(".0 ", " ")
