"""A console that stays with its VM: over reboot, move, cut-over and lost connections it comes back by itself.

CONNECTING --first picture/byte--> LIVE --stream ends--> RETRYING --> LIVE (gap_ms says how long it was away)
GONE: the VM is off or not to be seen        AUTH_NEEDED: waits for provide()
UNPROVEN: waits for trust(): nothing proves whose screen it is
FAILED: waits until the VM, its place or its connection changes, or for retry()
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from app.consoles.news import SessionEvent, SessionState, Status, What
from app.consoles.trust import FIELD
from app.redaction import remember
from backends.consoles import Console, Door
from backends.driver import Consoles as OpensConsoles
from backends.errors import AuthNeeded, BackendError, Conflict, NotFound, OutcomeUnknown, Unreachable, Unsupported
from backends.model import PowerState, Ref, Vm

if TYPE_CHECKING:
    from app.consoles.loop import ConsoleLoop
    from app.consoles.world import World

log = logging.getLogger(__name__)

OPEN_S = 20.0
"""So long a driver may take to open a console."""
GRACE_S = 20.0
"""So long after a loss "there is no such console" and "somebody holds it" are the aftermath, not an answer."""
BACKOFF_S = (0.1, 5.0)
TRIES_PER_S = 5
"""Never more attempts in one second: the back-off uses four, one is left for what the inventory says."""
HELD_S = 2.0
"""What lived at least so long starts its back-off anew."""
CLOSE_S = 2.0
LINGER_S = 2.0
"""So long a stream may outlive its VM: what it still says may be why."""
KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""Seconds, seconds, times: a host that fell silent is noticed after 25 s."""
WAITING = frozenset({SessionState.AUTH_NEEDED, SessionState.UNPROVEN, SessionState.FAILED})
"""Somebody has to do something, or something has to change."""
DARK = frozenset({PowerState.OFF, PowerState.SUSPENDED})


class Session(ABC):
    """What screens and lines have in common: one console of one VM (by uid), followed wherever the VM goes.

    Made and used on the loop of the services. Subclasses say which console it is (`_pick`) and what is done with an
    open door (`_serve`, which calls `_came` when the first of it is there).
    """

    def __init__(self, services: World, loop: ConsoleLoop, uid: str, console: Console | None = None) -> None:
        self.uid = uid
        self.status = Status(SessionState.CONNECTING)
        self.gap_ms: float | None = None
        """How long the last reconnection took: from the loss to the first picture (or to the open line)."""
        self._services = services
        self._console_loop = loop
        self._console = console
        self._force = False
        self._user = ""
        self._password = ""
        self._subscribers: list[Callable[[SessionEvent], None]] = []
        self._woken = asyncio.Event()
        self._asked = False
        self._provided = False
        self._audited = False
        self._error: Exception | None = None
        self._lost_at: float | None = None
        self._live_at: float | None = None
        self._tries: deque[float] = deque(maxlen=TRIES_PER_S)
        self._following: asyncio.Task[None] | None = None
        self._on_close: Callable[[Session], None] | None = None

    # What it is

    @property
    def ref(self) -> Ref | None:
        """Where the VM is now."""
        return self._services.identity.ref_of(self.uid)

    @property
    def vm(self) -> Vm | None:
        ref = self.ref
        return None if ref is None else self._services.inventory.vm(ref)

    @property
    def name(self) -> str:
        vm = self.vm
        return vm.name if vm is not None else self.uid

    @property
    def state(self) -> SessionState:
        return self.status.state

    @property
    def console(self) -> Console | None:
        """The console that is open, or was last."""
        return self._console

    @property
    def read_only(self) -> bool:
        """Whether the connection is read-only: then nothing is typed into the VM."""
        ref = self.ref
        connection = None if ref is None else self._services.connections.get(ref.connection)
        return connection is not None and connection.read_only

    def subscribe(self, function: Callable[[SessionEvent], None]) -> Callable[[], None]:
        """Call `function` with all news; the returned function ends that."""
        self._subscribers.append(function)
        return lambda: self._subscribers.remove(function)

    # What people do with it

    async def open(self) -> None:
        """Begin to follow; returns at once, `status` and events tell the rest. Idempotent."""
        if self._following is None and self.state != SessionState.CLOSED:
            self._following = asyncio.get_running_loop().create_task(self._follow(), name=f"console of {self.name}")

    async def close(self) -> None:
        """Hang up, from any state, within CLOSE_S. Idempotent."""
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
            await asyncio.wait({following}, timeout=CLOSE_S)
        self._password = ""
        if self.state != SessionState.CLOSED:
            self._set(SessionState.CLOSED)
            if self._on_close is not None:
                self._on_close(self)

    @property
    def live_s(self) -> float:
        """For how long it is live, in seconds; for kept output, how long ago it was asked for. 0 while it is not."""
        return 0.0 if self._live_at is None else time.perf_counter() - self._live_at

    async def live(self, seconds: float = OPEN_S) -> None:
        """Until it is LIVE. Raises what stands in the way (AuthNeeded, Unsupported, NotFound...), Unreachable at the
        deadline."""
        changed = asyncio.Event()
        stop = self.subscribe(lambda event: changed.set())
        try:
            async with asyncio.timeout(seconds):
                while self.state != SessionState.LIVE:
                    self._raise_if_hopeless()
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            why = self.status.text or self.state.value
            raise Unreachable(
                f"{self.name}: no console within {seconds:g} s: {why}", object_name=self.name, cure=self.status.cure
            ) from None
        finally:
            stop()

    def provide(self, password: str, user: str = "") -> None:
        """The password (and user) of the console itself, kept in memory for this session only."""
        remember(password)
        self._password, self._user = password, user
        self._provided = True
        self._begin_anew()

    def retry(self) -> None:
        """Try now, also after a failure."""
        self._asked = True
        self._begin_anew()

    def take_over(self) -> None:
        """Try now, and take the console from whoever holds it."""
        self._force = True
        self.retry()

    def wake(self) -> None:
        """Look again at where the VM is: called when the inventory, a task or a connection changed."""
        self._woken.set()

    # What subclasses do

    @abstractmethod
    def _pick(self, offers: Sequence[Console]) -> Console:
        """The console to open. Raises Unsupported where none will do, naming the reason and the cure."""

    def _dark(self, vm: Vm) -> bool:
        """Whether a VM in this state has nothing to show."""
        return vm.state in DARK

    @abstractmethod
    async def _serve(self, door: Door) -> None:
        """Use the door until its stream ends: returns or raises then. Calls `_came` once it works; closes the door."""

    def _tell(self, event: SessionEvent) -> None:
        for function in tuple(self._subscribers):
            # One that fails must not end the session of the others.
            try:
                function(event)
            except Exception:
                log.exception("a subscriber of a console failed")

    def _came(self, at: float) -> None:
        """The first picture (or the open line) is there, since `at` (time.perf_counter)."""
        if self._lost_at is not None:
            self.gap_ms = (at - self._lost_at) * 1000
            log.info("%s: the console is back after %.0f ms", self.name, self.gap_ms)
        self._lost_at, self._live_at = None, at
        self._set(SessionState.LIVE)

    def _lost(self, at: float) -> None:
        """The stream ended at `at`."""
        if self._live_at is not None:
            self._lost_at, self._live_at = at, None

    # Inside

    def _begin_anew(self) -> None:
        if self.state in WAITING:
            self._set(SessionState.CONNECTING)
        self.wake()

    async def _follow(self) -> None:
        attempt = 0
        while True:
            self._woken.clear()
            ref, vm = self.ref, self.vm
            if ref is None or vm is None or self._dark(vm):
                self._set(SessionState.GONE, *_gone(self.name, vm))
                await self._changed_from(self._facts())
                attempt = 0
                continue
            if self.state not in (SessionState.CONNECTING, SessionState.RETRYING):
                self._set(SessionState.RETRYING)
            await self._spaced()
            facts = self._facts()
            began = time.perf_counter()
            self._asked = self._provided = False
            error: Exception
            try:
                await self._use(ref, await self._door(ref))
                error = Unreachable("the console ended", object_name=self.name)
            except Exception as caught:
                error = caught
            self._lost(time.perf_counter())
            if self.state == SessionState.LIVE and time.perf_counter() - began > HELD_S:
                attempt = 0
            await self._rest(error, facts, attempt)
            attempt += 1

    async def _use(self, ref: Ref, door: Door) -> None:
        """Serve the door, but no longer than the VM is there: a host that died ends no stream."""
        serving, leaving = asyncio.ensure_future(self._serve(door)), asyncio.ensure_future(self._left(ref))
        try:
            await asyncio.wait({serving, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                raise Unreachable(f"{self.name} is not there any more", object_name=self.name)
            serving.result()
        finally:
            serving.cancel()
            leaving.cancel()
            await asyncio.wait({serving, leaving})
            door.close()

    async def _left(self, ref: Ref) -> None:
        """Until the VM is off or elsewhere, and its stream had the time to end by itself."""
        while True:
            while self.ref == ref and (vm := self.vm) is not None and not self._dark(vm):
                self._woken.clear()
                await self._woken.wait()
            await asyncio.sleep(LINGER_S)
            if self.ref != ref or (vm := self.vm) is None or self._dark(vm):
                return

    async def _door(self, ref: Ref) -> Door:
        """Open the console anew, the same as before where there is one. A door that comes too late is closed."""
        opening = asyncio.ensure_future(self._opened(ref))
        try:
            async with asyncio.timeout(OPEN_S):
                return await asyncio.shield(opening)
        except BaseException as error:
            opening.cancel()
            opening.add_done_callback(_close_late)
            if isinstance(error, TimeoutError):
                raise Unreachable(f"{self.name}: the console did not open within {OPEN_S:g} s") from None
            raise

    async def _opened(self, ref: Ref) -> Door:
        driver = self._services.connections.driver(ref.connection)
        if not isinstance(driver, OpensConsoles):
            raise Unsupported(f"{ref.connection} has no consoles", object_name=self.name)
        door: Door | None = None
        if self._console is not None:
            try:
                door = await driver.open_console(replace(self._console, vm=ref), force=self._force)
            except NotFound:
                log.debug("%s: its consoles are others now", self.name)
        if door is None:
            picked = self._pick(await driver.consoles(ref))
            door = await driver.open_console(picked, force=self._force)
        _notice_dead_peers(door.socket)
        # Taken over once: who takes it back is not fought.
        self._console, self._force = door.console, False
        try:
            await self._audit(ref, f"{door.console.kind} {door.console.label}")
        except BaseException:
            door.close()
            raise
        return door

    async def _audit(self, ref: Ref, which: str) -> None:
        """One line per session: who opened which console."""
        if not self._audited:
            self._audited = True
            await self._services.audit.record("console", ref, "", which.strip(), "ok")

    async def _rest(self, error: Exception, facts: object, attempt: int) -> None:
        """Say what is wrong, and wait for what may help."""
        self._error = error
        text, cure = str(error) or type(error).__name__, getattr(error, "cure", "")
        aftermath = self._lost_at is not None and time.perf_counter() - self._lost_at < GRACE_S
        if not isinstance(error, BackendError | OSError | TimeoutError):
            log.error("console of %s", self.name, exc_info=error)
        elif self.state == SessionState.LIVE:
            log.info("%s: the console is lost: %s", self.name, text)
        if isinstance(error, AuthNeeded):
            self._set(SessionState.UNPROVEN if error.field == FIELD else SessionState.AUTH_NEEDED, text, cure)
            await self._changed_from(facts, retry_after_s=None)
        elif _passes(error) or (aftermath and isinstance(error, NotFound | Conflict)):
            self._set(SessionState.RETRYING, text, cure)
            least, most = BACKOFF_S
            seconds = 0.0 if attempt == 0 else min(most, least * 2.0 ** min(attempt - 1, 10))
            await self._changed_from(facts, retry_after_s=seconds)
        else:
            self._set(SessionState.FAILED, text, cure)
            await self._changed_from(facts)

    async def _changed_from(self, facts: object, retry_after_s: float | None = None) -> None:
        """Until the VM's place, state or connection is another, somebody asks for it, or the time is over."""
        try:
            async with asyncio.timeout(retry_after_s):
                while self._facts() == facts and not self._asked and not self._provided:
                    self._woken.clear()
                    await self._woken.wait()
        except TimeoutError:
            return

    async def _spaced(self) -> None:
        """The hard cap: never more than TRIES_PER_S attempts in a second."""
        if len(self._tries) == TRIES_PER_S:
            await asyncio.sleep(max(0.0, self._tries[0] + 1.0 - time.monotonic()))
        self._tries.append(time.monotonic())

    def _facts(self) -> tuple[object, ...]:
        """What a new attempt depends on."""
        ref, vm = self.ref, self.vm
        connection = None if ref is None else self._services.connections.get(ref.connection)
        return ref, None if vm is None else vm.state, None if connection is None else connection.state

    def _set(self, state: SessionState, text: str = "", cure: str = "") -> None:
        status = Status(state, text, cure)
        if status != self.status:
            self.status = status
            self._tell(SessionEvent(What.STATUS))

    def _raise_if_hopeless(self) -> None:
        if self.state in WAITING and self._error is not None:
            raise self._error.with_traceback(None)
        if self.state in (SessionState.GONE, SessionState.CLOSED):
            text = self.status.text or f"the console of {self.name} is {self.state}"
            raise Conflict(text, object_name=self.name, cure=self.status.cure)


def only_without_hindrance(offers: Iterable[Console], name: str) -> Console:
    """The first that can be opened. Raises Conflict with the reason of the best one where none can."""
    best: Console | None = None
    for console in offers:
        if not console.hindrance:
            return console
        best = best or console
    if best is None:
        raise Unsupported(f"{name} has no such console", object_name=name)
    raise Conflict(best.hindrance, object_name=name, cure=best.cure)


def _passes(error: Exception) -> bool:
    """Whether the same attempt may well succeed later."""
    if isinstance(error, BackendError):
        return error.retryable or isinstance(error, OutcomeUnknown)
    return True


def _gone(name: str, vm: Vm | None) -> tuple[str, str]:
    if vm is None:
        return f"{name} is not to be seen now", "the console comes back by itself when it is seen again"
    return f"{name} is {vm.native_state or vm.state}", "the console comes back by itself when it runs"


def _notice_dead_peers(sock: socket.socket | None) -> None:
    """Let the system ask a silent far end of a network connection whether it is still there."""
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _close_late(opening: asyncio.Future[Door]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
