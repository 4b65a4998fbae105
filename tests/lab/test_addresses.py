"""Where a guest's addresses come from: its agent, the leases of libvirt's DHCP, or nobody, and then nothing breaks."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from app.playground.errors import PlaygroundError
from app.playground.hosts import Host
from app.playground.running import call
from backends.driver import Settings
from backends.libvirt import Driver, session
from backends.model import Changed, Kind, Origin, PowerAction, Ref, Vm
from tests.lab.machine import PATIENCE, Lab, LabGuest, until
from tests.lab.program import prepared

pytestmark = pytest.mark.lab
LAN = "network='lan'"
CHANNEL = re.compile(r"<channel type='unix'>.*?</channel>")
LEASED = """<network xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'><name>leased</name>
<forward mode='open'/><bridge name='br8' stp='off'/><ip address='198.51.100.1' prefix='24'>
<dhcp><range start='198.51.100.20' end='198.51.100.29'/></dhcp></ip>
<dnsmasq:options><dnsmasq:option value='no-ping'/></dnsmasq:options></network>"""
"""Without rules of a firewall, and without three seconds in which dnsmasq asks whether an address is free."""


@pytest_asyncio.fixture
async def driver(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Driver]:
    """The driver on lab.a, that never looks for an address by the clock."""
    monkeypatch.setattr(session, "ADDRESS_AFTER_S", 1e6)
    made = Driver("kvm-a", Settings({"uri": lab.a.uri}))
    await made.connect()
    yield made
    await made.close()


def planned(lab: Lab, guest: LabGuest) -> str:
    """The address that the lab gave a guest on its kernel's command line."""
    found = re.search(r"guest\.ip=([\d.]+)/24", lab.a.virsh("dumpxml", guest.uuid))
    assert found is not None
    return found[1]


def told(host: Host, guest: LabGuest) -> str:
    """What the guest's agent says of its addresses, nothing while it does not answer."""
    try:
        return host.virsh("domifaddr", guest.uuid, "--source", "agent")
    except PlaygroundError:
        return ""


async def seen(driver: Driver, guest: LabGuest, seconds: float = PATIENCE) -> Vm:
    """The first picture of a guest with an address that the driver reports on its own after its start."""
    ref = Ref(driver.name, Kind.VM, guest.uuid)
    arrived: asyncio.Queue[Changed] = asyncio.Queue()

    async def watch() -> None:
        async for change in driver.watch():
            arrived.put_nowait(change)

    async def told_of(wanted: Callable[[Vm], object]) -> Vm:
        while True:
            for item in (await arrived.get()).objects:
                if isinstance(item, Vm) and item.ref == ref and wanted(item):
                    return item

    watching = asyncio.create_task(watch())
    try:
        async with asyncio.timeout(seconds):
            await driver.list(next(scope for scope in driver.scopes() if "vm" in scope.kinds))
            # Its details are told once the events are subscribed to.
            assert not (await told_of(lambda vm: vm.detailed)).addresses
            await driver.power(ref, PowerAction.START)
            return await told_of(lambda vm: vm.addresses)
    finally:
        watching.cancel()
        await asyncio.wait({watching})


async def test_the_agent_tells_and_its_coming_is_an_event(lab: Lab, healed: Lab, driver: Driver) -> None:
    guest = await asyncio.to_thread(lab.make, lab.a, start=False)
    vm = await seen(driver, guest)
    assert vm.addresses == (planned(lab, guest),)
    assert vm.origin == Origin.EVENT
    assert vm.addresses[0] in await asyncio.to_thread(told, lab.a, guest)


async def test_the_agent_moves_with_its_guest(lab: Lab, fresh_guest: LabGuest) -> None:
    address = planned(lab, fresh_guest)
    until(lambda: address in told(lab.a, fresh_guest), "the agent does not answer")
    flags = ("--live", "--persistent", "--undefinesource", fresh_guest.uuid, lab.b.uri)
    lab.a.virsh("migrate", *flags, "--migrateuri", f"tcp://{lab.b.address}")
    until(lambda: address in told(lab.b, fresh_guest), "the agent did not come along")


def test_the_agent_freezes_and_ends_the_guest(lab: Lab, healed: Lab) -> None:
    guest = lab.make(lab.a, pool="default", bootable=True)
    guest.wait_beats(lab.a, 1)
    until(lambda: told(lab.a, guest) != "", "the agent does not answer")
    for verb, state in (("domfsfreeze", "frozen"), ("domfsthaw", "thawed")):
        assert "1 filesystem" in call("virsh", "-c", lab.a.uri, verb, guest.uuid)
        assert state in lab.a.virsh("qemu-agent-command", guest.uuid, '{"execute":"guest-fsfreeze-status"}')
    lab.a.virsh("shutdown", guest.uuid, "--mode", "agent")
    until(lambda: guest.where() == [], "it does not shut down")


@pytest.fixture
def leasing(lab: Lab, healed: Lab) -> Iterator[Lab]:
    """lab.a with a network in which libvirt's own dnsmasq gives addresses out."""
    (lab.a.folder / "lib/made.xml").write_text(LEASED, encoding="utf-8")
    lab.a.virsh("net-create", str(lab.a.folder / "lib/made.xml"))
    yield lab
    lab.clear()
    lab.a.virsh("net-destroy", "leased")


async def test_a_lease_tells_once_the_guest_has_it(
    leasing: Lab, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No agent, and no event: the guest has its lease seconds after its start, and is looked at again until then."""
    monkeypatch.setattr(session, "ADDRESS_AFTER_S", 1.0)

    def asks(xml: str) -> str:
        return re.sub(r"guest\.ip=[\d./]+", "guest.ip=dhcp", CHANNEL.sub("", xml)).replace(LAN, "network='leased'")

    guest = await asyncio.to_thread(lambda: leasing.make(leasing.a, start=False, change=asks))
    # Each pause is twice the last: what comes after 63 s is seen after 127 s.
    vm = await seen(driver, guest, 2 * PATIENCE)
    (address,) = vm.addresses
    assert address.startswith("198.51.100.2")
    assert f"{address}/24" in leasing.a.virsh("net-dhcp-leases", "leased", vm.nics[0].mac)


async def test_without_an_agent_nothing_breaks(lab: Lab, healed: Lab, driver: Driver) -> None:
    """No leases on a bridge, and some libvirts cannot read the ARP table ("wrong nlmsg len"): that is no error."""
    guest = await asyncio.to_thread(lambda: lab.make(lab.a, change=lambda xml: CHANNEL.sub("", xml)))
    await asyncio.to_thread(guest.wait_beats, lab.a, 1)
    await driver.session.refresh(guest.uuid)
    scope = next(scope for scope in driver.scopes() if "vm" in scope.kinds)
    listing = await driver.list(scope)
    vm = next(item for item in listing.objects if item.ref.id == guest.uuid)
    assert isinstance(vm, Vm) and vm.detailed and vm.nics and listing.error is None
    assert set(vm.addresses) <= {planned(lab, guest)}


def test_ls_says_the_address(lab: Lab, fresh_guest: LabGuest, tmp_path: Path) -> None:
    address = planned(lab, fresh_guest)
    until(lambda: address in told(lab.a, fresh_guest), "the agent does not answer")
    program = prepared(lab, tmp_path)
    answer = program.run("ls", fresh_guest.name)
    assert answer.code == 0, answer.words
    assert [row["addresses"] for row in answer.data] == [[address]]
    found = program.run("ls", f"ip:{address}")
    assert [row["name"] for row in found.data] == [fresh_guest.name]
