"""A server that errs or attacks: always one clear error, never a hang, a crash, or memory without end."""

from __future__ import annotations

import asyncio
import random
import tracemalloc
import zlib
from struct import pack

import numpy as np
import pytest
import simplejpeg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import app.consoles.rfb.wire
from app.consoles.rfb import Encoding, RfbClient
from app.consoles.rfb.clipboard import CAPS, NOTIFY, PROVIDE, TEXT
from backends.errors import AuthNeeded, BackendError, Denied, Invalid, Unreachable, Unsupported
from tests.app.consoles.rfb.encoders import compact
from tests.app.consoles.rfb.scripted import Events, connected, pair, replayed, update
from tests.app.consoles.rfb.test_recordings import EXPECTED, recording

HELLO = b"RFB 003.003\n" + pack(">I", 1)
WELCOME = HELLO + pack(">HH16sI", 64, 48, bytes(16), 0)
BOX = (0, 0, 64, 48)
BOMB = zlib.compress(bytes(50_000_000))
BLACK = zlib.compress(bytes(64 * 48 * 4))
JPEG = simplejpeg.encode_jpeg(np.zeros((48, 64, 3), np.uint8), colorspace="RGB")
SIDE_JPEG = simplejpeg.encode_jpeg(np.zeros((64, 48, 3), np.uint8), colorspace="RGB")
OTHER_JPEG = simplejpeg.encode_jpeg(np.zeros((480, 640, 3), np.uint8), colorspace="RGB")
HUGE_JPEG = JPEG.replace(pack(">HH", 48, 64), pack(">HH", 65500, 65500), 1)


def rectangle(encoding: int, data: bytes, box: tuple[int, int, int, int] = BOX) -> bytes:
    return WELCOME + update((box, encoding, data))


def sized(data: bytes) -> bytes:
    return pack(">I", len(data)) + data


def clip(flags: int, data: bytes = b"") -> bytes:
    return WELCOME + pack(">BxxxiI", 3, -4 - len(data), flags) + data


def zrle(tiles: bytes) -> bytes:
    return rectangle(Encoding.ZRLE, sized(zlib.compress(tiles)))


def tight(control: bytes, data: bytes) -> bytes:
    return rectangle(Encoding.TIGHT, control + compact(len(data)) + data)


BROKEN = {
    "a screen too large": HELLO + pack(">HH16sI", 65535, 65535, bytes(16), 0),
    "a name too long": HELLO + pack(">HH16sI", 9, 9, bytes(16), 0xFFFFFFFF),
    "an unknown message": WELCOME + b"\x63",
    "an unknown encoding": rectangle(77, b""),
    "outside to the right": rectangle(0, b"", (60, 0, 5, 1)),
    "outside below": rectangle(0, b"", (0, 40, 1, 9)),
    "copied from outside": rectangle(1, pack(">HH", 1, 0)),
    "a new size too large": rectangle(-223, b"", (0, 0, 65535, 65535)),
    "an extended size too large": rectangle(-308, pack(">Bxxx", 0), (0, 0, 65535, 65535)),
    "a new name too long": rectangle(-307, pack(">I", 1 << 31)),
    "a pointer too large": rectangle(-239, b"", (0, 0, 2000, 20)),
    "a pointer in an unknown encoding": rectangle(-314, pack(">i", 7), (0, 0, 2, 2)),
    "a fence too long": WELCOME + pack(">BxxxIB", 248, 1, 65),
    "a clipboard too long": WELCOME + pack(">Bxxxi", 3, 0x7FFFFFFF),
    "an extended clipboard too long": WELCOME + pack(">Bxxxi", 3, -0x80000000),
    "an extended clipboard without flags": WELCOME + pack(">Bxxxi", 3, -2) + b"ab",
    "a clipboard that is no zlib": clip(PROVIDE | TEXT, b"nonsense"),
    "a clipboard that says it is long": clip(PROVIDE | TEXT, zlib.compress(pack(">I", 1 << 30) + b"a")),
    "a clipboard bomb": clip(PROVIDE | TEXT, zlib.compress(pack(">I", 50_000_000) + bytes(50_000_000))),
    "a clipboard shorter than it says": clip(PROVIDE | TEXT, zlib.compress(pack(">I", 99) + b"a")),
    "zlib announced too long": rectangle(Encoding.ZLIB, pack(">I", 0xFFFFFFFF)),
    "zlib nonsense": rectangle(Encoding.ZLIB, sized(b"nonsense")),
    "a zlib bomb": rectangle(Encoding.ZLIB, sized(BOMB[:16000])),
    "too few zlib pixels": rectangle(Encoding.ZLIB, sized(zlib.compress(bytes(9)))),
    "zlib after its end": rectangle(Encoding.ZLIB, sized(BLACK))
    + rectangle(Encoding.ZLIB, sized(BLACK))[len(WELCOME) :],
    "zrle announced too long": rectangle(Encoding.ZRLE, pack(">I", 0xFFFFFFFF)),
    "a zrle bomb": rectangle(Encoding.ZRLE, sized(BOMB[:16000])),
    "zrle without tiles": zrle(b""),
    "a zrle tile of an unknown kind": zrle(b"\x12"),
    "a zrle tile that takes up a palette": zrle(b"\x7f"),
    "too few raw zrle pixels": zrle(b"\0" + bytes(9)),
    "a zrle palette cut short": zrle(b"\x10" + bytes(9)),
    "packed zrle pixels cut short": zrle(b"\x02" + bytes(9)),
    "zrle runs too long": zrle(b"\x80abc" + b"\xff" * 500 + b"\1"),
    "zrle runs cut short": zrle(b"\x80abc"),
    "a zrle run cut short": zrle(b"\x80abc\xff"),
    "many zrle runs too long": zrle(b"\x80" + b"abc\xfe" * 64 * 48),
    "zrle palette runs too long": zrle(b"\x82" + bytes(6) + b"\x80" + b"\xff" * 500 + b"\1"),
    "a zrle colour outside of the palette": zrle(b"\x82" + bytes(6) + b"\x82" + b"\xff" * 12 + b"\x0b"),
    "zrle palette runs cut short": zrle(b"\x82" + bytes(6) + b"\x80"),
    "a trle tile of an unknown kind": rectangle(Encoding.TRLE, b"\x12"),
    "a trle tile without a palette before it": rectangle(Encoding.TRLE, b"\x81"),
    "a trle tile with a palette too large": rectangle(Encoding.TRLE, b"\x94" + bytes(60) + b"\x80\xff\0" + b"\x7f"),
    "an unknown tight kind": rectangle(Encoding.TIGHT, b"\xa0"),
    "an unknown tight filter": rectangle(Encoding.TIGHT, b"\x40\x03"),
    "a tight bomb": tight(b"\0", BOMB[:16000]),
    "tight nonsense": tight(b"\0", b"nonsense"),
    "too few tight pixels": tight(b"\0", zlib.compress(bytes(9))),
    "a tight colour outside of the palette": tight(b"\x40\1\2" + bytes(9), zlib.compress(b"\3" * 64 * 48)),
    "no jpeg": tight(b"\x90", b"nonsense"),
    "an empty jpeg": tight(b"\x90", b""),
    "half a jpeg head": tight(b"\x90", JPEG[:30]),
    "a jpeg of another size": tight(b"\x90", OTHER_JPEG),
    "a jpeg on its side": tight(b"\x90", SIDE_JPEG),
    "a jpeg of a huge size": tight(b"\x90", HUGE_JPEG),
}


@pytest.mark.parametrize("stream", BROKEN.values(), ids=BROKEN)
async def test_it_is_said_what_is_wrong(stream: bytes) -> None:
    """Invalid though there is more to come; and nothing close to what was announced is set aside for it."""
    tracemalloc.start()
    try:
        _, error = await replayed(stream + bytes(2000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(error, Invalid)
    assert error.message[0].isupper() and len(error.message) < 200
    assert peak < 4_000_000


async def test_what_comes_after_the_end_of_a_stream_is_not_kept() -> None:
    """Rectangles without pixels, whose data nobody wants: zlib would keep them all."""
    empty = pack(">HHHHi", 0, 0, 0, 0, Encoding.ZLIB) + sized(bytes(4000))
    stream = WELCOME + pack(">BxH", 0, 0xFFFF) + pack(">HHHHi", *BOX, Encoding.ZLIB) + sized(BLACK) + empty * 1000
    _, error = await replayed(stream)
    assert isinstance(error, Invalid) and "after the end" in error.message


async def test_a_length_that_is_announced_is_not_set_aside() -> None:
    """A whole screen may come, compressed: what is announced is only believed as it arrives."""
    stream = HELLO + pack(">HH16sI", 8000, 8000, bytes(16), 0)
    stream += update(((0, 0, 8000, 8000), Encoding.ZLIB, pack(">I", 200_000_000)))
    tracemalloc.start()
    try:
        _, error = await replayed(stream)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(error, Unreachable)
    assert peak < 8000 * 8000 * 4 + 8_000_000


async def test_a_server_that_stops_in_the_middle_can_be_left() -> None:
    for data in (b"", update((BOX, 0, bytes(5))), update((BOX, Encoding.HEXTILE, b"\x02")), b"\3\0\0\0\0\0\0\x50abc"):
        async with connected() as session:
            await session.server.say(data)
            await asyncio.sleep(0.01)
            await session.client.close()
            await session.running


async def test_a_flood_of_small_messages_leaves_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """All consoles share a loop: what was read ahead may not be worked off in one go."""
    monkeypatch.setattr(app.consoles.rfb.wire, "TURN", 0)
    resize = pack(">HHHHi", 0, 0, 64, 48, -223)
    async with connected() as session:
        await session.server.say(b"\2" * 500 + pack(">BxH", 0, 500) + resize * 500)
        turns = 0
        async with asyncio.timeout(20):
            while len(session.events.told) < 1001:
                await asyncio.sleep(0)
                turns += 1
        assert turns > 500


async def test_what_was_read_ahead_is_dropped_when_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some bytes can be work for long: 256 KiB of new sizes are 20,000 times a whole screen."""
    monkeypatch.setattr(app.consoles.rfb.wire, "TURN", 0)
    async with connected() as session:
        await session.server.say(b"\2" * 5000)
        await session.events.next("bell")
        await session.client.close()
        await session.running
        assert len(session.events.told) < 4000


async def test_a_gradient_that_would_take_seconds_is_refused() -> None:
    stream = HELLO + pack(">HH16sI", 1025, 1024, bytes(16), 0)
    data = zlib.compress(bytes(1025 * 1024 * 3))
    stream += update(((0, 0, 1025, 1024), Encoding.TIGHT, b"\x40\2" + compact(len(data)) + data))
    _, error = await replayed(stream)
    assert isinstance(error, Invalid) and "gradient" in error.message


ENDS = (Unreachable, Invalid, Denied, AuthNeeded, Unsupported)


async def ends_well(stream: bytes) -> None:
    _, error = await replayed(stream)
    assert isinstance(error, ENDS), f"{error!r}"


@pytest.mark.parametrize("name", sorted(EXPECTED))
async def test_recordings_with_bytes_that_changed(name: str) -> None:
    """Bytes flipped, cut, doubled and filled in, mostly where the messages' heads are."""
    stream = recording(name)[:60_000]
    dice = random.Random(name)
    for _ in range(60):
        broken = bytearray(stream)
        for _ in range(dice.choice((1, 1, 3, 20))):
            place = min(int(dice.expovariate(1 / dice.choice((200, 5000)))), len(broken) - 1)
            match dice.randrange(5):
                case 0:
                    broken[place] ^= 1 << dice.randrange(8)
                case 1:
                    broken[place] = dice.choice((0, 1, 127, 128, 255))
                case 2:
                    del broken[place : place + dice.randrange(1, 9)]
                case 3:
                    broken[place:place] = broken[place : place + dice.randrange(1, 40)]
                case 4:
                    broken[place:place] = dice.randbytes(dice.randrange(1, 9))
        await ends_well(bytes(broken))


KINDS = st.sampled_from([*Encoding, -223, -224, -239, -240, -258, -261, -307, -308, -314, -316, 0x574D5668])
SIDES = st.integers(0, 70)


@st.composite
def rectangles(draw: st.DrawFn) -> bytes:
    """A rectangle whose head makes sense, and whatever data: also behind a zlib stream that does."""
    kind = draw(KINDS)
    width, height = draw(SIDES), draw(SIDES)
    box = (draw(st.integers(0, max(0, 64 - width))), draw(st.integers(0, max(0, 48 - height))), width, height)
    data = draw(st.binary(max_size=60)) * draw(st.sampled_from((1, 1, 3, 400)))
    if kind in (Encoding.ZRLE, Encoding.ZLIB):
        data = sized(zlib.compress(data))
    elif kind == Encoding.TIGHT:
        packed = zlib.compress(data)
        data = draw(st.binary(min_size=1, max_size=12)) + compact(len(packed)) + packed
    return pack(">HHHHi", *box, kind) + data


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(rectangles(), min_size=1, max_size=4))
def test_rectangles_of_anything(parts: list[bytes]) -> None:
    asyncio.run(ends_well(WELCOME + pack(">BxH", 0, len(parts)) + b"".join(parts)))


MESSAGES = st.sampled_from(
    [b"\0\0\0\1", b"\1", b"\2", b"\3\0\0\0", b"\x96", b"\xf8\0\0\0", b"\3\0\0\0\xff\xff\xff", pack(">I", CAPS | NOTIFY)]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(MESSAGES | st.binary(max_size=30), max_size=12))
def test_messages_of_anything(parts: list[bytes]) -> None:
    asyncio.run(ends_well(WELCOME + b"".join(parts)))


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([b"", b"RFB 003.003\n", b"RFB 003.007\n", b"RFB 003.008\n", b"RFB 003.008\n\1\x13\0\2\0\2"]),
    st.binary(max_size=80),
)
def test_handshakes_of_anything(head: bytes, rest: bytes) -> None:
    asyncio.run(ends_well(head + rest))


async def test_what_a_broken_server_is_told_is_over(caplog: pytest.LogCaptureFixture) -> None:
    """After the error the client can be closed, as often as one likes, and says nothing more."""
    near, far = pair()

    client = RfbClient(near, on=Events())
    await asyncio.get_running_loop().sock_sendall(far, BROKEN["an unknown message"])
    with pytest.raises(BackendError):
        await client.run()
    client.key(0x61, True)
    client.pointer(1, 1, 0)
    client.cut_text("x")
    await client.close()
    await client.close()
    heard = b""
    while part := far.recv(4096):
        heard += part
    assert not heard.endswith(pack(">BBxxI", 4, True, 0x61))
    far.close()
    assert not caplog.records
