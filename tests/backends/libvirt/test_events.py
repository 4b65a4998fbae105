"""Every event that a real host can be brought to send arrives, and what it changed is shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from backends.driver import Settings
from backends.libvirt import Driver, session
from backends.model import Kind, PowerAction, PowerState, Ref, Vm
from tests.lab.machine import Lab, LabGuest

pytestmark = pytest.mark.lab

CDROM = "<disk type='file' device='cdrom'><target dev='hdc' bus='ide'/><readonly/></disk>"
FULL = "/var/lib/libvirt/images/full"


@dataclass
class Seen:
    """What came of one guest: the events' names, and the VM as the watch told it last."""

    driver: Driver
    ear: Driver
    """Hears the events by themselves: libvirt calls one handler per event and connection."""
    guest: LabGuest
    events: set[str] = field(default_factory=set)
    vms: list[Vm] = field(default_factory=list)

    @property
    def vm(self) -> Vm:
        return self.vms[-1]

    async def until(self, done: Callable[[], object], failure: str) -> None:
        try:
            async with asyncio.timeout(90):
                while not (self.vms and done()):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"{failure}: {sorted(self.events)}") from None


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "device.xml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


@pytest_asyncio.fixture
async def seen(lab: Lab, healed: Lab) -> AsyncIterator[Seen]:
    """A running guest on a real host with an empty drive, and what is heard of it."""
    guest = await asyncio.to_thread(
        lambda: lab.make(lab.a, pool="default", change=lambda xml: xml.replace("<devices>", f"<devices>{CDROM}"))
    )
    await asyncio.to_thread(guest.wait_beats, lab.a)
    driver, ear = (Driver("host", Settings({"uri": lab.a.uri})) for _ in range(2))
    await driver.connect()
    await ear.connect()
    made = Seen(driver, ear, guest)
    following = await follow(made)
    yield made
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following
    await driver.close()
    await ear.close()


async def follow(seen: Seen) -> asyncio.Task[None]:
    ref = Ref("host", Kind.VM, seen.guest.uuid)

    def on_event(event: str, ident: str, _details: object) -> None:
        if ident == seen.guest.uuid:
            seen.events.add(event)

    async def work() -> None:
        async for change in seen.driver.watch():
            seen.vms += [item for item in change.objects if isinstance(item, Vm) and item.ref == ref]

    task = asyncio.create_task(work())
    await seen.ear.client.subscribe(on_event)
    vms = next(scope for scope in seen.driver.scopes() if Kind.VM in scope.kinds)
    await seen.driver.list(vms)
    await seen.until(lambda: seen.vm.detailed, "no details")
    return task


async def test_devices_come_and_go(lab: Lab, seen: Seen, file: Callable[[str], str]) -> None:
    nic = "<interface type='network'><mac address='52:54:00:aa:bb:cc'/><source network='lan'/></interface>"
    for verb, event, there in (("attach-device", "added", True), ("detach-device", "removed", False)):
        await asyncio.to_thread(lab.a.virsh, verb, seen.guest.uuid, file(nic), "--live")
        await seen.until(lambda event=event: event in seen.events, f"no event {event}")  # type: ignore[misc]
        await seen.until(
            lambda there=there: ("52:54:00:aa:bb:cc" in [nic.mac for nic in seen.vm.nics]) == there,  # type: ignore[misc]
            "the NIC is not shown as it is",
        )


async def test_metadata_tunables_and_balloon(lab: Lab, seen: Seen) -> None:
    tag = "<vm><tag name='role'>web</tag></vm>"
    words = ("--uri", "https://causeway.dev/xmlns/domain/1", "--key", "causeway", "--live", "--set", tag)
    await asyncio.to_thread(lab.a.virsh, "metadata", seen.guest.uuid, *words)
    await seen.until(lambda: "metadata" in seen.events, "no event")
    await asyncio.to_thread(
        lab.a.virsh, "blkdeviotune", seen.guest.uuid, "vda", "--total-bytes-sec", "9000000", "--live"
    )
    await seen.until(lambda: "tunable" in seen.events, "no event")
    await asyncio.to_thread(lab.a.virsh, "setmem", seen.guest.uuid, "90M", "--live")
    await seen.until(lambda: "balloon" in seen.events, "no event")


async def test_a_medium_and_its_tray(lab: Lab, seen: Seen) -> None:
    medium = "/var/lib/libvirt/boot/vmlinuz"
    await asyncio.to_thread(lab.a.virsh, "change-media", seen.guest.uuid, "hdc", medium, "--insert", "--live")
    await seen.until(lambda: medium in [disk.source for disk in seen.vm.disks], "the medium is not shown")
    await asyncio.to_thread(lab.a.virsh, "change-media", seen.guest.uuid, "hdc", "--eject", "--live")
    await seen.until(lambda: "tray" in seen.events, "no event")
    await seen.until(lambda: medium not in [disk.source for disk in seen.vm.disks], "the medium is shown still")


async def test_reboot_pause_and_end(lab: Lab, seen: Seen) -> None:
    await asyncio.to_thread(seen.guest.tell, lab.a, "reboot", "READY")
    await seen.until(lambda: "reboot" in seen.events, "no event")
    for verb, state in (("suspend", PowerState.PAUSED), ("resume", PowerState.RUNNING), ("destroy", PowerState.OFF)):
        await asyncio.to_thread(lab.a.virsh, verb, seen.guest.uuid)
        await seen.until(lambda state=state: seen.vm.state == state, f"{verb} is not seen")  # type: ignore[misc]


async def test_autostart_has_no_event_and_is_looked_for_while_shown(
    lab: Lab, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "RECHECK_S", 0.0)
    await asyncio.to_thread(lab.a.virsh, "autostart", seen.guest.uuid)
    await seen.driver.meter()
    await seen.until(lambda: seen.vm.autostart, "it is not seen")


async def test_a_full_disk_pauses_the_guest_until_there_is_room(lab: Lab, healed: Lab) -> None:
    """The file of its disk lies in a file system without room; the guest asks to be stopped at an error."""

    def change(xml: str) -> str:
        found = xml.replace("type='raw'/>", "type='raw' cache='writeback' error_policy='stop'/>")
        return found.replace("/var/lib/libvirt/images/", f"{FULL}/")

    guest = await asyncio.to_thread(lambda: lab.make(lab.a, pool="default", start=False, change=change))
    lab.a.run("mkdir", "-p", FULL)
    lab.a.run("mount", "-n", "-t", "tmpfs", "-o", "size=256k", "tmpfs", FULL)
    driver, ear = (Driver("host", Settings({"uri": lab.a.uri})) for _ in range(2))
    try:
        lab.a.run("truncate", "-s", "64M", f"{FULL}/{guest.file}")
        await asyncio.to_thread(lab.a.virsh, "start", guest.uuid)
        await asyncio.to_thread(guest.wait_beats, lab.a)
        await driver.connect()
        await ear.connect()
        seen = Seen(driver, ear, guest)
        following = await follow(seen)
        writing = asyncio.create_task(asyncio.to_thread(guest.tell, lab.a, "write 0 64", "WROTE 0 64"))
        await seen.until(lambda: "ioerror" in seen.events, "no event")
        await seen.until(lambda: seen.vm.state == PowerState.PAUSED, "the pause is not seen")
        assert seen.vm.native_state == "paused (input/output error)"
        lab.a.run("mount", "-n", "-o", "remount,size=80m", FULL)
        await driver.power(seen.vm.ref, PowerAction.RESUME)
        await writing
        following.cancel()
        await asyncio.wait([following])
    finally:
        await driver.close()
        await ear.close()
        with suppress(Exception):
            lab.a.virsh("destroy", guest.uuid)
        lab.a.run("umount", "-n", FULL)
        lab.a.run("rmdir", FULL)
