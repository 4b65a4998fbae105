"""Which providers there are, how their drivers are made, and what their methods are called."""

from __future__ import annotations

import inspect
import json
import threading
from collections.abc import Mapping
from functools import cache
from typing import Any

from backends.driver import Capability, Option, Settings
from backends.errors import Invalid
from backends.model import PowerAction

METHODS: Mapping[PowerAction, tuple[str, ...]] = {
    PowerAction.START: ("start_node", "ex_start_node", "ex_power_on_node", "ex_start"),
    PowerAction.SHUTDOWN: ("ex_shutdown_graceful", "ex_shutdown_node", "stop_node", "ex_stop_node", "ex_stop"),
    PowerAction.OFF: ("ex_power_off_node", "ex_power_off"),
    PowerAction.REBOOT: ("reboot_node",),
    PowerAction.RESET: ("ex_hard_reboot_node", "ex_hard_reboot", "ex_reset"),
    PowerAction.PAUSE: ("ex_pause_node",),
    PowerAction.RESUME: ("ex_unpause_node",),
    PowerAction.SAVE: ("ex_suspend_node",),
    PowerAction.RESTORE: ("ex_resume_node",),
}
"""The names under which drivers offer an action, the best first."""

DIFFERENT: Mapping[str, Mapping[PowerAction, tuple[str, ...]]] = {
    "libvirt": {
        PowerAction.PAUSE: ("ex_suspend_node",),
        PowerAction.RESUME: ("ex_resume_node",),
        PowerAction.SAVE: (),
        PowerAction.RESTORE: (),
    },
}
"""Where a provider means something else by a name."""

OUTPUTS = ("ex_get_console_output", "ex_get_serial_output", "ex_read_console_output_node")
"""The names under which drivers give what a VM said on its serial line."""

PRIVATE = frozenset(
    {"abiquo", "cloudstack", "eucalyptus", "kubevirt", "libvirt", "nimbus", "onapp", "opennebula", "openstack", "vcl"}
    | {"vcloud", "vsphere"}
)
"""Providers that people run themselves."""

ARGUMENTS: Mapping[str, Mapping[str, Any]] = {"ec2": {"signature_version": "4"}}
"""What a provider's driver needs beyond its own defaults: EC2 takes no version 2 signatures any more."""

_ca = threading.local()
_installed = threading.Lock()


@cache
def choices() -> tuple[str, ...]:
    """The providers that have a driver and are not deprecated, from libcloud's own table."""
    from libcloud.compute.deprecated import DEPRECATED_DRIVERS
    from libcloud.compute.providers import DRIVERS

    return tuple(sorted(str(name) for name in DRIVERS if name not in DEPRECATED_DRIVERS))


class Options:
    """The connection's options, computed when somebody asks: the providers' table costs half a second."""

    def __get__(self, instance: object, owner: type) -> tuple[Option, ...]:
        return _options()


@cache
def _options() -> tuple[Option, ...]:
    return (
        Option(name="provider", label="Provider", required=True, choices=choices()),
        Option(name="key", label="Key or user", help="access key, user name; empty where there is only a token"),
        Option(name="secret", label="Secret", help="secret key, password, token", secret=True),
        Option(name="region", label="Region"),
        Option(name="host", label="Host", help="where it is not the provider's own", advanced=True),
        Option(name="port", label="Port", kind="int", advanced=True),
        Option(name="secure", label="TLS", kind="bool", default="true", advanced=True),
        Option(name="project", label="Project or tenant", advanced=True),
        Option(name="api_version", label="API version", advanced=True),
        Option(name="ca", label="CA file", help="certificates to trust (PEM)", kind="path", advanced=True),
        Option(name="proxy", label="Proxy", help="http://host:port", advanced=True),
        Option(name="extra", label="Further arguments", help="JSON object for libcloud's driver", advanced=True),
        Option(
            name="extra_secret",
            label="Further secret arguments",
            help="JSON object for libcloud's driver",
            secret=True,
            advanced=True,
        ),
    )


def make(settings: Settings) -> Any:
    """A libcloud driver, for the calling thread alone. Raises Invalid for settings that cannot be meant."""
    from libcloud.compute.providers import get_driver

    provider = settings["provider"]
    if provider not in choices():
        raise Invalid(f"libcloud has no provider {provider!r}", field="provider", cure="choose one of the list")
    _trust(settings["ca"])
    cls = get_driver(provider)
    arguments = _arguments(settings, cls)
    keys = [settings["key"]] if settings["key"] else []
    if settings["secret"]:
        keys.append(settings["secret"])
    driver: Any = cls(*keys, **arguments)
    if settings["proxy"] and hasattr(driver, "connection"):
        driver.connection.proxy_url = settings["proxy"]
        if driver.connection.connection is not None:
            driver.connection.set_http_proxy(settings["proxy"])
    return driver


def method(driver_class: type, provider: str, action: PowerAction) -> str:
    """What this provider's driver calls an action, "" where it has none."""
    names = DIFFERENT.get(provider, {}).get(action, METHODS.get(action, ()))
    return next((name for name in names if overrides(driver_class, name)), "")


def output_method(driver_class: type) -> str:
    """What a driver calls a VM's console output, "" where it has none."""
    return next((name for name in OUTPUTS if overrides(driver_class, name)), "")


def overrides(driver_class: type, name: str) -> bool:
    """Whether a driver has a method of its own, not the base class's NotImplementedError."""
    from libcloud.compute.base import NodeDriver

    found = getattr(driver_class, name, None)
    return found is not None and found is not getattr(NodeDriver, name, None)


def capabilities(driver_class: type, provider: str) -> frozenset[Capability]:
    """What a driver class can do."""
    found = {Capability(action.value) for action in METHODS if method(driver_class, provider, action)}
    if overrides(driver_class, "destroy_node"):
        found.add(Capability.DELETE)
    if overrides(driver_class, "ex_rename_node"):
        found.add(Capability.RENAME)
    if output_method(driver_class):
        found.add(Capability.SERIAL)
    return frozenset(found | {Capability.DESCRIBE})


def _arguments(settings: Settings, cls: type) -> dict[str, Any]:
    provider = settings["provider"]
    arguments: dict[str, Any] = dict(ARGUMENTS.get(provider, {}))
    if settings["host"]:
        arguments["host"] = settings["host"]
        arguments["secure"] = settings.flag("secure") if settings["secure"] else True
    if settings["port"]:
        if not settings["port"].isdigit():
            raise Invalid(f"{settings['port']!r} is not a port", field="port", cure="a number")
        arguments["port"] = int(settings["port"])
    for name in ("region", "api_version"):
        if settings[name]:
            arguments[name] = settings[name]
    if settings["project"]:
        known = inspect.signature(cls).parameters
        arguments[next((n for n in ("project", "tenant_id") if n in known), "ex_tenant_name")] = settings["project"]
    for name in ("extra", "extra_secret"):
        arguments |= _object(settings[name], name)
    return arguments


def _object(text: str, field: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Invalid(f"{field} is not a JSON object", field=field, cure='for example {"name": "value"}')
    return value


def _trust(ca: str) -> None:
    """Let connections that this thread makes trust this CA file.

    libcloud keeps that in module globals. Every thread of ours belongs to one connection, so it is kept by thread.
    """
    _ca.path = ca
    with _installed:
        from libcloud.http import LibcloudBaseConnection

        if getattr(LibcloudBaseConnection._setup_ca_cert, "by_thread", False):
            return
        original: Any = LibcloudBaseConnection._setup_ca_cert

        def setup(self: Any, **arguments: Any) -> None:
            path = getattr(_ca, "path", "")
            if path:
                self.ca_cert = path
            else:
                original(self, **arguments)

        vars(setup)["by_thread"] = True
        setattr(LibcloudBaseConnection, "_setup_ca_cert", setup)  # noqa: B010
