"""The running side of one connection: connect, watch, list, poll, meter, and come back after a loss."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from backends.driver import Capability, Driver, Meters, Watches
from backends.errors import AuthNeeded, BackendError, HostKeyMismatch, OutcomeUnknown, Throttled, Unreachable
from backends.model import Changed, Kind, Listing, Sample, Scope, Section, now

log = logging.getLogger(__name__)

POLL_S = 30.0
SLOW_POLL_S = 60.0
METER_S = 2.0
CLOSE_S = 3.0
BACKOFF_S = (1.0, 60.0)
EVENTED = frozenset({Kind.VM, Kind.HOST})
"""What a watch reports; scopes without any of these are polled slowly, and only while they are shown."""
MOVED = frozenset({Kind.VM, Kind.VOLUME, Kind.SNAPSHOT, Kind.IMAGE, Kind.POOL})
"""What a move, a copy or their undo changes at both ends."""
READING = frozenset({Capability.WATCH, Capability.METER, Capability.DESCRIBE})
"""What is left of a connection that is read-only."""


class ConnectionState(StrEnum):
    IDLE = "idle"
    CONNECTING = "connecting"
    READY = "ready"
    RETRYING = "retrying"
    AUTH_NEEDED = "auth-needed"
    FAILED = "failed"


@dataclass(slots=True, eq=False)
class Connection:
    """A saved connection and how it is. Changed only by Connections and its link, on the loop."""

    name: str
    kind: str
    section: Section
    title: str
    settings: dict[str, str] = field(default_factory=dict)
    read_only: bool = False
    production: bool = False
    colour: str = ""
    state: ConnectionState = ConnectionState.IDLE
    error: str = ""
    cure: str = ""
    error_field: str = ""
    since: datetime = field(default_factory=now)
    next_try: datetime | None = None
    last_seen: datetime | None = None
    capabilities: frozenset[Capability] = frozenset()
    driver: Driver | None = field(default=None, repr=False)
    uri: str = ""
    warnings: dict[str, str] = field(default_factory=dict)
    """What could not be listed, by kinds, and why: the connection works, but not all of it."""
    same_as: str = ""
    """The connection that already shows this one's host; this one's objects are not shown twice."""
    listed: bool = False
    """Every scope was listed once since it became ready."""

    @property
    def answered(self) -> bool:
        """Whether there is something to show: it was listed, or it said why not."""
        if self.state == ConnectionState.READY:
            return self.listed
        return bool(self.error) or self.state not in (ConnectionState.IDLE, ConnectionState.CONNECTING)


def sort_error(error: BaseException) -> ConnectionState:
    """Which state an error leads to."""
    if isinstance(error, BackendError):
        if error.retryable:
            return ConnectionState.RETRYING
        if isinstance(error, AuthNeeded | HostKeyMismatch):
            return ConnectionState.AUTH_NEEDED
        return ConnectionState.RETRYING if isinstance(error, OutcomeUnknown) else ConnectionState.FAILED
    return ConnectionState.RETRYING


def backoff(attempt: int, at_least: float = 0.0) -> float:
    """Seconds until the next try: 1, 2, 4 ... 60, each up to a quarter shorter, so that sites do not come in step."""
    least, most = BACKOFF_S
    seconds = min(most, least * float(1 << min(attempt, 10))) * random.uniform(0.75, 1.0)
    return max(seconds, at_least, least)


class Link:
    """Keeps one connection alive in a task of its own, so that a dead site delays nobody.

    Parameters: `open_driver` makes an unconnected driver (reads the secrets); `report` is called after every
    change of the connection; `lost` and `back` once per loss and recovery; `listed`, `changed`, `metered` take
    in what the driver says; `complete` is called when every scope was listed for the first time since it became ready.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        open_driver: Callable[[Connection], Awaitable[Driver]],
        report: Callable[[Connection], None],
        lost: Callable[[Connection, str], None],
        back: Callable[[Connection], None],
        listed: Callable[[Connection, Listing, datetime], Awaitable[None]],
        changed: Callable[[Connection, Changed], None],
        metered: Callable[[dict[Any, Sample]], None],
        complete: Callable[[Connection], None],
    ) -> None:
        self.connection = connection
        self._open_driver = open_driver
        self._report = report
        self._lost = lost
        self._back = back
        self._listed = listed
        self._changed = changed
        self._metered = metered
        self._complete = complete
        self._wake = asyncio.Event()
        self._poll_now = asyncio.Event()
        self._moved = False
        self._shown = asyncio.Event()
        self._told: ConnectionState | None = None
        self._listing = asyncio.Lock()
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"connection {connection.name}")

    def retry(self) -> None:
        """Try at once, whatever it is waiting for."""
        self._wake.set()

    def refresh(self) -> None:
        """List everything anew soon; while it is not ready: try at once."""
        self._moved = False
        self._poll_now.set()
        self._wake.set()

    def touch(self) -> None:
        """List anew at once what a move may have changed and no event tells."""
        self._moved |= not self._poll_now.is_set()
        self._poll_now.set()

    def show(self, shown: bool) -> None:
        """Meters and slow polls run only while the connection is shown."""
        if shown:
            self._shown.set()
        else:
            self._shown.clear()

    async def close(self) -> None:
        """End it; returns within a few seconds, whatever the server does."""
        self._task.cancel()
        await asyncio.wait({self._task}, timeout=CLOSE_S + 1.0)

    async def list_scopes(self, scopes: Iterable[Scope]) -> None:
        """List these scopes, one after the other. Raises Unreachable when the connection is lost on the way."""
        driver = self.connection.driver
        if driver is None:
            return
        async with self._listing:
            for scope in scopes:
                await self._list(driver, scope)

    async def _run(self) -> None:
        attempt = 0
        while True:
            self._wake.clear()
            ready_at: datetime | None = None
            error: BaseException
            try:
                self._set(ConnectionState.CONNECTING)
                driver = await self._open_driver(self.connection)
                self.connection.driver = driver
                await driver.connect()
                ready_at = now()
                self._become_ready(driver)
                await self._serve(driver)
                error = Unreachable("the connection ended")
            except asyncio.CancelledError:
                await self._drop_driver()
                self._set(ConnectionState.IDLE)
                raise
            except Exception as caught:
                error = caught
            # A link that held for a while starts its back-off anew; one that falls at once does not.
            if ready_at is not None and now() - ready_at > timedelta(seconds=BACKOFF_S[1]):
                attempt = 0
            await self._drop_driver()
            await self._rest(error, backoff(attempt, getattr(error, "retry_after", 0.0)))
            attempt += 1

    def _become_ready(self, driver: Driver) -> None:
        connection = self.connection
        connection.uri = driver.uri
        connection.warnings.clear()
        connection.listed = False
        self._grant(driver)
        connection.last_seen = now()
        self._set(ConnectionState.READY)
        if self._told is not None:
            self._told = None
            self._back(connection)

    def _grant(self, driver: Driver) -> None:
        capabilities = driver.capabilities()
        self.connection.capabilities = capabilities & READING if self.connection.read_only else capabilities

    def regrant(self) -> None:
        """Compute the capabilities anew, after the read-only switch."""
        if self.connection.driver is not None and self.connection.state == ConnectionState.READY:
            self._grant(self.connection.driver)

    async def _rest(self, error: BaseException, seconds: float) -> None:
        """Say what is wrong (once per loss) and wait: for the next try, or for someone who asks for one."""
        connection = self.connection
        state = sort_error(error)
        connection.error = str(error) or type(error).__name__
        connection.cure = getattr(error, "cure", "")
        connection.error_field = getattr(error, "field", "")
        retrying = state == ConnectionState.RETRYING
        connection.next_try = now() + timedelta(seconds=seconds) if retrying else None
        if self._told != state:
            self._told = state
            if not isinstance(error, BackendError):
                log.error("connection %s", connection.name, exc_info=error)
            self._lost(connection, connection.error)
        self._set(state, keep_error=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds if retrying else None)

    def _set(self, state: ConnectionState, *, keep_error: bool = False) -> None:
        connection = self.connection
        if connection.state != state:
            connection.since = now()
        connection.state = state
        if state == ConnectionState.READY:
            connection.error = connection.cure = connection.error_field = ""
        if not keep_error:
            connection.next_try = None
        if state != ConnectionState.READY:
            connection.capabilities = frozenset()
        self._report(connection)

    async def _drop_driver(self) -> None:
        driver, self.connection.driver = self.connection.driver, None
        if driver is None:
            return
        try:
            await asyncio.wait_for(driver.close(), CLOSE_S)
        except Exception as error:
            log.debug("%s: close: %s", self.connection.name, error)

    async def _serve(self, driver: Driver) -> None:
        """Everything that runs while the connection is ready; the first part that fails ends them all."""
        watched = Capability.WATCH in driver.capabilities() and isinstance(driver, Watches)
        parts: dict[str, Coroutine[Any, Any, None]] = {}
        if watched and isinstance(driver, Watches):
            parts["watch"] = self._watch(driver)
        parts["poll"] = self._poll(driver, watched)
        if Capability.METER in driver.capabilities() and isinstance(driver, Meters):
            parts["meter"] = self._meter(driver)
        name = self.connection.name
        # Tasks start in the order in which they are made: the watch subscribes before the first listing asks.
        running = [asyncio.create_task(part, name=f"{name} {what}") for what, part in parts.items()]
        try:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for item in done:
                item.result()
        finally:
            for item in running:
                item.cancel()
            await asyncio.wait(running, timeout=CLOSE_S)

    async def _watch(self, driver: Watches) -> None:
        async for changed in driver.watch():
            self.connection.last_seen = now()
            self._changed(self.connection, changed)
        raise Unreachable("the events ended")

    async def _poll(self, driver: Driver, watched: bool) -> None:
        self._poll_now.clear()
        await self.list_scopes(driver.scopes())
        self.connection.listed = True
        self._complete(self.connection)
        self._report(self.connection)
        while True:
            period = SLOW_POLL_S if watched else POLL_S
            scopes = [scope for scope in driver.scopes() if not watched or not scope.kinds & EVENTED]
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._poll_now.wait(), period * random.uniform(0.85, 1.15))
            if self._poll_now.is_set():
                self._poll_now.clear()
                moved, self._moved = self._moved, False
                scopes = [scope for scope in scopes if scope.kinds & MOVED] if moved else list(driver.scopes())
            elif watched and not self._shown.is_set():
                continue
            await self.list_scopes(scopes)

    async def _list(self, driver: Driver, scope: Scope) -> None:
        """List one scope. A refused scope is a warning; a lost connection is raised; a throttled one is asked again."""
        connection = self.connection
        what = ", ".join(sorted(scope.kinds))
        while True:
            began = now()
            listing = await driver.list(scope)
            await self._listed(connection, listing, began)
            error = listing.error
            if error is None:
                connection.last_seen = now()
                connection.warnings.pop(what, None)
                return
            if isinstance(error, Throttled):
                await asyncio.sleep(max(0.1, error.retry_after))
                continue
            if isinstance(error, BackendError) and sort_error(error) != ConnectionState.FAILED:
                raise error
            if connection.warnings.get(what) != str(error):
                connection.warnings[what] = str(error)
                log.warning("%s: cannot list %s: %s", connection.name, what, error)
                self._report(connection)
            return

    async def _meter(self, driver: Meters) -> None:
        """One call for all readings of a host, every two seconds, only while somebody looks."""
        while True:
            await self._shown.wait()
            began = asyncio.get_running_loop().time()
            try:
                self._metered(dict(await driver.meter()))
            except Throttled as error:
                await asyncio.sleep(error.retry_after)
            except BackendError as error:
                if sort_error(error) != ConnectionState.FAILED:
                    raise
                log.debug("%s: meters: %s", self.connection.name, error)
            await asyncio.sleep(max(0.1, METER_S - (asyncio.get_running_loop().time() - began)))
