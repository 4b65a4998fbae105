"""The EC2 driver on the playground's endpoint."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.playground.endpoint import Endpoint
from backends.driver import Capability, Settings
from backends.ec2 import Driver
from tests.backends.cloud import ec2_settings, running_endpoint
from tests.conformance.suite import Conformance


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with running_endpoint("web-01", "db-01") as made:
        yield made


class TestEc2(Conformance):
    expected = frozenset(
        {
            Capability.DESCRIBE,
            Capability.START,
            Capability.SHUTDOWN,
            Capability.OFF,
            Capability.REBOOT,
            Capability.DELETE,
            Capability.RENAME,
            Capability.TAG,
            Capability.EXPORT,
            Capability.IMPORT,
        }
    )
    endpoint: Endpoint

    @pytest.fixture(autouse=True)
    def _endpoint(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    def make(self) -> Driver:
        return Driver("cloud", self.settings())

    def settings(self) -> Settings:
        return ec2_settings(self.endpoint)
