"""The demo driver, held against the contract."""

from __future__ import annotations

from backends.demo import Driver
from backends.driver import Capability, Settings
from tests.conformance.suite import Conformance


class TestDemo(Conformance):
    expected = frozenset(Capability) - {Capability.EDIT}

    def make(self) -> Driver:
        return Driver("demo", self.settings())

    def settings(self) -> Settings:
        return Settings({"vms": "6", "hosts": "2"})
