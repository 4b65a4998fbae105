"""Consoles behind a websocket (OpenStack, Proxmox, vSphere and other platforms that give a URL with a ticket)."""

from __future__ import annotations

import asyncio
import codecs
import logging
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha1, sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from backends.errors import BackendError, Denied, HostKeyMismatch, Invalid, NotFound, Unreachable, Unsupported
from backends.pump import pair, pump
from backends.threads import LoopThread

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

TRANSPORT = LoopThread("websockets")
"""Runs all websockets of this process."""
DEADLINE_S = 20.0
FRAME_LIMIT = 1 << 24
_QUIET = logging.Logger("websockets", logging.WARNING)
"""At DEBUG the library would log tickets: they are in paths and headers."""
_carried: set[asyncio.Task[None]] = set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Where a websocket is and how to get in. `url` (ws or wss) and `headers` may hold a ticket: no repr shows them.

    `subprotocols` are offered in this order. `text`: what is written goes out as text frames (UTF-8), as some serial
    consoles want it; either kind is read. `ca`: a file of authorities instead of the system's. `thumbprint`: the
    SHA-1 or SHA-256 of the one certificate that is right, in hex, whatever its name and authority are.
    """

    url: str
    headers: Mapping[str, str] | None = None
    subprotocols: Sequence[str] = ("binary",)
    text: bool = False
    ca: str = ""
    thumbprint: str = ""
    proxy: str = ""

    def __repr__(self) -> str:
        return f"Gate({self.place})"

    @property
    def place(self) -> str:
        """The host and port, for messages."""
        return urlsplit(self.url).netloc.rpartition("@")[2]


async def dial(gate: Gate) -> socket.socket:
    """A connected socket with the plain bytes of what is behind the gate.

    Raises Denied (the ticket), NotFound, Unsupported (no websocket there), HostKeyMismatch (the certificate),
    Invalid (the URL, the CA file), Unreachable.
    """
    return await TRANSPORT.submit(_dial(gate))


async def _dial(gate: Gate) -> socket.socket:
    context = _tls(gate) if gate.url.startswith("wss:") else None
    try:
        connection = await _connect(gate, context)
    except Exception as error:
        raise _translated(error, gate) from None
    ours, theirs = pair()
    carrying = asyncio.create_task(pump(theirs, _WebSocket(connection, gate.text)))
    _carried.add(carrying)
    carrying.add_done_callback(_carried.discard)
    return ours


async def _connect(gate: Gate, context: ssl.SSLContext | None) -> ClientConnection:
    from websockets.asyncio.client import ClientConnection, connect
    from websockets.typing import Subprotocol

    class Checked(ClientConnection):
        """Compares the certificate before the first byte that holds a ticket."""

        async def handshake(self, *args: Any, **kwargs: Any) -> None:
            _check(self.transport, gate)
            await super().handshake(*args, **kwargs)

    class Straight(connect):
        """Goes where it was told: a redirect would carry the ticket elsewhere."""

        def process_redirect(self, exc: Exception) -> Exception | str:
            return exc

    return await Straight(
        gate.url,
        additional_headers=dict(gate.headers or {}),
        subprotocols=[Subprotocol(name) for name in gate.subprotocols],
        compression=None,
        proxy=gate.proxy or None,
        open_timeout=DEADLINE_S,
        ping_interval=None,
        max_size=FRAME_LIMIT,
        max_queue=4,
        logger=_QUIET,
        create_connection=Checked,
        ssl=context,
    )


class _WebSocket:
    """A websocket as the far end of a pump. Frames are pieces of one stream; where they begin means nothing."""

    def __init__(self, connection: ClientConnection, text: bool) -> None:
        self._connection = connection
        self._decode: Callable[[bytes], str] | None = None
        if text:
            self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    async def read(self) -> bytes:
        from websockets.exceptions import ConnectionClosed

        with suppress(ConnectionClosed):
            while True:
                frame = await self._connection.recv()
                if frame:
                    return frame.encode() if isinstance(frame, str) else frame
        return b""

    async def write(self, data: bytes) -> None:
        if self._decode is None:
            await self._connection.send(data)
        elif text := self._decode(data):
            await self._connection.send(text)

    async def close(self) -> None:
        await self._connection.close()


def _tls(gate: Gate) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=gate.ca or None)
    except (OSError, ssl.SSLError) as error:
        raise Invalid(f"the CA file {gate.ca} cannot be used: {error.strerror or error}", field="ca") from None
    if gate.thumbprint:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _check(transport: asyncio.BaseTransport, gate: Gate) -> None:
    """Compare the certificate with the thumbprint, where one is given."""
    if not gate.thumbprint:
        return
    told = transport.get_extra_info("ssl_object")
    certificate = told.getpeercert(True) if told is not None else b""
    wanted = gate.thumbprint.replace(":", "").replace(" ", "").lower()
    if wanted not in (sha1(certificate, usedforsecurity=False).hexdigest(), sha256(certificate).hexdigest()):
        raise HostKeyMismatch(
            f"{gate.place} shows another certificate than the platform said",
            cure="see who answers there before you go on",
        )


def _translated(error: Exception, gate: Gate) -> Exception:
    """Our error for one of the library's, whose own texts may hold the ticket."""
    from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI, ProxyError

    place = gate.place
    if isinstance(error, BackendError):
        return error
    if isinstance(error, InvalidURI):
        return Invalid("the console's URL is no websocket's", cure="ws:// or wss://")
    if isinstance(error, ProxyError):
        return Unreachable(f"{place} cannot be reached through the proxy", cure="check the proxy")
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        kind = {401: Denied, 403: Denied, 404: NotFound}.get(status, Unreachable)
        cure = "its ticket may be over: open the console again" if kind is not Unreachable else "try again later"
        return kind(f"{place} does not open the console: HTTP {status}", cure=cure)
    if isinstance(error, ssl.SSLCertVerificationError):
        cure = "give the authority that signed it as the connection's CA file"
        return HostKeyMismatch(f"{place}: its certificate is not trusted: {error.verify_message}", cure=cure)
    if isinstance(error, InvalidHandshake | ValueError):
        return Unsupported(f"{place} speaks no websocket")
    if isinstance(error, OSError | EOFError):
        told = error.strerror if isinstance(error, OSError) else ""
        return Unreachable(f"{place} does not answer: {told or 'no answer'}")
    return error
