"""Doors behind a websocket, against a real websockets server."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from backends import websocket
from backends.errors import BackendError, Denied, HostKeyMismatch, Invalid, NotFound, Unreachable, Unsupported
from backends.websocket import Gate, dial

TICKET = "canary-ticket-5f3a"


@dataclass
class Site:
    """A server in front of an echo. What it was asked and given, and how it answers."""

    port: int = 0
    requests: list[Request] = field(default_factory=list)
    frames: list[str | bytes] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    def gate(self, path: str = f"/console?token={TICKET}", scheme: str = "ws", **changes: str) -> Gate:
        return replace(Gate(url=f"{scheme}://localhost:{self.port}{path}", headers={"Cookie": TICKET}), **changes)

    async def refuse(self, connection: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        if request.path.startswith("/away"):
            return Response(302, "Found", Headers(Location=f"ws://localhost:{self.port}/console"))
        status = {"/403": 403, "/404": 404, "/500": 500}.get(request.path)
        return connection.respond(status, TICKET) if status else None

    async def echo(self, connection: ServerConnection) -> None:
        async for frame in connection:
            self.frames.append(frame)
            if frame in (b"bye", "bye"):
                break
            await connection.send(frame)
        self.closed.set()


async def started(site: Site, context: ssl.SSLContext | None = None) -> Server:
    server = await serve(
        site.echo,
        "localhost",
        0,
        process_request=site.refuse,
        subprotocols=["binary"],
        ssl=context,  # type: ignore
    )
    site.port = next(iter(server.sockets)).getsockname()[1]
    return server


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site()
    server = await started(made)
    yield made
    server.close()
    await server.wait_closed()


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for localhost, with its key."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    subprocess.run([*command, "-keyout", str(path), "-out", str(path) + ".crt"], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


@pytest.fixture
async def safe_site(pem: Path) -> AsyncIterator[Site]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    made = Site()
    server = await started(made, context)
    yield made
    server.close()
    await server.wait_closed()


async def read(sock: socket.socket, count: int) -> bytes:
    found = b""
    async with asyncio.timeout(30):
        while len(found) < count:
            data = await asyncio.get_running_loop().sock_recv(sock, count - len(found))
            if not data:
                return found
            found += data
    return found


async def write(sock: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(sock, data)


async def test_bytes_go_both_ways_with_the_ticket_and_subprotocol(site: Site) -> None:
    blob = hashlib.shake_128(b"websocket").digest(2**20)
    with await dial(site.gate()) as door:
        assert not door.getblocking()
        _, back = await asyncio.gather(write(door, blob), read(door, len(blob)))
        assert back == blob
    async with asyncio.timeout(30):
        await site.closed.wait()
    (request,) = site.requests
    assert request.path.endswith(TICKET) and request.headers["Cookie"] == TICKET
    assert request.headers["Sec-WebSocket-Protocol"] == "binary"
    assert all(isinstance(frame, bytes) for frame in site.frames)


async def test_text_frames_hold_whole_characters(site: Site) -> None:
    with await dial(replace(site.gate(), text=True)) as door:
        for byte in "äé€\U0001f680".encode():
            await write(door, bytes((byte,)))
            await asyncio.sleep(0)
        assert await read(door, 11) == "äé€\U0001f680".encode()
    assert "".join(frame for frame in site.frames if isinstance(frame, str)) == "äé€\U0001f680"


async def test_the_servers_end_is_the_doors(site: Site) -> None:
    with await dial(site.gate()) as door:
        await write(door, b"bye")
        assert await read(door, 10) == b""


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/403", Denied), ("/404", NotFound), ("/500", Unreachable), ("/away", Unreachable)],
)
async def test_a_refusal_is_told_without_the_ticket(site: Site, path: str, kind: type[BackendError]) -> None:
    with pytest.raises(kind) as caught:
        await dial(site.gate(f"{path}"))
    assert caught.value.cure and caught.value.__cause__ is None
    assert len(site.requests) == 1, "a redirect was followed"
    with pytest.raises(BackendError) as caught_too:
        await dial(site.gate(f"/away?{TICKET}"))
    assert TICKET not in str(caught_too.value) + repr(site.gate())


async def test_nothing_and_something_else_at_that_port(site: Site) -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"220 mail.example ESMTP\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(other, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(Unsupported):
        await dial(Gate(url=f"ws://127.0.0.1:{port}/"))
    server.close()
    await server.wait_closed()
    with pytest.raises(Unreachable):
        await dial(Gate(url=f"ws://127.0.0.1:{port}/"))
    with pytest.raises(Invalid):
        await dial(Gate(url=f"https://localhost:{site.port}/"))


def shown(pem: Path) -> bytes:
    """The certificate as it goes over the wire."""
    return ssl.PEM_cert_to_DER_cert(pem.read_text(encoding="ascii").partition("-----END PRIVATE KEY-----\n")[2])


async def test_tls_by_authority_and_by_thumbprint(safe_site: Site, pem: Path) -> None:
    certificate = shown(pem)
    right = hashlib.sha256(certificate).hexdigest()
    short = hashlib.sha1(certificate, usedforsecurity=False).hexdigest().upper()
    colons = ":".join(short[at : at + 2] for at in range(0, len(short), 2))
    for way in ({"ca": f"{pem}.crt"}, {"thumbprint": right}, {"thumbprint": colons}):
        with await dial(safe_site.gate(scheme="wss", **way)) as door:
            await write(door, b"hello")
            assert await read(door, 5) == b"hello"
    asked = len(safe_site.requests)
    for wrong in ({}, {"thumbprint": "00" * 32}):
        with pytest.raises(HostKeyMismatch):
            await dial(safe_site.gate(scheme="wss", **wrong))
    assert len(safe_site.requests) == asked, "the ticket went to somebody unknown"
    with pytest.raises(Invalid) as caught:
        await dial(safe_site.gate(scheme="wss", ca="/nowhere.pem"))
    assert caught.value.field == "ca"


async def test_nothing_is_logged(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="websockets"):
        (await dial(site.gate())).close()
        async with asyncio.timeout(30):
            await site.closed.wait()
            while websocket._carried:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    client = [record.getMessage() for record in caplog.records if "websockets.server" not in record.name]
    assert not [line for line in client if TICKET in line]
