"""From "this VM, there" to a judged plan: pure, from facts of both sides."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from app.migration.findings import findings, fitting_flavor, verdict
from app.migration.forecast import (
    NO_EXPERIENCE,
    Experience,
    choose_mode,
    choose_path,
    forecast,
    is_shared,
    moving_disks,
)
from app.migration.plan import Mapping, Mode, Plan, Verdict
from backends.model import (
    Finding,
    Level,
    LiveOptions,
    Nic,
    PowerState,
    Ref,
    SourceFacts,
    TargetFacts,
    VmSpec,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What was asked for: a VM, a place, and what was chosen by hand."""

    vm: Ref
    to: Ref
    mode: Mode | None = None
    copy: bool = False
    mapping: Mapping = field(default_factory=Mapping)
    live: LiveOptions = field(default_factory=LiveOptions)
    uid: str = ""
    source_kind: str = ""
    target_kind: str = ""
    starts_on_create: bool = False


def new_id() -> str:
    """Marks every object of a migration; also fits into names."""
    return f"cw{uuid.uuid4().hex[:12]}"


def judged(
    wish: Wish, source: SourceFacts, target: TargetFacts, spec: VmSpec | None = None, known: Experience = NO_EXPERIENCE
) -> tuple[Plan, Verdict]:
    """The plan and what is thought of it. A running VM that the platform could move live is only stopped for a move
    where that was chosen: what stands in the way of the live one is said instead."""
    mode = wish.mode or choose_mode(source, target, copy=wish.copy)
    plan = _plan(wish, mode, source, target, spec, known)
    opinion = findings(plan, source, target)
    if opinion.allowed or wish.mode is not None or mode != Mode.LIVE:
        return plan, opinion
    other = findings(_plan(wish, Mode.COLD, source, target, spec, known), source, target)
    if not other.allowed:
        return plan, opinion
    note = Finding(
        level=Level.INFO, code="cold-works", message="a cold move works; it stops the VM", cure="choose cold"
    )
    return plan, verdict(plan, (*opinion.findings, note))


def _plan(
    wish: Wish, mode: Mode, source: SourceFacts, target: TargetFacts, spec: VmSpec | None, known: Experience
) -> Plan:
    mapping = _mapping(wish, source, target)
    plan = Plan(
        id=new_id() if source.complete else "quick",
        vm=wish.vm,
        to=wish.to,
        uid=wish.uid,
        mode=mode,
        path=choose_path(source, target, mode),
        copy=wish.copy,
        mapping=mapping,
        live=_live(wish.live, wish.mapping.storage, mapping, source, target) if mode == Mode.LIVE else wish.live,
        source_kind=wish.source_kind,
        target_kind=wish.target_kind,
        running=source.vm.state == PowerState.RUNNING,
        starts_on_create=wish.starts_on_create,
    )
    if source.complete:
        plain = VmSpec(name=source.vm.name, uuid=source.vm.uuid, disks=source.disks, nics=source.nics)
        plan = replace(plan, spec=_spec(plan, spec or plain))
    return replace(plan, forecast=forecast(plan, source, target, known))


def _mapping(wish: Wish, source: SourceFacts, target: TargetFacts) -> Mapping:
    """What was chosen, and good defaults for the rest: the same name, else the only one there is."""
    chosen = wish.mapping
    networks = dict(chosen.networks)
    for name in dict.fromkeys(nic.network for nic in source.nics if nic.network):
        found = networks.get(name) or _default_network(name, target, crosses=source.platform != target.platform)
        if found:
            networks[name] = found
    storage = chosen.storage
    pools = [pool for pool in target.pools if pool.active]
    if not storage and pools:
        wanted = next((disk.pool for disk in source.disks if disk.pool), "")
        storage = wanted if any(pool.name == wanted for pool in pools) else ""
    flavor = chosen.flavor
    if not flavor and target.flavors:
        fitting = fitting_flavor(target.flavors, source.vm.vcpus, source.vm.memory_bytes)
        flavor = fitting.ref.id if fitting is not None else ""
    name = chosen.name
    if wish.copy and not name and source.vm.name in target.names:
        name = _free_name(f"{source.vm.name}-copy", target.names)
    return Mapping(networks=tuple(networks.items()), storage=storage, flavor=flavor, name=name)


def _free_name(name: str, taken: Iterable[str]) -> str:
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name}-{number}"
    return found


def _default_network(name: str, target: TargetFacts, *, crosses: bool) -> str:
    """The network of the same name, else the only one. Another platform has other names: there its `default`, else
    the first one."""
    for network in target.networks:
        if name in (network.name, network.ref.id):
            return network.name
    active = [network.name for network in target.networks if network.active]
    if crosses and len(active) > 1:
        return "default" if "default" in active else active[0]
    return active[0] if len(active) == 1 else ""


def _live(options: LiveOptions, chosen: str, mapping: Mapping, source: SourceFacts, target: TargetFacts) -> LiveOptions:
    """The UNSAFE flag is only for storage that was proved to be shared; every other disk is copied: to the pool that
    was `chosen`, else to where it lies on the source if the target has a pool there, else to the default one."""
    copied = tuple(disk.target for disk in moving_disks(source, target, Mode.LIVE))
    proved = any(is_shared(disk, target) for disk in source.disks)
    networks = tuple((old, new) for old, new in mapping.networks if old != new)
    folders = {pool.path for pool in target.pools if pool.path}
    sources = [disk.source for disk in source.disks if disk.target in copied]
    placed = all(str(PurePosixPath(path).parent) in folders for path in sources)
    pool = options.pool or chosen
    if not pool and not placed:
        roomiest = max((item for item in target.pools if item.active), key=lambda item: item.free_bytes, default=None)
        pool = mapping.storage or (roomiest.name if roomiest is not None else "")
    return replace(options, copy_storage=copied, unsafe=proved, pool=pool if copied else "", networks=networks)


def plain(target: str) -> str:
    """A disk's name without its platform's folder ("/dev/sda1" is "sda1"): it becomes part of names elsewhere."""
    return target.rpartition("/")[2]


def _spec(plan: Plan, spec: VmSpec) -> VmSpec:
    """The VM as it is to be made: mapped, with disks that can go, a new identity for a copy."""
    networks = dict(plan.mapping.networks)

    def mapped(nic: Nic) -> Nic:
        nic = replace(nic, network=networks.get(nic.network, nic.network))
        return replace(nic, mac="") if plan.copy else nic

    return replace(
        spec,
        name=plan.mapping.name or spec.name,
        uuid="" if plan.copy else spec.uuid,
        disks=tuple(replace(disk, target=plain(disk.target)) for disk in spec.disks if disk.device == "disk"),
        nics=tuple(mapped(nic) for nic in spec.nics),
        flavor=plan.mapping.flavor,
    )
