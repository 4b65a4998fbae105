"""Which source of a guest's addresses is believed, that none is missed when it fails, and when they are looked for."""

from __future__ import annotations

import asyncio
from typing import Any

import libvirt
import pytest

from backends.driver import Settings
from backends.libvirt import Driver, picture, session
from backends.libvirt.picture import addresses
from backends.model import Kind, PowerAction, Vm

LEASE = libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE
AGENT = libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT
ARP = libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP


class Domain:
    """A domain whose sources answer as libvirt's do; one that is not given fails."""

    def __init__(self, **answers: list[str]) -> None:
        self._answers = {{"lease": LEASE, "agent": AGENT, "arp": ARP}[name]: found for name, found in answers.items()}
        self.asked: list[int] = []

    def interfaceAddresses(self, source: int, flags: int) -> dict[str, Any]:
        self.asked.append(source)
        if source not in self._answers:
            raise libvirt.libvirtError(
                {AGENT: "Guest agent is not responding", ARP: "wrong nlmsg len"}.get(source, "no")
            )
        nics = [{"addr": address, "prefix": 24, "type": 0} for address in self._answers[source]]
        loop = {"addrs": [{"addr": "127.0.0.1", "prefix": 8, "type": 0}], "hwaddr": "00:00:00:00:00:00"}
        return {"lo": loop, "vnet0": {"addrs": nics or None, "hwaddr": "52:54:00:00:00:01"}}


@pytest.mark.parametrize(
    ("domain", "agent", "found", "asked"),
    [
        (Domain(agent=["10.0.0.1", "fe80::1", "fd00::1"]), True, ("10.0.0.1", "fd00::1"), [AGENT]),
        (Domain(lease=["10.0.0.2"], agent=["10.0.0.1"]), False, ("10.0.0.2",), [LEASE]),
        (Domain(lease=["10.0.0.2"]), True, ("10.0.0.2",), [AGENT, LEASE]),
        (Domain(lease=[], arp=["10.0.0.3", "10.0.0.3"]), False, ("10.0.0.3",), [LEASE, ARP]),
        (Domain(lease=[]), False, (), [LEASE, ARP]),
        (Domain(), True, (), [AGENT, LEASE, ARP]),
    ],
    ids=["agent", "no agent", "agent hangs", "arp", "arp cannot be read", "nobody knows"],
)
def test_the_first_source_that_knows_is_believed(
    domain: Domain, agent: bool, found: tuple[str, ...], asked: list[int]
) -> None:
    assert addresses(domain, agent) == found
    assert domain.asked == asked


async def test_a_start_is_followed_by_looks_although_its_action_knew_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event may come when an action's own look has already shown the guest as running."""
    answers = [(), (), ("192.0.2.7",)]
    monkeypatch.setattr(session, "ADDRESS_AFTER_S", 0.02)
    monkeypatch.setattr(picture, "addresses", lambda domain, agent: answers.pop(0) if answers[1:] else answers[0])
    driver = Driver("host", Settings({"uri": "test:///default"}))
    await driver.connect()
    driver.session.guests = True
    subscribed: list[Any] = []

    async def subscribe(handler: Any) -> None:
        subscribed.append(handler)

    monkeypatch.setattr(driver.client, "subscribe", subscribe)
    (vm,) = (await driver.list(next(scope for scope in driver.scopes() if Kind.VM in scope.kinds))).objects
    await driver.power(vm.ref, PowerAction.OFF)
    changes = driver.watch()
    coming = asyncio.ensure_future(anext(changes))
    while not subscribed:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await driver.power(vm.ref, PowerAction.START)
    subscribed[0]("lifecycle", vm.ref.id, (libvirt.VIR_DOMAIN_EVENT_STARTED, 0))
    async with asyncio.timeout(30):
        while not any(isinstance(item, Vm) and item.addresses for item in (await coming).objects):
            coming = asyncio.ensure_future(anext(changes))
    await driver.close()
