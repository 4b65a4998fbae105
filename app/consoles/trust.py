"""Screens over a network that anybody may read or cut into: which hosts proved themselves, which are taken unproven.

A way is safe inside SSH and on this machine. On any other a server proves itself by a certificate that holds; one that
does not gets no password and no key before its user has said so. What has shown a certificate once, must again.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from backends.consoles import ConsoleKind, Door
from backends.errors import AuthNeeded

if TYPE_CHECKING:
    from app.store import Store

FIELD = "trust"
"""The `field` of an AuthNeeded that asks for the user's word, and for no password."""
CURE = "connect to the host through SSH, or let it encrypt its screens with a certificate (QEMU: vnc_tls, spice_tls)"
PLAIN = "The screen comes over the network unprotected: anybody on the way can see it, and what is typed"
ANONYMOUS = "The screen is encrypted, but nothing proves whose it is: somebody on the way could read along"
LOST = "The screen's server has shown a certificate before, and shows none now: somebody may stand in between"


class Known(StrEnum):
    """What is remembered of a host."""

    NOTHING = ""
    TAKEN = "taken"
    """Its user takes it unproven."""
    PROVEN = "proven"


def safe(door: Door) -> bool:
    """Whether nobody on the way can pose as the server: by what carries the bytes, or since the viewer insists."""
    return bool(door.carrier) or (door.console.kind == ConsoleKind.SPICE and bool(door.tls and door.tls_port))


def host_of(door: Door) -> tuple[str, str]:
    """Whose word it is: the connection, and the host that it leads to."""
    return door.console.vm.connection, door.tls.host if door.tls is not None else door.host


def asked(text: str, known: Known = Known.NOTHING, host: tuple[str, str] = ("", "")) -> AuthNeeded:
    """The error that asks for the user's word; its `object_name` is the host."""
    return AuthNeeded(LOST if known == Known.PROVEN else text, object_name=host[1], cure=CURE, field=FIELD)


async def recall(store: Store, host: tuple[str, str]) -> Known:
    """What is known of a host; of another one by the same connection's name nothing is."""
    match await store.setting(_setting(host)):
        case [str(name), str(word)] if name == host[1] and word in set(Known):
            return Known(word)
    return Known.NOTHING


async def remember(store: Store, host: tuple[str, str], known: Known) -> None:
    await store.set_setting(_setting(host), [host[1], str(known)])


def _setting(host: tuple[str, str]) -> str:
    return f"console-trust:{host[0]}"
