"""What a client says and tells: keys, pointer, sizes, clipboard, cursor, fences, and when it asks for updates."""

from __future__ import annotations

import asyncio
import socket
import zlib
from struct import pack

import numpy as np
import pytest

from app.consoles.rfb import Encoding, RfbClient, RfbOptions
from app.consoles.rfb import wire as wire_module
from app.consoles.rfb.clipboard import CAPS, NOTIFY, PROVIDE, REQUEST, TEXT
from app.consoles.rfb.framebuffer import Framebuffer
from app.consoles.rfb.keysyms import Stroke, strokes
from backends.errors import Invalid, Unreachable
from tests.app.consoles.rfb.scripted import Events, Server, Session, connected, pair, update

SCREEN = (0, 0, 64, 48)
END_OF_CONTINUOUS = b"\x96"


def pseudo(encoding: int, data: bytes = b"", box: tuple[int, int, int, int] = (0, 0, 0, 0)) -> bytes:
    return update((box, encoding, data))


async def test_the_handshake_asks_for_what_the_options_say() -> None:
    near, far = pair()
    options = RfbOptions(encodings=(Encoding.ZRLE, Encoding.RAW), quality=None, compress=6)
    client = RfbClient(near, options=options, on=Events())
    running = asyncio.create_task(client.run())
    asked = await Server(far).welcome(10, 10)
    assert asked[:2] == (16, 0) and -250 in asked
    assert not [number for number in asked if -32 <= number <= -23], "JPEG was asked for"
    assert {-239, -308, -223, -258, -261, -312, -313, -307, 0xC0A1E5CE - (1 << 32)} <= set(asked)
    await client.close()
    await running
    far.close()


async def test_the_next_update_is_asked_for_when_one_begins() -> None:
    async with connected() as session:
        await session.server.say(update((SCREEN, 0, b"")))  # and nothing of its pixels yet
        assert await session.server.hear() == (3, True, 0, 0, 64, 48)
        assert not session.events.told[2:]


async def test_paused_asks_for_nothing_but_what_refresh_asks_for() -> None:
    async with connected() as session:
        session.client.pause(True)
        await session.show((0, 0, 1, 1), 0, b"abcd")
        session.client.refresh(incremental=False)
        assert await session.server.hear() == (3, False, 0, 0, 64, 48)
        session.client.pause(False)
        assert await session.server.hear() == (3, True, 0, 0, 64, 48)


async def test_a_client_that_begins_paused() -> None:
    near, far = pair()
    client, server = RfbClient(near, on=Events()), Server(far)
    client.pause(True)
    running = asyncio.create_task(client.run())
    await server.say(b"RFB 003.003\n" + pack(">I", 1) + pack(">HH16sI", 9, 8, bytes(16), 0))
    await server.read(13)
    assert [(await server.hear())[0] for _ in range(2)] == [0, 2]
    client.refresh(incremental=False)
    assert await server.hear() == (3, False, 0, 0, 9, 8)
    await client.close()
    await running
    far.close()


async def test_continuous_updates() -> None:
    async with connected() as session:
        await session.server.say(END_OF_CONTINUOUS)
        assert await session.server.hear() == (150, True, 0, 0, 64, 48)
        await session.show((0, 0, 1, 1), 0, b"abcd")
        session.client.pause(True)
        assert await session.server.hear() == (150, False, 0, 0, 64, 48), "it asked though the server sends on its own"
        await session.server.say(END_OF_CONTINUOUS)
        session.client.pause(False)
        assert await session.server.hear() == (150, True, 0, 0, 64, 48)
        assert await session.server.hear() == (3, True, 0, 0, 64, 48)
        await session.server.say(pseudo(-223, box=(0, 0, 80, 50)))
        assert await session.server.hear() == (150, True, 0, 0, 80, 50)
        assert await session.server.hear() == (3, False, 0, 0, 80, 50)


async def test_fences_come_back_when_all_before_them_is_done() -> None:
    async with connected() as session:
        await session.server.say(update((SCREEN, 0, bytes(64 * 48 * 4))) + pack(">BxxxIB", 248, 0x80000005, 3) + b"abc")
        assert await session.server.hear_until(248) == (248, 5, b"abc")
        assert ("damaged", [SCREEN]) in session.events.told
        await session.server.say(pack(">BxxxIB", 248, 0x7FFFFFFF, 1) + b"x" + pack(">BxxxIB", 248, 0xFFFFFFFF, 0))
        assert await session.server.hear() == (248, 7, b""), "an answer was answered"


async def test_keys() -> None:
    async with connected() as session:
        session.client.key(0x61, True, 0x1E)
        assert await session.server.hear() == (4, True, 0x61)
        assert not session.client.takes_scancodes
        await session.server.say(pseudo(-258) + b"\2")
        await session.until_told("bell")
        assert session.client.takes_scancodes
        assert await session.server.hear() == (3, True, 0, 0, 64, 48)
        session.client.key(0x61, False, 0x1E)
        session.client.key(0xFFE4, True, 0xE01D)
        session.client.key(0x0100263A, True)
        session.client.key(0, True, 0x1E)
        session.client.key(0, True)
        session.client.key(0x62, True)
        assert await session.server.hear() == (255, False, 0x61, 0x1E)
        assert await session.server.hear() == (255, True, 0xFFE4, 0x9D)
        assert await session.server.hear() == (4, True, 0x0100263A)
        assert await session.server.hear() == (255, True, 0, 0x1E)
        assert await session.server.hear() == (4, True, 0x62), "a key that is none was sent"


async def test_pointer() -> None:
    async with connected() as session:
        session.client.pointer(10, 20, 5)
        session.client.pointer(-3, 999, 0x101)
        assert await session.server.hear() == (5, 5, 10, 20)
        assert await session.server.hear() == (5, 1, 0, 47)
        await session.server.say(pseudo(-316))
        await session.server.hear()
        session.client.pointer(1, 2, 0x101)
        session.client.pointer(1, 2, 1)
        assert await session.server.hear() == (5, 0x81, 1, 2)
        assert await session.server.read(1) == b"\2"
        assert await session.server.hear() == (5, 1, 1, 2)


async def test_a_slow_server_gets_where_the_pointer_is_and_every_click() -> None:
    async with connected() as session:
        session.client.cut_text("x" * 3_000_000)
        for step in range(500):
            session.client.pointer(step % 64, 1, 0)
        session.client.pointer(5, 6, 1)
        for step in range(500):
            session.client.pointer(step % 64, 2, 1)
        session.client.pointer(63, 47, 1)
        assert (await session.server.hear())[:2] == (6, 3_000_000)
        heard = [await session.server.hear()]
        while heard[-1] != (5, 1, 63, 47):
            heard.append(await session.server.hear())
        assert (5, 1, 5, 6) in heard
        assert len(heard) < 10, "ways were sent that nobody could follow"


async def test_keys_do_not_wait_for_the_receipt_of_the_last() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        near = socket.create_connection(listening.getsockname())
        client = RfbClient(near, on=Events())
        assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        await client.close()


async def test_view_only_sends_nothing() -> None:
    async with connected(options=RfbOptions(view_only=True)) as session:
        await session.server.say(pseudo(-308, pack(">BxxxIHHHHI", 1, 7, 0, 0, 64, 48, 0), (0, 0, 64, 48)))
        await session.server.hear()
        session.client.key(0x61, True)
        session.client.pointer(1, 1, 1)
        session.client.cut_text("secret")
        assert not session.client.can_resize
        session.client.resize(10, 10)
        session.client.refresh()
        assert await session.server.hear() == (3, True, 0, 0, 64, 48)


async def test_sizes() -> None:
    async with connected() as session:
        await session.show(SCREEN, 0, b"\x10\x20\x30\x40" * (64 * 48))
        assert not session.client.can_resize
        session.client.resize(1, 1)
        await session.server.hear()
        await session.server.say(pseudo(-308, pack(">BxxxIHHHHI", 1, 7, 0, 0, 100, 30, 9), (0, 0, 100, 30)))
        assert await session.until_told("resized") == (100, 30)
        assert session.client.can_resize
        assert await session.server.hear() == (3, True, 0, 0, 64, 48)
        assert await session.server.hear() == (3, False, 0, 0, 100, 30), "the new size is not asked for as a whole"
        kept = session.client.framebuffer.pixels
        assert kept.shape == (30, 100, 4)
        assert (kept[:, :64] == (0x10, 0x20, 0x30, 255)).all() and (kept[:, 64:] == (0, 0, 0, 255)).all()
        session.client.resize(300, 200)
        assert await session.server.hear() == (251, 300, 200, 7, 0, 0, 300, 200, 9)
        await session.server.say(pseudo(-308, pack(">Bxxx", 0), (1, 3, 0, 0)))
        await session.server.hear()
        assert session.client.can_resize and session.client.framebuffer.width == 100
        await session.server.say(pseudo(-308, pack(">Bxxx", 0), (1, 1, 0, 0)))
        await session.server.hear()
        assert not session.client.can_resize


async def test_damage_from_before_a_new_size_is_not_told() -> None:
    async with connected() as session:
        await session.server.say(
            update(((60, 40, 1, 1), 0, b"abcd"), ((0, 0, 9, 9), -223, b""), ((1, 1, 1, 1), 0, b"abcd"))
        )
        assert await session.until_told("damaged") == ([(1, 1, 1, 1)],)


async def test_an_update_of_unknown_length_ends_with_its_last_rectangle() -> None:
    async with connected() as session:
        pixel = pack(">HHHHi", 1, 1, 1, 1, 0) + b"abcd"
        await session.server.say(pack(">BxH", 0, 0xFFFF) + pixel + pack(">HHHHi", 0, 0, 0, 0, -224) + b"\2")
        assert await session.until_told("damaged") == ([(1, 1, 1, 1)],)
        assert await session.until_told("bell") == ()


async def test_names_and_lights() -> None:
    async with connected() as session:
        assert session.client.name == "screen" and session.client.leds is None
        await session.server.say(pseudo(-307, pack(">I", 6) + "ä\x07b€"[:3].encode() + b"zz"))
        assert await session.until_told("name") == ("ä bzz",)
        await session.server.say(pseudo(-261, b"\6"))
        assert await session.until_told("leds") == (6,)
        await session.server.say(pseudo(0x574D5668, pack(">I", 3)))
        assert await session.until_told("leds") == (3,)
        assert session.client.leds == 3 and session.client.name == "ä bzz"


async def shape(session: Session, encoding: int, data: bytes, size: tuple[int, int]) -> np.ndarray:  # type: ignore[type-arg]
    await session.server.say(pseudo(encoding, data, (1, 2, *size)))
    pixels, x, y = await session.until_told("cursor")
    assert (x, y) == (1, 2)
    assert isinstance(pixels, np.ndarray)
    return pixels


async def test_cursors() -> None:
    async with connected() as session:
        rich = b"\x01\x02\x03\x99" * 9 + b"\x04\x05\x06\x99" * 9
        mask = b"\xff\x80" + b"\x80\x00"
        seen = await shape(session, -239, rich + mask, (9, 2))
        assert (seen[0] == (1, 2, 3, 255)).all() and (seen[1, 0] == (4, 5, 6, 255)).all() and not seen[1, 1:].any()
        seen = await shape(session, -314, pack(">i", 0) + b"\x10\x20\x30\x40" + bytes(4), (2, 1))
        assert seen.tolist() == [[[0x30, 0x20, 0x10, 0x40], [0, 0, 0, 0]]]
        seen = await shape(session, -240, b"\1\2\3\4\5\6" + b"\x80" + b"\xc0", (3, 1))
        assert seen.tolist() == [[[3, 2, 1, 255], [6, 5, 4, 255], [0, 0, 0, 0]]]
        for encoding, data in ((-239, b""), (-240, b""), (-314, pack(">i", 0))):
            await session.server.say(pseudo(encoding, data))
            assert await session.until_told("cursor") == (None, 0, 0)


def extended(flags: int, data: bytes = b"") -> bytes:
    return pack(">BxxxiI", 3, -4 - len(data), flags) + data


async def test_plain_clipboard() -> None:
    async with connected() as session:
        await session.server.say(pack(">BxxxI", 3, 5) + "é\r\nab".encode("latin-1"))
        assert await session.until_told("clipboard") == ("é\nab",)
        session.client.cut_text("né€")
        assert await session.server.hear() == (6, 3, b"n\xe9?")


async def test_extended_clipboard() -> None:
    caps = extended(CAPS | REQUEST | NOTIFY | PROVIDE | TEXT, pack(">I", 0))
    async with connected() as session:
        await session.server.say(caps)
        kind, _, said = await session.server.hear()
        assert kind == 6 and isinstance(said, bytes) and len(said) == 8 and said[3] == TEXT and said[0] & 1
        session.client.cut_text("ü\n€🙂")
        assert await session.server.hear() == (6, -4, pack(">I", NOTIFY | TEXT))
        await session.server.say(extended(1 << 26))
        assert await session.server.hear() == (6, -4, pack(">I", NOTIFY | TEXT))
        await session.server.say(extended(REQUEST | TEXT))
        kind, _, said = await session.server.hear()
        assert isinstance(said, bytes) and said[:4] == pack(">I", PROVIDE | TEXT)
        text = "ü\r\n€🙂".encode() + b"\0"
        assert zlib.decompress(said[4:]) == pack(">I", len(text)) + text
        await session.server.say(extended(NOTIFY | TEXT))
        assert await session.server.hear() == (6, -4, pack(">I", REQUEST | TEXT))
        await session.server.say(extended(PROVIDE | TEXT, zlib.compress(pack(">I", len(text)) + text)))
        assert await session.until_told("clipboard") == ("ü\n€🙂",)


async def test_a_text_that_is_too_long_is_not_sent() -> None:
    async with connected() as session:
        with pytest.raises(Invalid):
            session.client.cut_text("x" * (16 << 20) + "y")


async def test_the_end_is_told_and_close_is_no_error() -> None:
    async with connected() as session:
        await session.client.close()
        await session.running
        await session.client.close()
        session.client.key(0x61, True)
        session.client.refresh()
    async with connected() as session:
        session.server.sock.close()
        with pytest.raises(Unreachable):
            await session.running


async def test_a_server_that_never_reads_is_given_up() -> None:
    async with connected() as session:
        for _ in range(6):
            session.client.cut_text("x" * (4 << 20))
        with pytest.raises(Unreachable):
            await session.running


async def test_a_flood_leaves_the_loop_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes may cost much work: while it is done, a task that only counts gets its turns."""
    monkeypatch.setattr(wire_module, "TURN", 0.0)
    turns, done = 0, asyncio.Event()

    async def count() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            await asyncio.sleep(0)

    async with connected(1000, 1000) as session:
        counting = asyncio.create_task(count())
        copies = update(*[((0, 0, 1000, 1000), 1, bytes(4))] * 300)
        before = turns
        await session.server.say(copies)
        await session.until_told("damaged")
        assert turns - before >= 300
        done.set()
        await counting


def test_the_framebuffer_counts_its_changes() -> None:
    picture = Framebuffer(4, 3)
    seen = [picture.serial]
    for change in (
        lambda: picture.fill((0, 0, 2, 2), 0xFF112233),
        lambda: picture.copy((2, 1, 2, 2), 0, 0),
        lambda: picture.put(0, 0, np.full((1, 1), 0xFF000001, np.uint32)),
        lambda: picture.resize(5, 5),
    ):
        change()
        seen.append(picture.serial)
    assert seen == [0, 1, 2, 3, 4]
    assert picture.pixels[1, 2].tolist() == [0x33, 0x22, 0x11, 255]
    assert picture.words[0, 0] == 0xFF000001


def test_text_as_keys() -> None:
    assert strokes("aZ\r\n~é€") == [
        Stroke(0x61, 0x1E, False),
        Stroke(0x5A, 0x2C, True),
        Stroke(0xFF0D, 0x1C, False),
        Stroke(0x7E, 0x29, True),
        Stroke(0xE9, 0, False),
        Stroke(0x010020AC, 0, False),
    ]
