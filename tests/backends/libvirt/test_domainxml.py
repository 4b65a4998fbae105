"""Domain XML: what is not edited stays as it was."""

from __future__ import annotations

import pytest

from backends.errors import Invalid
from backends.libvirt import domainxml
from backends.libvirt.domainxml import Domain

XML = """<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <!-- a comment that must stay -->
  <name>web</name><uuid>0afc7cf5-bdff-4e69-9485-faa471c36a3f</uuid>
  <metadata><nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1"/></metadata>
  <memory unit='MiB'>96</memory><vcpu placement='static'>2</vcpu>
  <os firmware='efi'><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/i/a.qcow2'/>
      <target dev='vda' bus='virtio'/></disk>
    <disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>
    <interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/><model type='virtio'/></interface>
    <graphics type='vnc' passwd='hunter2'/>
  </devices>
  <qemu:commandline><qemu:arg value='-foo'/></qemu:commandline>
</domain>"""


def test_reads_what_is_declared() -> None:
    domain = Domain.parse(XML)
    assert (domain.name, domain.vcpus, domain.machine, domain.firmware) == ("web", 2, "q35", "uefi")
    assert domain.memory_bytes == 96 << 20
    disk, drive = domain.disks
    assert (disk.target, disk.source, disk.format, disk.readonly) == ("vda", "/i/a.qcow2", "qcow2", False)
    assert drive.readonly and drive.source == ""
    assert [nic.network for nic in domain.nics] == ["br0"]


def test_a_round_trip_is_c14n_equal() -> None:
    assert domainxml.same(Domain.parse(XML).text(), XML)


def test_an_edit_touches_its_node_only() -> None:
    domain = Domain.parse(XML)
    domain.name = "shop"
    assert domainxml.same(domain.text(), XML.replace("<name>web<", "<name>shop<"))


def test_metadata_round_trip_leaves_others_alone() -> None:
    domain = Domain.parse(XML)
    domain.set_metadata({"role": "web", "group": "shop"})
    again = Domain.parse(domain.text())
    assert again.metadata == {"role": "web", "group": "shop"}
    again.set_metadata({})
    assert domainxml.same(again.text(), XML)


def test_passwords_are_masked_and_put_back() -> None:
    masked = domainxml.masked(XML)
    assert "hunter2" not in masked and "hunter2" not in domainxml.redacted(XML)
    assert domainxml.same(domainxml.unmasked(masked, XML), XML)
    with pytest.raises(Invalid):
        domainxml.unmasked(masked.replace("causeway-secret-1", "causeway-secret-7"), XML)


@pytest.mark.parametrize("text", ["<domain>", "", "<network/>", "<!DOCTYPE x [<!ENTITY a 'b'>]><domain>&a;"])
def test_what_is_no_definition_is_invalid(text: str) -> None:
    with pytest.raises(Invalid):
        Domain.parse(text)
