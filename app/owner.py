"""One owner process per data folder: an OS lock says who, a private local socket lets the others ask.

The lock is the kernel's (flock; a byte lock on Windows), so it ends with its process however that ends; on NFS it
holds between machines from version 4 on. Who has the lock may remove a socket that a crash left. The socket is a
unix socket in a 0700 folder (Windows: loopback TCP with a token); a private file in the data folder says where.

    one line of JSON asked -> any number of {"item": ...} lines -> {"end": true} or {"error": {...}}
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import os
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import backends.errors
from app.paths import private_folder, write_private
from backends.errors import BackendError, Conflict, Invalid, Unreachable

log = logging.getLogger(__name__)

LINE = 2**20
"""No request and no answer is longer, in bytes."""
CLIENTS = 64
"""So many are answered at a time."""
SILENT = 16
"""So many may be connected without having asked; who comes then takes the place of the oldest of them."""
REQUEST_S = 5.0
"""A client that has not asked by then is dropped: it asks with its first packet."""
DRAIN_S = 30.0
"""A client that does not take its answers for so long is dropped."""
START_S = 10.0
"""So long an owner may take from its lock to its socket."""
LONGEST_PATH = 100
"""Unix sockets have 108 bytes for their path on Linux, 104 elsewhere."""

Handler = Callable[[dict[str, Any]], AsyncIterator[dict[str, Any]]]


class NoOwner(BackendError):
    """No process owns the data folder."""


class Owner:
    """This process owns the data folder, until release() or its end."""

    def __init__(self, home: Path, lock: int) -> None:
        self._home = home
        self._lock: int | None = lock
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._silent: dict[asyncio.Task[None], None] = {}
        """Those of them that have not asked yet, the oldest first."""
        self._token = ""
        self._handler: Handler | None = None

    @classmethod
    def acquire(cls, home: Path) -> Owner | None:
        """Become the owner; None where another process is. Raises Invalid for a folder that cannot be used."""
        private_folder(home)
        # Whoever looks whether there is an owner holds the lock for a moment.
        for _ in range(5):
            lock = _locked(home, exclusive=True)
            if lock is not None:
                return cls(home, lock)
            time.sleep(0.02)
        return None

    async def serve(self, handler: Handler) -> None:
        """From now on answer what others ask with what `handler(request)` yields. Returns when they can ask.

        A BackendError of the handler reaches the asker as it is. An asker that goes away cancels its handler.
        Raises Invalid, and is the owner no more, where the folder cannot be written to.
        """
        self._handler = handler
        try:
            await self._listen()
        except OSError as error:
            self.release()
            raise _unusable(self._home, error) from None

    async def _listen(self) -> None:
        _clean(self._home)
        where: dict[str, Any]
        if sys.platform == "win32":
            self._token = secrets.token_hex(32)
            self._server = await asyncio.start_server(self._on_client, "127.0.0.1", 0, limit=LINE)
            where = {"port": self._server.sockets[0].getsockname()[1], "token": self._token}
        else:
            path = self._home.absolute() / "owner.sock"
            if len(os.fsencode(path)) > LONGEST_PATH:
                path = Path(tempfile.mkdtemp(prefix="causeway-", dir=_short_folder())) / "owner.sock"
            self._server = await asyncio.start_unix_server(self._on_client, path, limit=LINE)
            path.chmod(0o600)
            where = {"socket": str(path)}
        write_private(_address(self._home), json.dumps(where).encode())

    async def close(self) -> None:
        """Answer nobody any more, wait for what was being answered to end, then release."""
        clients = list(self._clients)
        self.release()
        if clients:
            await asyncio.wait(clients)

    def release(self) -> None:
        """Stop answering and give the lock back. Idempotent."""
        if self._server is not None:
            self._server.close()
            self._server = None
            _clean(self._home)
        for client in self._clients:
            client.cancel()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _on_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        self._silent[task] = None
        if len(self._silent) > SILENT:
            oldest = next(iter(self._silent))
            del self._silent[oldest]
            oldest.cancel()
        try:
            await self._answer(reader, writer)
        except (OSError, TimeoutError):
            log.debug("an asker went away")
        except asyncio.CancelledError:
            log.debug("an answer was cancelled")
        finally:
            self._clients.discard(task)
            self._silent.pop(task, None)
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            request = await self._request(reader)
            self._silent.pop(task, None)
            if len(self._clients) - len(self._silent) > CLIENTS:
                raise Conflict("The running Causeway is answering too many others", cure="Ask again in a moment")
        except BackendError as error:
            await _send(writer, {"error": _packed(error)})
            return
        if request is None:
            return
        answering = asyncio.create_task(self._stream(request, writer))
        # The asker sends nothing more: whatever comes, its end above all, ends the answer.
        leaving = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for part in (answering, leaving):
                part.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)

    async def _request(self, reader: asyncio.StreamReader) -> dict[str, Any] | None:
        """What is asked; None where the asker went away. Raises Invalid for anything else than a request."""
        try:
            line = await asyncio.wait_for(reader.readuntil(b"\n"), REQUEST_S)
            request = json.loads(line)
        except (asyncio.IncompleteReadError, TimeoutError):
            return None
        except (asyncio.LimitOverrunError, ValueError, RecursionError):
            raise Invalid("The request is not a line of JSON of at most 1 MiB") from None
        if not isinstance(request, dict):
            raise Invalid("The request is not a JSON object")
        token = request.pop("token", "")
        if self._token and not (isinstance(token, str) and hmac.compare_digest(token.encode(), self._token.encode())):
            raise backends.errors.Denied("The request does not carry the owner's token")
        return request

    async def _stream(self, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        assert self._handler is not None
        items = self._handler(request)
        try:
            async for item in items:
                await _send(writer, {"item": item})
            last: dict[str, Any] = {"end": True}
        except BackendError as error:
            last = {"error": _packed(error)}
        except OSError:
            raise
        except Exception as error:
            log.exception("a request failed")
            last = {"error": _packed(BackendError(f"{type(error).__name__}: {error}"))}
        finally:
            closing = getattr(items, "aclose", None)
            if closing is not None:
                await closing()
        await _send(writer, last)


async def ask(home: Path, request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """What the owner of `home` answers. Raises NoOwner where there is none, the handler's own BackendError, and
    Unreachable where the owner ends or does not answer."""
    reader, writer, token = await _connected(home)
    try:
        await _send(writer, {**request, "token": token} if token else request)
        while True:
            try:
                answer = json.loads(await reader.readuntil(b"\n"))
            except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, OSError):
                raise Unreachable("The running Causeway ended before it had answered") from None
            if "item" in answer:
                yield answer["item"]
            elif "error" in answer:
                raise _unpacked(answer["error"])
            else:
                return
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _connected(home: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
    """A connection to the owner, and the token to show it."""
    ends = time.monotonic() + START_S
    while True:
        try:
            where = _where(home)
            if "socket" in where:
                return *await asyncio.open_unix_connection(where["socket"], limit=2 * LINE), ""
            streams = await asyncio.open_connection("127.0.0.1", int(where["port"]), limit=2 * LINE)
            return *streams, str(where["token"])
        except (OSError, ValueError, KeyError):
            if not await asyncio.to_thread(_held, home):
                raise NoOwner(f"No running Causeway owns {home}") from None
        if time.monotonic() > ends:
            raise Unreachable(
                "Another Causeway owns the data folder but does not answer",
                cure="Wait for it to start, or end it",
                field="home",
            )
        await asyncio.sleep(0.05)


def _address(home: Path) -> Path:
    """The private file that says where the owner answers."""
    return home / "owner.json"


def _where(home: Path) -> dict[str, Any]:
    """Raises OSError or ValueError where nobody has said it."""
    where = json.loads(_address(home).read_text(encoding="utf-8"))
    if not isinstance(where, dict):
        raise ValueError("not an address")
    return where


def _clean(home: Path) -> None:
    """Remove what an owner, this one or one that was killed, made to be asked."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        socket = Path(_where(home)["socket"])
        socket.unlink(missing_ok=True)
        if socket.parent.name.startswith("causeway-") and socket.parent.parent == _short_folder():
            socket.parent.rmdir()
    (home / "owner.sock").unlink(missing_ok=True)
    _address(home).unlink(missing_ok=True)


def _short_folder() -> Path:
    """Where a private folder with a short path can be made: unix sockets have room for some 100 bytes."""
    return Path("/tmp") if sys.platform != "win32" else Path(tempfile.gettempdir())


def _locked(home: Path, *, exclusive: bool) -> int | None:
    """A descriptor that holds the lock, None where someone else holds it."""
    try:
        descriptor = os.open(home / "owner.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise _unusable(home, error) from None
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _unusable(home: Path, error: OSError) -> Invalid:
    return Invalid(
        f"The data folder {home} cannot be used: {error.strerror or error}",
        cure="See to its permissions and free space, or name another with --home or CAUSEWAY_HOME",
        field="home",
    )


def _held(home: Path) -> bool:
    """Whether some process owns the folder."""
    if not (home / "owner.lock").exists():
        return False
    descriptor = _locked(home, exclusive=False)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


async def _send(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    line = json.dumps(message, separators=(",", ":"), default=str).encode() + b"\n"
    if len(line) > LINE:
        raise Invalid("The message is too long to be sent")
    writer.write(line)
    await asyncio.wait_for(writer.drain(), DRAIN_S)


def _packed(error: BackendError) -> dict[str, str]:
    return {
        "type": type(error).__name__,
        "message": error.message,
        "cure": error.cure,
        "field": error.field,
        "object_name": error.object_name,
    }


def _unpacked(data: dict[str, str]) -> BackendError:
    found = getattr(backends.errors, str(data.get("type")), None)
    cls = found if isinstance(found, type) and issubclass(found, BackendError) else BackendError
    error = cls(str(data.get("message", "")), object_name=str(data.get("object_name", "")))
    error.cure, error.field = str(data.get("cure", "")), str(data.get("field", ""))
    return error
