"""The consoles of the demo's VMs: screens by RFB, serial lines, and what a cloud kept of one.

VMs named db-* have a VNC password that the platform knows, ldap-* one that only their admin knows (ASKED), cache-* no
serial line but its output.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import zlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from backends.consoles import Console, ConsoleKind, Door
from backends.demo.shell import Shell
from backends.demo.world import Faults, World
from backends.errors import BackendError, Conflict, NotFound
from backends.model import PowerState, Ref, Vm
from backends.pump import hung_up, pair
from backends.threads import LoopThread

if TYPE_CHECKING:
    from backends.demo.rfb import Session
    from backends.demo.screen import Screen

ASKED = "causeway"
"""The VNC password of VMs whose platform does not know it."""
SERVING = LoopThread("demo-consoles")
LIVE = (PowerState.RUNNING, PowerState.PAUSED)
Streams = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Switchboard:
    """Opens and cuts the lines to one world's VMs. Made and asked on any thread; serves on a loop of its own."""

    def __init__(self, world: World, faults: Faults, latency: float) -> None:
        self._world = world
        self._faults = faults
        self._latency = latency
        self._lock = threading.Lock()
        self._lines: dict[tuple[Ref, ConsoleKind], list[socket.socket]] = {}
        self._screens: dict[str, Screen] = {}
        self._sessions: dict[str, list[Session]] = {}
        self._shells: dict[str, Shell] = {}

    def offers(self, vm: Vm) -> Sequence[Console]:
        """All consoles that a VM has, with what hinders them."""
        off = vm.state not in LIVE
        hindrance, cure = (f"{vm.name} is {vm.state}", "start it") if off else ("", "")
        screen = Console(vm.ref, ConsoleKind.VNC, "Screen", "0", hindrance, cure)
        if vm.name.startswith("cache-"):
            return (screen, Console(vm.ref, ConsoleKind.OUTPUT, "Console output"))
        return (screen, Console(vm.ref, ConsoleKind.SERIAL, "Serial line", "serial0", hindrance, cure))

    async def open(self, console: Console, force: bool) -> Door:
        """A door to one of `offers`. NotFound, Conflict as the contract has it."""
        vm = self._world.get(console.vm)
        have = next((one for one in self.offers(vm) if (one.kind, one.id) == (console.kind, console.id)), None)
        if have is None:
            raise NotFound(f"{vm.name} has no {console.kind} {console.id}", object_name=vm.name)
        if have.hindrance:
            raise Conflict(have.hindrance, object_name=vm.name, cure=have.cure)
        match have.kind:
            case ConsoleKind.VNC:
                return await self._open_screen(vm, have)
            case ConsoleKind.SERIAL:
                return self._open_line(vm, have, force)
            case _:
                return Door(console=have, text=f"[    0.000000] Demo/Linux 1.0 on {vm.name}\r\n{vm.name} login: ")

    def cut(self, vm: Ref) -> None:
        """Every console of a VM ends, as when its machine goes. Any thread."""
        with self._lock:
            mine = [key for key in self._lines if key[0] == vm]
            ends = [end for key in mine for end in self._lines.pop(key)]
        for end in ends:
            _hang_up(end)
        self._screens.pop(vm.id, None)
        self._shells.pop(vm.id, None)

    def close(self) -> None:
        for vm, _kind in list(self._lines):
            self.cut(vm)

    async def _open_screen(self, vm: Vm, console: Console) -> Door:
        session = await asyncio.to_thread(self._session_maker)
        secret = password(vm)
        ours = self._serve(vm.ref, console.kind, lambda reader, writer: session(vm.ref, secret, reader, writer))
        return Door(console=console, socket=ours, password="" if secret == ASKED else secret, carrier="on this machine")

    def _session_maker(self) -> Callable[[Ref, str, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        """What serves a screen; its import brings numpy, and is not for the window's thread."""
        from backends.demo.rfb import Session
        from backends.demo.screen import Screen

        async def serve(ref: Ref, secret: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            screen = self._screens.get(ref.id)
            if screen is None:
                screen = self._screens[ref.id] = Screen(lambda: self._world.vms.get(ref.id))
            viewers = self._sessions.setdefault(ref.id, [])

            def cut_text(source: Session, text: str) -> None:
                for other in viewers:
                    if other is not source:
                        other.cut_text(text)

            session = Session(screen, secret, self._delay, cut_text)
            viewers.append(session)
            try:
                await session.serve(reader, writer)
            finally:
                viewers.remove(session)

        return serve

    def _delay(self) -> float:
        """Seconds that a piece of a stream takes. Raises a fault that was asked for as `stream`."""
        self._faults.check("stream")
        return self._latency

    def _open_line(self, vm: Vm, console: Console, force: bool) -> Door:
        with self._lock:
            held = [end for end in self._lines.get((vm.ref, console.kind), ()) if not hung_up(end)]
            if held and not force:
                raise Conflict(
                    f"{vm.name}: another session has its serial line open",
                    object_name=vm.name,
                    cure="take it over: the other session ends",
                )
            self._lines.pop((vm.ref, console.kind), None)
        for end in held:
            _hang_up(end)
        ref = vm.ref
        shell = self._shells.get(ref.id)
        greeting = b""
        if shell is None:
            shell = self._shells[ref.id] = Shell(lambda: self._name(ref))
            greeting = shell.greeting()
        line = shell
        ours = self._serve(ref, console.kind, lambda reader, writer: self._talk(line, greeting, reader, writer))
        return Door(console=console, socket=ours)

    def _name(self, ref: Ref) -> str:
        vm = self._world.vms.get(ref.id)
        return vm.name if vm else "localhost"

    async def _talk(
        self, shell: Shell, greeting: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(greeting)
        typed = asyncio.create_task(reader.read(4096))
        try:
            while True:
                piece = shell.more()
                if piece:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
                if piece and not typed.done():
                    continue
                data = await typed
                if not data:
                    return
                typed = asyncio.create_task(reader.read(4096))
                delay = self._delay()
                if delay:
                    await asyncio.sleep(delay)
                writer.write(shell.feed(data))
        finally:
            typed.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await typed

    def _serve(self, vm: Ref, kind: ConsoleKind, work: Streams) -> socket.socket:
        """Our half of a pair of sockets; the other is served until it ends."""
        ours, theirs = pair()
        with self._lock:
            self._lines.setdefault((vm, kind), []).append(theirs)

        async def run() -> None:
            reader, writer = await asyncio.open_connection(sock=theirs)
            try:
                await work(reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError, ValueError, BackendError):
                return
            finally:
                with self._lock:
                    ends = self._lines.get((vm, kind), [])
                    if theirs in ends:
                        ends.remove(theirs)
                    if not ends:
                        self._lines.pop((vm, kind), None)
                writer.close()
                with suppress(ConnectionError):
                    await writer.wait_closed()

        SERVING.start(run())
        return ours


def password(vm: Vm) -> str:
    """A VM's VNC password, "" for none."""
    if vm.name.startswith("ldap-"):
        return ASKED
    return f"{zlib.crc32(vm.ref.id.encode()):08x}" if vm.name.startswith("db-") else ""


def _hang_up(end: socket.socket) -> None:
    """Both directions end; whoever serves it sees that and closes it."""
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
