"""What a VM's consoles are called, and the door that a driver opens to one of them."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from backends.model import Ref


class ConsoleKind(StrEnum):
    """How a console speaks. The first four are live; OUTPUT is text that the platform kept of the serial line."""

    VNC = "vnc"
    SERIAL = "serial"
    SPICE = "spice"
    RDP = "rdp"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class Console:
    """One console that a VM has. `id` tells several of a kind apart (a serial line's alias, a display's number).

    `hindrance` says why it cannot be opened now ("" where it can), `cure` what would help.
    """

    vm: Ref
    kind: ConsoleKind
    label: str
    id: str = ""
    hindrance: str = ""
    cure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorTls:
    """How the far end of a door proves itself, where the protocol asks for TLS inside the stream (VeNCrypt).

    `ca`, `certificate` and `key` are files; "" means the system's own authorities, and no client certificate.
    `host` is the name that the certificate must bear.
    """

    host: str
    ca: str = ""
    certificate: str = ""
    key: str = ""


@dataclass(slots=True, kw_only=True)
class Door:
    """An opened console. Whoever asked for it owns it, and closes it.

    `socket`: a connected, non-blocking stream socket with the protocol's bytes on it, whatever carries them (TCP,
    a unix socket, SSH, a websocket, a libvirt stream: what is no socket is pumped into one half of a socket pair).
    None for OUTPUT (`text` has what there is) and for consoles that only an external viewer opens (`host`, `port`,
    `tls_port`, as reachable from this workstation; `release` ends a forward that leads there).
    `carrier`: what keeps the bytes from strangers on their way, in words ("through SSH"); "" where nothing does.
    """

    console: Console
    socket: socket.socket | None = field(default=None, repr=False)
    user: str = ""
    password: str = field(default="", repr=False)
    tls: DoorTls | None = None
    text: str = ""
    host: str = ""
    port: int = 0
    tls_port: int = 0
    proxy: str = ""
    carrier: str = ""
    release: Callable[[], None] | None = field(default=None, repr=False)

    def close(self) -> None:
        """Hang up. Idempotent, from any thread."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None
        if self.release is not None:
            self.release()
            self.release = None
