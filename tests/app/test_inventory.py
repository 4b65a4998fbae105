"""The live picture: what wins over what, and what may remove what."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app import inventory as module
from app.inventory import Delta, Inventory
from backends.errors import Unreachable
from backends.model import (
    Changed,
    Disk,
    Finding,
    Host,
    Kind,
    Level,
    Listing,
    Object,
    Origin,
    PowerState,
    Ref,
    Sample,
    Scope,
    Vm,
    now,
)

HOST = Ref("a", Kind.HOST, "h")
VMS = Scope(frozenset({Kind.VM}))


def vm(ident: str, connection: str = "a", **more: object) -> Vm:
    made = Vm(ref=Ref(connection, Kind.VM, ident), name=f"vm-{ident}", parent=replace(HOST, connection=connection))
    return replace(made, **more)  # type: ignore[arg-type]


def refs(items: tuple[Object, ...] | list[Object]) -> list[str]:
    return [item.ref.id for item in items]


def test_a_listing_adds_changes_and_removes() -> None:
    inventory = Inventory()
    seen: list[Delta] = []
    stop = inventory.subscribe(seen.append)
    inventory.listed(Listing(VMS, (vm("1"), vm("2"))), now(), "a")
    delta = inventory.listed(Listing(VMS, (vm("2", name="renamed"), vm("3"))), now(), "a")
    assert (refs(delta.added), refs(delta.changed), refs(delta.removed)) == (["3"], ["2"], ["1"])
    assert seen[-1] == delta
    stop()
    inventory.forget("a")
    assert len(seen) == 2 and len(inventory) == 0


def test_a_long_listing_by_parts_removes_only_at_its_end() -> None:
    inventory = Inventory()
    inventory.listed(Listing(VMS, (vm("1"), vm("2"))), now(), "a")
    began = now()
    listing = Listing(VMS, (vm("2", name="renamed"), vm("3")))
    first = inventory.listed_part(listing.objects[:1], began)
    assert (refs(first.changed), refs(first.removed)) == (["2"], [])
    inventory.apply(Changed((vm("4"),)))
    inventory.apply(Changed((), (vm("3").ref,)))
    assert not inventory.listed_part(listing.objects[1:], began), "an event that came meanwhile wins"
    assert refs(inventory.listed_end(listing, began, "a").removed) == ["1"]
    assert sorted(refs(inventory.of("a"))) == ["2", "4"]


def test_equal_values_say_nothing_but_are_fresher() -> None:
    inventory = Inventory()
    calls: list[Delta] = []
    inventory.listed(Listing(VMS, (vm("1"),)), now(), "a")
    inventory.subscribe(calls.append)
    later = vm("1", seen=now() + timedelta(hours=1))
    assert not inventory.listed(Listing(VMS, (later,)), now(), "a")
    assert calls == []
    found = inventory.get(later.ref)
    assert found is not None and found.seen == later.seen


def test_an_empty_listing_removes_what_its_connection_had_and_nothing_else() -> None:
    inventory = Inventory()
    inventory.listed(Listing(VMS, (vm("1"),)), now(), "a")
    inventory.listed(Listing(VMS, (vm("1", "b"),)), now(), "b")
    inventory.apply(Changed((Host(ref=HOST, name="h"),)))
    assert not inventory.listed(Listing(VMS, ()), now())
    delta = inventory.listed(Listing(VMS, ()), now(), "a")
    assert [item.ref for item in delta.removed] == [Ref("a", Kind.VM, "1")]
    assert HOST in inventory and Ref("b", Kind.VM, "1") in inventory


def test_a_scope_with_a_parent_removes_below_it_only() -> None:
    inventory = Inventory()
    other = Ref("a", Kind.HOST, "h2")
    inventory.listed(Listing(VMS, (vm("1"), vm("2", parent=other))), now(), "a")
    delta = inventory.listed(Listing(Scope(frozenset({Kind.VM}), HOST), ()), now())
    assert refs(delta.removed) == ["1"]


def test_a_listing_with_an_error_removes_nothing() -> None:
    inventory = Inventory()
    inventory.listed(Listing(VMS, (vm("1"), vm("2"))), now(), "a")
    delta = inventory.listed(Listing(VMS, (vm("2", name="x"),), Unreachable("lost")), now(), "a")
    assert refs(delta.removed) == [] and refs(delta.changed) == ["2"]


def test_an_event_wins_over_a_listing_that_was_under_way() -> None:
    inventory = Inventory()
    inventory.listed(Listing(VMS, (vm("1"), vm("2"))), now(), "a")
    began = now()
    inventory.apply(Changed((vm("1", state=PowerState.RUNNING), vm("new")), (Ref("a", Kind.VM, "2"),)))
    old = Listing(VMS, (vm("1", state=PowerState.OFF), vm("2")))
    assert not inventory.listed(old, began, "a")
    found = inventory.vm(Ref("a", Kind.VM, "1"))
    assert found is not None and found.state == PowerState.RUNNING
    assert refs(inventory.of("a")) == ["1", "new"]
    delta = inventory.listed(old, now() + timedelta(seconds=1), "a")
    assert (refs(delta.added), refs(delta.removed)) == (["2"], ["new"])


@pytest.mark.parametrize("by_event", [True, False])
def test_details_are_kept_until_they_are_fetched_anew(by_event: bool) -> None:
    inventory = Inventory()
    kept = Finding(level=Level.AMBER, code="kernel", message="m")
    full = vm("1", disks=(Disk(target="vda"),), addresses=("10.0.0.1",), hindrances=(kept,), detailed=True)
    full = replace(full, autostart=True)
    inventory.apply(Changed((full,)))
    quick = vm("1", state=PowerState.OFF)
    if by_event:
        inventory.apply(Changed((quick,)))
    else:
        inventory.listed(Listing(VMS, (quick,)), now() + timedelta(seconds=1), "a")
    assert inventory.get(full.ref) == replace(full, state=PowerState.OFF)
    inventory.apply(Changed((replace(full, disks=(), hindrances=()),)))
    found = inventory.vm(full.ref)
    assert found is not None and (found.disks, found.hindrances) == ((), ())


def test_what_the_cache_gave_is_still_to_be_detailed() -> None:
    inventory = Inventory()
    cached = vm("1", addresses=("10.0.0.1",), detailed=True, origin=Origin.CACHE)
    inventory.restore([cached])
    inventory.restore([vm("1", name="never")])
    delta = inventory.listed(Listing(VMS, (vm("1"),)), now(), "a")
    assert refs(delta.changed) == ["1"]
    found = inventory.vm(cached.ref)
    assert found is not None
    assert (found.addresses, found.detailed, found.origin) == (("10.0.0.1",), False, Origin.POLL)


def test_children_follow_their_parent() -> None:
    inventory = Inventory()
    other = Ref("a", Kind.HOST, "h2")
    inventory.apply(Changed((vm("1"), vm("2"))))
    inventory.apply(Changed((vm("1", parent=other),)))
    assert refs(inventory.children("a", HOST)) == ["2"]
    assert refs(inventory.children("a", other)) == ["1"]


def test_readings_go_with_their_object() -> None:
    inventory = Inventory()
    told: list[dict[Ref, Sample]] = []
    stop = inventory.subscribe_meters(told.append)
    ref = vm("1").ref
    inventory.apply(Changed((vm("1"),)))
    inventory.metered({ref: Sample(1.0, cpu_percent=5.0)})
    assert inventory.sample(ref) == Sample(1.0, cpu_percent=5.0) and len(told) == 1
    stop()
    inventory.apply(Changed((), (ref,)))
    assert inventory.sample(ref) is None


def test_old_events_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVENTS", 10)
    inventory = Inventory()
    for number in range(50):
        inventory.apply(Changed((vm(str(number)),), ()))
        inventory.apply(Changed((), (vm(str(number)).ref,)))
    assert len(inventory._evented) == 50
    monkeypatch.setattr(module, "now", lambda: now() + timedelta(hours=1))
    inventory.apply(Changed((vm("last"),)))
    assert list(inventory._evented) == [vm("last").ref]


IDS = st.sampled_from("12345")
STEP = st.tuples(
    st.sampled_from(["apply", "remove", "list", "forget"]), st.sampled_from("ab"), st.lists(IDS, max_size=4)
)


@settings(max_examples=100, deadline=None)
@given(st.lists(STEP, max_size=12))
def test_the_indexes_always_agree_with_the_objects(steps: list[tuple[str, str, list[str]]]) -> None:
    inventory = Inventory()
    copy: dict[Ref, Object] = {}

    def follow(delta: Delta) -> None:
        for item in delta.removed:
            del copy[item.ref]
        for item in (*delta.added, *delta.changed):
            copy[item.ref] = item

    inventory.subscribe(follow)
    for number, (verb, connection, idents) in enumerate(steps):
        parent = Ref(connection, Kind.HOST, str(number % 3))
        items = tuple(vm(ident, connection, parent=parent) for ident in idents)
        if verb == "apply":
            inventory.apply(Changed(items))
        elif verb == "remove":
            inventory.apply(Changed((), tuple(item.ref for item in items)))
        elif verb == "list":
            inventory.listed(Listing(VMS, items), now() + timedelta(seconds=1), connection)
        else:
            inventory.forget(connection)
        everything = {item.ref: item for item in inventory}
        assert copy == everything
        for name in "ab":
            mine = {ref for ref in everything if ref.connection == name}
            assert {item.ref for item in inventory.of(name)} == mine
            assert {item.ref for item in inventory.of(name, Kind.VM)} == mine
            below = {item.ref for at in "012" for item in inventory.children(name, Ref(name, Kind.HOST, at))}
            assert below == mine
