"""The EC2 driver on the playground's endpoint, held against the contract."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.playground.endpoint import Endpoint
from backends import driver as contract
from backends.driver import Capability, Settings
from backends.ec2 import Driver
from backends.model import PowerState, Vm
from tests.backends.cloud import ec2_settings, running_endpoint
from tests.conformance.suite import Conformance, everything, until

C = Capability


class TestEc2(Conformance):
    expected = frozenset(
        (C.DESCRIBE, C.START, C.SHUTDOWN, C.OFF, C.REBOOT, C.DELETE, C.RENAME, C.TAG, C.SERIAL, C.EXPORT, C.IMPORT)
    )
    endpoint: Endpoint

    @pytest.fixture(autouse=True)
    def _cloud(self) -> Iterator[None]:
        with running_endpoint("web-1", "web-2") as endpoint:
            type(self).endpoint = endpoint
            yield

    def make(self) -> Driver:
        return Driver("cloud", self.settings())

    async def victim(self, driver: contract.Driver) -> Vm:
        """The first VM, once the cloud has started it."""
        first = next(item for item in await everything(driver) if isinstance(item, Vm))
        return await until(driver, first.ref, PowerState.RUNNING)

    def settings(self) -> Settings:
        return ec2_settings(self.endpoint)
