"""The libcloud driver, with libcloud's EC2 driver on the playground's endpoint, held against the contract."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.playground.endpoint import Endpoint
from backends import driver as contract
from backends.driver import Capability, Settings
from backends.libcloud import Driver
from backends.model import PowerState, Vm
from tests.backends.cloud import libcloud_settings, running_endpoint
from tests.conformance.suite import Conformance, everything, until

C = Capability


class TestLibcloud(Conformance):
    expected = frozenset((C.DESCRIBE, C.START, C.SHUTDOWN, C.REBOOT, C.DELETE, C.SERIAL))
    endpoint: Endpoint

    @pytest.fixture(autouse=True)
    def _cloud(self) -> Iterator[None]:
        with running_endpoint("web-1", "web-2") as endpoint:
            type(self).endpoint = endpoint
            yield

    def make(self) -> Driver:
        return Driver("lc", self.settings())

    async def victim(self, driver: contract.Driver) -> Vm:
        """The first VM, once the cloud has started it."""
        first = next(item for item in await everything(driver) if isinstance(item, Vm))
        return await until(driver, first.ref, PowerState.RUNNING)

    def settings(self) -> Settings:
        return libcloud_settings(self.endpoint)
