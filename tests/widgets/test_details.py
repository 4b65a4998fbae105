"""Pieces of the details: rings with honest gaps, differences, counts."""

from __future__ import annotations

import math

from app.inventory import Inventory
from backends.model import Changed, PowerState, Sample
from tests.widgets.standin import make_vm, vm_ref, world
from widgets.details.charts import LENGTH, Ring, total
from widgets.details.definition import changes
from widgets.tally import Tally


def test_a_gap_breaks_the_line() -> None:
    ring = Ring()
    for at in (0.0, 2.0, 30.0):
        ring.add(Sample(at=at, cpu_percent=5.0))
    column = ring.column(lambda sample: sample.cpu_percent)
    assert [math.isnan(value) for value in column] == [False, False, True, False]


def test_a_ring_keeps_the_newest_and_ignores_the_old() -> None:
    ring = Ring()
    for at in range(LENGTH + 50):
        ring.add(Sample(at=float(at)))
    ring.add(Sample(at=3.0))
    assert len(ring) == LENGTH
    assert ring.last is not None
    assert ring.last.at == LENGTH + 49


def test_a_sum_of_nothing_is_unknown_not_zero() -> None:
    assert total(None, None) is None
    assert total(None, 2.0) == 2.0


def test_the_difference_is_unified_and_empty_for_the_same() -> None:
    assert changes("a\nb\n", "a\nb\n", "web-01") == []
    lines = changes("a\nb\n", "a\nc\n", "web-01")
    assert "-b" in lines
    assert "+c" in lines


def test_the_tally_follows_every_delta() -> None:
    inventory = Inventory()
    inventory.apply(Changed(tuple(world())))
    tally = Tally(inventory)
    assert (tally.vms, tally.running) == (32, 22)
    inventory.apply(Changed((make_vm("kvm-a", "build"), make_vm("kvm-a", "new", PowerState.OFF))))
    assert (tally.vms, tally.running, tally.site("kvm-a").vms) == (33, 23, 5)
    inventory.apply(Changed(removed=(vm_ref("kvm-a", "build"),)))
    assert (tally.vms, tally.running) == (32, 22)
    assert tally.site("nowhere").vms == 0
