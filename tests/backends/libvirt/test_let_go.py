"""What a broken live move left on its source goes when its target runs it, and is not touched in any other case."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backends.driver import Settings
from backends.errors import Conflict
from backends.libvirt import Driver
from backends.model import Kind, PowerAction, PowerState, Ref, Vm

UUID = "4dea22b3-1d52-d8f3-2516-782e98ab3fa0"
DOMAIN = f"<domain type='test'><name>web</name><uuid>{UUID}</uuid><memory>8192</memory><vcpu>2</vcpu>"
DOMAIN += "<os><type>hvm</type></os></domain>"
NODE = "<node><cpu><mhz>6000</mhz><model>m</model><active>50</active><nodes>4</nodes><sockets>4</sockets>"
NODE += "<cores>4</cores><threads>2</threads></cpu><memory>6291456</memory>{0}</node>"
TO = {PowerState.PAUSED: PowerAction.PAUSE, PowerState.OFF: PowerAction.OFF}


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Driver, Driver]]:
    """Two of libvirt's test hosts; the same VM runs on both, as far as they know."""
    made = []
    for name in ("a", "b"):
        path = tmp_path / f"{name}.xml"
        path.write_text(NODE.format(DOMAIN), encoding="utf-8")
        made.append(Driver(name, Settings({"uri": f"test://{path}"})))
        await made[-1].connect()
    yield made[0], made[1]
    for driver in made:
        await driver.close()


def ref(driver: Driver) -> Ref:
    return Ref(driver.name, Kind.VM, UUID)


async def brought(driver: Driver, state: PowerState | None) -> None:
    if state is None:
        await driver.power(ref(driver), PowerAction.OFF)
        await driver.delete(ref(driver), disks=False)
    elif state in TO:
        await driver.power(ref(driver), TO[state])


async def known(driver: Driver) -> list[Vm]:
    listing = await driver.list(next(scope for scope in driver.scopes() if Kind.VM in scope.kinds))
    return [item for item in listing.objects if isinstance(item, Vm)]


@pytest.mark.parametrize("left", [PowerState.PAUSED, PowerState.OFF])
async def test_it_goes_and_the_one_that_runs_starts_with_its_host_as_it_did(
    pair: tuple[Driver, Driver], left: PowerState
) -> None:
    a, b = pair
    await a.autostart(ref(a), True)
    await brought(a, left)
    for _ in range(2):
        await a.let_go(ref(a), b)
        assert await known(a) == []
    (there,) = await known(b)
    assert (there.state, there.autostart) == (PowerState.RUNNING, True)


@pytest.mark.parametrize(
    ("here", "there"),
    [
        (PowerState.PAUSED, None),
        (PowerState.PAUSED, PowerState.PAUSED),
        (PowerState.OFF, PowerState.OFF),
        (PowerState.RUNNING, PowerState.RUNNING),
    ],
)
async def test_nothing_is_touched_unless_it_runs_there_and_only_there(
    pair: tuple[Driver, Driver], here: PowerState, there: PowerState | None
) -> None:
    a, b = pair
    await brought(a, here)
    await brought(b, there)
    with pytest.raises(Conflict, match="nothing was touched"):
        await a.let_go(ref(a), b)
    assert [vm.state for vm in await known(a)] == [here]
    assert [vm.state for vm in await known(b)] == ([there] if there else [])
