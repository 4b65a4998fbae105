"""The EC2 driver on the playground's endpoint, held against the contract."""

from __future__ import annotations

from backends.driver import Capability, Settings
from backends.ec2 import Driver
from tests.backends.cloud import ec2_settings
from tests.conformance.cloud import OnEndpoint

C = Capability


class TestEc2(OnEndpoint):
    expected = frozenset(
        (C.DESCRIBE, C.START, C.SHUTDOWN, C.OFF, C.REBOOT, C.DELETE, C.RENAME, C.TAG, C.SERIAL, C.EXPORT, C.IMPORT)
    )

    def make(self) -> Driver:
        return Driver("cloud", self.settings())

    def settings(self) -> Settings:
        return ec2_settings(self.endpoint)
