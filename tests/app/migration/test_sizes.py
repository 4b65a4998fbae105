"""What a VM will have beside what it had: said where a move goes to another platform, or back from one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.migration.sizes import resized
from backends.model import DiskFacts, Flavor, Kind, Level, Ref, SourceFacts, TargetFacts, Vm, VmSpec

MIB, GIB = 1 << 20, 1 << 30
CLOUD = Vm(ref=Ref("aws", Kind.VM, "i-1"), name="web-01", flavor="t3.micro")
SOURCE = SourceFacts(vm=CLOUD, capabilities=frozenset(), platform="ec2", complete=True)
TARGET = TargetFacts(ref=Ref("kvm", Kind.HOST, "h"), capabilities=frozenset(), platform="libvirt")
NOW = VmSpec(name="web-01", vcpus=1, memory_bytes=GIB, disks=(DiskFacts(target="sda1", size_bytes=GIB),))
THEN = VmSpec(name="web-01", vcpus=2, memory_bytes=64 * MIB, disks=(DiskFacts(target="vda", size_bytes=8 * MIB),))


@pytest.mark.parametrize(
    ("before", "level", "words"),
    [
        (None, Level.INFO, "keeps what it has now: 1 vCPU, 1 GiB (t3.micro)"),
        (
            THEN,
            Level.AMBER,
            "will have 1 vCPU, 1 GiB (t3.micro), disk 1 GiB; it had 2 vCPU, 64 MiB, disk 8 MiB on kvm",
        ),
        (
            replace(NOW, memory_bytes=64 * MIB),
            Level.INFO,
            "will have 1 vCPU, 1 GiB (t3.micro); it had 1 vCPU, 64 MiB on kvm",
        ),
    ],
)
def test_a_move_back_says_what_changed(before: VmSpec | None, level: Level, words: str) -> None:
    (found,) = resized(SOURCE, TARGET, NOW, before, "kvm")
    assert (found.level, found.message) == (level, words)


def test_nothing_is_said_where_nothing_changes_or_a_flavor_decides() -> None:
    flavor = Flavor(ref=Ref("os", Kind.FLAVOR, "f"), name="f", vcpus=1, memory_bytes=GIB)
    assert resized(SOURCE, TARGET, NOW, NOW, "kvm") == ()
    assert resized(SOURCE, replace(TARGET, flavors=(flavor,)), NOW, THEN, "kvm") == ()
    assert resized(SOURCE, replace(TARGET, platform="ec2"), NOW, THEN, "kvm") == ()
    assert resized(SOURCE, TARGET, replace(NOW, memory_bytes=0), THEN, "kvm") == (), "it is not known"
