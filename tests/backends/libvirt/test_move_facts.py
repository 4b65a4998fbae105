"""What of a VM stays behind or stands in the way of a move, read from its definition; names of new volumes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import libvirt
import pytest

from backends.driver import Settings
from backends.libvirt import Driver, create, facts, hindrances, translate
from backends.libvirt.domainxml import Domain
from backends.model import DiskFacts, Kind, Level, Origin, Ref, Scope, Vm, VmSpec

DOMAIN = (
    "<domain type='kvm'><name>g</name><memory>8192</memory><vcpu>1</vcpu><os{firmware}><type>hvm</type>{os}</os>"
    "<devices>{devices}</devices>{more}</domain>"
)
POOL = "<pool type='dir'><name>default</name><target><path>{}</path></target></pool>"
SNAPSHOT = "<domainsnapshot><name>before</name></domainsnapshot>"
MIB = 1 << 20
VMS = Scope(frozenset({Kind.VM}))


def found(devices: str = "", firmware: str = "", os: str = "", more: str = "") -> dict[str, Level]:
    definition = Domain.parse(DOMAIN.format(devices=devices, firmware=firmware, os=os, more=more))
    findings = hindrances.of_definition(definition)
    assert all(item.cure or item.code in ("macvtap", "block") for item in findings)
    return {item.code: item.level for item in findings}


@pytest.mark.parametrize(
    ("devices", "code", "level"),
    [
        ("<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>", "tpm", Level.AMBER),
        ("<tpm><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>", "passthrough", Level.RED),
        ("<hostdev mode='subsystem' type='usb'><source/></hostdev>", "passthrough", Level.RED),
        ("<interface type='hostdev'><mac address='52:54:00:00:00:01'/></interface>", "passthrough", Level.RED),
        ("<interface type='direct'><source dev='eth0' mode='bridge'/></interface>", "macvtap", Level.AMBER),
        ("<filesystem type='mount'><source dir='/x'/><target dir='x'/></filesystem>", "filesystem", Level.RED),
        ("<shmem name='s'/>", "shmem", Level.RED),
        ("<memory model='nvdimm'/>", "nvdimm", Level.RED),
        ("<graphics type='vnc' passwd='canary12'/>", "password", Level.AMBER),
        (
            "<disk type='file' device='cdrom'><source file='/x.iso'/><target dev='sda' bus='sata'/></disk>",
            "media",
            Level.AMBER,
        ),
        ("<disk type='block' device='disk'><source dev='/dev/sdb'/><target dev='vdb'/></disk>", "block", Level.AMBER),
    ],
)
def test_what_a_device_means_for_a_move(devices: str, code: str, level: Level) -> None:
    assert found(devices) == {code: level}


def test_firmware_kernel_and_encrypted_memory() -> None:
    assert found() == {}
    assert found(firmware=" firmware='efi'") == {"nvram": Level.AMBER}
    loader = "<loader readonly='yes' type='pflash'>/OVMF.fd</loader><nvram>/var/lib/libvirt/qemu/nvram/g.fd</nvram>"
    assert found(os=loader) == {"nvram": Level.AMBER}
    assert found(os="<kernel>/boot/vmlinuz</kernel>") == {"kernel": Level.AMBER}
    assert found(more="<launchSecurity type='sev'/>") == {"confidential": Level.RED}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[libvirt.virConnect]:
    """libvirt's own test driver, with a pool."""
    conn = libvirt.open("test:///default")
    conn.storagePoolCreateXML(POOL.format(tmp_path), 0)
    yield conn
    conn.close()


def test_snapshots_and_saved_memory_are_said(host: libvirt.virConnect) -> None:
    item = host.lookupByName("test")
    assert facts.held(item) == []
    item.snapshotCreateXML(SNAPSHOT, 0)
    (snapshots,) = facts.held(item)
    assert (snapshots.code, snapshots.level, "cold" in snapshots.cure) == ("snapshots", Level.AMBER, True)
    item.managedSave(0)
    assert [(one.code, one.level) for one in facts.held(item)][-1] == ("saved", Level.RED)


async def test_the_inventory_knows_what_keeps_a_vm(tmp_path: Path) -> None:
    """Listing and complete facts say the same: the row's verdict while a VM is held is the plan's."""
    kernel = DOMAIN.format(devices="", firmware="", os="<kernel>/boot/vmlinuz</kernel>", more="")
    passed = DOMAIN.replace("<name>g", "<name>h").format(
        devices="<hostdev mode='subsystem' type='usb'><source><vendor id='0x1'/><product id='0x2'/></source></hostdev>"
        "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>",
        firmware="",
        os="<loader readonly='yes' type='pflash'>/OVMF.fd</loader><nvram>/nvram/h.fd</nvram>",
        more="",
    )
    file = tmp_path / "node.xml"
    file.write_text(f"<node>{kernel}{passed}</node>".replace("type='kvm'", "type='test'"))
    driver = Driver("host", Settings({"uri": f"test://{file}"}))
    try:
        await driver.connect()
        for name, codes in (("g", ["kernel"]), ("h", ["passthrough", "tpm", "nvram"])):
            listed = (await driver.list(VMS)).objects
            ref = next(item.ref for item in listed if item.name == name)
            await driver.session.refresh(ref.id)
            (known,) = (item for item in (await driver.list(VMS)).objects if item.ref == ref)
            facts = await driver.export_facts(ref)
            assert isinstance(known, Vm)
            assert [item.code for item in known.hindrances] == codes
            assert known.hindrances == facts.blocking == facts.vm.hindrances
    finally:
        await driver.close()


def test_saved_memory_is_known_to_the_inventory() -> None:
    details = translate.details(DOMAIN.format(devices="", firmware="", os="", more=""))
    for saved, expected in ((True, ["saved"]), (False, [])):
        quick = translate.Quick("u", "g", libvirt.VIR_DOMAIN_SHUTOFF, saved=saved)
        vm = translate.vm("host", Ref("host", Kind.HOST, "h"), quick, details, Origin.POLL)
        assert [item.code for item in vm.hindrances] == expected


@pytest.mark.parametrize(
    ("name", "target", "volume"),
    [
        ("web-01", "vda", "web-01-vda.cw1.raw"),
        ("../../etc/passwd", "/dev/sda1", "etc-passwd-sda1.cw1.raw"),
        ("wéb 01 <b>", "vda", "w-b-01-b-vda.cw1.raw"),
        ("...", "///", "vm-0.cw1.raw"),
    ],
)
def test_a_volume_is_named_safely_and_once(host: libvirt.virConnect, name: str, target: str, volume: str) -> None:
    spec = VmSpec(name=name, disks=(DiskFacts(target=target, size_bytes=MIB),))
    first = create.prepare(host, spec, 0, "default", "cw1")
    assert first.args["volume"] == volume
    again = create.prepare(host, replace(spec, disks=(replace(spec.disks[0], size_bytes=MIB),)), 0, "default", "cw1")
    assert again == first
    assert host.storagePoolLookupByName("default").listVolumes() == [volume]
