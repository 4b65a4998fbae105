"""The search index: its language, its upkeep, and what it costs."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.inventory import Inventory
from app.search import Search, Term, parse
from backends.model import Changed, Host, Kind, Nic, Object, PowerState, Ref, Sample, Vm

KVM = Host(ref=Ref("lab", Kind.HOST, "h1"), name="kvm-a", uuid="aaaa-1", memory_bytes=64 * 2**30, cpus=16)
WEB = Vm(
    ref=Ref("lab", Kind.VM, "1"),
    name="Web-01",
    parent=KVM.ref,
    state=PowerState.RUNNING,
    uuid="0F0F22AA-1b2c",
    vcpus=4,
    memory_bytes=8 * 2**30,
    addresses=("10.0.0.7", "fe80::1"),
    nics=(Nic(mac="52:54:00:AB:CD:EF"),),
    tags=(("env", "prod"), ("owner", "Ann Lee")),
    group="web",
    os="Debian 12",
)
DB = Vm(
    ref=Ref("aws", Kind.VM, "i-1"),
    name="db",
    state=PowerState.OFF,
    vcpus=1,
    memory_bytes=2**29,
    tags=(("env", "test"),),
)


def searched(*objects: Object) -> tuple[Inventory, Search]:
    inventory = Inventory()
    search = Search(inventory)
    inventory.apply(Changed(objects))
    return inventory, search


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("web-01", {WEB}),
        ("WEB", {WEB}),
        ("10.0.0.7", {WEB}),
        ("fe80::1", {WEB}),
        ("52:54:00:ab", {WEB}),
        ("prod", {WEB}),
        ("0f0f", set()),
        ("0f0f22", {WEB}),
        ("0F0F22aa-1b2c", {WEB}),
        ("f22aa-1b2c", set()),
        ("-0f0f22", {DB, KVM}),
        ("h1", set()),
        ("uuid", set()),
        ("debian", {WEB}),
        ("kvm-a", {WEB, KVM}),
        ("aws", {DB}),
        ("running", {WEB, KVM}),
        ("state:off", {DB}),
        ("site:lab", {WEB, KVM}),
        ("site:lab kind:vm", {WEB}),
        ("host:kvm", {WEB}),
        ("group:web", {WEB}),
        ("group:", {WEB}),
        ("-group: kind:vm", {DB}),
        ('tag:"owner=ann lee"', {WEB}),
        ('"ann lee"', {WEB}),
        ("ann lee", {WEB}),
        ("tag:env=test", {DB}),
        ("mac:ab:cd", {WEB}),
        ("ip:10.0", {WEB}),
        ("os:debian", {WEB}),
        ("uuid:0f0f", {WEB}),
        ("name:db", {DB}),
        ("-running", {DB}),
        ("-state:off -kind:host", {WEB}),
        ("vcpus>2", {WEB, KVM}),
        ("vcpus<2", {DB}),
        ("mem>4", {WEB, KVM}),
        ("mem>4g kind:vm", {WEB}),
        ("mem<600m", {DB}),
        ("mem>8191MiB kind:vm", {WEB}),
        ("cpu>80", {WEB}),
        ("cpu>99", set()),
        ("cpu<100 web", {WEB}),
        ("cpu>", {WEB, DB, KVM}),
        ("nothing", set()),
        ("web nothing", set()),
        ("webprod", set()),
    ],
)
def test_what_a_query_finds(query: str, found: set[Object]) -> None:
    inventory, search = searched(KVM, WEB, DB)
    inventory.metered({WEB.ref: Sample(0.0, cpu_percent=90.0)})
    assert search.match(query) == {item.ref for item in found}


@pytest.mark.parametrize("query", ["", "   ", '""'])
def test_an_empty_query_asks_for_everything(query: str) -> None:
    assert searched(WEB)[1].match(query) is None


def test_the_language() -> None:
    assert parse('web -state:off cpu>80 "two words" tag:"a b" http://x') == [
        Term("", ":", "web"),
        Term("state", ":", "off", True),
        Term("cpu", ">", "80"),
        Term("", ":", "two words"),
        Term("tag", ":", "a b"),
        Term("", ":", "http://x"),
    ]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("", ""),
        ('web -state:off cpu>80 mem<4g ab:cd http://x fe80::1 state:run "foo:bar"', ""),
        ("foo:bar", "no key 'foo'"),
        ("web cpu>abc", "cpu>abc needs a number"),
        ("cpu>", "needs a number"),
        ("cpu:80", "write cpu>"),
        ("name>a", "write name:"),
        ("state:bogus", "no state 'bogus'; there are crashed"),
        ("state:connected", "no state"),
        ("kind:car", "no kind 'car'"),
    ],
)
def test_what_is_written_wrong_is_said(query: str, says: str) -> None:
    said = searched(WEB, DB)[1].questionable(query)
    assert (says in said) if says else not said


@given(st.text(max_size=30))
def test_no_query_fails(query: str) -> None:
    search = searched(KVM, WEB, DB)[1]
    found = search.match(query)
    assert found is None or found <= {KVM.ref, WEB.ref, DB.ref}
    search.complete(query)


def test_the_index_follows_the_inventory() -> None:
    inventory, search = searched(KVM, WEB, DB)
    assert search.match("web-01") == {WEB.ref}
    inventory.apply(Changed((replace(WEB, name="mail"),)))
    assert search.match("web-01") == set()
    assert search.match("mail") == {WEB.ref}
    inventory.apply(Changed((), (WEB.ref,)))
    assert search.match("mail") == set()
    assert search.match("-nothing") == {KVM.ref, DB.ref}
    fresh = replace(DB, ref=Ref("aws", Kind.VM, "i-2"), name="fresh")
    inventory.apply(Changed((fresh,)))
    assert search.match("fresh") == {fresh.ref}
    assert search.match("name:fresh") == {fresh.ref}


def test_a_host_that_comes_late_or_is_renamed_is_found_at_its_vms() -> None:
    inventory, search = searched(WEB)
    assert search.match("kvm-a") == set()
    inventory.apply(Changed((KVM,)))
    assert search.match("kvm-a kind:vm") == {WEB.ref}
    inventory.apply(Changed((replace(KVM, name="kvm-z"),)))
    assert search.match("kvm-a") == set()
    assert search.match("kvm-z kind:vm") == {WEB.ref}


def test_completion() -> None:
    search = searched(KVM, WEB, DB)[1]
    assert search.complete("st") == ["state:"]
    assert search.complete("web gr") == ["web group:"]
    assert search.complete("state:") == ["state:off", "state:running"]
    assert search.complete("-state:r") == ["-state:running"]
    assert search.complete("cp") == ["cpu>"]
    assert search.complete("tag:owner") == ['tag:"owner=ann lee"']
    assert search.complete("nothing") == []


def test_a_change_costs_the_same_however_many_there_are() -> None:
    """Counted in touched cells, not in seconds: one change touches one slot."""
    many = [replace(WEB, ref=Ref("lab", Kind.VM, str(number)), name=f"vm-{number}") for number in range(5000)]
    inventory, search = searched(KVM, *many)
    search.match("x")
    made: list[str] = []
    text = search._text[""]
    search._text[""] = lambda item: made.append(item.name) or text(item)  # type: ignore[func-returns-value]
    inventory.apply(Changed((replace(many[7], group="other"),)))
    assert made == ["vm-7"]
    assert search.match("other") == {many[7].ref}


def test_a_query_over_many_is_a_scan_not_a_walk() -> None:
    """Relative to a bare scan on the same machine, so that a slow machine does not fail it."""
    many = [replace(WEB, ref=Ref("lab", Kind.VM, str(number)), name=f"vm-{number}") for number in range(20_000)]
    search = searched(KVM, *many)[1]
    search.match("vm-1999")
    texts = list(search._columns[""])

    def best(work: object) -> float:
        times = []
        for _ in range(7):
            began = time.perf_counter()
            work()  # type: ignore[operator]
            times.append(time.perf_counter() - began)
        return min(times)

    scan = best(lambda: [index for index, text in enumerate(texts) if "vm-1999" in text])
    assert best(lambda: search.match("vm-1999")) < 5 * scan
