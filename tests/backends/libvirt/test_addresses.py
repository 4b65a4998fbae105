"""Which source of a guest's addresses is believed, and that none of them is missed when it fails."""

from __future__ import annotations

from typing import Any

import libvirt
import pytest

from backends.libvirt.picture import addresses

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
