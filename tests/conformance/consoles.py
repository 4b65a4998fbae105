"""What every console that a driver claims must do: open, carry bytes both ways, close, and leave nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import replace

import psutil
import pytest

from backends.consoles import Console, ConsoleKind, Door
from backends.driver import Capability, Consoles, Driver
from backends.errors import BackendError, Conflict, NotFound
from backends.model import Kind, Ref

SCREENS = {ConsoleKind.VNC, ConsoleKind.SPICE, ConsoleKind.RDP}
LINES = {ConsoleKind.SERIAL, ConsoleKind.OUTPUT}
PATIENCE_S = 20


async def claimed_consoles_work(driver: Driver, vm: Ref, silent: Collection[str] = ()) -> None:
    """`silent` names the serial lines at whose other end nobody answers."""
    can = driver.capabilities()
    if not can & {Capability.CONSOLE, Capability.SERIAL}:
        return
    assert isinstance(driver, Consoles)
    offered = await driver.consoles(vm)
    open_now = {one.kind for one in offered if not one.hindrance}
    assert bool(open_now & SCREENS) == (Capability.CONSOLE in can), "screens are not as claimed"
    assert bool(open_now & LINES) == (Capability.SERIAL in can), "serial lines are not as claimed"
    assert len({(one.kind, one.id) for one in offered}) == len(offered), "two consoles cannot be told apart"
    for console in offered:
        assert console.vm == vm and console.label
        if console.hindrance:
            with pytest.raises(BackendError):
                await driver.open_console(console)
        else:
            await _works(driver, console, console.id not in silent)
            await _leaves_nothing(driver, console)
    ghost = Ref(driver.name, Kind.VM, "00000000-dead-4000-8000-000000000000")
    with pytest.raises(NotFound):
        await driver.consoles(ghost)
    with pytest.raises(NotFound):
        await driver.open_console(replace(offered[0], vm=ghost))
    with pytest.raises(NotFound):
        await driver.open_console(replace(offered[0], kind=ConsoleKind.RDP, id="no such console"))


async def _works(driver: Consoles, console: Console, answers: bool) -> None:
    door = await driver.open_console(console)
    assert door.console == console
    try:
        match console.kind:
            case ConsoleKind.VNC:
                assert (await _read(door, 12)).startswith(b"RFB 003."), "that is no RFB"
                await _write(door, b"RFB 003.008\n")
                assert (await _read(door, 1))[0] > 0, "no security types"
            case ConsoleKind.SERIAL:
                await _write(door, b"\r")
                if answers:
                    assert await _read(door, 1)
                with pytest.raises(Conflict):
                    await driver.open_console(console)
                other = await driver.open_console(console, force=True)
                await _end(door)
                await _write(other, b"\r")
                if answers:
                    assert await _read(other, 1)
                other.close()
            case ConsoleKind.OUTPUT:
                assert door.socket is None and door.text
            case _:
                assert door.host and (door.port or door.tls_port or door.host.startswith("/"))
        assert not door.password or door.password not in repr(door)
    finally:
        door.close()
        door.close()


async def _leaves_nothing(driver: Consoles, console: Console) -> None:
    """What a second round opened is closed soon after its door; the first may have started threads that stay."""
    await _soon_open(driver, console)
    before = _handles()
    for _ in range(3):
        await _soon_open(driver, console)
    async with asyncio.timeout(PATIENCE_S):
        while _handles() > before:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def _soon_open(driver: Consoles, console: Console) -> None:
    """Open and close it, as soon as the platform knows that nobody holds it any more."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                (await driver.open_console(console)).close()
                return
            except Conflict:
                await asyncio.sleep(0.02)


def _handles() -> int:
    process = psutil.Process()
    return int(process.num_handles() if psutil.WINDOWS else process.num_fds())


async def _read(door: Door, count: int) -> bytes:
    assert door.socket is not None and not door.socket.getblocking()
    found = b""
    async with asyncio.timeout(PATIENCE_S):
        while len(found) < count:
            data = await asyncio.get_running_loop().sock_recv(door.socket, count - len(found))
            assert data, f"the stream ended after {found!r}"
            found += data
    return found


async def _write(door: Door, data: bytes) -> None:
    assert door.socket is not None
    await asyncio.get_running_loop().sock_sendall(door.socket, data)


async def _end(door: Door) -> None:
    assert door.socket is not None
    async with asyncio.timeout(PATIENCE_S):
        while await asyncio.get_running_loop().sock_recv(door.socket, 1 << 16):
            pass
