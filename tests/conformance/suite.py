"""What every driver must do. A driver's own file only says how to open one (see test_demo.py)."""

from __future__ import annotations

import asyncio
import hashlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace

import pytest

from backends import driver as contract
from backends.driver import POWER_CAPABILITIES, Capability, Driver, Settings
from backends.errors import BackendError, Conflict, NotFound
from backends.model import Changed, Kind, Object, PowerAction, PowerState, Ref, Vm, VmSpec
from tests.conformance.consoles import claimed_consoles_work

PROTOCOLS = {
    Capability.WATCH: contract.Watches,
    Capability.METER: contract.Meters,
    Capability.DESCRIBE: contract.Describes,
    Capability.EDIT: contract.Edits,
    Capability.AUTOSTART: contract.Autostarts,
    Capability.DELETE: contract.Deletes,
    Capability.RENAME: contract.Renames,
    Capability.TAG: contract.Tags,
    Capability.CONSOLE: contract.Consoles,
    Capability.SERIAL: contract.Consoles,
    Capability.MOVE_LIVE: contract.MovesLive,
    Capability.EXPORT: contract.Exports,
    Capability.IMPORT: contract.Imports,
    **dict.fromkeys(POWER_CAPABILITIES.values(), contract.Powers),
}
BLOCK = 1 << 19
MIGRATION = "cwconformance0001"


async def everything(driver: Driver) -> list[Object]:
    """All that a driver lists. A scope with an error fails the test."""
    found: list[Object] = []
    for scope in driver.scopes():
        listing = await driver.list(scope)
        assert listing.error is None, listing.error
        assert all(scope.covers(item) for item in listing.objects)
        found += listing.objects
    return found


async def vm_now(driver: Driver, ref: Ref) -> Vm | None:
    found = {item.ref: item for item in await everything(driver) if isinstance(item, Vm)}
    return found.get(ref)


async def until(driver: Driver, ref: Ref, state: PowerState, seconds: float = 60) -> Vm:
    """Wait until the platform itself reports a state."""
    async with asyncio.timeout(seconds):
        while True:
            vm = await vm_now(driver, ref)
            if vm is not None and vm.state == state:
                return vm
            await asyncio.sleep(0.05)


class Conformance(ABC):
    """Subclass it as `TestX`, give `open` and `expected`."""

    expected: frozenset[Capability]
    """The committed table: what this driver claims on this endpoint."""

    @abstractmethod
    def make(self) -> Driver:
        """A fresh, unconnected driver on an endpoint that has at least one VM."""

    def target(self, objects: Sequence[Object]) -> Ref:
        """Where an import goes."""
        return next(item.ref for item in objects if item.ref.kind in (Kind.HOST, Kind.ZONE))

    async def victim(self, driver: Driver) -> Vm:
        """A VM that tests may do anything with."""
        return next(vm for vm in await everything(driver) if isinstance(vm, Vm) and vm.state == PowerState.RUNNING)

    @pytest.fixture
    async def driver(self) -> AsyncIterator[Driver]:
        made = self.make()
        await made.connect()
        yield made
        await made.close()

    async def test_claims_are_the_committed_ones(self, driver: Driver) -> None:
        assert driver.capabilities() == self.expected
        assert driver.capabilities() <= driver.implemented()
        for capability in driver.capabilities():
            if capability in PROTOCOLS:
                assert isinstance(driver, PROTOCOLS[capability]), capability

    async def test_check_finds_nothing_on_a_good_endpoint(self) -> None:
        made = self.make()
        try:
            assert [finding for finding in await made.check() if finding.level == "red"] == []
        finally:
            await made.close()

    async def test_lists_a_sound_tree(self, driver: Driver) -> None:
        objects = await everything(driver)
        refs = {item.ref for item in objects}
        assert len(refs) == len(objects), "an object is listed twice"
        assert any(isinstance(item, Vm) for item in objects)
        for item in objects:
            assert item.ref.connection == driver.name
            assert item.name
            assert item.parent is None or item.parent in refs, f"{item.ref} hangs on nothing"
            assert item.seen.tzinfo is not None

    async def test_listing_twice_is_equal(self, driver: Driver) -> None:
        first = {item.ref: item for item in await everything(driver) if item.ref.kind != Kind.POOL}
        second = {item.ref: item for item in await everything(driver) if item.ref.kind != Kind.POOL}
        assert first.keys() == second.keys()

    async def test_what_holds_a_vm_is_what_its_move_is_told(self, driver: Driver) -> None:
        """A row's verdict while a VM is held must not be taken back when the plan opens."""
        if isinstance(driver, contract.Exports):
            for vm in [item for item in await everything(driver) if isinstance(item, Vm)][:5]:
                facts = await driver.export_facts(vm.ref)
                assert set(vm.hindrances) <= set(facts.blocking)
                assert vm.hindrances == facts.vm.hindrances or not vm.detailed

    async def test_unknown_vm_is_not_found(self, driver: Driver) -> None:
        ghost = Ref(driver.name, Kind.VM, "00000000-dead-4000-8000-000000000000")
        if isinstance(driver, contract.Powers):
            with pytest.raises(NotFound):
                await driver.power(ghost, PowerAction.START)
        if Capability.DELETE in driver.capabilities() and isinstance(driver, contract.Deletes):
            with pytest.raises(NotFound):
                await driver.delete(ghost, disks=False)

    async def test_power_does_what_it_claims(self, driver: Driver) -> None:
        can = driver.capabilities()
        if not can & set(POWER_CAPABILITIES.values()):
            return
        assert isinstance(driver, contract.Powers)
        vm = await self.victim(driver)
        if Capability.PAUSE in can:
            await driver.power(vm.ref, PowerAction.PAUSE)
            await until(driver, vm.ref, PowerState.PAUSED)
            await driver.power(vm.ref, PowerAction.RESUME)
            await until(driver, vm.ref, PowerState.RUNNING)
        if Capability.OFF in can:
            await driver.power(vm.ref, PowerAction.OFF)
            await until(driver, vm.ref, PowerState.OFF)
            if Capability.START in can:
                await driver.power(vm.ref, PowerAction.START)
                await until(driver, vm.ref, PowerState.RUNNING)
                with pytest.raises(BackendError):
                    await driver.power(vm.ref, PowerAction.RESTORE)

    async def test_watch_reports_what_happens(self, driver: Driver) -> None:
        if Capability.WATCH not in driver.capabilities():
            return
        assert isinstance(driver, contract.Watches) and isinstance(driver, contract.Powers)
        vm = await self.victim(driver)
        seen: list[Changed] = []

        async def listen() -> None:
            async for change in driver.watch():  # type: ignore[attr-defined]
                seen.append(change)

        listener = asyncio.create_task(listen())
        await asyncio.sleep(0.2)
        await driver.power(vm.ref, PowerAction.OFF)
        try:
            async with asyncio.timeout(20):
                while not any(  # noqa: ASYNC110
                    isinstance(item, Vm) and item.ref == vm.ref and item.state == PowerState.OFF
                    for change in seen
                    for item in change.objects
                ):
                    await asyncio.sleep(0.02)
        finally:
            listener.cancel()
            with suppress(asyncio.CancelledError):
                await listener
            await driver.power(vm.ref, PowerAction.START)

    async def test_rename_and_tags_come_back(self, driver: Driver) -> None:
        can = driver.capabilities()
        vm = await self.victim(driver)
        if Capability.TAG in can:
            assert isinstance(driver, contract.Tags)
            await driver.tag(vm.ref, {"group": "conformance", "colour": "blue"})
            async with asyncio.timeout(20):
                while True:
                    found = await vm_now(driver, vm.ref)
                    if found and found.detailed and found.group == "conformance":
                        assert ("colour", "blue") in found.tags
                        break
                    await asyncio.sleep(0.05)
            await driver.tag(vm.ref, {"group": vm.group, "colour": ""})

    async def test_meters_name_running_vms(self, driver: Driver) -> None:
        if Capability.METER not in driver.capabilities():
            return
        assert isinstance(driver, contract.Meters)
        await driver.meter()
        await asyncio.sleep(0.2)
        samples = await driver.meter()
        running = {
            item.ref for item in await everything(driver) if isinstance(item, Vm) and item.state == PowerState.RUNNING
        }
        assert running & samples.keys()
        for sample in samples.values():
            assert sample.cpu_percent is None or sample.cpu_percent >= 0

    async def test_bytes_go_out_and_come_in_unchanged(self, driver: Driver) -> None:
        """Export a VM that is off, import it here again under another name, compare, leave nothing."""
        can = driver.capabilities()
        if not {Capability.EXPORT, Capability.IMPORT} <= can:
            return
        assert isinstance(driver, contract.Exports) and isinstance(driver, contract.Imports)
        assert isinstance(driver, contract.Powers)
        before = {item.ref for item in await everything(driver)}
        vm = await self.victim(driver)
        await driver.power(vm.ref, PowerAction.OFF)
        await until(driver, vm.ref, PowerState.OFF)
        settings = self.settings()
        spec = replace(await driver.vm_spec(vm.ref), name="conformance-copy", uuid="")
        to = self.target(await everything(driver))
        session = await driver.begin_export(vm.ref, migration=MIGRATION)
        try:
            ids, sums = await self._copy(driver, settings, spec, to, list(session.disks))
        finally:
            await session.end()
            await driver.discard_export(MIGRATION)
        try:
            made = await driver.create_vm(to, spec, ids, migration=MIGRATION)
            assert await driver.create_vm(to, spec, ids, migration=MIGRATION) == made, "the same id made two VMs"
            assert sums
        finally:
            await driver.discard_import(MIGRATION)
            await driver.power(vm.ref, PowerAction.START)
        after = {item.ref for item in await everything(driver)}
        assert not after - before, "left-overs"

    def settings(self) -> Settings:
        return Settings({})

    async def _copy(
        self, driver: contract.Imports, settings: Settings, spec: VmSpec, to: Ref, disks: Sequence[contract.DiskSpec]
    ) -> tuple[list[str], list[str]]:
        ids, sums = [], []
        for number, source_spec in enumerate(disks):
            pool = ""
            sink_spec = await driver.prepare_disk(to, spec, number, pool=pool, migration=MIGRATION)
            again = await driver.prepare_disk(to, spec, number, pool=pool, migration=MIGRATION)
            assert again.args == sink_spec.args, "preparing twice made two disks"
            cls = type(driver)
            ident, read, back = await asyncio.to_thread(_copy_disk, cls, source_spec, sink_spec, settings)
            assert read == back, "the bytes changed on the way"
            ids.append(ident)
            sums.append(read)
        return ids, sums

    async def test_fence_keeps_a_vm_from_starting(self, driver: Driver) -> None:
        can = driver.capabilities()
        if Capability.EXPORT not in can:
            return
        assert isinstance(driver, contract.Exports) and isinstance(driver, contract.Powers)
        vm = await self.victim(driver)
        with pytest.raises(Conflict):
            await driver.fence(vm.ref, migration=MIGRATION)
        await driver.power(vm.ref, PowerAction.OFF)
        await until(driver, vm.ref, PowerState.OFF)
        await driver.fence(vm.ref, migration=MIGRATION)
        await driver.fence(vm.ref, migration=MIGRATION)
        with pytest.raises(BackendError):
            await driver.power(vm.ref, PowerAction.START)
        await driver.unfence(vm.ref, migration=MIGRATION)
        await driver.power(vm.ref, PowerAction.START)
        await until(driver, vm.ref, PowerState.RUNNING)

    async def test_claimed_consoles_work(self, driver: Driver) -> None:
        await claimed_consoles_work(driver, (await self.victim(driver)).ref)

    async def test_close_is_final_and_idempotent(self) -> None:
        made = self.make()
        await made.connect()
        await made.close()
        await made.close()


def _copy_disk(
    cls: type[contract.Imports], source_spec: contract.DiskSpec, sink_spec: contract.DiskSpec, settings: Settings
) -> tuple[str, str, str]:
    assert issubclass(cls, contract.Exports)
    source = cls.open_source(source_spec, settings)
    sink = cls.open_sink(sink_spec, settings)
    read = hashlib.sha256()
    covered = 0
    step = max(sink.block, BLOCK)
    for offset in range(0, source.size, step):
        data = source.read(offset, min(step, source.size - offset))
        read.update(data)
        if data.strip(b"\0"):
            sink.write(offset, data)
    for extent in source.extents():
        assert extent.offset == covered, "extents leave a hole"
        covered += extent.length
        if not extent.data:
            assert source.read(extent.offset, min(extent.length, BLOCK)).strip(b"\0") == b""
    assert covered == source.size
    sink.flush()
    ident = sink.commit()
    source.close()
    back = hashlib.sha256()
    written = cls.read_back(sink_spec, ident, settings)
    for offset in range(0, source_spec.size_bytes, BLOCK):
        back.update(written.read(offset, min(BLOCK, source_spec.size_bytes - offset)))
    written.close()
    return ident, read.hexdigest(), back.hexdigest()
