"""The pump: every byte, both ways, no more of them in memory than a few chunks, and an end that both sides see."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator

import pytest

from backends.pump import CHUNK, pair, pump


class Pipe:
    """A far end made of queues: what it is given, what it says, and whether it was closed."""

    def __init__(self) -> None:
        self.given = bytearray()
        self.says: asyncio.Queue[bytes] = asyncio.Queue()
        self.taken = 0
        self.closed = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()
        self.breaks = False

    async def read(self) -> bytes:
        data = await self.says.get()
        self.taken += len(data)
        return data

    async def write(self, data: bytes) -> None:
        if self.breaks:
            raise RuntimeError("the far end is gone")
        await self.open.wait()
        self.given += data

    async def close(self) -> None:
        self.closed.set()


@pytest.fixture
async def ends() -> AsyncIterator[tuple[socket.socket, Pipe, asyncio.Task[None]]]:
    ours, theirs = pair()
    far = Pipe()
    running = asyncio.create_task(pump(theirs, far))
    yield ours, far, running
    ours.close()
    async with asyncio.timeout(30):
        await running
    assert theirs.fileno() == -1 and far.closed.is_set()


Ends = tuple[socket.socket, Pipe, "asyncio.Task[None]"]


async def read_all(sock: socket.socket) -> bytes:
    loop, found = asyncio.get_running_loop(), bytearray()
    while data := await loop.sock_recv(sock, CHUNK):
        found += data
    return bytes(found)


async def test_every_byte_both_ways(ends: Ends) -> None:
    ours, far, _running = ends
    blob = hashlib.shake_128(b"pump").digest(3 * 2**20)
    for start in range(0, len(blob), 1000):
        far.says.put_nowait(blob[start : start + 1000])
    far.says.put_nowait(b"")
    loop = asyncio.get_running_loop()
    _, back = await asyncio.gather(loop.sock_sendall(ours, blob), read_all(ours))
    assert back == blob


async def test_what_was_sent_before_hanging_up_arrives(ends: Ends) -> None:
    ours, far, running = ends
    await asyncio.get_running_loop().sock_sendall(ours, b"last words")
    ours.close()
    await running
    assert far.given == b"last words"


async def test_a_reader_that_sleeps_holds_up_the_far_end(ends: Ends) -> None:
    ours, far, running = ends
    total = 256 * CHUNK
    for _ in range(256):
        far.says.put_nowait(bytes(CHUNK))
    far.says.put_nowait(b"")
    before = -1
    while far.taken != before:
        before = far.taken
        await asyncio.sleep(0.05)
    assert 0 < far.taken < total // 4
    assert len(await read_all(ours)) == total
    await running


async def test_a_far_end_that_takes_nothing_holds_up_the_writer(ends: Ends) -> None:
    ours, far, _running = ends
    far.open.clear()
    sent = 0
    for _ in range(1000):
        try:
            sent += ours.send(bytes(CHUNK))
        except BlockingIOError:
            await asyncio.sleep(0.002)
    assert sent < 100 * CHUNK
    far.open.set()


@pytest.mark.parametrize("way", ["end", "error"])
async def test_the_far_ends_end_is_ours(ends: Ends, way: str) -> None:
    ours, far, running = ends
    if way == "end":
        far.says.put_nowait(b"")
    else:
        far.breaks = True
        await asyncio.get_running_loop().sock_sendall(ours, b"x")
    assert await read_all(ours) == b""
    await running
