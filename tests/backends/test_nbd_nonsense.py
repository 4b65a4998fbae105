"""A server that lies: every answer ends in an error, none in a wait for ever or in memory without end."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from backends.errors import BackendError, Unreachable
from backends.nbd import NbdConnection, unix_uri

HELLO = b"NBDMAGICIHAVEOPT\0\1"
Talk = Callable[[socket.socket], object]


def reply(option: int, kind: int, body: bytes = b"") -> bytes:
    return struct.pack(">QIII", 0x3E889045565A9, option, kind, len(body)) + body


def option(peer: socket.socket) -> int:
    _, number, length = struct.unpack(">QII", peer.recv(16, socket.MSG_WAITALL))
    if length:
        peer.recv(length, socket.MSG_WAITALL)
    return int(number)


def agree(peer: socket.socket) -> None:
    """The handshake: structured replies, block status, a disk of 1 MiB."""
    peer.sendall(HELLO)
    peer.recv(4, socket.MSG_WAITALL)
    peer.sendall(reply(option(peer), 1))
    number = option(peer)
    peer.sendall(reply(number, 4, b"\0\0\0\1base:allocation") + reply(number, 1))
    number = option(peer)
    peer.sendall(reply(number, 3, struct.pack(">HQH", 0, 1 << 20, 0)) + reply(number, 1))


def chunk(kind: int, body: bytes, handle: int = 1, length: int | None = None) -> bytes:
    return struct.pack(">IHHQI", 0x668E33EF, 1, kind, handle, len(body) if length is None else length) + body


@contextmanager
def server(folder: Path, talk: Talk) -> Iterator[str]:
    path = str(folder / "nbd")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()

    def serve() -> None:
        peer, _ = listening.accept()
        with peer, suppress(OSError, struct.error):
            talk(peer)
            while peer.recv(4096):
                pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield unix_uri(path)
    finally:
        listening.close()
        thread.join(10)


def endless(peer: socket.socket) -> None:
    peer.sendall(HELLO)
    while True:
        peer.sendall(reply(8, 3) * 100)


@pytest.mark.parametrize(
    "talk",
    [
        lambda peer: peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n"),
        lambda peer: peer.sendall(HELLO + struct.pack(">QIII", 0x3E889045565A9, 8, 3, 0xFFFFFFF0)),
        lambda peer: peer.sendall(HELLO + reply(8, 1 << 31) + reply(7, 3, b"\0\0") + reply(7, 1)),
        endless,
    ],
    ids=["http", "four-gigabytes", "short-info", "endless"],
)
def test_a_handshake_of_nonsense_is_an_error(tmp_path: Path, talk: Talk) -> None:
    with server(tmp_path, talk) as uri, pytest.raises(BackendError):
        NbdConnection(uri, timeout=20)


@pytest.mark.parametrize(
    "answer",
    [
        chunk(1, struct.pack(">Q", 0) + bytes(512), handle=77),
        chunk(1, b"", length=0xFFFFFFF0),
        chunk(1, b"xx"),
        chunk(1, struct.pack(">Q", 4096) + bytes(512)),
        chunk(0x8001, b""),
        struct.pack(">IIQ", 0x67446698, 0, 99),
        b"garbage" * 10,
    ],
    ids=["whose", "four-gigabytes", "short", "beyond", "short-error", "simple-whose", "garbage"],
)
def test_an_answer_of_nonsense_is_an_error(tmp_path: Path, answer: bytes) -> None:
    def talk(peer: socket.socket) -> None:
        agree(peer)
        peer.recv(28, socket.MSG_WAITALL)
        peer.sendall(answer)

    with server(tmp_path, talk) as uri:
        connection = NbdConnection(uri, timeout=20)
        try:
            with pytest.raises(BackendError):
                connection.read(0, 512)
        finally:
            connection.close()


def test_an_extent_of_no_bytes_is_an_error(tmp_path: Path) -> None:
    def talk(peer: socket.socket) -> None:
        agree(peer)
        for handle in range(1, 100):
            peer.recv(28, socket.MSG_WAITALL)
            peer.sendall(chunk(5, struct.pack(">III", 1, 0, 0), handle=handle))

    with server(tmp_path, talk) as uri:
        connection = NbdConnection(uri, timeout=20)
        try:
            with pytest.raises(BackendError, match="no bytes"):
                list(connection.extents())
        finally:
            connection.close()


def test_a_server_that_falls_silent_is_given_up(tmp_path: Path) -> None:
    with server(tmp_path, agree) as uri:
        connection = NbdConnection(uri, silence=0.2)
        try:
            with pytest.raises(Unreachable, match="does not answer any more"):
                connection.read(0, 512)
            with pytest.raises(Unreachable):
                connection.read(0, 512)
        finally:
            connection.close()


def test_a_server_that_takes_nothing_in_is_given_up(tmp_path: Path) -> None:
    hold = threading.Event()

    def talk(peer: socket.socket) -> None:
        agree(peer)
        hold.wait(30)

    with server(tmp_path, talk) as uri:
        connection = NbdConnection(uri, silence=0.2)
        try:
            with pytest.raises(Unreachable):
                connection.write(0, bytes(1 << 20))
        finally:
            hold.set()
            connection.close()


def test_a_server_that_has_nothing_to_answer_may_be_silent(tmp_path: Path) -> None:
    def talk(peer: socket.socket) -> None:
        agree(peer)
        for handle in (1, 2):
            peer.recv(28, socket.MSG_WAITALL)
            peer.sendall(chunk(1, struct.pack(">Q", 0) + bytes(512), handle=handle))

    with server(tmp_path, talk) as uri:
        connection = NbdConnection(uri, silence=0.2)
        try:
            assert connection.read(0, 512) == bytes(512)
            threading.Event().wait(0.7)
            assert connection.read(0, 512) == bytes(512)
        finally:
            connection.close()
