"""What libcloud's drivers really give for a node, a size, a volume: shapes that were met in their recordings."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from libcloud.compute.base import KeyPair, Node, NodeLocation, NodeSize, StorageVolume

from backends.libcloud import translate as t
from backends.model import Flavor, Kind, PowerState, Ref, Vm

NO_DRIVER: Any = SimpleNamespace(name="none", type="none")
SMALL = Flavor(ref=Ref("lc", Kind.FLAVOR, "11"), name="small-1", vcpus=2, memory_bytes=2 * t.GIB)
SIZES = {"11": SMALL, "small-1": SMALL}
ID = "6f1c2a34-9d1b-4c9e-8f60-0123456789ab"


def vm(state: str = "running", ident: str = "7", **words: Any) -> Vm:
    given = {"public_ips": [], "private_ips": [], "driver": NO_DRIVER, **words}
    return t.vm("lc", Node(ident, "web-01", state, **given), SIZES)


@pytest.mark.parametrize(
    "words",
    [
        {"size": "small-1"},
        {"extra": {"flavorId": "11"}},
        {"extra": {"flavorId": 11}},
        {"extra": {"machineType": "https://compute.example/zones/z/machineTypes/small-1"}},
        {"size": NodeSize("x", "small-1", 2048, 10, None, None, NO_DRIVER, extra={"vcpus": "2"})},
        {"size": NodeSize("11", "11", None, None, None, None, NO_DRIVER)},
    ],
)
def test_a_size_is_told_whole_or_by_a_word(words: dict[str, Any]) -> None:
    found = vm(**words)
    assert (found.vcpus, found.memory_bytes) == (2, 2 * t.GIB)
    assert found.flavor in ("small-1", "11")


def test_nothing_known_is_zero_and_megahertz_are_no_cpus() -> None:
    found = vm(size="other", extra={"cpu": 1100, "specs": None})
    assert (found.vcpus, found.memory_bytes, found.flavor) == (0, 0, "other")
    assert vm(extra={"specs": {"vcpus": 3}}).vcpus == 3


@pytest.mark.parametrize(
    ("state", "native", "expected"),
    [
        ("running", "ACTIVE", PowerState.RUNNING),
        ("unknown", "stopped", PowerState.OFF),
        ("updating", "", PowerState.UNKNOWN),
        ("reconfiguring", SimpleNamespace(action="START"), PowerState.RUNNING),
        ("rebooting", None, PowerState.STARTING),
    ],
)
def test_states(state: str, native: object, expected: PowerState) -> None:
    found = vm(state, extra={"status": native})
    assert found.state == expected
    assert "namespace" not in found.native_state


def test_objects_where_words_were_promised() -> None:
    place = NodeLocation("z1", "zone-1", "CH", NO_DRIVER)
    given = [SimpleNamespace(address="10.0.0.1"), "10.0.0.2", "10.0.0.2", None]
    found = vm(public_ips=given, private_ips=None, extra={"location": place, "zone": {"code": 1}})
    assert (found.addresses, found.zone) == (("10.0.0.1", "10.0.0.2"), "zone-1")
    assert vm(extra={"availability_zone": "nova"}).zone == "nova"


def test_times_and_ids_are_believed_only_where_they_say_enough() -> None:
    assert vm(created_at="2021-09-01T13:25:48+00:00").created is None
    assert vm(created_at=datetime(2020, 1, 1)).created is None
    assert vm(created_at=datetime(2020, 1, 1, tzinfo=UTC)).created == datetime(2020, 1, 1, tzinfo=UTC)
    assert [vm(ident=each).uuid for each in (ID, "i-0123456789abcdef0", "7", "i-1a2b3c4d")] == [
        ID,
        "i-0123456789abcdef0",
        "",
        "",
    ]


def test_tags_with_and_without_values_and_our_group() -> None:
    tags = {"Name": "web-01", "team": "ops", "causeway:group": "shop", "causeway:uuid": "u", "odd": ["x"]}
    found = vm(extra={"tags": tags})
    assert (found.tags, found.group) == ((("team", "ops"),), "shop")
    assert vm(extra={"tags": ["b", "a", 1]}).tags == (("a", ""), ("b", ""))


def test_thin_volumes_and_keys() -> None:
    disk = StorageVolume("v", "disk", 13.0, NO_DRIVER)
    del disk.state
    assert (t.volume("lc", disk).size_bytes, t.volume("lc", disk).state) == (13 * t.GIB, "")
    pair = KeyPair("me", "ssh-rsa AAAA", "aa:bb", NO_DRIVER)
    assert t.keypair("lc", pair).fingerprint == "aa:bb"
    del pair.fingerprint
    assert t.keypair("lc", pair).name == "me"


def test_sizes_with_odd_numbers() -> None:
    def size(**words: Any) -> Flavor:
        given = {"ram": 512, "disk": 20, "bandwidth": None, "price": 0.5, **words}
        return t.flavor("lc", NodeSize("s", "s", driver=NO_DRIVER, **given))

    assert size(ram="1024", disk="n/a", extra={"cpu": 2}).memory_bytes == t.GIB
    found = size(ram=None, disk=float("inf"), price="cheap", extra={"cpu": "0.5"})
    assert (found.memory_bytes, found.disk_bytes, found.price_per_hour, found.vcpus) == (0, 0, None, 0)
