"""One libvirt connection: its threads, its events, its errors. Nothing of libvirt ever reaches the loop's thread."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import libvirt

from backends.errors import (
    AuthNeeded,
    BackendError,
    Cancelled,
    Conflict,
    Denied,
    Invalid,
    NotFound,
    QuotaExceeded,
    Unreachable,
    Unsupported,
)
from backends.threads import Pool

T = TypeVar("T")
Conn = Any
"""A libvirt.virConnect; the binding has no types."""

LONG = 7 * 24 * 3600.0
"""Deadline of calls that last as long as they last: migrations and copies."""

ERRORS: dict[int, type[BackendError]] = {
    libvirt.VIR_ERR_NO_CONNECT: Unreachable,
    libvirt.VIR_ERR_RPC: Unreachable,
    libvirt.VIR_ERR_SYSTEM_ERROR: Unreachable,
    libvirt.VIR_ERR_INVALID_CONN: Unreachable,
    libvirt.VIR_ERR_OPERATION_TIMEOUT: Unreachable,
    libvirt.VIR_ERR_AUTH_FAILED: AuthNeeded,
    libvirt.VIR_ERR_AUTH_CANCELLED: AuthNeeded,
    libvirt.VIR_ERR_AUTH_UNAVAILABLE: AuthNeeded,
    libvirt.VIR_ERR_ACCESS_DENIED: Denied,
    libvirt.VIR_ERR_OPERATION_DENIED: Denied,
    libvirt.VIR_ERR_NO_DOMAIN: NotFound,
    libvirt.VIR_ERR_NO_NETWORK: NotFound,
    libvirt.VIR_ERR_NO_STORAGE_POOL: NotFound,
    libvirt.VIR_ERR_NO_STORAGE_VOL: NotFound,
    libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT: NotFound,
    libvirt.VIR_ERR_NO_DOMAIN_METADATA: NotFound,
    libvirt.VIR_ERR_DOM_EXIST: Conflict,
    libvirt.VIR_ERR_STORAGE_VOL_EXIST: Conflict,
    libvirt.VIR_ERR_OPERATION_INVALID: Conflict,
    libvirt.VIR_ERR_OPERATION_FAILED: Conflict,
    libvirt.VIR_ERR_RESOURCE_BUSY: Conflict,
    libvirt.VIR_ERR_MIGRATE_UNSAFE: Conflict,
    libvirt.VIR_ERR_NO_MEMORY: QuotaExceeded,
    libvirt.VIR_ERR_NO_SUPPORT: Unsupported,
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED: Unsupported,
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED: Unsupported,
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED: Unsupported,
    libvirt.VIR_ERR_XML_ERROR: Invalid,
    libvirt.VIR_ERR_XML_DETAIL: Invalid,
    libvirt.VIR_ERR_XML_INVALID_SCHEMA: Invalid,
    libvirt.VIR_ERR_INVALID_ARG: Invalid,
    libvirt.VIR_ERR_OPERATION_ABORTED: Cancelled,
}
"""What each libvirt error code means to a caller; any other code is a plain BackendError."""


def translated(error: libvirt.libvirtError, what: str = "") -> BackendError:
    """Our error for one of libvirt's. System errors of other domains than RPC are no loss of the connection."""
    code, text = error.get_error_code(), str(error.get_error_message() or error)
    kind = ERRORS.get(code, BackendError)
    if code == libvirt.VIR_ERR_SYSTEM_ERROR:
        if "No space left" in text:
            kind = QuotaExceeded
        elif "Permission denied" in text:
            kind = Denied
        elif error.get_error_domain() not in (libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE):
            kind = BackendError
    if code == libvirt.VIR_ERR_INTERNAL_ERROR and "client socket is closed" in text:
        kind = Unreachable
    return kind(f"{what}: {text}" if what else text)


def _unnamed(error: libvirt.libvirtError) -> bool:
    """Whether libvirt itself lost the cause: "An error occurred, but the cause is unknown" (virErrorGenericFailure)."""
    return error.get_error_code() == libvirt.VIR_ERR_INTERNAL_ERROR and not error.get_error_domain()


class _Events:
    """libvirt's own event loop in one daemon thread of the process. It must exist before any open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = False

    def start(self) -> None:
        """Register and run it; later calls do nothing."""
        with self._lock:
            if self._running:
                return
            libvirt.registerErrorHandler(lambda _context, _error: None, None)
            libvirt.virEventRegisterDefaultImpl()
            threading.Thread(target=self._run, name="libvirt-events", daemon=True).start()
            self._running = True

    @staticmethod
    def _run() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()


EVENTS = _Events()
_open: dict[int, Conn] = {}
"""Connections by number. They live here and not in a Client, so that no loop thread ever drops the last reference."""
_numbers = itertools.count(1)


_lock = threading.Lock()
_uses: Counter[int] = Counter()
_ending: dict[int, tuple[Conn, list[tuple[str, int]]]] = {}
_scope = threading.local()


def connection(number: int) -> Conn:
    """The libvirt connection of a Client; for worker threads only. Raises Unreachable once it is closed.

    It stays open until the call that asked for it is over: libvirt frees a connection that is closed while a
    migration to it is under way, and the process with it.
    """
    with _lock:
        if number not in _open:
            raise Unreachable("the connection is closed")
        held: list[int] | None = getattr(_scope, "held", None)
        if held is not None:
            held.append(number)
            _uses[number] += 1
        return _open[number]


@contextmanager
def using() -> Iterator[None]:
    """Around a call in a worker thread: the connections that it asks for are closed after it at the earliest."""
    held: list[int] = []
    _scope.held = held
    try:
        yield
    finally:
        _scope.held = None
        with _lock:
            _uses.subtract(held)
            over = [_ending.pop(number) for number in set(held) if not _uses[number] and number in _ending]
        for conn, callbacks in over:
            _disconnect(conn, callbacks)


def end(number: int, callbacks: list[tuple[str, int]]) -> None:
    """Close a connection, at once or after the last call that uses it. For worker threads only."""
    with _lock:
        conn = _open.pop(number, None)
        if conn is not None and _uses[number]:
            _ending[number] = (conn, callbacks)
            return
    if conn is not None:
        _disconnect(conn, callbacks)


class Client:
    """A connection to one libvirt daemon. `lost` is called on the loop when it breaks.

    `uri` is what libvirt opens (through SSH: the forwarded socket). Calls run in the pool's threads; errors come
    back without their tracebacks, whose frames would carry libvirt objects to the loop.
    """

    def __init__(self, name: str, uri: str, lost: Callable[[str], None], deadline: float = 30.0) -> None:
        self.name = name
        self.uri = uri
        self.number = 0
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._callbacks: list[tuple[str, int]] = []
        self._pool = Pool(f"libvirt {name}", size=6, deadline=deadline, on_deadline=self._timed_out)

    @property
    def alive(self) -> bool:
        return self.number in _open

    async def open(self, deadline: float = 20.0) -> None:
        """Connect. Raises Unreachable, AuthNeeded, Denied, Invalid."""
        uri, loop, lost = self.uri, self._loop, self._broken

        def work() -> int:
            EVENTS.start()
            conn = libvirt.openAuth(uri, [[], lambda *_: -1, None], 0)
            try:
                conn.setKeepAlive(5, 5)
                conn.registerCloseCallback(
                    lambda *args: _post(loop, lost, CLOSE_REASONS.get(args[1], "it broke")), None
                )
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
                    raise
            number = next(_numbers)
            _open[number] = conn
            return number

        self.number = await self._run(work, deadline=deadline, what=self.name)

    async def call(
        self, function: Callable[[Conn], T], *, deadline: float | None = None, changes: bool = False, what: str = ""
    ) -> T:
        """Run `function(connection)` in a worker thread. It may return plain values only."""
        number = self.number
        return await self._run(lambda: function(connection(number)), deadline=deadline, changes=changes, what=what)

    async def subscribe(self, handler: Callable[[str, str, tuple[Any, ...]], None]) -> None:
        """Have `handler(event, uuid or name, plain details)` called on the loop for every event of the host."""
        loop, number, callbacks = self._loop, self.number, self._callbacks

        def work() -> None:
            conn = connection(number)
            for event, ident in DOMAIN_EVENTS.items():
                try:
                    callback = conn.domainEventRegisterAny(None, ident, _domain_event(loop, handler, event), None)
                    callbacks.append(("domain", callback))
                except libvirt.libvirtError:
                    continue
            for kind, register, ident in (
                ("network", "networkEventRegisterAny", libvirt.VIR_NETWORK_EVENT_ID_LIFECYCLE),
                ("pool", "storagePoolEventRegisterAny", libvirt.VIR_STORAGE_POOL_EVENT_ID_LIFECYCLE),
                ("pool", "storagePoolEventRegisterAny", libvirt.VIR_STORAGE_POOL_EVENT_ID_REFRESH),
            ):
                try:
                    callback = getattr(conn, register)(None, ident, _named_event(loop, handler, kind), None)
                    callbacks.append((kind, callback))
                except libvirt.libvirtError:
                    continue

        await self._run(work)

    async def close(self) -> None:
        """Close the connection in a worker thread; never fails, never waits longer than 5 s. Idempotent."""
        number, callbacks, self._callbacks = self.number, self._callbacks, []
        if number not in _open:
            self._pool.close()
            return

        try:
            await self._run(lambda: end(number, callbacks), deadline=5.0)
        except BackendError:
            pass
        finally:
            self._pool.close()

    async def _run(
        self, work: Callable[[], T], *, deadline: float | None = None, changes: bool = False, what: str = ""
    ) -> T:
        def reliably() -> T:
            try:
                return work()
            except libvirt.libvirtError as error:
                if changes or not _unnamed(error):
                    raise
                # Asked again it names it, and the caller learns that a VM is gone, not that something failed.
                return work()

        def guarded() -> tuple[T | None, BaseException | None]:
            try:
                with using():
                    return reliably(), None
            except libvirt.libvirtError as error:
                return None, translated(error, what)
            except BaseException as error:
                error.__context__ = error.__cause__ = None
                return None, error.with_traceback(None)

        result, error = await self._pool.call(guarded, deadline=deadline, changes=changes, what=what or self.name)
        if error is not None:
            raise error
        return result  # type: ignore[return-value]

    def _broken(self, reason: str) -> None:
        self._lost(f"{self.name}: the connection is lost: {reason}")

    def _timed_out(self) -> None:
        self._lost(f"{self.name}: it does not answer any more")


CLOSE_REASONS = {
    libvirt.VIR_CONNECT_CLOSE_REASON_ERROR: "an error on the wire",
    libvirt.VIR_CONNECT_CLOSE_REASON_EOF: "the other side closed it",
    libvirt.VIR_CONNECT_CLOSE_REASON_KEEPALIVE: "no sign of life",
    libvirt.VIR_CONNECT_CLOSE_REASON_CLIENT: "closed here",
}

DOMAIN_EVENTS = {
    "lifecycle": libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE,
    "reboot": libvirt.VIR_DOMAIN_EVENT_ID_REBOOT,
    "added": libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED,
    "removed": libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED,
    "job": libvirt.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED,
    "blockjob": libvirt.VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2,
    "agent": libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE,
    "metadata": libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE,
    "tunable": libvirt.VIR_DOMAIN_EVENT_ID_TUNABLE,
    "ioerror": libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON,
    "balloon": libvirt.VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE,
    "disk": libvirt.VIR_DOMAIN_EVENT_ID_DISK_CHANGE,
    "tray": libvirt.VIR_DOMAIN_EVENT_ID_TRAY_CHANGE,
    "suspend": libvirt.VIR_DOMAIN_EVENT_ID_PMSUSPEND,
    "wakeup": libvirt.VIR_DOMAIN_EVENT_ID_PMWAKEUP,
}

Handler = Callable[[str, str, tuple[Any, ...]], None]


def _domain_event(loop: asyncio.AbstractEventLoop, handler: Handler, event: str) -> Callable[..., None]:
    """A callback for libvirt that passes on plain values only; the domain object stays in the event thread."""

    def on_event(_conn: Conn, domain: Any, *args: Any) -> None:
        plain = tuple(value for value in args if isinstance(value, int | str))
        _post(loop, handler, event, domain.UUIDString(), plain)

    return on_event


def _named_event(loop: asyncio.AbstractEventLoop, handler: Handler, event: str) -> Callable[..., None]:
    def on_event(_conn: Conn, item: Any, *args: Any) -> None:
        _post(loop, handler, event, item.name(), tuple(value for value in args if isinstance(value, int | str)))

    return on_event


def _post(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: Any) -> None:
    try:
        loop.call_soon_threadsafe(function, *args)
    except RuntimeError:
        return


def _disconnect(conn: Conn, callbacks: list[tuple[str, int]]) -> None:
    deregister = {
        "domain": conn.domainEventDeregisterAny,
        "network": conn.networkEventDeregisterAny,
        "pool": conn.storagePoolEventDeregisterAny,
    }
    for kind, callback in callbacks:
        try:
            deregister[kind](callback)
        except libvirt.libvirtError:
            continue
    for last in (conn.unregisterCloseCallback, conn.close):
        try:
            last()
        except libvirt.libvirtError:
            continue
