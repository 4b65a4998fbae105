"""The playground's guests as libvirt domains."""

from __future__ import annotations

from dataclasses import dataclass

from app.playground.guest import WORDS

DOMAIN = """\
<domain type='{type}'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>{memory}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
{boot}
  </os>
  <features><acpi/><apic/></features>
  <on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>restart</on_crash>
  <devices>
{disk}
    <interface type='network'>
      <mac address='{mac}'/><source network='lan'/><model type='virtio'/>
    </interface>
    <serial type='pty'>
      <log file='/var/log/libvirt/qemu/{name}.serial' append='on'/><target port='0'/>
    </serial>
    <console type='pty'><target type='serial' port='0'/></console>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <graphics type='vnc'><listen type='socket'/></graphics>
    <video><model type='vga' vram='8192'/></video>
    <memballoon model='virtio'/>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
  </devices>
</domain>
"""
DIRECT = """\
    <kernel>/var/lib/libvirt/boot/vmlinuz</kernel>
    <initrd>/var/lib/libvirt/boot/initrd.gz</initrd>
    <cmdline>{words} guest.name={name} guest.ip={address}/24</cmdline>"""
DISK = """\
    <disk type='file' device='disk'>
      <driver name='qemu' type='{format}'/><source file='{path}'/><target dev='vda' bus='virtio'/>
    </disk>"""
POOLS = {"default": "/var/lib/libvirt/images", "shared": "/var/lib/libvirt/shared"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """A guest as it is made: on which host, with its disk in which pool ("" for none), and how it boots.

    A `bootable` guest has kernel and initramfs on its own disk; the others have a small data disk and get both
    from their host. `number` makes its address and its MAC.
    """

    name: str
    uuid: str
    number: int
    pool: str = ""
    bootable: bool = False
    memory: int = 96
    format: str = "raw"

    @property
    def file(self) -> str:
        return f"{self.name}.{'img' if self.format == 'raw' else self.format}"

    @property
    def mac(self) -> str:
        return f"52:54:00:{self.uuid[0:2]}:{self.uuid[2:4]}:{self.number:02x}"

    def xml(self, kind: str, network: str) -> str:
        """Its domain XML: `kind` is "kvm" or "qemu", `network` the first three numbers of the hosts' addresses."""
        direct = DIRECT.format(words=WORDS, name=self.name, address=f"{network}.{self.number}")
        path = f"{POOLS[self.pool]}/{self.file}" if self.pool else ""
        return DOMAIN.format(
            type=kind,
            name=self.name,
            uuid=self.uuid,
            memory=self.memory,
            mac=self.mac,
            boot="    <boot dev='hd'/>" if self.bootable else direct,
            disk=DISK.format(format=self.format, path=path) if path else "",
        )
