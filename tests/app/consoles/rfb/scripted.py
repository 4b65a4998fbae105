"""The far end of a socket pair: a server that says what a test wants, and understands every message of the client."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from struct import calcsize, pack, unpack
from typing import Any

import numpy as np
import pytest

from app.consoles.rfb import RfbClient, RfbOptions
from app.consoles.rfb.framebuffer import Box, Bytes

Picture = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
SHAPES = {0: ">xxx16s", 3: ">?HHHH", 4: ">?xxI", 5: ">BHH", 150: ">?HHHH"}
"""The client's messages of one size: type -> the rest."""


class Events:
    """Keeps what a client tells, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []
        self.more = asyncio.Event()

    def _tell(self, *what: object) -> None:
        self.told.append(what)
        self.more.set()

    def resized(self, width: int, height: int) -> None:
        self._tell("resized", width, height)

    def damaged(self, boxes: Sequence[Box]) -> None:
        self._tell("damaged", list(boxes))

    def cursor(self, pixels: Bytes | None, hot_x: int, hot_y: int) -> None:
        self._tell("cursor", pixels, hot_x, hot_y)

    def bell(self) -> None:
        self._tell("bell")

    def clipboard(self, text: str) -> None:
        self._tell("clipboard", text)

    def leds(self, state: int) -> None:
        self._tell("leds", state)

    def name(self, text: str) -> None:
        self._tell("name", text)

    async def next(self, kind: str) -> tuple[object, ...]:
        """The next event of a kind; those before it are gone."""
        async with asyncio.timeout(20):
            while True:
                while self.told:
                    event = self.told.pop(0)
                    if event[0] == kind:
                        return event[1:]
                self.more.clear()
                await self.more.wait()


class Server:
    """Talks over `sock`; what the client says is checked to be a message of the protocol, to the last byte."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._loop = asyncio.get_running_loop()

    async def say(self, data: bytes) -> None:
        await self._loop.sock_sendall(self.sock, data)

    async def read(self, count: int) -> bytes:
        data = b""
        async with asyncio.timeout(20):
            while len(data) < count:
                part = await self._loop.sock_recv(self.sock, count - len(data))
                assert part, f"the client hung up after {data!r}"
                data += part
        return data

    async def hear(self) -> tuple[object, ...]:
        """One message of the client: its type, and what is in it."""
        (kind,) = await self.read(1)
        if kind in SHAPES:
            shape = SHAPES[kind]
            return kind, *unpack(shape, await self.read(calcsize(shape)))
        if kind == 2:
            (count,) = unpack(">xH", await self.read(3))
            return kind, *unpack(f">{count}i", await self.read(4 * count))
        if kind == 6:
            (length,) = unpack(">xxxi", await self.read(7))
            return kind, length, await self.read(abs(length))
        if kind == 248:
            flags, length = unpack(">xxxIB", await self.read(8))
            return kind, flags, await self.read(length)
        if kind == 251:
            width, height, count = unpack(">xHHBx", await self.read(7))
            return kind, width, height, *unpack(">IHHHHI", await self.read(16 * count))
        assert kind == 255, f"no message of the client begins with {kind}"
        sub, down, keysym, code = unpack(">BHII", await self.read(11))
        assert sub == 0
        return kind, down, keysym, code

    async def hear_until(self, kind: int) -> tuple[object, ...]:
        """The next message of a type; those before it are gone."""
        while (message := await self.hear())[0] != kind:
            pass
        return message

    async def welcome(self, width: int, height: int, name: bytes = b"screen", minor: int = 8) -> tuple[int, ...]:
        """The whole handshake without a password; returns the encodings that the client asked for."""
        await self.say(b"RFB 003.%03d\n" % minor)
        assert await self.read(12) == b"RFB 003.%03d\n" % minor
        if minor >= 7:
            await self.say(b"\1\1")
            assert await self.read(1) == b"\1"
        else:
            await self.say(pack(">I", 1))
        if minor >= 8:
            await self.say(pack(">I", 0))
        assert await self.read(1) == b"\1"
        await self.say(pack(">HH16sI", width, height, bytes(16), len(name)) + name)
        assert (await self.hear())[0] == 0
        wanted = await self.hear()
        assert wanted[0] == 2
        assert await self.hear() == (3, False, 0, 0, width, height)
        return tuple(int(number) for number in wanted[1:] if isinstance(number, int))


def update(*rectangles: tuple[Box, int, bytes]) -> bytes:
    """A framebuffer update of (box, encoding, data)."""
    head = pack(">BxH", 0, len(rectangles))
    return head + b"".join(pack(">HHHHi", *box, encoding) + data for box, encoding, data in rectangles)


class Session:
    """A client at work, its server and its events."""

    def __init__(self, client: RfbClient, server: Server, events: Events, running: asyncio.Task[None]) -> None:
        self.client = client
        self.server = server
        self.events = events
        self.running = running

    async def show(self, box: Box, encoding: int, data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        """Send one rectangle; returns the whole picture when the client has it."""
        await self.server.say(update((box, encoding, data)))
        await self.until_told("damaged")
        return self.client.framebuffer.pixels

    async def until_told(self, kind: str) -> tuple[object, ...]:
        """The next event, or the error that ended the client."""
        waiting = asyncio.create_task(self.events.next(kind))
        await asyncio.wait([waiting, self.running], return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            waiting.cancel()
            self.running.result()
            pytest.fail(f"the client ended before it told {kind}")
        return waiting.result()


def pair() -> tuple[socket.socket, socket.socket]:
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    return near, far


@asynccontextmanager
async def connected(width: int = 64, height: int = 48, *, options: RfbOptions | None = None) -> AsyncIterator[Session]:
    """A client after its handshake, on a black screen."""
    near, far = pair()
    events, server = Events(), Server(far)
    client = RfbClient(near, options=options, on=events)
    running = asyncio.create_task(client.run())
    try:
        await server.welcome(width, height)
        yield Session(client, server, events, running)
    finally:
        far.close()
        await client.close()
        await asyncio.wait([running])
        running.cancelled() or running.exception()


async def replayed(stream: bytes) -> tuple[RfbClient, Exception | None]:
    """What a client makes of a server's bytes from the first to the last, whatever it says itself."""
    near, far = pair()
    client = RfbClient(near, password="secret12", user="someone", on=Events())
    loop = asyncio.get_running_loop()

    async def listen() -> None:
        while await loop.sock_recv(far, 1 << 16):
            pass

    async def speak() -> None:
        try:
            await loop.sock_sendall(far, stream)
            far.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    tasks = [asyncio.create_task(listen()), asyncio.create_task(speak())]
    error: Exception | None = None
    try:
        async with asyncio.timeout(60):
            await client.run()
    except Exception as raised:
        error = raised
    finally:
        await client.close()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        far.close()
    return client, error


@asynccontextmanager
async def opened(sock: socket.socket, **arguments: Any) -> AsyncIterator[tuple[RfbClient, Events]]:
    """A client of a real server, once its size is known; an error that ends it is raised."""
    events = Events()
    client = RfbClient(sock, on=events, **arguments)
    running = asyncio.create_task(client.run())
    first = asyncio.create_task(events.next("damaged"))
    try:
        await asyncio.wait([first, running], return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        yield client, events
    finally:
        first.cancel()
        await client.close()
        await asyncio.wait([running])
    running.result()


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something outside that tells nobody; `holds` may block."""
    async with asyncio.timeout(20):
        while not await asyncio.to_thread(holds):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def until_same(client: RfbClient, events: Events, picture: Callable[[], Picture]) -> None:
    """Wait for updates until the client shows what the server's own picture shows, pixel by pixel."""
    try:
        async with asyncio.timeout(20):
            while not same(client, expected := await asyncio.to_thread(picture)):
                await events.next("damaged")
    except TimeoutError:
        shown = client.framebuffer.pixels[:, :, 2::-1]
        assert shown.shape == expected.shape
        wrong = (shown != expected).any(axis=2)
        pytest.fail(f"{wrong.sum()} of {wrong.size} pixels differ, the first at {np.argwhere(wrong)[0]}")


def same(client: RfbClient, picture: Picture) -> bool:
    return np.array_equal(client.framebuffer.pixels[:, :, 2::-1], picture)


def psnr(client: RfbClient, picture: Picture) -> float:
    """How like the server's picture what the client shows is, in dB."""
    error = client.framebuffer.pixels[:, :, 2::-1].astype(float) - picture
    return float(10 * np.log10(255**2 / max((error**2).mean(), 1e-9)))
