"""SSH transport: one connection per remote host, in one thread with a loop of its own.

A remote unix socket is forwarded to a local path in a folder that only this user may enter; consoles are dialled and
get a socket of their own. asyncssh is imported at
the first use, because that takes most of a second.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.errors import AuthNeeded, BackendError, Denied, HostKeyMismatch, Invalid, NotFound, Unreachable
from backends.pump import CHUNK, pair, pump
from backends.threads import LoopThread

PATH_LIMIT = 107
KEEPALIVE_S = 5
KEEPALIVE_COUNT = 5
DIAL_S = 20.0
ENDED_S = 1.0
TERMINAL = "xterm-256color"


@dataclass(frozen=True, slots=True, kw_only=True)
class SshHost:
    """Where to go and by what key. Empty fields come from ~/.ssh/config, the agent and the usual files."""

    host: str
    user: str = ""
    port: int | None = None
    keyfile: str = ""
    known_hosts: str = ""
    passphrase: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"SshHost({self.user}@{self.host}:{self.port or 22})"


@dataclass(frozen=True, slots=True)
class Place:
    """A unix socket, or a TCP port, as the remote host sees it."""

    path: str = ""
    host: str = "127.0.0.1"
    port: int = 0

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"


class _Channel:
    """An SSH channel as the far end of a pump."""

    def __init__(self, reader: Any, writer: Any) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        return bytes(await self._reader.read(CHUNK))

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


class Shell:
    """A shell on the host: `socket` has its terminal's bytes."""

    def __init__(self, near: socket.socket, process: Any) -> None:
        self.socket = near
        self._process = process

    async def ended(self) -> bool:
        """Whether it ended by itself; False where it runs, or the connection was lost."""
        return await TRANSPORT.submit(self._ended())

    async def _ended(self) -> bool:
        # What it ended with comes after its last byte.
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait_closed(), ENDED_S)
        return self._process.exit_status is not None or self._process.exit_signal is not None

    def resize(self, columns: int, rows: int) -> None:
        """Give its terminal another size, in cells. From any thread."""
        TRANSPORT.loop.call_soon_threadsafe(self._process.change_terminal_size, columns, rows)


TRANSPORT = LoopThread("ssh")
"""Runs all SSH connections of this process."""


class SshConnection:
    """One SSH connection. `open` on any loop; `forward` gives a local socket path; `dial` a socket that leads to a
    place on the host; `close` ends all of it."""

    def __init__(self, host: SshHost) -> None:
        self.host = host
        self._connection: Any = None
        self._folder: Path | None = None
        self._forwards: dict[str, str] = {}
        self._pumps: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Connect and authenticate. Raises Unreachable, HostKeyMismatch, AuthNeeded, Invalid."""
        await TRANSPORT.submit(self._open())

    async def forward(self, candidates: Sequence[str]) -> str:
        """A local socket that leads to the first of the remote sockets that answers. NotFound, Denied."""
        return await TRANSPORT.submit(self._forward(tuple(candidates)))

    async def dial(self, place: Place) -> socket.socket:
        """A connected socket that leads to `place`, through this connection. NotFound, Denied, Unreachable."""
        return await TRANSPORT.submit(self._dial(place))

    async def forward_port(self, place: Place) -> tuple[int, Callable[[], None]]:
        """A port on 127.0.0.1 that leads to `place`, and what ends that (from any thread).

        For programs that can only be told a port. Where the system can say so (Linux), processes of other users
        are turned away.
        """
        return await TRANSPORT.submit(self._forward_port(place))

    async def shell(self, columns: int, rows: int) -> Shell:
        """A login shell in a terminal of this size, in cells. Denied, Unreachable."""
        return await TRANSPORT.submit(self._shell(columns, rows))

    async def run(self, command: str) -> str:
        """The output of a command on the host. Raises BackendError with its words where it fails."""
        return await TRANSPORT.submit(self._run(command))

    async def close(self) -> None:
        await TRANSPORT.submit(self._close())

    def close_soon(self) -> None:
        """Begin to close, from any thread."""
        TRANSPORT.start(self._close())

    def open_blocking(self, candidates: Sequence[str], seconds: float = 30.0) -> str:
        """`open` and `forward` for a thread without a loop."""
        TRANSPORT.wait(self._open(), seconds)
        return TRANSPORT.wait(self._forward(tuple(candidates)), seconds)

    def close_blocking(self, seconds: float = 5.0) -> None:
        TRANSPORT.wait(self._close(), seconds)

    async def _open(self) -> None:
        import asyncssh

        options: dict[str, Any] = {"keepalive_interval": KEEPALIVE_S, "keepalive_count_max": KEEPALIVE_COUNT}
        if self.host.port:
            options["port"] = self.host.port
        if self.host.user:
            options["username"] = self.host.user
        if self.host.keyfile:
            options["client_keys"] = [self.host.keyfile]
        if self.host.passphrase:
            options["passphrase"] = self.host.passphrase
        if self.host.password:
            options["password"] = self.host.password
        if self.host.known_hosts:
            options["known_hosts"] = self.host.known_hosts
        name = self.host.host
        try:
            self._connection = await asyncio.wait_for(asyncssh.connect(name, **options), 20)
        except asyncssh.HostKeyNotVerifiable as error:
            raise HostKeyMismatch(
                f"{name} is not known by its key: {error.reason}",
                cure=f"verify it, then put it into known_hosts (ssh {name})",
                field="known_hosts",
            ) from None
        except asyncssh.PermissionDenied:
            raise AuthNeeded(f"{name} does not accept this user and key", cure="check both", field="keyfile") from None
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
            raise AuthNeeded(f"the key cannot be used: {error}", field="keyfile") from None
        except FileNotFoundError as error:
            field = "known_hosts" if error.filename == self.host.known_hosts else "keyfile"
            raise Invalid(f"there is no file {error.filename}", field=field) from None
        except (OSError, TimeoutError, asyncssh.Error) as error:
            number = (error.errno or 0) if isinstance(error, OSError) else 0
            text = (os.strerror(number).lower() if number > 0 else str(error)) or "no answer"
            cure = "see that it is up and that its SSH port is reachable from here"
            raise Unreachable(f"{name} cannot be reached by SSH: {text}", cure=cure, field="uri") from None

    async def _forward(self, candidates: tuple[str, ...]) -> str:
        import asyncssh

        refused: list[str] = []
        for remote in candidates:
            if remote in self._forwards:
                return self._forwards[remote]
            try:
                _reader, writer = await self._connection.open_unix_connection(remote)
            except asyncssh.ChannelOpenError as error:
                refused.append(f"{remote}: {error.reason}")
                continue
            except (OSError, asyncssh.Error) as error:
                raise Unreachable(f"{self.host.host}: {error}", field="uri") from None
            writer.close()
            local = self._local(len(self._forwards))
            await self._connection.forward_local_path(local, remote)
            self._forwards[remote] = local
            return local
        raise await self._why(candidates, refused)

    async def _dial(self, place: Place) -> socket.socket:
        import asyncssh

        connection = self._connected()
        try:
            async with asyncio.timeout(DIAL_S):
                if place.path:
                    reader, writer = await connection.open_unix_connection(place.path, encoding=None)
                else:
                    reader, writer = await connection.open_connection(place.host, place.port, encoding=None)
        except asyncssh.ChannelOpenError as error:
            if error.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
                cure = "allow TCP and stream-local forwarding in its sshd_config"
                raise Denied(f"{self.host.host}: its SSH server forwards nothing", cure=cure) from None
            raise NotFound(f"{self.host.host}: nothing answers at {place} ({error.reason})") from None
        except (OSError, TimeoutError, asyncssh.Error) as error:
            raise Unreachable(f"{self.host.host}: {place} does not answer: {error or 'no answer'}") from None
        return self._carried(_Channel(reader, writer))

    async def _shell(self, columns: int, rows: int) -> Shell:
        import asyncssh

        connection = self._connected()
        try:
            async with asyncio.timeout(DIAL_S):
                process = await connection.create_process(term_type=TERMINAL, term_size=(columns, rows), encoding=None)
        except asyncssh.ChannelOpenError as error:
            raise Denied(f"{self.host.host} gives no shell: {error.reason}") from None
        except (OSError, TimeoutError, asyncssh.Error) as error:
            raise Unreachable(f"{self.host.host}: no shell: {error or 'no answer'}") from None
        return Shell(self._carried(_Channel(process.stdout, process.stdin)), process)

    def _carried(self, channel: _Channel) -> socket.socket:
        """A socket that is the near end of a channel."""
        ours, theirs = pair()
        carrying = asyncio.create_task(pump(theirs, channel))
        self._pumps.add(carrying)
        carrying.add_done_callback(self._pumps.discard)
        return ours

    async def _forward_port(self, place: Place) -> tuple[int, Callable[[], None]]:
        import asyncssh

        def mine(_host: str, port: int) -> bool:
            return own_connection(port)

        connection = self._connected()
        try:
            if place.path:
                listener = await connection.forward_local_port_to_path("127.0.0.1", 0, place.path, mine)
            else:
                listener = await connection.forward_local_port("127.0.0.1", 0, place.host, place.port, mine)
        except (OSError, asyncssh.Error) as error:
            raise Unreachable(f"{self.host.host}: {place} cannot be forwarded: {error}") from None

        def release() -> None:
            TRANSPORT.loop.call_soon_threadsafe(listener.close)

        return int(listener.get_port()), release

    def _connected(self) -> Any:
        if self._connection is None:
            raise Unreachable(f"{self.host.host}: the SSH connection is closed")
        return self._connection

    async def _why(self, candidates: tuple[str, ...], refused: list[str]) -> BackendError:
        """What stands between us and the sockets: that they are not there, or that this user may not use them."""
        import asyncssh

        for path in candidates:
            try:
                found = await self._connection.run(f"test -S '{path}'", check=False)
            except (OSError, asyncssh.Error):
                break
            if found.exit_status == 0:
                return Denied(
                    f"{self.host.host}: this user may not use {path}",
                    cure="add the user to the group libvirt there, or allow socket forwarding in sshd",
                    field="uri",
                )
        return NotFound(f"{self.host.host}: no daemon listens ({'; '.join(refused)})", cure="start it", field="uri")

    async def _run(self, command: str) -> str:
        found = await self._connection.run(command, check=False)
        if found.exit_status != 0:
            raise BackendError(f"{self.host.host}: {str(found.stderr).strip() or found.exit_status}")
        return str(found.stdout)

    def _local(self, number: int) -> str:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="cw-"))
        local = str(self._folder / f"{number}.sock")
        if len(local.encode()) > PATH_LIMIT:
            raise Invalid("the folder for temporary files has too long a name for a socket", cure="set TMPDIR")
        return local

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        self._forwards.clear()
        if connection is not None:
            connection.close()
            try:
                await asyncio.wait_for(connection.wait_closed(), 3)
            except (OSError, TimeoutError):
                connection.abort()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def own_connection(port: int) -> bool:
    """Whether the local TCP connection from 127.0.0.1:`port` is this user's. True where the system does not tell."""
    try:
        rows = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return True
    return any(row.split()[1] == f"0100007F:{port:04X}" and int(row.split()[7]) == os.getuid() for row in rows)
