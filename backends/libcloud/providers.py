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
    PowerAction.REBOOT: ("ex_soft_reboot_node", "reboot_node"),
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
    {"abiquo", "cloudstack", "eucalyptus", "kubevirt", "libvirt", "nimbus", "onapp", "opennebula", "openstack"}
    | {"vcloud", "vsphere"}
)
"""Providers that people run themselves."""

ARGUMENTS: Mapping[str, Mapping[str, Any]] = {"ec2": {"signature_version": "4"}, "openstack": {"api_version": "2.2"}}
"""What a provider's driver needs beyond its own defaults: EC2 takes no version 2 signatures any more, and OpenStack's
volumes and images left Nova long ago."""

UNLISTED = frozenset({"azure", "vcl"})
"""Providers whose driver lists nodes of something only that it must be told each time (a cloud service, an address)."""

KEYS = ("user_id", "username", "creds", "uri", "key")
SECRETS = ("secret", "password", "key")
REGIONS: Mapping[str, str] = {"openstack": "ex_force_service_region"}
PROJECTS = ("project", "tenant_id", "ex_project_id")
"""What drivers call what our form has: the first of each that one knows."""

Known = Mapping[str, inspect.Parameter]
MANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

_ca = threading.local()
_installed = threading.Lock()


@cache
def choices() -> tuple[str, ...]:
    """The providers that have a driver which lists nodes and is not deprecated, from libcloud's own table."""
    from libcloud.compute.deprecated import DEPRECATED_DRIVERS
    from libcloud.compute.providers import DRIVERS

    return tuple(sorted(str(name) for name in DRIVERS if name not in UNLISTED and name not in DEPRECATED_DRIVERS))


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
    driver: Any = cls(**_arguments(settings, cls))
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


def lists(driver_class: type, name: str) -> bool:
    """Whether a driver has this list, and gives it without being told of what."""
    if not overrides(driver_class, name):
        return False
    _, *told = inspect.signature(getattr(driver_class, name)).parameters.values()
    return all(each.default is not each.empty or each.kind in MANY for each in told)


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
    """What the form says, by the names that this driver's constructor has for it."""
    provider, known = settings["provider"], inspect.signature(cls).parameters
    more = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in known.values())
    arguments: dict[str, Any] = dict(ARGUMENTS.get(provider, {})) | _credentials(settings, known)
    port = _port(settings["port"])
    if provider == "openstack" and settings["host"]:
        arguments |= _keystone(settings, port)
    elif settings["host"]:
        arguments["host"] = settings["host"]
        if more or "secure" in known:
            arguments["secure"] = _secure(settings)
    if port and "port" not in arguments and provider != "openstack":
        arguments["port"] = port
    for name in ("region", "api_version"):
        if settings[name]:
            arguments[REGIONS.get(provider, name) if name == "region" else name] = settings[name]
    if settings["project"]:
        arguments[next((name for name in PROJECTS if name in known), "ex_tenant_name")] = settings["project"]
    if settings["ca"] and "ca_cert" in known:
        arguments["ca_cert"] = settings["ca"]
    for name in ("extra", "extra_secret"):
        arguments |= _object(settings[name], name)
    _complete(arguments, known)
    return arguments


def _credentials(settings: Settings, known: Known) -> dict[str, str]:
    """Key and secret. Where there is only one of them, a token, it is what the driver takes first."""
    given = [settings[name] for name in ("key", "secret") if settings[name]]
    return dict(zip(_names(known), given, strict=False))


def _names(known: Known) -> tuple[str, str]:
    """What a driver calls key and secret."""
    first = next((name for name in KEYS if name in known), KEYS[-1])
    return first, next((name for name in SECRETS if name in known and name != first), SECRETS[0])


def _complete(arguments: Mapping[str, Any], known: Known) -> None:
    """Raise Invalid, by the form's words, where the driver needs more than there is."""
    needed = [each.name for each in known.values() if each.default is each.empty and each.kind not in MANY]
    missing = [name for name in needed if name not in arguments]
    if missing:
        fields = dict(zip(_names(known), ("key", "secret"), strict=True)) | dict.fromkeys(PROJECTS, "project")
        words = [fields.get(name, name) for name in missing]
        field = words[0] if words[0] in ("key", "secret", "project", "host", "region") else "extra"
        raise Invalid(f"this provider needs {' and '.join(words)}", cure="fill it in", field=field)


def _keystone(settings: Settings, port: int) -> dict[str, str]:
    """OpenStack is reached by its identity service, which names the others."""
    scheme = "https" if _secure(settings) else "http"
    return {
        "ex_force_auth_url": f"{scheme}://{settings['host']}:{port or 5000}",
        "ex_force_auth_version": "3.x_password",
    }


def _secure(settings: Settings) -> bool:
    return settings.flag("secure") if settings["secure"] else True


def _port(text: str) -> int:
    if text and not text.isdigit():
        raise Invalid(f"{text!r} is not a port", field="port", cure="a number")
    return int(text or 0)


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
