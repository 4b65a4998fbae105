"""From libvirt's words to ours, by data."""

from __future__ import annotations

import libvirt
import pytest

from backends.errors import BackendError, Denied, NotFound, QuotaExceeded, Unreachable
from backends.libvirt import hindrances, live, translate
from backends.libvirt.client import ERRORS, Client, translated
from backends.libvirt.domainxml import Domain
from backends.libvirt.translate import Quick
from backends.model import Kind, Level, LiveOptions, Origin, PowerState, Ref

HOST = Ref("c", Kind.HOST, "h")


@pytest.mark.parametrize(
    ("state", "reason", "saved", "expected"),
    [
        (1, 1, False, PowerState.RUNNING),
        (3, 1, False, PowerState.PAUSED),
        (3, 2, False, PowerState.MIGRATING),
        (5, 1, False, PowerState.OFF),
        (5, 1, True, PowerState.SUSPENDED),
        (6, 1, False, PowerState.CRASHED),
        (99, 0, False, PowerState.UNKNOWN),
    ],
)
def test_states(state: int, reason: int, saved: bool, expected: PowerState) -> None:
    item = Quick("u", "n", state, reason, saved=saved)
    assert translate.vm("c", HOST, item, None, Origin.POLL).state == expected


def test_rates_come_from_two_readings() -> None:
    stats = {"cpu.time": 0, "vcpu.current": 2, "block.count": 1, "block.0.rd.bytes": 100, "balloon.rss": 4}
    first = translate.reading(stats, 10.0, 1000.0)
    second = translate.reading({**stats, "cpu.time": 2_000_000_000, "block.0.rd.bytes": 300}, 12.0, 1002.0)
    assert translate.sample(first, None).cpu_percent is None
    sample = translate.sample(second, first)
    assert (sample.cpu_percent, sample.disk_read_bps, sample.memory_used_bytes) == (50.0, 100.0, 4096)


def test_a_counter_that_began_anew_gives_no_rate() -> None:
    old = translate.reading({"cpu.time": 9}, 1.0, 1.0)
    assert translate.sample(translate.reading({"cpu.time": 1}, 2.0, 2.0), old).cpu_percent is None


class Said(libvirt.libvirtError):  # type: ignore[misc]
    """An error as libvirt would raise it."""

    def __init__(self, code: int, domain: int, text: str) -> None:
        super().__init__(text)
        self.err = (code, domain, text, 2, "", "", "", 0, 0)


def test_the_error_table() -> None:
    rpc, storage = libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_STORAGE
    assert isinstance(translated(Said(libvirt.VIR_ERR_NO_DOMAIN, rpc, "gone")), NotFound)
    assert isinstance(translated(Said(libvirt.VIR_ERR_SYSTEM_ERROR, rpc, "EOF")), Unreachable)
    assert not isinstance(translated(Said(libvirt.VIR_ERR_SYSTEM_ERROR, storage, "bad")), Unreachable)
    assert isinstance(translated(Said(libvirt.VIR_ERR_SYSTEM_ERROR, storage, "No space left on device")), QuotaExceeded)
    assert isinstance(translated(Said(libvirt.VIR_ERR_SYSTEM_ERROR, rpc, "Permission denied")), Denied)
    assert all(isinstance(code, int) for code in ERRORS)


@pytest.mark.parametrize(("changes", "expected", "asked"), [(False, NotFound, 2), (True, BackendError, 1)])
async def test_what_libvirt_itself_does_not_know_is_asked_again(
    changes: bool, expected: type[BackendError], asked: int
) -> None:
    """But never what changes something: it may have been done."""
    unknown = "An error occurred, but the cause is unknown"
    answers = [Said(libvirt.VIR_ERR_INTERNAL_ERROR, 0, unknown), Said(libvirt.VIR_ERR_NO_DOMAIN, 10, "no such domain")]

    def work(_conn: object) -> None:
        raise answers.pop(0)

    client = Client("kvm", "test:///default", lambda _reason: None)
    await client.open()
    with pytest.raises(BackendError) as caught:
        await client.call(work, changes=changes)
    await client.close()
    assert (type(caught.value), 2 - len(answers)) == (expected, asked)


def test_flags_follow_the_options() -> None:
    plain = live.flags(LiveOptions(), persistent=True, live=True)
    assert plain == (libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE)
    assert not plain & libvirt.VIR_MIGRATE_UNSAFE
    tunnelled = live.flags(LiveOptions(tunnelled=True, unsafe=True), persistent=False, live=True)
    assert tunnelled & libvirt.VIR_MIGRATE_PEER2PEER and tunnelled & libvirt.VIR_MIGRATE_UNSAFE
    assert not tunnelled & libvirt.VIR_MIGRATE_UNDEFINE_SOURCE


def test_the_address_is_always_given_and_bandwidth_is_in_mib() -> None:
    options = LiveOptions(copy_storage=("vda",), bandwidth_bps=20 << 20, parallel=2)
    values = live.params(live.Move("u", 1, 2, "", "fd00::1", options), "", "")
    assert values[libvirt.VIR_MIGRATE_PARAM_URI] == "tcp://[fd00::1]"
    assert values[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH] == 20
    assert values[libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS] == ["vda"]


def test_devices_of_the_host_forbid_a_move() -> None:
    inside = "<hostdev mode='subsystem' type='pci'/><filesystem/><interface type='vdpa'><mac address='x'/></interface>"
    text = f"<domain><name>n</name><os><type>hvm</type></os><devices>{inside}</devices></domain>"
    found = hindrances.of_definition(Domain.parse(text))
    assert [finding.code for finding in found] == ["passthrough", "passthrough", "filesystem"]
    assert all(finding.level == Level.RED and finding.cure for finding in found)
    assert hindrances.of_definition(Domain.parse("<domain><name>n</name></domain>")) == []
