"""The demo driver, held against the contract."""

from __future__ import annotations

import pytest

from backends.demo import Driver
from backends.driver import Capability, Settings
from backends.errors import Conflict
from backends.model import PowerAction
from tests.conformance.suite import Conformance


class TestDemo(Conformance):
    expected = frozenset(Capability) - {Capability.EDIT}

    def make(self) -> Driver:
        return Driver("demo", self.settings())

    async def test_a_fence_belongs_to_one_migration(self, driver: Driver) -> None:
        vm = await self.victim(driver)
        await driver.power(vm.ref, PowerAction.OFF)
        await driver.fence(vm.ref, migration="first")
        with pytest.raises(Conflict):
            await driver.fence(vm.ref, migration="second")

    def settings(self) -> Settings:
        return Settings({"vms": "6", "hosts": "2"})
