"""Every finding of a move, one change at a time from a pair of sides that is fine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.inventory import Inventory
from app.migration.facts import QuickFacts
from app.migration.findings import findings
from app.migration.forecast import Experience, pair
from app.migration.plan import Forecast, Mapping, Mode, Plan, Verdict
from app.migration.planning import Wish, judged
from app.store import codec
from backends.driver import Capability
from backends.errors import NotFound
from backends.model import (
    DiskFacts,
    Finding,
    Flavor,
    Kind,
    Level,
    LiveOptions,
    Network,
    Nic,
    PowerState,
    Ref,
    SourceFacts,
    StoragePool,
    TargetFacts,
    Vm,
)

GIB = 1 << 30
ALL = frozenset(Capability)
HOST_A, HOST_B = Ref("a", Kind.HOST, "a1"), Ref("b", Kind.HOST, "b1")
REF = Ref("a", Kind.VM, "u1")
GUEST = Vm(
    ref=REF,
    name="web-01",
    parent=HOST_A,
    state=PowerState.RUNNING,
    vcpus=2,
    memory_bytes=2 * GIB,
    uuid="u1",
    arch="x86_64",
    machine="q35",
    firmware="bios",
)
DISK = DiskFacts(target="vda", size_bytes=10 * GIB, allocated_bytes=GIB, pool="vms", source="/vms/web-01.img")
SOURCE = SourceFacts(vm=GUEST, capabilities=ALL, platform="p", disks=(DISK,), nics=(Nic(network="lan"),), complete=True)


def pool(free: int = 100 * GIB, name: str = "vms") -> StoragePool:
    return StoragePool(ref=Ref("b", Kind.POOL, name), name=name, size_bytes=200 * GIB, free_bytes=free)


def network(name: str) -> Network:
    return Network(ref=Ref("b", Kind.NETWORK, name), name=name)


TARGET = TargetFacts(
    ref=HOST_B,
    capabilities=ALL,
    platform="p",
    pools=(pool(),),
    networks=(network("lan"), network("dmz")),
    machines=frozenset({"q35"}),
    firmwares=frozenset({"bios"}),
    archs=frozenset({"x86_64"}),
    cpu_compatible=True,
    ports_open=True,
    encrypted_transport=True,
    free_memory_bytes=8 * GIB,
    complete=True,
)
FLAVOR = Flavor(ref=Ref("b", Kind.FLAVOR, "tiny"), name="tiny", vcpus=1, memory_bytes=GIB)


class Nowhere:
    """No connections."""

    def get(self, name: str) -> None:
        return None

    def driver(self, name: str) -> Any:
        raise NotFound(name)

    def subscribe(self, function: Any) -> Any:
        return lambda: None


def codes(verdict_of: Any, level: Level) -> set[str]:
    return {finding.code for finding in verdict_of.findings if finding.level == level}


def judge(mode: Mode, source: SourceFacts = SOURCE, target: TargetFacts = TARGET, **wish: Any) -> Any:
    return judged(Wish(vm=REF, to=target.ref, mode=mode, **wish), source, target)[1]


def test_a_fine_pair_is_green_live_and_amber_cold() -> None:
    live = judge(Mode.LIVE)
    assert (live.colour, live.text) == ("green", "live, stops about 40 ms")
    cold = judge(Mode.COLD)
    assert (cold.colour, cold.text, codes(cold, Level.AMBER)) == ("amber", "cold, 18 s, stops 18 s", {"stop"})
    off = replace(SOURCE, vm=replace(GUEST, state=PowerState.OFF))
    assert judge(Mode.COLD, off).colour == "green"


@pytest.mark.parametrize(
    ("mode", "source", "target", "code"),
    [
        ("live", {"online": False}, {}, "offline"),
        ("live", {}, {"online": False}, "offline"),
        ("cold", {}, {"read_only": True}, "read-only"),
        ("live", {}, {"ref": HOST_A}, "same-place"),
        ("live", {}, {"platform": "q"}, "live-platform"),
        ("live", {}, {"capabilities": frozenset()}, "capability"),
        ("cold", {"capabilities": frozenset()}, {}, "capability"),
        ("cold", {}, {"capabilities": frozenset()}, "capability"),
        ("warm", {}, {}, "warm"),
        ("live", {}, {"cpu_compatible": False}, "cpu"),
        ("live", {}, {"machines": frozenset({"pc"})}, "machine"),
        ("cold", {}, {"firmwares": frozenset({"uefi"})}, "firmware"),
        ("cold", {}, {"archs": frozenset({"aarch64"})}, "arch"),
        ("live", {}, {"free_memory_bytes": GIB}, "memory"),
        ("cold", {}, {"pools": (pool(GIB // 2),)}, "space"),
        ("live", {}, {"names": frozenset({"web-01"})}, "name"),
        ("live", {}, {"uuids": frozenset({"u1"})}, "uuid"),
        ("live", {}, {"networks": (network("dmz"), network("wan"))}, "network"),
        ("live", {}, {"ports_open": False}, "ports"),
        ("cold", {}, {"flavors": (FLAVOR,)}, "flavor"),
        ("cold", {"disks": ()}, {}, "no-disks"),
        ("cold", {"blocking": (Finding(level=Level.RED, code="passthrough", message="m"),)}, {}, "passthrough"),
        ("cold", {}, {"blocking": (Finding(level=Level.RED, code="quota", message="m"),)}, "quota"),
    ],
)
def test_what_forbids_a_move(mode: str, source: dict[str, Any], target: dict[str, Any], code: str) -> None:
    opinion = judge(Mode(mode), replace(SOURCE, **source), replace(TARGET, **target))
    assert code in codes(opinion, Level.RED)
    assert opinion.colour == "red"
    assert not opinion.allowed


@pytest.mark.parametrize(
    ("vcpus", "memory", "level", "words"),
    [
        (2, 4 * GIB, Level.INFO, "2 vCPU, 4 GiB (nano) instead of 2 vCPU, 2 GiB"),
        (4, GIB, Level.AMBER, "4 vCPU, 1 GiB (nano) instead of 2 vCPU, 2 GiB"),
    ],
)
def test_another_size_is_said(vcpus: int, memory: int, level: Level, words: str) -> None:
    flavor = replace(FLAVOR, name="nano", vcpus=vcpus, memory_bytes=memory)
    plan = Plan(id="m", vm=REF, to=HOST_B, mode=Mode.COLD, mapping=Mapping(flavor="nano"))
    found = [
        item for item in findings(plan, SOURCE, replace(TARGET, flavors=(flavor,))).findings if item.code == "flavor"
    ]
    assert [item.level for item in found] == [level]
    assert words in found[0].message


@pytest.mark.parametrize("code", ["offline", "read-only", "cpu", "network", "space", "ports", "name", "machine"])
def test_what_can_be_helped_says_how(code: str) -> None:
    target = replace(
        TARGET,
        online=code != "offline",
        read_only=code == "read-only",
        cpu_compatible=False,
        networks=(network("x"), network("y")),
        pools=(pool(1),),
        ports_open=False,
        names=frozenset({"web-01"}),
        machines=frozenset({"pc"}),
    )
    found = [item for item in judge(Mode.LIVE, SOURCE, target).findings if item.code == code]
    assert found
    assert all(item.cure for item in found)


@pytest.mark.parametrize(
    ("mode", "target", "code"),
    [
        ("live", {"encrypted_transport": False}, "clear-text"),
        ("cold", {"cpu_compatible": False}, "cpu"),
        ("cold", {"free_memory_bytes": GIB}, "memory"),
        ("cold", {"pools": (pool(5 * GIB),)}, "space"),
    ],
)
def test_what_deserves_a_look(mode: str, target: dict[str, Any], code: str) -> None:
    opinion = judge(Mode(mode), SOURCE, replace(TARGET, **target))
    assert code in codes(opinion, Level.AMBER)
    assert opinion.allowed


def test_tls_or_a_tunnel_keeps_the_memory_from_being_read() -> None:
    target = replace(TARGET, encrypted_transport=False, shared_pools=frozenset({"vms"}))
    for options in (LiveOptions(tls=True), LiveOptions(tunnelled=True)):
        assert judge(Mode.LIVE, SOURCE, target, live=options).colour == "green"


def test_a_host_that_refuses_post_copy_is_red_only_where_it_is_asked_for() -> None:
    target = replace(TARGET, post_copy=False)
    refused = judge(Mode.LIVE, SOURCE, target, live=LiveOptions(post_copy=True))
    assert codes(refused, Level.RED) == {"post-copy"}
    assert judge(Mode.LIVE, SOURCE, target).allowed
    assert judge(Mode.LIVE, SOURCE, replace(TARGET, post_copy=None), live=LiveOptions(post_copy=True)).allowed


def test_a_post_copy_move_that_needs_this_program_to_its_end_is_amber() -> None:
    led = judge(Mode.LIVE, SOURCE, TARGET, live=LiveOptions(post_copy=True))
    assert "post-copy-led" in codes(led, Level.AMBER)
    alone = judge(Mode.LIVE, SOURCE, TARGET, live=LiveOptions(post_copy=True, peer_to_peer=True))
    assert "post-copy-led" not in codes(alone, Level.AMBER)


def test_the_unsafe_flag_needs_the_proof() -> None:
    plan, _ = judged(Wish(vm=REF, to=HOST_B), SOURCE, TARGET)
    assert (plan.live.unsafe, plan.live.copy_storage) == (False, ("vda",))
    plan, opinion = judged(Wish(vm=REF, to=HOST_B), SOURCE, replace(TARGET, shared_pools=frozenset({"vms"})))
    assert (plan.live.unsafe, plan.live.copy_storage) == (True, ())
    assert "shared" in codes(opinion, Level.INFO)


def test_a_running_vm_is_not_stopped_where_nobody_chose_that() -> None:
    closed = replace(TARGET, ports_open=False)
    plan, opinion = judged(Wish(vm=REF, to=HOST_B), SOURCE, closed)
    assert (plan.mode, opinion.colour) == (Mode.LIVE, "red")
    assert "49152" in next(item.cure for item in opinion.findings if item.code == "ports")
    assert "cold-works" in codes(opinion, Level.INFO)
    plan, opinion = judged(Wish(vm=REF, to=HOST_B, mode=Mode.COLD), SOURCE, closed)
    assert (plan.mode, opinion.allowed) == (Mode.COLD, True)


def test_a_copy_of_a_running_vm_needs_a_driver_that_can_read_it() -> None:
    opinion = judged(Wish(vm=REF, to=HOST_B, copy=True), replace(SOURCE, export_running=False), TARGET)[1]
    assert "stop it first" in next(item.cure for item in opinion.findings if item.code == "running")
    assert judged(Wish(vm=REF, to=HOST_B, copy=True), replace(SOURCE, export_running=True), TARGET)[1].allowed


def test_a_vm_that_moves_within_its_connection_does_not_clash_with_itself() -> None:
    target = replace(TARGET, ref=replace(HOST_B, connection=REF.connection), names=frozenset({"web-01"}))
    target = replace(target, uuids=frozenset({"u1"}))
    opinion = judged(Wish(vm=REF, to=target.ref), SOURCE, target)[1]
    assert opinion.allowed, opinion


def test_a_copy_may_stay_in_place_and_gets_a_name_of_its_own() -> None:
    target = replace(TARGET, ref=HOST_A, names=frozenset({"web-01"}), uuids=frozenset({"u1"}))
    plan, opinion = judged(Wish(vm=REF, to=HOST_A, copy=True), SOURCE, target)
    assert opinion.allowed, opinion
    assert plan.spec is not None
    assert (plan.spec.name, plan.spec.uuid, plan.spec.nics[0].mac) == ("web-01-copy", "", "")


def test_another_platform_gets_a_network_by_default_and_is_told() -> None:
    target = replace(TARGET, platform="q", networks=(network("net-1"), network("net-2")))
    plan, opinion = judged(Wish(vm=REF, to=HOST_B), SOURCE, target)
    assert plan.mapping.networks == (("lan", "net-1"),)
    assert "network-mapped" in codes(opinion, Level.INFO)


def test_what_the_inventory_does_not_know_is_not_judged() -> None:
    source = SourceFacts(vm=GUEST, capabilities=ALL, platform="p", nics=SOURCE.nics)
    target = TargetFacts(ref=HOST_B, capabilities=ALL, platform="p")
    plan, opinion = judged(Wish(vm=REF, to=HOST_B), source, target)
    assert (plan.mode, opinion.colour) == (Mode.LIVE, "green")


def test_a_disk_that_changes_its_format_says_so() -> None:
    cdrom = replace(DISK, target="sda", device="cdrom", format="qcow2")
    source = replace(SOURCE, disks=(replace(DISK, format="qcow2"), cdrom))
    (said,) = (item for item in judge(Mode.COLD, source).findings if item.code == "format")
    assert (said.level, said.message[:12]) == (Level.INFO, "vda (qcow2) ")
    for other in (judge(Mode.COLD), judge(Mode.LIVE, source), judge(Mode.COLD, source, replace(TARGET, platform="q"))):
        assert "format" not in codes(other, Level.INFO)


def test_a_paused_vm_does_not_move_cold() -> None:
    paused = replace(SOURCE, vm=replace(GUEST, state=PowerState.PAUSED))
    assert "state" in codes(judge(Mode.COLD, paused), Level.RED)


def test_a_plan_survives_the_journal() -> None:
    plan, _ = judged(Wish(vm=REF, to=HOST_B, mapping=Mapping(networks=(("lan", "dmz"),))), SOURCE, TARGET)
    assert codec.decode(Plan, codec.encode(plan)) == plan
    assert plan.forecast != Forecast()
    assert findings(plan, SOURCE, TARGET) == findings(codec.decode(Plan, codec.encode(plan)), SOURCE, TARGET)


def test_a_forecast_says_whether_it_was_measured_and_minds_the_limit() -> None:
    for mode in (Mode.LIVE, Mode.COLD):
        wish = Wish(vm=REF, to=HOST_B, mode=mode)
        guess = judged(wish, SOURCE, TARGET)[0]
        known = Experience(rates={pair(guess): 100.0 * 2**20}, stops={})
        assert not guess.forecast.measured
        assert judged(wish, SOURCE, TARGET, known=known)[0].forecast.measured
        slow = judged(replace(wish, live=LiveOptions(bandwidth_bps=2**20)), SOURCE, TARGET, known=known)[0]
        assert slow.forecast.bytes
        assert (slow.forecast.seconds or 0) >= slow.forecast.bytes / 2**20


def test_a_guest_with_its_hosts_kernel_starts_on_no_other_platform() -> None:
    kernel = Finding(level=Level.AMBER, code="kernel", message="it boots from a kernel file of its host")
    source = replace(SOURCE, blocking=(kernel,))
    assert "kernel" in codes(judge(Mode.COLD, source), Level.AMBER), "the other host may have the file too"
    opinion = judge(Mode.COLD, source, replace(TARGET, platform="q"))
    (red,) = (item for item in opinion.findings if item.code == "kernel")
    assert (opinion.colour, red.level) == ("red", Level.RED)
    assert "boot loader" in red.cure


@pytest.mark.parametrize("code", ["kernel", "passthrough"])
def test_what_the_inventory_knows_of_a_vm_is_judged_while_it_is_held(code: str) -> None:
    level = Level.AMBER if code == "kernel" else Level.RED
    hindrance = Finding(level=level, code=code, message="it needs its host", cure="c")
    guest = replace(GUEST, hindrances=(hindrance,), state=PowerState.OFF)
    held = replace(QuickFacts(Inventory(), Nowhere()).source(guest), platform="p", online=True, capabilities=ALL)
    complete = replace(SOURCE, vm=guest, blocking=(hindrance,))
    for platform in ("p", "q"):
        target = replace(TARGET, platform=platform)
        said = [
            [item for item in judge(Mode.COLD, source, target).findings if item.code == code]
            for source in (held, complete)
        ]
        assert said[0] == said[1] != []
        assert judge(Mode.COLD, held, target).allowed == (code == "kernel" and platform == "p")


def test_the_cure_is_that_of_what_is_said() -> None:
    """Not that of another finding, which would send its reader the wrong way."""
    first = Finding(level=Level.RED, code="capability", message="it cannot take in VMs")
    other = Finding(level=Level.RED, code="kernel", message="no kernel", cure="install a kernel")
    assert Verdict("red", first.message, (first, other)).cure == ""
    hint = Finding(level=Level.AMBER, code="clear-text", message="in clear", cure="choose TLS")
    assert Verdict("red", other.message, (hint, other)).cure == "install a kernel"
    assert Verdict("amber", "live", (hint,)).cure == ""
