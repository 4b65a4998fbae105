"""What is to be known about a move before anything is touched.

Pure: the same code judges every row while a VM is dragged (facts from the inventory) and the opened plan (all
facts). What is not known yet is not judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from app.migration.forecast import duration, is_shared, moving_disks, size
from app.migration.plan import Mode, Plan, Verdict
from backends.driver import Capability
from backends.model import Finding, Flavor, Kind, Level, PowerState, SourceFacts, TargetFacts, Vm

SETTLED = frozenset({PowerState.RUNNING, PowerState.PAUSED, PowerState.SUSPENDED, PowerState.OFF, PowerState.CRASHED})

Check = Callable[[Plan, SourceFacts, TargetFacts], Iterator[Finding]]


def _red(code: str, message: str, cure: str = "", field: str = "") -> Finding:
    return Finding(level=Level.RED, code=code, message=message, cure=cure, field=field)


def _amber(code: str, message: str, cure: str = "", field: str = "") -> Finding:
    return Finding(level=Level.AMBER, code=code, message=message, cure=cure, field=field)


def _info(code: str, message: str, cure: str = "") -> Finding:
    return Finding(level=Level.INFO, code=code, message=message, cure=cure)


def _reach(plan: Plan, source: SourceFacts, target: TargetFacts) -> Iterator[Finding]:
    for facts, ref in ((source, plan.vm), (target, plan.to)):
        if not facts.online:
            yield _red("offline", f"{ref.connection} is offline", "wait until it is back")
        elif facts.read_only:
            yield _red("read-only", f"{ref.connection} is read-only", "switch read-only off for it")


def _place(plan: Plan, source: SourceFacts, target: TargetFacts) -> Iterator[Finding]:
    if plan.copy:
        return
    vm = source.vm
    whole = plan.to.kind == Kind.CONNECTION and plan.to.connection == vm.ref.connection
    if whole or plan.to == vm.parent or target.ref == vm.parent:
        yield _red("same-place", "is already here", "choose another place")


def _ability(plan: Plan, source: SourceFacts, target: TargetFacts) -> Iterator[Finding]:
    vm = source.vm
    if vm.state not in SETTLED:
        yield _red("state", f"{vm.name} is {vm.state}", "wait until that has ended")
    if plan.mode == Mode.WARM:
        yield _red("warm", "warm moves are not offered", "choose live or cold", "mode")
        return
    if plan.mode == Mode.LIVE:
        if vm.state != PowerState.RUNNING:
            yield _red("not-running", f"{vm.name} does not run", "choose cold", "mode")
        if plan.copy:
            yield _red("live-copy", "a live move cannot leave a copy", "choose cold", "mode")
        if source.platform != target.platform:
            text = f"no live move from {source.platform} to {target.platform}"
            yield _red("live-platform", text, "choose cold", "mode")
            return
        for facts, ref in ((source, plan.vm), (target, plan.to)):
            if facts.online and not facts.read_only and Capability.MOVE_LIVE not in facts.capabilities:
                yield _red("capability", f"{ref.connection} cannot move a running VM", "choose cold", "mode")
        return
    if plan.copy and source.export_running is False and vm.state not in (PowerState.OFF, PowerState.CRASHED):
        yield _red(
            "running", f"{vm.name} is {vm.state}: {plan.vm.connection} reads only disks at rest", "stop it first"
        )
    if vm.state in (PowerState.PAUSED, PowerState.SUSPENDED) and not plan.copy:
        yield _red("state", f"{vm.name} is {vm.state}: its memory would be lost", "resume it, or shut it down")
    if source.online and not source.read_only and Capability.EXPORT not in source.capabilities:
        yield _red("capability", f"{plan.vm.connection} cannot hand out disks")
    if target.online and not target.read_only and Capability.IMPORT not in target.capabilities:
        yield _red("capability", f"{plan.to.connection} cannot take in VMs")


def _processor(plan: Plan, source: SourceFacts, target: TargetFacts) -> Iterator[Finding]:
    vm, same = source.vm, source.platform == target.platform
    if vm.arch and target.archs and vm.arch not in target.archs:
        yield _red("arch", f"{vm.arch} guests do not run here", f"choose a host with {vm.arch}")
        return
    if same and vm.machine and target.machines and vm.machine not in target.machines:
        yield _red("machine", f"machine type {vm.machine} is not known here", "update QEMU there or change the type")
    if vm.firmware and target.firmwares and vm.firmware not in target.firmwares:
        yield _red("firmware", f"firmware {vm.firmware} is not there", "install it there or choose another place")
    if target.cpu_compatible is False:
        if plan.mode == Mode.LIVE:
            yield _red("cpu", "the CPU there lacks what the guest uses", "move it cold, or give it a common CPU model")
        elif same:
            yield _amber("cpu", "the CPU there differs: the guest will see another one")


def _memory(plan: Plan, source: SourceFacts, target: TargetFacts) -> Iterator[Finding]:
    free, need = target.free_memory_bytes, source.vm.memory_bytes
    if free is None or need <= free:
        return
    text = f"needs {size(need)} of memory, {size(max(0, free))} are free"
    if plan.mode == Mode.LIVE:
        yield _red("memory", text, "free memory there or choose another host")
    else:
        yield _amber("memory", text, "it may not start there")


def _space(plan: Plan, source: SourceFacts, target: TargetFacts) -> Iterator[Finding]:
    disks = moving_disks(source, target, plan.mode)
    pools = [pool for pool in target.pools if pool.active]
    chosen = [pool for pool in pools if plan.mapping.storage in (pool.name, pool.ref.id)]
    if plan.mapping.storage and target.complete and not chosen:
        names = ", ".join(sorted(pool.name for pool in pools)) or "none"
        yield _red("storage", f"there is no storage {plan.mapping.storage}", f"choose one of: {names}", "storage")
        return
    if not disks or not pools:
        return
    pool = chosen[0] if chosen else max(pools, key=lambda item: item.free_bytes)
    if pool.size_bytes <= 0:
        return
    whole = sum(disk.size_bytes for disk in disks)
    used = sum(disk.size_bytes if disk.allocated_bytes is None else disk.allocated_bytes for disk in disks)
    if used > pool.free_bytes:
        text = f"{pool.name} has {size(pool.free_bytes)} free, {size(used)} are needed"
        yield _red("space", text, "free space or choose other storage", "storage")
    elif whole > pool.free_bytes:
        yield _amber("space", f"{pool.name} fills up when the disks grow to {size(whole)}", field="storage")


def _names(plan: Plan, source: SourceFacts, target: TargetFacts) -> Iterator[Finding]:
    if target.complete and not plan.copy and plan.vm.connection == plan.to.connection and not plan.mapping.name:
        return  # it is the VM itself that the whole connection knows by this name
    name = plan.mapping.name or source.vm.name
    if name in target.names:
        yield _red("name", f"{name} exists there already", "give it another name", "name")
    if not plan.copy and source.vm.uuid and source.vm.uuid in target.uuids:
        yield _red("uuid", "a VM with its UUID exists there already", "remove or rename that one first")


def _networks(plan: Plan, source: SourceFacts, target: TargetFacts) -> Iterator[Finding]:
    if not target.complete:
        return
    known = {name for network in target.networks for name in (network.name, network.ref.id)}
    mapping = dict(plan.mapping.networks)
    for name in dict.fromkeys(nic.network for nic in source.nics if nic.network):
        wanted = mapping.get(name, name)
        kinds = {nic.kind for nic in source.nics if nic.network == name}
        if wanted in known:
            if wanted != name:
                yield _info("network-mapped", f"network {name} becomes {wanted}")
            continue
        if name not in mapping and kinds.isdisjoint({"network"}) and source.platform == target.platform:
            yield _info("bridge", f"{name} must exist there too")
            continue
        offered = ", ".join(sorted(network.name for network in target.networks))
        text = f"no network mapped for {name}" if name not in mapping else f"there is no network {wanted}"
        yield _red("network", text, f"map it to one of: {offered}" if offered else "make a network there", "network")


def _transport(plan: Plan, source: SourceFacts, target: TargetFacts) -> Iterator[Finding]:
    if plan.mode != Mode.LIVE:
        return
    if target.ports_open is False and not plan.live.tunnelled:
        cure = "open TCP 49152-49215 there, or choose tunnelled under Advanced"
        yield _red("ports", "the migration ports there are closed", cure, "live")
    if target.post_copy is False and plan.live.post_copy:
        cure = "allow userfaultfd to QEMU there, or choose auto-converge"
        yield _red("post-copy", f"{plan.to.connection} refuses post-copy", cure, "live")
    if plan.live.post_copy and not (plan.live.peer_to_peer or plan.live.tunnelled):
        # libvirt's target gives its half up when the program that leads the move is gone before the end (seen in 9.0).
        text = f"{source.vm.name} is lost if Causeway is killed while its memory follows it"
        yield _amber("post-copy-led", text, "choose peer-to-peer under Advanced: the hosts then end it alone", "live")
    if target.encrypted_transport is False and not (plan.live.tls or plan.live.tunnelled):
        what = "memory and disks cross" if moving_disks(source, target, plan.mode) else "memory crosses"
        yield _amber("clear-text", f"{what} the network in clear", "choose TLS or tunnelled under Advanced", "live")


def _storage(plan: Plan, source: SourceFacts, target: TargetFacts) -> Iterator[Finding]:
    if plan.mode != Mode.LIVE:
        return
    moving = moving_disks(source, target, plan.mode)
    if moving and target.complete:
        total = sum(disk.size_bytes if disk.allocated_bytes is None else disk.allocated_bytes for disk in moving)
        yield _info("copies-storage", f"storage is not shared: {size(total)} of disks go along")
        alike = {pool.name for pool in target.pools} & {disk.pool for disk in moving if disk.pool}
        for pool in sorted(alike):
            yield _info("not-shared", f"{pool} has the same name on both sides but is not the same storage")
    if moving and plan.live.tunnelled:
        yield _red("tunnelled-storage", "disks cannot go through a tunnel", "choose TLS instead", "live")
    elif source.disks and not moving and any(is_shared(disk, target) for disk in source.disks):
        yield _info("shared", "storage is shared (proved by a marker): only memory moves")


def _flavor(plan: Plan, source: SourceFacts, target: TargetFacts) -> Iterator[Finding]:
    if not target.flavors:
        return
    if plan.mapping.flavor:
        found = [item for item in target.flavors if plan.mapping.flavor in (item.name, item.ref.id)]
        if not found:
            offered = ", ".join(_fitting_names(target.flavors, source.vm.vcpus, source.vm.memory_bytes))
            cure = f"for example: {offered}" if offered else "choose another"
            yield _red("flavor", f"there is no flavor {plan.mapping.flavor}", cure, "flavor")
        else:
            yield from _other_size(found[0], source.vm)
    elif fitting_flavor(target.flavors, source.vm.vcpus, source.vm.memory_bytes) is None:
        text = f"no flavor has {source.vm.vcpus} vCPU and {size(source.vm.memory_bytes)}"
        yield _red("flavor", text, "choose a smaller one by hand", "flavor")


def _other_size(flavor: Flavor, vm: Vm) -> Iterator[Finding]:
    if (flavor.vcpus, flavor.memory_bytes) == (vm.vcpus, vm.memory_bytes):
        return
    was = f"{vm.vcpus} vCPU, {size(vm.memory_bytes)}"
    text = f"{flavor.vcpus} vCPU, {size(flavor.memory_bytes)} ({flavor.name}) instead of {was}"
    if flavor.memory_bytes < vm.memory_bytes or flavor.vcpus < vm.vcpus:
        yield _amber("flavor", f"smaller than {vm.name}: {text}", field="flavor")
    else:
        yield _info("flavor", text)


def _devices(plan: Plan, source: SourceFacts, target: TargetFacts) -> Iterator[Finding]:
    live = plan.mode == Mode.LIVE
    blocking = (item for item in source.blocking if not (live and item.code in LEFT_BY_A_COPY))
    if source.platform != target.platform:
        blocking = (_elsewhere(item, plan) for item in blocking)
    yield from blocking
    yield from target.blocking
    if source.vm.manager:
        yield _amber("managed", f"{source.vm.manager} manages this VM and will not know", "move it there instead")
    if live:
        return
    disks = [disk for disk in source.disks if disk.device == "disk"]
    dropped = [disk.target for disk in source.disks if disk.device != "disk"]
    if dropped:
        yield _info("removable", f"{', '.join(dropped)} (removable) stays behind")
    changed = [f"{disk.target} ({disk.format})" for disk in disks if disk.format != "raw"]
    if changed and source.platform == target.platform:
        yield _info("format", f"{', '.join(changed)} arrives as raw, as sparse as it was, without snapshots inside")
    if source.complete and not disks:
        yield _red("no-disks", f"{source.vm.name} has no disk to take along", "give it a disk, or move it live")


def _elsewhere(item: Finding, plan: Plan) -> Finding:
    """A finding of the source's, as it is where another platform takes the VM."""
    if item.code != "kernel":
        return item
    text = f"it boots from its host's kernel file, {plan.to.connection} starts a VM from its own disk only"
    return _red(item.code, text, "install a kernel and a boot loader on its disk")


def _stop(plan: Plan, source: SourceFacts, target: TargetFacts) -> Iterator[Finding]:
    if plan.mode == Mode.COLD and not plan.copy and source.vm.state == PowerState.RUNNING:
        stop = plan.forecast.downtime_s
        text = "is stopped for the move" if stop is None else f"is stopped for about {duration(stop)}"
        yield _amber("stop", f"{source.vm.name} {text}")


LEFT_BY_A_COPY = frozenset({"nvram", "tpm", "password"})
"""Findings on what a live move takes along and a copy of the disks does not."""

CHECKS: tuple[Check, ...] = (
    _reach,
    _place,
    _ability,
    _processor,
    _memory,
    _names,
    _space,
    _networks,
    _transport,
    _storage,
    _flavor,
    _devices,
    _stop,
)


def _fitting_names(flavors: Iterable[Flavor], vcpus: int, memory_bytes: int, limit: int = 5) -> list[str]:
    """The smallest flavors that are at least this big, by name."""
    fits = [item for item in flavors if item.vcpus >= vcpus and item.memory_bytes >= memory_bytes]
    fits.sort(key=lambda item: (item.memory_bytes, item.vcpus, item.name))
    return [item.name for item in fits[:limit]]


def fitting_flavor(flavors: Iterable[Flavor], vcpus: int, memory_bytes: int) -> Flavor | None:
    """The cheapest flavor that is at least this big (the smallest where prices are not known)."""
    fits = [item for item in flavors if item.vcpus >= vcpus and item.memory_bytes >= memory_bytes]

    def cost(item: Flavor) -> tuple[float, int, int, str]:
        price = float("inf") if item.price_per_hour is None else item.price_per_hour
        return price, item.memory_bytes, item.vcpus, item.name

    return min(fits, key=cost, default=None)


def findings(plan: Plan, source: SourceFacts, target: TargetFacts) -> Verdict:
    """Judge a plan by facts. What the facts do not tell is not judged."""
    found = tuple(finding for check in CHECKS for finding in check(plan, source, target))
    return verdict(plan, found)


def verdict(plan: Plan, found: tuple[Finding, ...]) -> Verdict:
    """Colour and row text of what was found."""
    reds = [finding for finding in found if finding.level == Level.RED]
    if reds:
        return Verdict("red", reds[0].message, found)
    colour = "amber" if any(finding.level == Level.AMBER for finding in found) else "green"
    return Verdict(colour, _summary(plan), found)


def _summary(plan: Plan) -> str:
    """The row's words for a move that can be made: "live, stops about 40 ms", "cold, 6 min, stops 6 min"."""
    words = ["copy" if plan.copy else plan.mode.value]
    expected = plan.forecast
    if plan.mode == Mode.LIVE:
        if expected.downtime_s is not None:
            words.append(f"stops about {duration(expected.downtime_s)}")
        return ", ".join(words)
    if expected.seconds is not None:
        words.append(duration(expected.seconds))
    if expected.downtime_s:
        words.append(f"stops {duration(expected.downtime_s)}")
    return ", ".join(words)
