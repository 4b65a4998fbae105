"""Every provider of libcloud's table: its driver is made from the form, and lists nodes without being told of what."""

from __future__ import annotations

import inspect
import json
import socket
from collections.abc import Mapping

import pytest
from libcloud.common.types import InvalidCredsError
from libcloud.compute.drivers.dummy import DummyNodeDriver

from backends.driver import Settings
from backends.errors import AuthNeeded, BackendError, Denied, Invalid, NotFound, Unsupported
from backends.libcloud import Driver, providers
from backends.libcloud.failures import translate
from backends.model import Kind, PowerAction, PowerState, Ref, Scope, Vm

VMS = Scope(frozenset({Kind.VM}))
TOKEN = {"cloudscale", "digitalocean", "dummy", "equinixmetal", "gandi", "rimuhosting"}
"""Those that take one credential, a token: the form's secret alone."""
MORE: Mapping[str, Mapping[str, str]] = {
    "abiquo": {"extra": json.dumps({"endpoint": "http://127.0.0.1:1/api"})},
    "azure_arm": {"project": "t", "extra": json.dumps({"subscription_id": "s"})},
    "cloudstack": {"host": "127.0.0.1", "extra": json.dumps({"path": "/client/api"})},
    "gce": {"project": "p", "extra": json.dumps({"auth_type": "GCE"})},
    "gig_g8": {"extra": json.dumps({"api_url": "http://127.0.0.1:1"})},
    "libvirt": {"key": "test:///default"},
    "openstack": {"host": "keystone.example", "project": "p", "region": "r"},
    "ovh": {"project": "p", "extra": json.dumps({"ex_consumer_key": "c"})},
    "vsphere": {"host": "127.0.0.1"},
}
"""What is needed beyond key and secret."""
NOT_INSTALLED = {"vsphere"}
"""Those whose driver wants a library that is not among our dependencies."""
ASKING = {"abiquo", "azure_arm", "gce"}
"""Those that sign in while they are made."""


class Refused(OSError):
    """Somebody asked the network."""


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **words: object) -> None:
        raise Refused("no network here")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def settings(provider: str) -> Settings:
    given = {"provider": provider} | ({} if provider in TOKEN else {"key": "me"})
    return Settings(given | dict(MORE.get(provider, {})), {"secret": "canary-secret"})


@pytest.mark.parametrize("provider", providers.choices())
@pytest.mark.filterwarnings("ignore:Kubernetes has its own CA")
def test_every_provider_is_made_from_the_form(provider: str) -> None:
    if provider in NOT_INSTALLED:
        with pytest.raises(ImportError) as missing:
            providers.make(settings(provider))
        ours = translate(missing.value, ["canary-secret"])
        assert isinstance(ours, Unsupported) and ours.cure
        return
    if provider in ASKING:
        with pytest.raises((OSError, ValueError), match="no network here"):
            providers.make(settings(provider))
        return
    cls = type(providers.make(settings(provider)))
    for action in PowerAction:
        name = providers.method(cls, provider, action)
        assert not name or needs(cls, name) == 1, f"{name} must take the node alone"
    assert not (name := providers.output_method(cls)) or needs(cls, name) == 1
    assert providers.lists(cls, "list_nodes")


def needs(cls: type, method: str) -> int:
    _, *told = inspect.signature(getattr(cls, method)).parameters.values()
    return sum(each.default is each.empty and each.kind not in providers.MANY for each in told)


@pytest.mark.parametrize(
    ("provider", "given", "words", "field"),
    [
        ("gridscale", {"key": "me"}, "this provider needs secret", "secret"),
        ("azure_arm", {"key": "me"}, "this provider needs project and subscription_id and secret", "project"),
        ("ovh", {"key": "me", "secret": "s"}, "this provider needs project", "project"),
        ("vsphere", {"key": "me", "secret": "s"}, "this provider needs host", "host"),
    ],
)
def test_what_is_missing_is_said_in_the_forms_words(
    provider: str, given: dict[str, str], words: str, field: str
) -> None:
    with pytest.raises(Invalid) as said:
        providers.make(Settings({"provider": provider, **given}))
    assert (said.value.message, said.value.field) == (words, field)


def test_openstack_is_reached_by_its_identity_service() -> None:
    made = providers.make(settings("openstack"))
    assert made._ex_force_auth_url == "https://keystone.example:5000"
    assert (made._ex_tenant_name, made._ex_force_service_region) == ("p", "r")
    assert type(made).__name__ == "OpenStack_2_NodeDriver", "whose volumes are Cinder's"
    assert providers.method(type(made), "openstack", PowerAction.REBOOT) == "ex_soft_reboot_node"


async def test_the_dummy_provider_from_end_to_end() -> None:
    driver = Driver("lc", Settings({"provider": "dummy"}, {"secret": "s"}))
    try:
        await driver.connect()
        for scope in driver.scopes():
            assert (await driver.list(scope)).error is None
        (vm, _) = (await driver.list(VMS)).objects
        assert isinstance(vm, Vm)
        assert (vm.ref.id, vm.state, vm.addresses, vm.detailed) == ("1", PowerState.RUNNING, ("127.0.0.1",), True)
        await driver.power(vm.ref, PowerAction.REBOOT)
        with pytest.raises(NotFound):
            await driver.power(Ref("lc", Kind.VM, "9"), PowerAction.REBOOT)
    finally:
        await driver.close()


@pytest.mark.parametrize(("method", "expected"), [("list_sizes", Denied), ("list_nodes", AuthNeeded)])
async def test_a_token_that_is_not_good_for_all_keeps_the_machines(
    monkeypatch: pytest.MonkeyPatch, method: str, expected: type[BackendError]
) -> None:
    driver = Driver("lc", Settings({"provider": "dummy"}, {"secret": "s"}))

    def refuse(self: object, *args: object) -> None:
        raise InvalidCredsError("not for this")

    try:
        await driver.connect()
        monkeypatch.setattr(DummyNodeDriver, method, refuse)
        errors = {kind: (await driver.list(Scope(frozenset({kind})))).error for kind in (Kind.VM, Kind.FLAVOR)}
        assert [type(error) for error in errors.values() if error is not None] == [expected]
    finally:
        await driver.close()
