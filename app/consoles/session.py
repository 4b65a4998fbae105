"""A VM's screen that follows the VM: what widgets, the wall, the CLI and screenshots show."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from app.consoles import trust
from app.consoles.follow import Session, only_without_hindrance
from app.consoles.news import SessionEvent, SessionState, What
from backends.consoles import Console, ConsoleKind, Door
from backends.errors import AuthNeeded, Unreachable, Unsupported

if TYPE_CHECKING:
    import numpy

    from app.consoles.loop import ConsoleLoop
    from app.consoles.rfb import Framebuffer, RfbClient, RfbOptions
    from app.consoles.world import World

Rect = tuple[int, int, int, int]
FRAME_S = 20.0
"""So long a server may take from its first byte to a complete picture."""
PATIENCE_S = 1.0
"""So long a picture may stay incomplete before it is shown as it is."""
MOST_RECTS = 200
"""Rectangles that wait for a busy window become one beyond that."""


class ScreenSession(Session):
    """A screen by RFB (VNC), shared with others where the server allows it.

    `framebuffer` is the last picture, also while the connection is away; read its pixels under its lock. Input goes
    through the methods here, which may be called at any time and do nothing while there is no picture, with
    `view_only`, or on a read-only connection. `exact`: every pixel as the server has it, no JPEG. `unproven`: also
    from a server that does not prove whose it is, over a network that anybody may read.
    """

    def __init__(
        self,
        services: World,
        loop: ConsoleLoop,
        uid: str,
        *,
        view_only: bool = False,
        exact: bool = False,
        unproven: bool = False,
        console: Console | None = None,
    ) -> None:
        super().__init__(services, loop, uid, console)
        self.view_only = view_only
        self._exact = exact
        self._unproven = unproven
        self._taken: tuple[str, str] | None = None
        self.host = ("", "")
        """Whose screen it is or should be: a connection, and the host that it leads to."""
        self.framebuffer: Framebuffer | None = None
        self._link: _Link | None = None
        self._paused = False
        self._carrier = ""

    @property
    def client(self) -> RfbClient | None:
        """The engine while it is LIVE. Its methods belong to the console loop."""
        return self._link.client if self._link is not None and self.state == SessionState.LIVE else None

    @property
    def security(self) -> str:
        """How the bytes are protected on their way, in words; "" while there is no connection."""
        client = self.client
        if client is None:
            return ""
        if client.encrypted:
            return client.security
        carrier = self._carrier or "not encrypted"
        return carrier if client.security == "none" else f"{client.security}, {carrier}"

    @property
    def leds(self) -> int | None:
        """The guest's keyboard lights: 1 scroll lock, 2 num lock, 4 caps lock; None where the server does not tell."""
        client = self.client
        return None if client is None else client.leds

    @property
    def can_resize(self) -> bool:
        """Whether the guest's screen can be given another size."""
        client = self.client
        return client is not None and client.can_resize

    def key(self, keysym: int, down: bool, scancode: int = 0) -> None:
        """A key by X keysym, and by XT set 1 scancode where it is known (extended ones with 0xE000)."""
        self._input(lambda client: client.key(keysym, down, scancode))

    def pointer(self, x: int, y: int, buttons: int) -> None:
        """The pointer in the guest's pixels; `buttons` is the RFB mask (1 left, 2 middle, 4 right, 8/16 wheel)."""
        self._input(lambda client: client.pointer(x, y, buttons))

    def cut_text(self, text: str) -> None:
        """Put text into the guest's clipboard."""
        self._input(lambda client: client.cut_text(text))

    def resize(self, width: int, height: int) -> None:
        """Ask the guest for another size of its screen, in pixels."""
        self._input(lambda client: client.resize(width, height))

    @property
    def takes_scancodes(self) -> bool:
        """Whether the server knows keys by their place; else by their meaning, and any character can be typed."""
        client = self.client
        return client is not None and client.takes_scancodes

    def trust(self) -> None:
        """Go on with this host in this session, though it does not prove itself."""
        self._taken = self.host
        self.retry()

    def refresh(self, *, incremental: bool = False) -> None:
        """Ask for the whole picture anew, or once for what has changed: also while it is paused."""
        client = self.client
        if client is not None:
            self._console_loop.call(lambda: client.refresh(incremental=incremental))

    def pause(self, paused: bool) -> None:
        """A paused screen asks for no updates: for what is not visible. Holds over reconnections."""
        self._paused = paused
        client = self.client
        if client is not None:
            self._console_loop.call(client.pause, paused)

    async def close(self) -> None:
        await super().close()
        self._link = None

    # Inside

    def _input(self, send: Callable[[RfbClient], object]) -> None:
        client = self.client
        if client is not None and not self.view_only and not self.read_only:
            self._console_loop.call(send, client)

    def _pick(self, offers: Sequence[Console]) -> Console:
        screens = [console for console in offers if console.kind == ConsoleKind.VNC]
        others = [console for console in offers if console.kind in (ConsoleKind.SPICE, ConsoleKind.RDP)]
        if not screens and others:
            words = " and ".join(dict.fromkeys(console.kind.upper() for console in others))
            cure = "open it with the external viewer"
            raise Unsupported(f"the screen of {self.name} speaks {words} only", object_name=self.name, cure=cure)
        if not screens:
            raise Unsupported(f"{self.name} has no screen", object_name=self.name, cure="try its serial line")
        return only_without_hindrance(screens, self.name)

    async def _serve(self, door: Door) -> None:
        link = _Link(self, asyncio.get_running_loop())
        self._link, self._carrier = link, door.carrier
        self.host = trust.host_of(door)
        known = trust.Known.NOTHING if trust.safe(door) else await trust.recall(self._services.store, self.host)
        unproven = trust.safe(door) or self._unproven or self._taken == self.host or known == trust.Known.TAKEN
        talking = asyncio.ensure_future(self._console_loop.do(self._talk, door, link, unproven))
        framed = asyncio.ensure_future(link.framed.wait())
        try:
            waiting: set[asyncio.Future[Any]] = {talking, framed}
            done, _ = await asyncio.wait(waiting, timeout=FRAME_S, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                raise Unreachable(f"{self.name}: no picture within {FRAME_S:g} s", object_name=self.name)
            if framed in done and not trust.safe(door) and link.client is not None and link.client.checked:
                await trust.remember(self._services.store, self.host, trust.Known.PROVEN)
            await talking
        except AuthNeeded as error:
            if error.field == trust.FIELD:
                raise trust.asked(error.message, known, self.host) from None
            raise
        finally:
            link.session = None
            framed.cancel()
            talking.cancel()
            await asyncio.wait({talking})
            door.close()
            self._lost(link.ended_at or time.perf_counter())

    async def _talk(self, door: Door, link: _Link, unproven: bool) -> None:
        """On the console loop: shake hands, then decode until the stream ends."""
        from app.consoles.rfb import RfbClient

        try:
            if door.socket is None:
                raise Unsupported(f"{self.name}: this console opens in an external viewer only")
            link.client = client = RfbClient(
                door.socket,
                password=self._password or door.password,
                user=self._user or door.user,
                tls=door.tls,
                unproven=unproven,
                options=self._options(),
                on=link,
            )
            try:
                await client.run()
            finally:
                await client.close()
        finally:
            link.ended_at = time.perf_counter()

    def _options(self) -> RfbOptions:
        from app.consoles.rfb import RfbOptions

        if self._exact:
            return RfbOptions(view_only=self.view_only, quality=None)
        return RfbOptions(view_only=self.view_only)

    def _on_frame(self, link: _Link, at: float) -> None:
        """The first picture of a connection is complete: from now on it is the one that is shown."""
        if link is not self._link or link.client is None:
            return
        self.framebuffer = link.client.framebuffer
        link.framed.set()
        self._came(at)
        if self._paused:
            self.pause(True)
        self._tell(SessionEvent(What.RESIZED))
        self._tell(SessionEvent(What.DAMAGED, rects=((0, 0, self.framebuffer.width, self.framebuffer.height),)))


class _Link:
    """One connection's events (RfbEvents), from the console loop to the session's: damage is put together."""

    def __init__(self, session: ScreenSession, loop: asyncio.AbstractEventLoop) -> None:
        self.session: ScreenSession | None = session
        self.client: RfbClient | None = None
        self.framed = asyncio.Event()
        self.ended_at: float | None = None
        self._loop = loop
        self._lock = threading.Lock()
        self._rects: list[Rect] = []
        self._news: dict[What, SessionEvent] = {}
        self._missing: numpy.ndarray | None = None
        self._begun = False
        self._complete = False

    def resized(self, width: int, height: int) -> None:
        self._missing = None
        if self._complete:
            self._post(SessionEvent(What.RESIZED))

    def damaged(self, rects: Sequence[Rect]) -> None:
        if not self._complete:
            self._gather(rects)
            return
        with self._lock:
            waiting = bool(self._rects or self._news)
            self._rects.extend(rects)
            if len(self._rects) > MOST_RECTS:
                self._rects[:] = [_around(self._rects)]
        if not waiting:
            self._call(self._flush)

    def cursor(self, pixels: object, hot_x: int, hot_y: int) -> None:
        self._post(SessionEvent(What.CURSOR, pixels=pixels, hot=(hot_x, hot_y)))

    def bell(self) -> None:
        self._post(SessionEvent(What.BELL))

    def clipboard(self, text: str) -> None:
        self._post(SessionEvent(What.CLIPBOARD, text=text))

    def leds(self, state: int) -> None:
        self._post(SessionEvent(What.LEDS, leds=state))

    def name(self, name: str) -> None:
        self._post(SessionEvent(What.NAME, text=name))

    # Inside

    def _gather(self, rects: Sequence[Rect]) -> None:
        """Until every pixel of the first picture was there once (or it takes too long)."""
        import numpy

        assert self.client is not None
        frame = self.client.framebuffer
        if self._missing is None:
            self._missing = numpy.ones((frame.height, frame.width), dtype=bool)
        for x, y, width, height in rects:
            self._missing[y : y + height, x : x + width] = False
        if not self._missing.any():
            self._show()
        elif not self._begun:
            self._begun = True
            asyncio.get_running_loop().call_later(PATIENCE_S, self._show)

    def _show(self) -> None:
        if not self._complete:
            self._complete = True
            self._missing = None
            session, at = self.session, time.perf_counter()
            if session is not None:
                self._call(session._on_frame, self, at)

    def _flush(self) -> None:
        """On the session's loop."""
        with self._lock:
            rects, self._rects = tuple(self._rects), []
            news, self._news = self._news, {}
        if self.session is None:
            return
        for event in (*news.values(), *([SessionEvent(What.DAMAGED, rects=rects)] if rects else ())):
            self.session._tell(event)

    def _post(self, event: SessionEvent) -> None:
        """Of each kind only the last is told: a server that floods must not fill the loop of the window."""
        with self._lock:
            waiting = bool(self._rects or self._news)
            self._news[event.what] = event
        if not waiting:
            self._call(self._flush)

    def _call(self, function: Callable[..., object], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            # The session's loop has ended, and with it whoever would want to know.
            self.session = None


def _around(rects: Sequence[Rect]) -> Rect:
    """The smallest rectangle that holds them all."""
    left, top = min(rect[0] for rect in rects), min(rect[1] for rect in rects)
    right, bottom = max(rect[0] + rect[2] for rect in rects), max(rect[1] + rect[3] for rect in rects)
    return left, top, right - left, bottom - top
