"""The SSH transport against a real SSH server on loopback."""

from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import asyncssh
import pytest

from backends.errors import AuthNeeded, HostKeyMismatch, NotFound, Unreachable
from backends.ssh import Place, SshConnection, SshHost, own_connection


class Server(asyncssh.SSHServer):
    def unix_connection_requested(self, dest_path: str) -> bool:
        return True

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        return True


@dataclass
class Site:
    host: SshHost
    socket: Path
    connections: list[asyncssh.SSHServerConnection]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """An SSH server that knows one key, and a unix socket behind it that echoes."""
    key, host_key = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(str(tmp_path / "id"))
    (tmp_path / "authorized").write_bytes(key.export_public_key())
    connections: list[asyncssh.SSHServerConnection] = []

    class Counted(Server):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            connections.append(conn)

    listener = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=Counted,
        server_host_keys=[host_key],
        authorized_client_keys=str(tmp_path / "authorized"),
    )
    port = listener.get_port()
    known = tmp_path / "known"
    known.write_text(f"[127.0.0.1]:{port} {host_key.export_public_key().decode()}")

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(100))
        writer.close()

    path = tmp_path / "daemon"
    behind = await asyncio.start_unix_server(echo, str(path))
    host = SshHost(host="127.0.0.1", user="u", port=port, keyfile=str(tmp_path / "id"), known_hosts=str(known))
    yield Site(host, path, connections)
    for connection in connections:
        connection.abort()
        await connection.wait_closed()
    behind.close()
    listener.close()
    await listener.wait_closed()


async def test_a_socket_is_forwarded_to_a_private_folder_over_one_connection(site: Site) -> None:
    connection = SshConnection(site.host)
    await connection.open()
    local = await connection.forward(["/nowhere/sock", str(site.socket)])
    assert stat.S_IMODE(Path(local).parent.stat().st_mode) == 0o700
    assert len(local) < 108
    for _ in range(2):
        reader, writer = await asyncio.open_unix_connection(local)
        writer.write(b"hello")
        assert await reader.read(5) == b"hello"
        writer.close()
    assert await connection.forward([str(site.socket)]) == local
    assert len(site.connections) == 1
    await connection.close()
    assert not Path(local).parent.exists()


async def test_another_host_key_is_never_accepted(site: Site, tmp_path: Path) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    swapped = tmp_path / "swapped"
    swapped.write_text(f"[127.0.0.1]:{site.host.port} {other}")
    with pytest.raises(HostKeyMismatch):
        await SshConnection(replace(site.host, known_hosts=str(swapped))).open()


async def test_another_key_needs_credentials(site: Site, tmp_path: Path) -> None:
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(tmp_path / "other"))
    with pytest.raises(AuthNeeded) as caught:
        await SshConnection(replace(site.host, keyfile=str(tmp_path / "other"))).open()
    assert caught.value.field == "keyfile"


async def test_nobody_there_is_unreachable(site: Site) -> None:
    with pytest.raises(Unreachable):
        await SshConnection(replace(site.host, port=1)).open()


async def test_no_socket_is_not_found(site: Site) -> None:
    connection = SshConnection(site.host)
    await connection.open()
    with pytest.raises(NotFound):
        await connection.forward(["/nowhere/sock"])
    await connection.close()


async def talk(sock: socket.socket, data: bytes) -> bytes:
    loop, found = asyncio.get_running_loop(), bytearray()
    await loop.sock_sendall(sock, data)
    while piece := await loop.sock_recv(sock, 1000):
        found += piece
    return bytes(found)


async def test_unix_sockets_and_ports_are_dialled_over_the_same_connection(site: Site) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"tcp " + await reader.read(100))
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connection = SshConnection(site.host)
    await connection.open()
    for place, answer in ((Place(path=str(site.socket)), b"\xffbytes"), (Place(port=port), b"tcp \xffbytes")):
        with await connection.dial(place) as door:
            assert not door.getblocking()
            assert await talk(door, b"\xffbytes") == answer
    with pytest.raises(NotFound, match="nothing answers at /nowhere"):
        await connection.dial(Place(path="/nowhere"))
    assert len(site.connections) == 1
    open_door = await connection.dial(Place(path=str(site.socket)))
    await connection.close()
    assert await asyncio.get_running_loop().sock_recv(open_door, 10) == b"", "a door outlived its connection"
    open_door.close()
    with pytest.raises(Unreachable):
        await connection.dial(Place(path=str(site.socket)))
    server.close()


async def test_a_forwarded_port_is_this_users_and_ends_with_its_release(site: Site) -> None:
    connection = SshConnection(site.host)
    await connection.open()
    port, release = await connection.forward_port(Place(path=str(site.socket)))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"hello")
    assert await reader.read(5) == b"hello"
    mine = writer.get_extra_info("sockname")[1]
    assert own_connection(mine) and not own_connection(1)
    writer.close()
    release()
    async with asyncio.timeout(30):
        while True:
            try:
                (await asyncio.open_connection("127.0.0.1", port))[1].close()
            except (ConnectionRefusedError, ConnectionResetError):  # reset: it was still in the queue of the listener
                break
            await asyncio.sleep(0.01)
    await connection.close()
