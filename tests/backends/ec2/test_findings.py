"""What keeps an instance where it is, and what a guest needs to run in the cloud: judged from its description."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backends.ec2 import Driver
from backends.ec2 import translate as t
from backends.model import DiskFacts, Kind, Level, PowerState, Ref, SourceFacts, Vm

PLAIN = DiskFacts(target="/dev/sda1", size_bytes=8 << 30)
SECRET = DiskFacts(target="/dev/sdf", size_bytes=8 << 30, encrypted=True)


@pytest.mark.parametrize(
    ("raw", "disks", "local", "expected"),
    [
        ({}, (PLAIN,), False, {}),
        ({"RootDeviceType": "ebs"}, (PLAIN,), True, {"instance-store": Level.AMBER}),
        ({"RootDeviceType": "instance-store"}, (), True, {"instance-store-root": Level.RED}),
        ({"ProductCodes": [{"ProductCodeId": "abc123"}]}, (PLAIN,), False, {"product-codes": Level.RED}),
        ({}, (PLAIN, SECRET), False, {"encrypted-volumes": Level.AMBER}),
    ],
)
def test_what_keeps_an_instance(
    raw: dict[str, Any], disks: tuple[DiskFacts, ...], local: bool, expected: dict[str, Level]
) -> None:
    found = t.source_findings(raw, disks, local)
    assert {item.code: item.level for item in found} == expected
    assert all(item.cure for item in found)
    said = " ".join(item.message for item in found)
    assert ("abc123" in said) == ("product-codes" in expected)
    assert ("/dev/sdf" in said) == ("encrypted-volumes" in expected)
    listed = t.vm("cloud", "eu", {"InstanceId": "i-1", "InstanceType": "m5d", **raw}, {}, {}, {"m5d"} if local else ())
    assert [item.code for item in listed.hindrances] == [code for code in expected if code != "encrypted-volumes"]


def source(platform: str, arch: str) -> SourceFacts:
    vm = Vm(ref=Ref("k", Kind.VM, "u"), name="web-01", state=PowerState.OFF, arch=arch)
    return SourceFacts(vm=vm, capabilities=frozenset(), platform=platform, disks=(PLAIN,), complete=True)


@pytest.mark.parametrize(
    ("platform", "arch", "code", "level"),
    [
        ("libvirt", "x86_64", "guest-drivers", Level.AMBER),
        ("libvirt", "s390x", "architecture", Level.RED),
        ("ec2", "x86_64", "", None),
    ],
)
async def test_what_a_guest_needs_there(driver: Driver, platform: str, arch: str, code: str, level: Level) -> None:
    to = Ref("cloud", Kind.CONNECTION, "cloud")
    facts = await driver.import_facts(to, source(platform, arch), None)
    assert [(item.code, item.level) for item in facts.blocking] == ([(code, level)] if code else [])
    if code == "guest-drivers":
        assert "ENA" in facts.blocking[0].message
        assert all(word in facts.blocking[0].cure for word in ("update-initramfs", "dracut", "ena", "nvme"))


async def test_a_disk_that_grows_to_whole_gib_is_said(driver: Driver) -> None:
    small = DiskFacts(target="vda", size_bytes=8 << 20)
    facts = await driver.import_facts(
        Ref("cloud", Kind.CONNECTION, "cloud"), replace(source("libvirt", "x86_64"), disks=(PLAIN, small)), None
    )
    (found,) = [item for item in facts.blocking if item.code == "disk-grows"]
    assert (found.level, found.message) == (Level.INFO, "vda grows from 8 MiB to 1 GiB: volumes have whole GiB.")
