"""Connection URIs: what the user writes, what virsh accepts, what is opened."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from backends.driver import Settings
from backends.errors import Invalid

DRIVERS = ("qemu", "test", "kvm")
TRANSPORTS = ("", "unix", "ssh", "tls", "tcp")
EXAMPLE = "for example qemu:///system or qemu+ssh://root@host/system"


@dataclass(frozen=True, slots=True)
class Address:
    """A libvirt URI in parts. `params` keeps its query in order."""

    driver: str
    transport: str
    user: str
    host: str
    port: int | None
    path: str
    params: tuple[tuple[str, str], ...]

    @property
    def remote(self) -> bool:
        return bool(self.host)

    def param(self, name: str) -> str:
        return dict(self.params).get(name, "")

    def text(self) -> str:
        """The URI, as virsh -c accepts it."""
        scheme = f"{self.driver}+{self.transport}" if self.transport else self.driver
        netloc = f"[{self.host}]" if ":" in self.host else self.host
        if self.user:
            netloc = f"{quote(self.user)}@{netloc}"
        if self.port:
            netloc += f":{self.port}"
        query = "&".join(f"{name}={quote(value, safe='/')}" for name, value in self.params)
        return f"{scheme}://{netloc}{self.path}" + (f"?{query}" if query else "")

    def with_params(self, **params: str) -> Address:
        """The same with parameters set; an empty value removes one."""
        merged = dict(self.params) | params
        kept = tuple((name, value) for name, value in merged.items() if value)
        return Address(self.driver, self.transport, self.user, self.host, self.port, self.path, kept)

    def through(self, socket: str) -> str:
        """The URI of the same daemon by a local socket that leads to it."""
        return Address(self.driver, "unix", "", "", None, self.path, (("socket", socket),)).text()


def parse(text: str) -> Address:
    """Take a libvirt URI apart. Raises Invalid with a cure."""
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError as error:
        raise Invalid(f"not a libvirt URI: {error}", cure=EXAMPLE, field="uri") from None
    driver, _, transport = parts.scheme.partition("+")
    if driver not in DRIVERS:
        raise Invalid(f"{text!r} is not a libvirt URI of a kind known here", cure=EXAMPLE, field="uri")
    if transport not in TRANSPORTS:
        raise Invalid(f"unknown transport {transport!r}", cure=f"one of {', '.join(TRANSPORTS[1:])}", field="uri")
    if parts.password:
        raise Invalid("a password does not belong into a URI", cure="use a key", field="uri")
    if transport in ("ssh", "tls", "tcp") and not parts.hostname:
        raise Invalid(f"{transport} needs a host name", cure=EXAMPLE, field="uri")
    if not parts.path.strip("/"):
        raise Invalid("the URI names no daemon", cure=EXAMPLE, field="uri")
    host = parts.hostname or ""
    if host and not transport:
        transport = "tls"
    params = tuple(parse_qsl(parts.query, keep_blank_values=True))
    return Address(driver, transport, parts.username or "", host, port, parts.path, params)


def address(settings: Settings) -> Address:
    """The URI of a connection's settings, with what its other fields add. Raises Invalid."""
    if not settings["uri"]:
        raise Invalid("a URI is needed", cure=EXAMPLE, field="uri")
    found = parse(settings["uri"])
    if found.transport == "ssh":
        return found.with_params(
            keyfile=settings["keyfile"] or found.param("keyfile"),
            known_hosts=settings["known_hosts"] or found.param("known_hosts"),
        )
    if found.transport == "tls" and settings["pkipath"]:
        return found.with_params(pkipath=settings["pkipath"])
    return found


def redacted(text: str) -> str:
    """A URI for messages: without user information."""
    parts = urlsplit(text)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
