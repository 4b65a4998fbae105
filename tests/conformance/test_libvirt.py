"""The libvirt driver on libvirt's own test driver; the real hosts are in tests/lab."""

from __future__ import annotations

from backends.driver import Capability, Settings
from backends.libvirt import Driver
from tests.conformance.suite import Conformance

C = Capability


class TestLibvirtTestDriver(Conformance):
    expected = frozenset(C) - {C.CONSOLE, C.SERIAL, C.MOVE_LIVE, C.EXPORT, C.IMPORT}

    def make(self) -> Driver:
        return Driver("test", self.settings())

    def settings(self) -> Settings:
        return Settings({"uri": "test:///default"})
