"""What keeps a VM where it is, or deserves a look before it moves, by its own definition."""

from __future__ import annotations

from backends.libvirt.domainxml import Domain
from backends.model import Finding, Level

SAVED = Finding(level=Level.RED, code="saved", message="its memory is saved on the host", cure="restore it")
SNAPSHOTS = Finding(
    level=Level.AMBER,
    code="snapshots",
    message="it has snapshots: libvirt does not move it live with them",
    cure="delete them, or move it cold",
)


def of_definition(definition: Domain) -> list[Finding]:
    """What in a definition keeps a VM where it is (RED), or needs a look (AMBER)."""
    found = []

    def add(level: Level, code: str, message: str, cure: str = "") -> None:
        found.append(Finding(level=level, code=code, message=message, cure=cure))

    for node in definition.each("devices/hostdev"):
        kind = node.get("type") or node.get("mode") or "host"
        add(Level.RED, "passthrough", f"a {kind} device of the host is passed through", "detach it first")
    for nic in definition.nics:
        if nic.type in ("hostdev", "vdpa"):
            add(Level.RED, "passthrough", f"the NIC {nic.mac} is a device of the host ({nic.type})", "use virtio")
        elif nic.type == "direct":
            add(Level.AMBER, "macvtap", f"the NIC {nic.mac} hangs on an interface of the host by macvtap")
    if definition.has("devices/filesystem"):
        add(Level.RED, "filesystem", "a folder of the host is shared into the VM", "detach it first")
    if definition.has("devices/shmem"):
        add(Level.RED, "shmem", "memory is shared with the host", "detach it first")
    for node in definition.each("devices/memory"):
        if node.get("model") in ("nvdimm", "virtio-pmem"):
            add(Level.RED, "nvdimm", "a persistent memory device lives on the host", "detach it first")
    if definition.tpm == "passthrough":
        add(Level.RED, "passthrough", "the host's own TPM is passed through", "detach it first")
    elif definition.has("devices/tpm"):
        cure = "move it live, or have the recovery key of what it unlocks"
        add(Level.AMBER, "tpm", "what its TPM holds stays behind in a copy of disks: it begins empty there", cure)
    if definition.firmware == "uefi":
        cure = "move it live, or have a loader at EFI/BOOT on its disk"
        add(Level.AMBER, "nvram", "its firmware's boot entries and keys stay behind in a copy of disks", cure)
    if any(node.get("passwd") for node in definition.each("devices/graphics")):
        cure = "move it live, or set one there"
        add(Level.AMBER, "password", "its console's password stays behind in a copy of disks", cure)
    if definition.kernel:
        cure = "have the same file there, or it does not start the next time"
        text = f"it boots from a kernel file of its host, {definition.kernel}, which does not go along"
        add(Level.AMBER, "kernel", text, cure)
    for disk in definition.disks:
        if disk.device in ("cdrom", "floppy") and disk.source:
            add(Level.AMBER, "media", f"{disk.target} holds {disk.source}", "eject it, or have it on the target")
        if disk.type == "block":
            add(Level.AMBER, "block", f"{disk.target} is the block device {disk.source}")
    if definition.has("launchSecurity"):
        add(Level.RED, "confidential", "its memory is encrypted by the CPU", "it can only be shut down and copied")
    return found
