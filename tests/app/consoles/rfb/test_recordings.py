"""What QEMU and Xvnc once said, played back byte for byte: the screen ends as it did then, however the bytes come."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import socket

import pytest

from app.consoles.rfb import RfbClient
from app.consoles.rfb.framebuffer import Framebuffer
from backends.errors import Unreachable
from tests.app.consoles.rfb.record import FOLDER, INDEX, digest
from tests.app.consoles.rfb.scripted import Events, pair

EXPECTED: dict[str, str] = json.loads(INDEX.read_text())


def recording(name: str) -> bytes:
    return gzip.decompress((FOLDER / f"{name}.gz").read_bytes())


async def play(stream: bytes, largest: int) -> RfbClient:
    """A client that heard all of it, in pieces of at most `largest` bytes."""
    near, far = pair()
    client = RfbClient(near, on=Events())
    loop, dice = asyncio.get_running_loop(), random.Random(largest)
    hearing = asyncio.create_task(deafen(far))
    running = asyncio.create_task(client.run())
    place = 0
    while place < len(stream):
        step = dice.randint(1, largest)
        await loop.sock_sendall(far, stream[place : place + step])
        place += step
        if largest < 4096:
            await asyncio.sleep(0)
    far.shutdown(socket.SHUT_WR)
    with pytest.raises(Unreachable):
        await running
    await client.close()
    await hearing
    far.close()
    return client


async def deafen(sock: socket.socket) -> None:
    """Read what the client says, and forget it."""
    loop = asyncio.get_running_loop()
    while await loop.sock_recv(sock, 1 << 16):
        pass


def test_there_are_recordings_of_both() -> None:
    assert {path.name.removesuffix(".gz") for path in FOLDER.glob("*.gz")} == set(EXPECTED)
    assert {name.split("-")[0] for name in EXPECTED} == {"qemu", "xvnc"}
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 3 << 19


@pytest.mark.parametrize("name", sorted(EXPECTED))
async def test_the_screen_ends_as_it_did(name: str) -> None:
    stream = recording(name)
    for largest in (1 << 20, 700):
        client = await play(stream, largest)
        assert client.received == len(stream)
        assert digest(client) == EXPECTED[name]


async def test_encodings_without_loss_agree() -> None:
    """QEMU drew the same for each of them."""
    assert len({EXPECTED[f"qemu-{name}"] for name in ("hextile", "zlib", "zrle", "tight")}) == 1
    assert len({EXPECTED[f"xvnc-{name}"] for name in ("raw", "hextile", "zrle", "tight")}) == 1
    assert EXPECTED["qemu-jpeg"] not in (EXPECTED["qemu-tight"], digest_of_black())


def digest_of_black() -> str:
    class Nothing:
        framebuffer = Framebuffer(640, 64)

    return digest(Nothing())  # type: ignore[arg-type]
