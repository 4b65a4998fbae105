"""What really goes over the wire to a real libvirtd, counted from outside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from app.link import ConnectionState
from app.services import Services
from backends.driver import Settings
from backends.errors import Unreachable
from backends.libvirt import Driver
from backends.libvirt.picture import STATS
from backends.model import Vm
from tests.backends.libvirt.wire import GET_ALL_STATS, GET_XML, Wire
from tests.lab.machine import Lab

pytestmark = pytest.mark.lab


@pytest_asyncio.fixture
async def wire(lab: Lab, healed: Lab) -> AsyncIterator[Wire]:
    async with Wire(lab.a.socket, lab.a.sockets / "tap") as made:
        yield made


@pytest_asyncio.fixture
async def services(wire: Wire, tmp_path: Path) -> AsyncIterator[Services]:
    """The program without a screen, connected to one real host over the wire."""
    opened = await Services.open(tmp_path / "home", vault_key_file=tmp_path / "key")
    try:
        await opened.connections.add("libvirt", "host", {"uri": f"qemu+unix:///system?socket={wire.path}"}, {})
        await until(lambda: all_detailed(opened), "the details do not come")
        yield opened
    finally:
        await opened.close()


def all_detailed(services: Services) -> bool:
    connection = services.connections.get("host")
    vms = [item for item in services.inventory if isinstance(item, Vm)]
    return connection is not None and connection.listed and bool(vms) and all(vm.detailed for vm in vms)


async def until(done: object, failure: str, seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not done():  # type: ignore[operator]  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_the_tap_counts(wire: Wire) -> None:
    driver = Driver("host", Settings({"uri": f"qemu+unix:///system?socket={wire.path}"}))
    await driver.connect()
    before = wire.calls.copy()
    await driver.client.call(lambda conn: conn.getAllDomainStats(STATS, 0) and None)
    assert wire.calls - before == {GET_ALL_STATS: 1}
    before = wire.calls.copy()
    await driver.client.call(lambda conn: conn.listAllDomains(0)[0].XMLDesc(0) and None)
    assert (wire.calls - before)[GET_XML] == 1
    await driver.close()


async def test_a_tick_is_one_call(wire: Wire) -> None:
    driver = Driver("host", Settings({"uri": f"qemu+unix:///system?socket={wire.path}"}))
    await driver.connect()
    before = wire.calls.copy()
    for _ in range(5):
        assert await driver.meter()
    assert wire.calls - before == {GET_ALL_STATS: 5}
    await driver.close()


async def test_a_listing_costs_the_same_for_any_number_of_vms(lab: Lab, wire: Wire) -> None:
    driver = Driver("host", Settings({"uri": f"qemu+unix:///system?socket={wire.path}"}))
    await driver.connect()
    vms = next(scope for scope in driver.scopes() if "vm" in scope.kinds)
    costs = []
    for _ in range(2):
        before = wire.calls.copy()
        assert (await driver.list(vms)).error is None
        costs.append(wire.calls - before)
        await asyncio.to_thread(lab.make, lab.a, start=False)
    assert costs[0] == costs[1]
    assert costs[0][GET_XML] == 0 and costs[0][GET_ALL_STATS] == 1
    await driver.close()


async def test_idle_and_shown_asks_for_stats_only(
    services: Services, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.link.METER_S", 1.0)
    ticks: list[int] = []
    services.inventory.subscribe_meters(lambda samples: ticks.append(len(samples)))
    # A guest's address is looked for once more some seconds after it was first seen running.
    await asyncio.sleep(6)
    before = wire.calls.copy()
    services.connections.shown({"host"})
    await until(lambda: len(ticks) >= 6, "no ticks")
    services.connections.shown(set())
    asked = wire.calls - before
    assert asked == {GET_ALL_STATS: len(ticks)}, asked
    before = wire.calls.copy()
    await asyncio.sleep(3)
    # One tick may have been on its way when it was hidden.
    assert (wire.calls - before).total() <= 1


async def test_a_cut_is_unreachable_and_the_connection_comes_back(services: Services, wire: Wire) -> None:
    states: list[ConnectionState] = []
    services.connections.subscribe(lambda connection: states.append(connection.state))
    driver = services.connections.driver("host")
    wire.cut()
    await until(lambda: ConnectionState.RETRYING in states, "the loss is not seen")
    with pytest.raises(Unreachable):
        await driver.meter()  # type: ignore[attr-defined]
    await until(lambda: states[-1] == ConnectionState.READY, "it does not come back")
    await until(lambda: all_detailed(services), "the details do not come back")
    assert [event.text for event in services.events if "connected again" in event.text]


async def test_tcp_and_the_test_driver_over_a_wire(lab: Lab) -> None:
    async with Wire(lab.a.socket) as tcp:
        for uri, vms in (
            (f"qemu+tcp://127.0.0.1:{tcp.port}/system", True),
            (f"test+tcp://127.0.0.1:{tcp.port}/default", True),
        ):
            driver = Driver("far", Settings({"uri": uri}))
            assert await driver.check() == []
            await driver.connect()
            scope = next(scope for scope in driver.scopes() if "vm" in scope.kinds)
            assert bool((await driver.list(scope)).objects) == vms
            assert await driver.meter()
            await driver.close()
