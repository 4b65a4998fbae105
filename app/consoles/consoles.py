"""The consoles of all VMs: what there is, sessions on them, external viewers and screenshots."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, TypeVar

from app.consoles import trust
from app.consoles.follow import Session
from app.consoles.loop import ConsoleLoop
from app.consoles.news import SessionState
from app.redaction import redact
from backends.consoles import Console
from backends.driver import Consoles as OpensConsoles
from backends.errors import Unreachable, Unsupported
from backends.model import Kind, Level, Ref

if TYPE_CHECKING:
    from app.consoles.line import LineSession
    from app.consoles.relay import Relay
    from app.consoles.session import ScreenSession
    from app.consoles.shell import ShellSession
    from app.consoles.viewer import Viewer
    from app.consoles.world import World
    from app.inventory import Delta

S = TypeVar("S", bound=Session)
T = TypeVar("T")
ANSWER_S = 15.0
SCREENSHOT_S = 20.0


class Consoles:
    """All sessions of these services. Lives on their loop; nothing runs until the first session is made."""

    def __init__(self, services: World) -> None:
        self._services = services
        self._loop = ConsoleLoop()
        self._sessions: set[Session] = set()
        self._viewers: list[Viewer] = []
        services.inventory.subscribe(self._on_delta)
        services.tasks.subscribe(lambda task: self._wake())
        services.connections.subscribe(lambda connection: self._wake())

    async def offers(self, ref: Ref) -> Sequence[Console]:
        """The consoles that a VM has, the best first, also those that cannot be opened now (with the reason).

        Raises Unreachable while its connection is not ready, Unsupported where its platform has none.
        """
        return await self._answer(ref, self._driver(ref).consoles(ref))

    def screen(self, ref: Ref, *, view_only: bool = False, console: Console | None = None) -> ScreenSession:
        """A session on a VM's screen, not opened yet. Without `console`: the best one."""
        from app.consoles.session import ScreenSession

        uid = self._services.identity.uid_of(ref)
        return self._kept(ScreenSession(self._services, self._loop, uid, view_only=view_only, console=console))

    def line(self, ref: Ref, console: Console | None = None) -> LineSession:
        """A session on a VM's serial line (or its kept output), not opened yet. Without `console`: the best one."""
        from app.consoles.line import LineSession

        return self._kept(LineSession(self._services, self._loop, self._services.identity.uid_of(ref), console))

    def shell(self, ref: Ref, user: str = "", port: int | None = None) -> ShellSession:
        """SSH to a guest, not opened yet; without `user` and `port` as ~/.ssh/config has it."""
        from app.consoles.shell import ShellSession

        uid = self._services.identity.uid_of(ref)
        return self._kept(ShellSession(self._services, self._loop, uid, user=user, port=port))

    def relay(self, session: LineSession) -> Relay:
        """A socket that carries a line to another process of this user."""
        from app.consoles.relay import Relay

        return Relay(session, self._loop)

    async def tidy(self) -> None:
        """Remove what viewers of an earlier run left. Only for the owner of the data folder."""
        from app.consoles.viewer import sweep

        await asyncio.to_thread(sweep, self._services.home)

    async def trust(self, host: tuple[str, str]) -> None:
        """Take a host (a connection, and where it leads to) unproven from now on; sessions that wait for that go on."""
        await trust.remember(self._services.store, host, trust.Known.TAKEN)
        await self._services.audit.record("console", Ref(host[0], Kind.CONNECTION, host[0]), "", host[1], "unproven")
        for other in self._sessions:
            if other.state == SessionState.UNPROVEN:
                other.retry()

    async def viewer(self, ref: Ref, console: Console, *, unproven: bool = False) -> None:
        """Open a SPICE or RDP console in this machine's viewer, and return when it runs.

        Raises Unsupported without a viewer, naming the package; Unreachable where the viewer fails at once; AuthNeeded
        (field "trust") where nothing would prove whose screen it is, unless `unproven`; what opening it raises.
        """
        from app.consoles.viewer import Viewer, folder_of, program

        services = self._services
        await asyncio.to_thread(program, console.kind)
        door = await self._answer(ref, self._driver(ref).open_console(console))
        if not unproven and not trust.safe(door):
            known = await trust.recall(services.store, trust.host_of(door))
            if known != trust.Known.TAKEN:
                door.close()
                raise trust.asked(trust.PLAIN, known, trust.host_of(door))
        vm = services.inventory.vm(ref)
        name = vm.name if vm is not None else ref.id
        loop = asyncio.get_running_loop()

        def failed(text: str) -> None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(tell, text)

        def tell(text: str) -> None:
            services.events.add(f"{name}: the viewer ended: {redact(text)}", level=Level.AMBER, ref=ref)

        viewer = Viewer(door, name, folder_of(services.home), failed)
        await asyncio.to_thread(viewer.start)
        self._viewers.append(viewer)
        await services.audit.record("console", ref, "", f"{console.kind} {console.label}".strip(), "ok")

    async def screenshot(self, ref: Ref, seconds: float = SCREENSHOT_S, *, unproven: bool = False) -> bytes:
        """A PNG of the screen: the first complete picture. Raises what stands in the way, or Unreachable.

        `unproven`: also where nothing proves whose screen it is.
        """
        from app.consoles import png
        from app.consoles.session import ScreenSession

        uid = self._services.identity.uid_of(ref)
        made = ScreenSession(self._services, self._loop, uid, view_only=True, exact=True, unproven=unproven)
        session = self._kept(made)
        try:
            await session.open()
            await session.live(seconds)
            assert session.framebuffer is not None
            return await asyncio.to_thread(png.encode, session.framebuffer)
        finally:
            await session.close()

    async def close(self) -> None:
        """Hang up everything and end the console loop."""
        await asyncio.gather(*(session.close() for session in tuple(self._sessions)))
        for viewer in self._viewers:
            viewer.close()
        await self._loop.close()

    # Inside

    def _driver(self, ref: Ref) -> OpensConsoles:
        driver = self._services.connections.driver(ref.connection)
        if not isinstance(driver, OpensConsoles):
            raise Unsupported(f"{ref.connection} has no consoles")
        return driver

    async def _answer(self, ref: Ref, asked: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(ANSWER_S):
                return await asked
        except TimeoutError:
            raise Unreachable(f"{ref.connection} does not answer about consoles within {ANSWER_S:g} s") from None

    def _kept(self, session: S) -> S:
        self._sessions.add(session)
        session._on_close = self._sessions.discard
        return session

    def _on_delta(self, delta: Delta) -> None:
        """Who is where changes only where something comes or goes; else a session minds its own VM."""
        if delta.added or delta.removed:
            self._wake()
            return
        changed = {item.ref for item in delta.changed}
        for session in self._sessions:
            if session.ref in changed:
                session.wake()

    def _wake(self) -> None:
        for session in self._sessions:
            session.wake()
