"""Every encoding, against pictures of every make: what a server packed is what is seen, pixel by pixel."""

from __future__ import annotations

import asyncio
import random
import sys
import zlib
from collections.abc import Callable
from struct import pack
from typing import Any

import numpy as np
import pytest
import simplejpeg

import app.consoles.rfb.wire
from app.consoles.rfb import Encoding
from app.consoles.rfb.framebuffer import OPAQUE, Framebuffer
from app.consoles.rfb.inflate import SLICE, Inflater
from app.consoles.rfb.simple import BAND, Zlib
from app.consoles.rfb.tight import Tight
from app.consoles.rfb.wire import Wire
from tests.app.consoles.rfb import encoders
from tests.app.consoles.rfb.encoders import Picture, Streams
from tests.app.consoles.rfb.scripted import Server, Session, connected, pair, update

SIZES = ((1, 1), (3, 2), (4, 1), (12, 1), (16, 16), (17, 33), (64, 64), (65, 70), (100, 40))
COLOURS = (1, 2, 3, 4, 5, 16, 17, 100, 200, 60000)


def picture(width: int, height: int, colours: int, seed: int) -> Picture:
    """Runs of at most `colours` colours; long ones, so that every way to say a run is used."""
    source = np.random.default_rng(seed)
    palette = source.integers(0, 256, (colours, 3), dtype=np.uint8)
    picked = source.integers(0, colours, width * height)
    lengths = source.choice([1, 1, 1, 2, 7, 300, 700], width * height)
    return palette[np.repeat(picked, lengths)[: width * height]].reshape(height, width, 3)


PICTURES = [picture(*size, colours, seed) for seed, colours in enumerate(COLOURS) for size in SIZES]
NOISE = np.random.default_rng(7).integers(0, 256, (70, 130, 3), dtype=np.uint8)


async def shown(session: Session, encoding: int, shape: Picture, data: bytes) -> None:
    """Send it somewhere on the screen, and compare all of the screen with what it must be."""
    height, width, _ = shape.shape
    before = session.client.framebuffer.pixels.copy()
    x, y = 140 - width, 80 - height
    before[y : y + height, x : x + width, :3] = shape[:, :, ::-1]
    after = await session.show((x, y, width, height), encoding, data)
    assert np.array_equal(after, before)
    assert (after[:, :, 3] == 255).all()


async def test_raw() -> None:
    async with connected(140, 80) as session:
        for shape in (*PICTURES, NOISE):
            await shown(session, Encoding.RAW, shape, encoders.raw(shape))


async def test_raw_larger_than_the_read_buffer() -> None:
    shape = np.random.default_rng(1).integers(0, 256, (700, 501, 3), dtype=np.uint8)
    async with connected(501, 700) as session:
        after = await session.show((0, 0, 501, 700), Encoding.RAW, encoders.raw(shape))
        assert np.array_equal(after[:, :, :3], shape[:, :, ::-1])


async def test_copy_rect_also_onto_itself() -> None:
    async with connected(130, 70) as session:
        await session.show((0, 0, 130, 70), Encoding.RAW, encoders.raw(NOISE))
        expected = session.client.framebuffer.pixels.copy()
        for x, y, from_x, from_y in ((5, 3, 0, 0), (0, 0, 5, 3), (60, 0, 0, 30), (0, 7, 0, 6)):
            expected[y : y + 40, x : x + 70] = expected[from_y : from_y + 40, from_x : from_x + 70].copy()
            after = await session.show((x, y, 70, 40), Encoding.COPY_RECT, pack(">HH", from_x, from_y))
            assert np.array_equal(after, expected)


async def test_hextile() -> None:
    async with connected(140, 80) as session:
        for shape in (*PICTURES, NOISE):
            await shown(session, Encoding.HEXTILE, shape, encoders.hextile(shape))


async def test_hextile_in_a_trickle_of_bytes() -> None:
    shape = picture(40, 40, 5, 3)
    async with connected(140, 80) as session:
        data = encoders.hextile(shape)
        await session.server.say(pack(">BxHHHHHi", 0, 1, 0, 0, 40, 40, Encoding.HEXTILE))
        for byte in data:
            await session.server.say(bytes([byte]))
        await session.until_told("damaged")
        assert np.array_equal(session.client.framebuffer.pixels[:40, :40, :3], shape[:, :, ::-1])


async def test_zlib() -> None:
    streams = Streams()
    async with connected(140, 80) as session:
        for shape in (*PICTURES, NOISE):
            data = streams.pack(encoders.raw(shape))
            await shown(session, Encoding.ZLIB, shape, pack(">I", len(data)) + data)


@pytest.mark.parametrize("kind", encoders.KINDS)
async def test_zrle(kind: str) -> None:
    streams = Streams()
    async with connected(140, 80) as session:
        for shape in (*PICTURES, NOISE):
            await shown(session, Encoding.ZRLE, shape, encoders.zrle(shape, streams, lambda: kind))


async def test_zrle_tiles_of_all_kinds_in_one_rectangle() -> None:
    streams, dice = Streams(), random.Random(5)
    async with connected(140, 80) as session:
        for seed in range(20):
            shape = picture(140, 80, 12, seed)
            await shown(
                session, Encoding.ZRLE, shape, encoders.zrle(shape, streams, lambda: dice.choice(encoders.KINDS))
            )


@pytest.mark.parametrize("kind", encoders.KINDS)
async def test_trle(kind: str) -> None:
    async with connected(140, 80) as session:
        for shape in (*PICTURES, NOISE):
            data = b"".join(encoders.trle_tile(tile, kind) for tile in encoders.tiles(shape, 16))
            await shown(session, Encoding.TRLE, shape, data)


async def test_trle_takes_up_the_palette_of_the_tile_before() -> None:
    shape = np.zeros((16, 48, 3), np.uint8)
    shape[:, 8:16] = shape[:, 16:24] = shape[:, 32:40] = (1, 2, 3)
    first = encoders.trle_tile(shape[:, :16], "palette")
    second = b"\x7f" + encoders.packed([[1] * 8 + [0] * 8] * 16, 1)
    third = b"\x81" + (b"\x81\x07\x80\x07") * 16
    async with connected(140, 80) as session:
        await shown(session, Encoding.TRLE, shape, first + second + third)


@pytest.mark.parametrize("kind", ["plain", "fill", "palette", "gradient"])
async def test_tight(kind: str) -> None:
    streams = Streams()
    async with connected(140, 80) as session:
        for number, shape in enumerate((*PICTURES, NOISE)):
            if kind != "gradient" or shape.size < 9000:
                await shown(session, Encoding.TIGHT, shape, encoders.tight(shape, streams, number % 4, kind))


async def test_tight_gradient_where_the_expectation_leaves_the_range() -> None:
    shape = np.random.default_rng(2).choice(np.array([0, 1, 254, 255], np.uint8), (23, 31, 3))
    async with connected(140, 80) as session:
        await shown(session, Encoding.TIGHT, shape, encoders.tight(shape, Streams(), 0, "gradient"))


async def test_tight_streams_begin_anew_one_by_one() -> None:
    streams, shape = Streams(), picture(65, 70, 4, 20)
    async with connected(140, 80) as session:
        for number in (0, 1, 2, 3):
            await shown(session, Encoding.TIGHT, shape, encoders.tight(shape, streams, number, "plain"))
        streams.restart(1)
        streams.restart(3)
        first, *rest = encoders.tight(shape, streams, 1, "plain")
        await shown(session, Encoding.TIGHT, shape, bytes([first | 0b1010, *rest]))
        for number in (0, 2, 3):
            await shown(session, Encoding.TIGHT, shape, encoders.tight(shape, streams, number, "plain"))


async def test_tight_jpeg() -> None:
    across, down = np.meshgrid(np.linspace(0, 255, 120), np.linspace(0, 255, 70))
    shape = np.stack([across, down, 255 - across], axis=2).astype(np.uint8)
    data = simplejpeg.encode_jpeg(np.ascontiguousarray(shape), quality=90, colorspace="RGB")
    async with connected(140, 80) as session:
        after = await session.show((10, 5, 120, 70), Encoding.TIGHT, b"\x90" + encoders.compact(len(data)) + data)
        error = after[5:75, 10:130, 2::-1].astype(float) - shape
        assert 10 * np.log10(255**2 / (error**2).mean()) > 35
        assert (after[:, :, 3] == 255).all()
        assert not after[:5, :, :3].any() and not after[:, :10, :3].any()


async def test_several_rectangles_are_one_damage() -> None:
    shape = picture(17, 33, 2, 3)
    boxes = [(0, 0, 17, 33), (40, 10, 17, 33)]
    async with connected(140, 80) as session:
        await session.server.say(update(*((box, 0, encoders.raw(shape)) for box in boxes)))
        assert await session.until_told("damaged") == (boxes,)


async def test_damage_of_many_rectangles_is_told_as_a_few_that_cover_them() -> None:
    boxes = [(x, y, 2, 2) for x in range(0, 140, 7) for y in range(0, 80, 5)]
    async with connected(140, 80) as session:
        await session.server.say(update(*((box, 0, bytes(16)) for box in boxes)))
        (told,) = await session.until_told("damaged")
        assert isinstance(told, list) and len(told) <= 32
        for x, y, width, height in boxes:
            assert any(
                left <= x and top <= y and x + width <= left + wide and y + height <= top + high
                for left, top, wide, high in told
            )


async def test_a_zlib_stream_runs_on_from_one_rectangle_to_the_next() -> None:
    """What makes the streams streams: the second rectangle only makes sense after the first."""
    streams = zlib.compressobj()
    shape = NOISE[:50, :50]
    data = encoders.raw(shape)
    first = streams.compress(data) + streams.flush(zlib.Z_SYNC_FLUSH)
    second = streams.compress(data) + streams.flush(zlib.Z_SYNC_FLUSH)
    assert len(second) < len(first) / 4
    async with connected(140, 80) as session:
        for part in (first, second):
            await shown(session, Encoding.ZLIB, shape, pack(">I", len(part)) + part)


def compact(length: int) -> bytes:
    """A length as Tight writes it, in three bytes."""
    return bytes([length & 127 | 128, length >> 7 & 127 | 128, length >> 14])


@pytest.mark.parametrize(
    ("decoder", "head", "pixel"),
    [
        (Zlib, lambda length: pack(">I", length), 4),
        (Tight, lambda length: bytes([0, *compact(length)]), 3),
        (Tight, lambda length: bytes([64, 1, 255, *bytes(768), *compact(length)]), 1),
    ],
)
async def test_a_huge_rectangle_leaves_the_loop_to_others(
    decoder: type[Zlib | Tight], head: Callable[[int], bytes], pixel: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All consoles share one loop: 16 million pixels are not one piece of work."""
    monkeypatch.setattr(app.consoles.rfb.wire, "TURN", 0)
    piece, turns, when, became = Inflater.piece, 0, [], []

    def inflated(self: Inflater, data: bytes, limit: int, most: int = sys.maxsize) -> bytes:
        became.append(piece(self, data, limit, most))
        return became[-1]

    class Watched(Framebuffer):
        def put(self, x: int, y: int, words: np.ndarray[Any, Any]) -> None:
            when.append(turns)
            super().put(x, y, words)

    monkeypatch.setattr(Inflater, "piece", inflated)
    size = 4096
    data = zlib.compress(bytes(size * size * pixel), 1)
    near, far = pair()
    wire, frame = Wire(near), Watched(size, size)
    frame.words[:] = 0xFFFFFFFF
    decoding = asyncio.create_task(decoder().decode(wire, (0, 0, size, size), frame))
    sending = asyncio.create_task(Server(far).say(head(len(data)) + data))
    while not decoding.done():
        await asyncio.sleep(0)
        turns += 1
    await decoding
    await sending
    await wire.close()
    far.close()
    assert max(map(len, became)) <= SLICE
    assert len(when) == len(set(when)) == size * size // BAND, "others have a turn between any two bands"
    assert (frame.words == OPAQUE).all()
