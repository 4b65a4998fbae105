"""The libcloud driver, with libcloud's EC2 driver on the playground's endpoint, held against the contract."""

from __future__ import annotations

from backends.driver import Capability, Settings
from backends.libcloud import Driver
from tests.backends.cloud import libcloud_settings
from tests.conformance.cloud import OnEndpoint

C = Capability


class TestLibcloud(OnEndpoint):
    expected = frozenset((C.DESCRIBE, C.START, C.SHUTDOWN, C.REBOOT, C.DELETE, C.SERIAL))

    def make(self) -> Driver:
        return Driver("lc", self.settings())

    def settings(self) -> Settings:
        return libcloud_settings(self.endpoint)
