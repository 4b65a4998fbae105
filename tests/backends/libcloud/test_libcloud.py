"""The libcloud driver on the real endpoint, through libcloud's own EC2 driver."""

from __future__ import annotations

import asyncio
import importlib
import json
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from app.playground.endpoint import Endpoint
from backends.driver import Capability, Settings
from backends.errors import NotFound, Unsupported
from backends.libcloud import Driver, providers
from backends.model import Flavor, Kind, PowerAction, PowerState, Ref, Scope, Section, Vm
from tests.backends.cloud import libcloud_settings, running_endpoint

C = Capability
EXPECTED = {C.DESCRIBE, C.START, C.SHUTDOWN, C.REBOOT, C.DELETE, C.SERIAL}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with running_endpoint("web-1", "web-2") as started:
        yield started


@pytest.fixture
async def driver(endpoint: Endpoint) -> AsyncIterator[Driver]:
    opened = Driver("lc", libcloud_settings(endpoint))
    await opened.connect()
    yield opened
    await opened.close()


async def vms(driver: Driver) -> dict[str, Vm]:
    listing = await driver.list(Scope(frozenset((Kind.VM,))))
    assert listing.error is None
    return {item.name: item for item in listing.objects if isinstance(item, Vm)}


async def until(driver: Driver, name: str, state: PowerState) -> Vm:
    async with asyncio.timeout(30):
        while True:
            found = (await vms(driver)).get(name)
            if found and found.state == state:
                return found
            await asyncio.sleep(0.05)


async def test_inventory(driver: Driver) -> None:
    assert driver.capabilities() == EXPECTED
    for scope in driver.scopes():
        listing = await driver.list(scope)
        assert listing.error is None
        if Kind.FLAVOR in scope.kinds:
            flavor = next(item for item in listing.objects if item.name == "t3.micro" or item.ref.id == "t3.micro")
            assert isinstance(flavor, Flavor) and flavor.memory_bytes == 1024**3
    vm = await until(driver, "web-1", PowerState.RUNNING)
    assert vm.addresses and vm.flavor == "t3.micro" and vm.memory_bytes == 1024**3
    assert vm.uuid == vm.ref.id and vm.uuid.startswith("i-"), "the same machine by another connection is known by it"
    assert json.loads(await driver.describe(vm.ref))["name"] == "web-1"


async def test_stop_start_reboot(driver: Driver) -> None:
    vm = await until(driver, "web-1", PowerState.RUNNING)
    await driver.power(vm.ref, PowerAction.SHUTDOWN)
    await until(driver, "web-1", PowerState.OFF)
    await driver.power(vm.ref, PowerAction.START)
    await until(driver, "web-1", PowerState.RUNNING)
    await driver.power(vm.ref, PowerAction.REBOOT)
    with pytest.raises(Unsupported):
        await driver.power(vm.ref, PowerAction.PAUSE)


async def test_destroy(driver: Driver) -> None:
    vm = await until(driver, "web-2", PowerState.RUNNING)
    with pytest.raises(Unsupported):
        await driver.delete(vm.ref, disks=False)
    await driver.delete(vm.ref, disks=True)
    async with asyncio.timeout(30):
        while "web-2" in await vms(driver):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    with pytest.raises(NotFound):
        await driver.power(vm.ref, PowerAction.START)
    with pytest.raises(NotFound):
        await driver.delete(Ref("lc", Kind.VM, "i-none"), disks=False)


async def test_each_thread_has_its_own_libcloud_driver(driver: Driver) -> None:
    barrier = threading.Barrier(2, timeout=20)

    def which(made: object) -> int:
        barrier.wait()
        return id(made)

    first, second = await asyncio.gather(driver._call(which), driver._call(which))
    assert first != second


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"key": "AKIAWRONG"}, "key"),
        ({"port": "1"}, "host"),
        ({"port": "x"}, "port"),
        ({"provider": "nocloud"}, "provider"),
        ({"extra": "{"}, "extra"),
        ({"proxy": "http://127.0.0.1:1"}, "proxy"),
    ],
)
async def test_check_names_the_field(endpoint: Endpoint, values: dict[str, str], field: str) -> None:
    made = Driver("lc", libcloud_settings(endpoint, **values))
    findings = await made.check()
    await made.close()
    assert [finding.field for finding in findings] == [field]
    assert findings[0].cure and endpoint.secret_key not in str(findings)


async def test_what_a_provider_needs_is_named_at_its_field() -> None:
    made = Driver("lc", Settings({"provider": "openstack"}))
    (finding,) = await made.check()
    await made.close()
    assert (finding.field, finding.message) == ("key", "this provider needs key")


async def test_check_finds_nothing_where_all_is_well(endpoint: Endpoint) -> None:
    made = Driver("lc", libcloud_settings(endpoint))
    assert await made.check() == []
    await made.close()


def test_every_choice_lists_nodes_and_the_deprecated_are_not_offered() -> None:
    from libcloud.compute.deprecated import DEPRECATED_DRIVERS
    from libcloud.compute.providers import DRIVERS

    assert len(providers.choices()) > 40
    assert not set(providers.choices()) & set(DEPRECATED_DRIVERS)
    for name in providers.choices():
        module, cls = DRIVERS[name]
        assert callable(getattr(importlib.import_module(module), cls).list_nodes), name


@pytest.mark.parametrize(
    ("provider", "cls", "expected"),
    [
        ("digitalocean", ("digitalocean", "DigitalOcean_v2_NodeDriver"), {C.START, C.SHUTDOWN, C.RESET, C.RENAME}),
        ("openstack", ("openstack", "OpenStack_1_1_NodeDriver"), {C.START, C.SHUTDOWN, C.PAUSE, C.RESUME, C.SAVE}),
        ("libvirt", ("libvirt_driver", "LibvirtNodeDriver"), {C.START, C.SHUTDOWN, C.PAUSE, C.RESUME}),
        ("cloudstack", ("cloudstack", "CloudStackNodeDriver"), {C.START, C.SHUTDOWN}),
    ],
)
def test_differing_names_are_known(provider: str, cls: tuple[str, str], expected: set[Capability]) -> None:
    if provider == "libvirt" and sys.platform != "linux":
        return
    made = getattr(importlib.import_module(f"libcloud.compute.drivers.{cls[0]}"), cls[1])
    found = providers.capabilities(made, provider)
    assert expected <= found
    assert (C.SAVE in found) == (provider == "openstack")


def test_importing_the_module_does_not_import_libcloud() -> None:
    code = "import sys, backends.libcloud; sys.exit('libcloud' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


class Empty(BaseHTTPRequestHandler):
    """An EC2 with nothing in it."""

    def do_GET(self) -> None:
        body = b'<x xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><reservationSet/></x>'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def tls_port(tmp_path: Path) -> Iterator[int]:
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "ca.pem")]
    subprocess.run([*command, *files], check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "ca.pem", tmp_path / "key.pem")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Empty)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


async def test_a_ca_counts_for_its_own_connection_only(endpoint: Endpoint, tls_port: int, tmp_path: Path) -> None:
    given = {"host": "localhost", "port": str(tls_port), "secure": "true"}
    trusting = Driver("a", libcloud_settings(endpoint, **given, ca=str(tmp_path / "ca.pem")))
    wary = Driver("b", libcloud_settings(endpoint, **given))
    assert await trusting.check() == []
    assert [finding.field for finding in await wary.check()] == ["ca"]
    assert await trusting.check() == []
    await trusting.close()
    await wary.close()


def test_private_managers_stand_in_their_own_section() -> None:
    assert set(providers.choices()) >= providers.PRIVATE
    assert Driver.section_of({"provider": "openstack"}) == Section.PRIVATE
    assert Driver.section_of({"provider": "digitalocean"}) == Section.PUBLIC
