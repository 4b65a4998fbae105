"""Versions, passwords, VeNCrypt; and that a server which refuses, or is another one, is told for what it is."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from struct import pack, unpack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.consoles.rfb import RfbClient
from app.consoles.rfb import client as client_module
from app.consoles.rfb.security import response
from backends.consoles import DoorTls
from backends.errors import AuthNeeded, BackendError, Denied, HostKeyMismatch, Invalid, Unreachable, Unsupported
from tests.app.consoles.rfb.authority import Authority
from tests.app.consoles.rfb.scripted import Events, Server, pair, replayed

INIT = pack(">HH16sI", 4, 3, bytes(16), 2) + b"ok"
FRAME = pack(">BxHHHHHi", 0, 1, 0, 0, 4, 3, 0) + bytes(48)
HELLO = b"RFB 003.008\n"
CHALLENGE = bytes(range(16))


def reason(text: bytes) -> bytes:
    return pack(">I", len(text)) + text


async def failed(stream: bytes, *, user: str = "", password: str = "", tls: DoorTls | None = None) -> BackendError:
    """The error that a server's words end in."""
    near, far = pair()
    client = RfbClient(near, user=user, password=password, tls=tls, on=Events())
    await asyncio.get_running_loop().sock_sendall(far, stream)
    far.shutdown(socket.SHUT_WR)
    with pytest.raises(BackendError) as caught:
        await client.run()
    await client.close()
    far.close()
    return caught.value


@pytest.mark.parametrize(
    ("hello", "answer", "rest", "chosen"),
    [
        (b"RFB 003.003\n", b"RFB 003.003\n", pack(">I", 1), b""),
        (b"RFB 003.005\n", b"RFB 003.003\n", pack(">I", 1), b""),
        (b"RFB 003.007\n", b"RFB 003.007\n", b"\1\1", b"\1"),
        (b"RFB 003.008\n", b"RFB 003.008\n", b"\2\5\1" + pack(">I", 0), b"\1"),
        (b"RFB 003.889\n", b"RFB 003.008\n", b"\1\1" + pack(">I", 0), b"\1"),
        (b"RFB 005.000\n", b"RFB 003.008\n", b"\1\1" + pack(">I", 0), b"\1"),
    ],
)
async def test_versions(hello: bytes, answer: bytes, rest: bytes, chosen: bytes) -> None:
    near, far = pair()
    client, server = RfbClient(near, on=Events()), Server(far)
    await server.say(hello + rest + INIT)
    running = asyncio.create_task(client.run())
    assert await server.read(12) == answer
    assert await server.read(len(chosen) + 1) == chosen + b"\1"
    await server.hear_until(3)
    assert client.name == "ok"
    assert client.security == "none" and not client.encrypted
    assert (client.framebuffer.width, client.framebuffer.height) == (4, 3)
    await client.close()
    await running
    far.close()


async def test_no_vnc_server() -> None:
    error = await failed(b"SSH-2.0-OpenSSH_9.2\r\n")
    assert isinstance(error, Invalid) and "SSH-2.0-Open" in error.message


async def test_a_server_that_hangs_up_at_once() -> None:
    assert isinstance(await failed(b""), Unreachable)


async def test_a_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "HANDSHAKE", 0.05)
    near, far = pair()
    client = RfbClient(near, on=Events())
    with pytest.raises(Unreachable, match="nothing useful"):
        await client.run()
    await client.close()
    far.close()


async def test_refusals_are_told_in_the_server_s_words() -> None:
    for stream in (
        HELLO + b"\0" + reason(b"Too many\x1b[31m tries"),
        b"RFB 003.003\n" + pack(">I", 0) + reason(b"Too many\x1b[31m tries"),
        HELLO + b"\1\1" + pack(">I", 1) + reason(b"Too many\x1b[31m tries"),
    ):
        error = await failed(stream)
        assert isinstance(error, Denied) and error.message.endswith("refused: Too many [31m tries")


async def test_ways_to_sign_in_that_are_not_spoken_are_named() -> None:
    error = await failed(HELLO + b"\3\x14\x05\xc8")
    assert isinstance(error, Unsupported)
    assert "SASL, RSA-AES, type 200" in error.message and error.cure
    assert isinstance(await failed(b"RFB 003.003\n" + pack(">I", 16)), Unsupported)
    only_sasl = await failed(HELLO + b"\1\x13\0\2\0\1" + pack(">I", 263))
    assert isinstance(only_sasl, Unsupported) and "SASL inside TLS" in only_sasl.message


async def test_an_endless_explanation_is_not_read() -> None:
    assert isinstance(await failed(HELLO + b"\0" + pack(">I", 1 << 30)), Invalid)


def test_the_vnc_password_s_answer() -> None:
    """As OpenSSL's DES-ECB makes it, with each byte's bits in the other order."""
    assert response(CHALLENGE, "secret12").hex() == "adcd997f8e16fee575e973f93c2b62b4"
    assert response(CHALLENGE, "secret12 and what is over 8") == response(CHALLENGE, "secret12")
    assert response(CHALLENGE, "secret1") != response(CHALLENGE, "secret12")


async def test_vnc_password() -> None:
    stream = HELLO + b"\1\2" + CHALLENGE
    missing = await failed(stream)
    assert isinstance(missing, AuthNeeded) and missing.field == "password"
    wrong = await failed(stream + pack(">I", 1) + reason(b"Authentication failed"), password="wrong")
    assert isinstance(wrong, AuthNeeded) and wrong.field == "password" and "Authentication failed" in wrong.message
    client, error = await replayed(stream + pack(">I", 0) + INIT)
    assert client.name == "ok" and isinstance(error, Unreachable)
    assert client.security == "VNC password"
    assert not client._credentials.password, "a password that nobody needs any more is kept"


async def test_no_password_in_what_is_shown() -> None:
    near, far = pair()
    client = RfbClient(near, user="me", password="hunter22", on=Events())
    assert "hunter22" not in f"{vars(client)!r} {client!r}"
    await client.close()
    far.close()


class Venc:
    """A VeNCrypt server in a thread: offers `kinds`, then TLS, then a password as the kind wants, then a screen."""

    def __init__(self, context: ssl.SSLContext, kinds: list[int]) -> None:
        self.context = context
        self.kinds = kinds
        self.chosen = 0
        self.proof = b""

    def serve(self, sock: socket.socket) -> None:
        sock.settimeout(20)
        try:
            sock.sendall(HELLO)
            read(sock, 12)
            sock.sendall(b"\2\2\x13")
            assert read(sock, 1) == b"\x13"
            sock.sendall(b"\0\2")
            assert read(sock, 2) == b"\0\2"
            sock.sendall(b"\0" + bytes([len(self.kinds)]) + pack(f">{len(self.kinds)}I", *self.kinds))
            (self.chosen,) = unpack(">I", read(sock, 4))
            sock.sendall(b"\1")
            with self.context.wrap_socket(sock, server_side=True) as tls:
                if self.chosen in (258, 261):
                    tls.sendall(CHALLENGE)
                    self.proof = read(tls, 16)
                elif self.chosen in (259, 262):
                    user, password = unpack(">II", read(tls, 8))
                    self.proof = read(tls, user) + b"/" + read(tls, password)
                tls.sendall(pack(">I", 0))
                read(tls, 1)
                tls.sendall(INIT + FRAME)
                while tls.recv(4096):
                    pass
        except (OSError, ssl.SSLError):
            pass
        finally:
            sock.close()


def read(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        if not part:
            raise OSError("the client hung up")
        data += part
    return data


def anonymous() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("aNULL:@SECLEVEL=0")
    return context


def certified(authority: Authority, host: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.sign(host))
    return context


async def spoken(server: Venc, **credentials: object) -> RfbClient:
    """A client that got through, or its error."""
    near, far = pair()
    events = Events()
    client = RfbClient(near, on=events, **credentials)  # type: ignore[arg-type]
    welcomed = asyncio.create_task(events.next("resized"))
    serving = asyncio.create_task(asyncio.to_thread(server.serve, far))
    running = asyncio.create_task(client.run())
    try:
        await asyncio.wait([welcomed, running], return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        assert (client.framebuffer.width, client.framebuffer.height) == (4, 3)
    finally:
        welcomed.cancel()
        await client.close()
        await asyncio.wait([serving, running])
        running.exception()
    return client


@pytest.mark.parametrize(
    ("kinds", "chosen", "proof"),
    [
        ([257, 258], 257, b""),
        ([258, 259], 259, b"someone/secret12"),
        ([258], 258, response(CHALLENGE, "secret12")),
        ([259], 259, b"someone/secret12"),
        ([256, 258], 258, response(CHALLENGE, "secret12")),
    ],
)
async def test_anonymous_tls(kinds: list[int], chosen: int, proof: bytes) -> None:
    server = Venc(anonymous(), kinds)
    client = await spoken(server, user="someone", password="secret12")
    assert (server.chosen, server.proof) == (chosen, proof)
    assert client.security == "TLS, server not checked" and client.encrypted and not client.checked


@pytest.mark.parametrize(
    ("kinds", "chosen", "proof"),
    [
        ([258, 260], 260, b""),
        ([261, 257], 261, response(CHALLENGE, "secret12")),
        ([262], 262, b"someone/secret12"),
    ],
)
async def test_certificates(tmp_path: Path, kinds: list[int], chosen: int, proof: bytes) -> None:
    authority = Authority(tmp_path)
    server = Venc(certified(authority, "screen.example"), kinds)
    tls = DoorTls(host="screen.example", ca=str(authority.ca))
    client = await spoken(server, user="someone", password="secret12", tls=tls)
    assert (server.chosen, server.proof) == (chosen, proof)
    assert client.security == "TLS, certificate checked" and client.encrypted and client.checked


async def test_a_certificate_that_does_not_hold(tmp_path: Path) -> None:
    right, wrong = Authority(tmp_path / "right"), Authority(tmp_path / "wrong", "Another authority")
    context = certified(right, "screen.example")
    cases: list[tuple[DoorTls | None, type[BackendError]]] = [
        (DoorTls(host="other.example", ca=str(right.ca)), HostKeyMismatch),
        (DoorTls(host="screen.example", ca=str(wrong.ca)), HostKeyMismatch),
        (DoorTls(host="screen.example"), HostKeyMismatch),
        (DoorTls(host="screen.example", ca=str(tmp_path / "none.pem")), Invalid),
        (None, Unsupported),
    ]
    for tls, kind in cases:
        server = Venc(context, [261])
        with pytest.raises(kind) as caught:
            await spoken(server, password="secret12", tls=tls)
        assert server.proof == b"", "the password's proof went to a server that nobody knows"
        assert caught.value.cure


@pytest.mark.parametrize(
    ("says", "hears"),
    [
        (b"RFB 003.003\n" + pack(">I", 2) + CHALLENGE, b"RFB 003.003\n"),
        (b"RFB 003.003\n" + pack(">I", 1), b"RFB 003.003\n"),
        (HELLO + b"\1\2" + CHALLENGE, HELLO + b"\2"),
        (HELLO + b"\2\2\1" + pack(">I", 0), HELLO + b"\1"),
        (HELLO + b"\1\x13\0\2\0\1" + pack(">I", 259) + b"\1", HELLO + b"\x13\0\2"),
        (HELLO + b"\1\x13\0\2\0\1" + pack(">I", 257) + b"\1", HELLO + b"\x13\0\2"),
    ],
)
async def test_a_server_that_must_prove_itself_and_does_not_hears_no_secret(says: bytes, hears: bytes) -> None:
    near, far = pair()
    tls = DoorTls(host="screen.example")
    client = RfbClient(near, user="me", password="secret12", tls=tls, unproven=False, on=Events())
    await asyncio.get_running_loop().sock_sendall(far, says)
    with pytest.raises(AuthNeeded) as caught:
        await client.run()
    await client.close()
    assert caught.value.field == "trust" and caught.value.cure
    assert far.recv(4096) == hears, "nothing but what any stranger may know"
    far.close()


async def test_a_missing_name_or_password_is_asked_for(tmp_path: Path) -> None:
    for kinds, user, password, field in (
        ([259], "", "", "user"),
        ([259], "me", "", "password"),
        ([258], "", "", "password"),
    ):
        with pytest.raises(AuthNeeded) as caught:
            await spoken(Venc(anonymous(), kinds), user=user, password=password)
        assert caught.value.field == field


@pytest.mark.parametrize("breaks", [lambda data: b"\x16\x03\x03\xff\xff" + bytes(400), lambda data: bytes(500)])
async def test_nonsense_instead_of_tls(breaks: Callable[[bytes], bytes]) -> None:
    error = await failed(HELLO + b"\1\x13\0\2\0\1" + pack(">I", 257) + b"\1" + breaks(b""))
    assert isinstance(error, Invalid)


@given(st.text(max_size=12))
def test_any_password_has_an_answer(password: str) -> None:
    assert len(response(CHALLENGE, password)) == 16
