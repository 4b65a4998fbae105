"""What EC2 kept of an instance's serial line."""

from __future__ import annotations

import json

import pytest

from app.playground.endpoint import Endpoint
from backends.consoles import Console, ConsoleKind
from backends.driver import Capability
from backends.ec2 import Driver
from backends.errors import NotFound, Throttled
from tests.backends.ec2.test_driver import all_vms

KERNEL = "Linux version 2.6.16-xenU"
"""How the endpoint's own sample begins."""


async def output(driver: Driver) -> Console:
    vm = next(vm for vm in await all_vms(driver) if vm.name == "web-1")
    (console,) = await driver.consoles(vm.ref)
    assert console.kind is ConsoleKind.OUTPUT and not console.hindrance
    return console


async def test_the_kept_text_is_plain(driver: Driver) -> None:
    door = await driver.open_console(await output(driver))
    assert door.socket is None and door.text.startswith(KERNEL) and "\n" in door.text


async def test_a_type_without_the_latest_gives_its_last_boot(endpoint: Endpoint, driver: Driver) -> None:
    console = await output(driver)
    endpoint.faults_file.write_text(json.dumps({"GetConsoleOutput": {"mode": "unsupported", "count": 1}}))
    assert (await driver.open_console(console)).text.startswith(KERNEL)
    endpoint.faults_file.write_text(json.dumps({"GetConsoleOutput": {"mode": "throttle"}}))
    with pytest.raises(Throttled):
        await driver.open_console(console)


async def test_a_key_that_may_not_read_it_has_no_serial_lines(endpoint: Endpoint, driver: Driver) -> None:
    endpoint.faults_file.write_text(json.dumps({"GetConsoleOutput": {"mode": "denied"}}))
    await driver.connect()
    assert driver.capabilities() == driver.implemented() - {Capability.SERIAL}


async def test_there_is_nothing_else(driver: Driver) -> None:
    console = await output(driver)
    with pytest.raises(NotFound):
        await driver.open_console(Console(console.vm, ConsoleKind.SERIAL, "serial console"))
