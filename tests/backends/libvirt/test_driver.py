"""The driver on libvirt's own test driver: no mock, no hypervisor."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from backends.driver import Capability, Settings
from backends.errors import Conflict, Invalid, NotFound, Unreachable
from backends.libvirt import Driver
from backends.model import Changed, Kind, PowerAction, PowerState, Ref, Vm

DOMAIN = "<domain type='test'><name>d{0}</name><memory>8192</memory><vcpu>2</vcpu><os><type>hvm</type></os></domain>"
NODE = "<node><cpu><mhz>6000</mhz><model>m</model><active>50</active><nodes>4</nodes><sockets>4</sockets>"
NODE += "<cores>4</cores><threads>2</threads></cpu><memory>6291456</memory>{0}</node>"


async def vms(driver: Driver) -> list[Vm]:
    scope = next(scope for scope in driver.scopes() if Kind.VM in scope.kinds)
    listing = await driver.list(scope)
    assert listing.error is None
    return [item for item in listing.objects if isinstance(item, Vm)]


@pytest.fixture
def world(tmp_path: Path) -> str:
    path = tmp_path / "host.xml"
    path.write_text(NODE.format("".join(DOMAIN.format(i) for i in range(3))), encoding="utf-8")
    return f"test://{path}"


@pytest.fixture
async def driver(world: str) -> AsyncIterator[Driver]:
    made = Driver("t", Settings({"uri": world}))
    await made.connect()
    yield made
    await made.close()


async def next_change(stream: AsyncIterator[Changed], ref: Ref) -> Vm | None:
    """The next thing a watch says of one VM; None if it is gone."""
    async with asyncio.timeout(60):
        async for change in stream:
            if ref in change.removed:
                return None
            for item in change.objects:
                if item.ref == ref and isinstance(item, Vm):
                    return item
    raise AssertionError("the watch ended")


async def test_lists_every_scope(driver: Driver) -> None:
    objects = []
    for scope in driver.scopes():
        listing = await driver.list(scope)
        assert listing.error is None, listing.error
        objects += listing.objects
    assert [item.name for item in objects if item.ref.kind == Kind.VM] == ["d0", "d1", "d2"]
    host = next(item for item in objects if item.ref.kind == Kind.HOST)
    assert all(item.parent == host.ref for item in objects if item.ref.kind == Kind.VM)
    assert all(vm.vcpus == 2 and vm.memory_bytes == 8 << 20 for vm in objects if isinstance(vm, Vm))


async def test_the_first_listing_reads_no_xml(driver: Driver) -> None:
    assert not any(vm.detailed for vm in await vms(driver))


async def test_details_come_by_the_watch(driver: Driver) -> None:
    stream = driver.watch()
    first = (await vms(driver))[0]
    changed = await next_change(stream, first.ref)
    assert changed is not None and changed.detailed
    await stream.aclose()  # type: ignore[attr-defined]
    assert (await vms(driver))[0].detailed


async def test_power_and_events(driver: Driver) -> None:
    stream = driver.watch()
    waiting = asyncio.create_task(anext(aiter(stream)))
    vm = (await vms(driver))[0]
    await waiting
    for action, state in (
        (PowerAction.PAUSE, PowerState.PAUSED),
        (PowerAction.RESUME, PowerState.RUNNING),
        (PowerAction.SAVE, PowerState.SUSPENDED),
        (PowerAction.RESTORE, PowerState.RUNNING),
        (PowerAction.OFF, PowerState.OFF),
        (PowerAction.START, PowerState.RUNNING),
    ):
        await driver.power(vm.ref, action)
        while (seen := await next_change(stream, vm.ref)) is not None and seen.state != state:
            pass
        assert next(item for item in await vms(driver) if item.ref == vm.ref).state == state
    with pytest.raises(Conflict):
        await driver.power(vm.ref, PowerAction.START)
    await stream.aclose()  # type: ignore[attr-defined]


async def test_a_change_from_outside_is_seen(driver: Driver) -> None:
    stream = driver.watch()
    waiting = asyncio.create_task(anext(aiter(stream)))
    vm = (await vms(driver))[1]
    await waiting
    await driver.client.call(lambda conn: conn.lookupByUUIDString(vm.uuid).destroy() and None)
    while (seen := await next_change(stream, vm.ref)) is not None and seen.state != PowerState.OFF:
        pass
    assert seen is not None and seen.origin == "event"
    await stream.aclose()  # type: ignore[attr-defined]


async def test_tags_group_rename_autostart_delete(driver: Driver) -> None:
    vm = (await vms(driver))[2]
    await driver.tag(vm.ref, {"role": "web", "group": "shop"})
    seen = next(item for item in await vms(driver) if item.ref == vm.ref)
    assert seen.tags == (("role", "web"),) and seen.group == "shop"
    await driver.tag(vm.ref, {"role": ""})
    assert next(item for item in await vms(driver) if item.ref == vm.ref).tags == ()
    await driver.autostart(vm.ref, True)
    assert next(item for item in await vms(driver) if item.ref == vm.ref).autostart
    with pytest.raises(Conflict):
        await driver.rename(vm.ref, "d0")
    with pytest.raises(Conflict):
        await driver.delete(vm.ref, disks=False)
    await driver.power(vm.ref, PowerAction.OFF)
    await driver.rename(vm.ref, "other")
    assert "other" in [item.name for item in await vms(driver)]
    await driver.delete(vm.ref, disks=True)
    assert vm.ref not in [item.ref for item in await vms(driver)]
    with pytest.raises(NotFound):
        await driver.power(vm.ref, PowerAction.START)


async def test_edit_and_its_conflicts(driver: Driver) -> None:
    vm = (await vms(driver))[0]
    old = await driver.definition(vm.ref)
    with pytest.raises(Invalid):
        await driver.redefine(vm.ref, old, old.replace("</domain>", ""))
    with pytest.raises(Invalid):
        await driver.redefine(vm.ref, old, old.replace(vm.uuid, "00000000-0000-4000-8000-000000000009"))
    new = old.replace("</name>", "</name><title>shop</title>")
    await driver.redefine(vm.ref, old, new)
    assert "<title>shop</title>" in await driver.definition(vm.ref)
    with pytest.raises(Conflict):
        await driver.redefine(vm.ref, old, new.replace("shop", "mine"))


async def test_meter_gives_every_running_vm(driver: Driver) -> None:
    running = {vm.ref for vm in await vms(driver) if vm.state == PowerState.RUNNING}
    assert set(await driver.meter()) == running


async def test_locate(driver: Driver) -> None:
    vm = (await vms(driver))[0]
    assert await driver.locate(vm.uuid) == vm.ref
    assert await driver.locate("00000000-0000-4000-8000-000000000000") is None


async def test_closing_ends_the_watch(driver: Driver) -> None:
    stream = driver.watch()
    waiting = asyncio.create_task(anext(aiter(stream)))
    await asyncio.sleep(0)
    await driver.close()
    with pytest.raises(Unreachable):
        while True:
            await waiting
            waiting = asyncio.create_task(anext(aiter(stream)))


async def test_the_test_driver_claims_no_move(driver: Driver) -> None:
    assert Capability.MOVE_LIVE not in driver.capabilities()
    assert Capability.MOVE_LIVE in Driver("x", Settings({"uri": "qemu:///system"})).capabilities()


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        ("qemu+tcp://127.0.0.1:1/system", "unreachable"),
        ("qemu+unix:///system?socket=/nowhere/sock", "unreachable"),
        ("qemu+smoke:///system", "invalid"),
        ("", "invalid"),
    ],
)
async def test_check_says_what_is_wrong(uri: str, code: str) -> None:
    found = await Driver("x", Settings({"uri": uri})).check()
    assert [finding.code for finding in found] == [code]
    assert found[0].field == "uri"


async def test_a_thousand_domains_cost_no_idle_cpu(tmp_path: Path) -> None:
    path = tmp_path / "many.xml"
    path.write_text(NODE.format("".join(DOMAIN.format(i) for i in range(1000))), encoding="utf-8")
    driver = Driver("many", Settings({"uri": f"test://{path}"}))
    await driver.connect()
    stream = driver.watch()
    detailed: set[Ref] = set()
    complete = asyncio.Event()

    async def follow() -> None:
        async for change in stream:
            detailed.update(item.ref for item in change.objects if isinstance(item, Vm) and item.detailed)
            if len(detailed) == 1000:
                complete.set()

    following = asyncio.create_task(follow())
    assert len(await vms(driver)) == 1000
    async with asyncio.timeout(60):
        await complete.wait()
    for _ in range(5):
        used = time.process_time()
        await asyncio.sleep(1)
        if (used := time.process_time() - used) < 0.3:
            break
    assert used < 0.3, "it does not come to rest"
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following
    await driver.close()
