"""A driver on the playground's endpoint with two instances, made anew for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.playground.endpoint import Endpoint
from backends import driver as contract
from backends.model import PowerState, Vm
from tests.backends.cloud import running_endpoint
from tests.conformance.suite import Conformance, everything, until


class OnEndpoint(Conformance):
    endpoint: Endpoint

    @pytest.fixture(autouse=True)
    def _cloud(self) -> Iterator[None]:
        with running_endpoint("web-1", "web-2") as endpoint:
            type(self).endpoint = endpoint
            yield

    async def victim(self, driver: contract.Driver) -> Vm:
        """The first VM, once the cloud has started it."""
        first = next(item for item in await everything(driver) if isinstance(item, Vm))
        return await until(driver, first.ref, PowerState.RUNNING)
