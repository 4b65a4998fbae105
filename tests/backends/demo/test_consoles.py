"""The demo's consoles: an RFB server that keeps to RFC 6143, a serial line that feels like one."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator

import numpy as np
import pytest

from backends.consoles import ConsoleKind, Door
from backends.demo import Driver
from backends.demo.consoles import ASKED
from backends.demo.rfb import PixelFormat, zrle
from backends.demo.screen import Pixels
from backends.driver import Settings
from backends.errors import Conflict, Unreachable
from backends.model import Kind, LiveOptions, PowerAction, Ref, Vm
from tests.backends.rfb import VNC, Rfb

OPENED: list[Door] = []
EXTENDED_SIZE, LEDS, DESKTOP_SIZE = -308, -261, -223


@pytest.fixture
async def driver() -> AsyncIterator[Driver]:
    made = Driver("demo", Settings({"vms": "20"}))
    await made.connect()
    yield made
    while OPENED:
        OPENED.pop().close()
    await made.close()


def named(driver: Driver, name: str) -> Vm:
    return next(vm for vm in driver.world.vms.values() if vm.name == name)


async def door(driver: Driver, name: str, kind: ConsoleKind = ConsoleKind.VNC, *, force: bool = False) -> Door:
    consoles = await driver.consoles(named(driver, name).ref)
    OPENED.append(await driver.open_console(next(one for one in consoles if one.kind == kind), force=force))
    return OPENED[-1]


async def screen(driver: Driver, name: str, password: str = "") -> Rfb:
    made = await door(driver, name)
    assert made.socket is not None
    found = Rfb(made.socket)
    await found.begin(password)
    return found


async def test_the_picture_comes_once_whole_then_in_pieces(driver: Driver) -> None:
    rfb = await screen(driver, "web-01")
    assert (rfb.width, rfb.height, rfb.name) == (640, 400, "web-01")
    whole = await rfb.update()
    assert list(whole) == [(0, 0, 640, 400)]
    picture = np.frombuffer(whole[0, 0, 640, 400], np.uint8).reshape(400, 640, 4)
    assert len(np.unique(picture[24:56, 24:160].reshape(-1, 4), axis=0)) > 1, "no name on it"
    assert (picture[..., 3] == 255).all()
    pieces = await rfb.update(incremental=True)
    assert sum(width * height for _, _, width, height in pieces) < 640 * 400 // 20
    before = picture[176:192].copy()
    await rfb.type("Q")
    for _ in range(20):
        pieces = await rfb.update(incremental=True)
        if any(rect[1] == 176 for rect in pieces):
            break
    (rect,) = [rect for rect in pieces if rect[1] == 176]
    shown = np.frombuffer(pieces[rect], np.uint8).reshape(rect[3], rect[2], 4)
    assert not np.array_equal(shown, before[:, rect[0] : rect[0] + rect[2]]), "the key is not to be seen"


async def test_passwords(driver: Driver) -> None:
    known = await door(driver, "db-01")
    assert known.socket is not None and known.password not in ("", ASKED) and known.password not in repr(known)
    await Rfb(known.socket).begin(known.password)
    asked = await door(driver, "ldap-01")
    assert asked.socket is not None and asked.password == ""
    await Rfb(asked.socket).begin(ASKED)
    wrong = await door(driver, "ldap-01")
    assert wrong.socket is not None
    rfb = Rfb(wrong.socket)
    assert await rfb.security() == {VNC}
    await rfb.write(b"\2")
    await rfb.read(16)
    await rfb.write(bytes(16))
    failed, length = struct.unpack(">II", await rfb.read(8))
    assert failed == 1 and b"password" in await rfb.read(length)


async def rects(rfb: Rfb) -> list[tuple[int, ...]]:
    """The rectangles without pixels of the next update that has some."""
    await rfb.write(struct.pack(">BBHHHH", 3, 1, 0, 0, rfb.width, rfb.height))
    found = []
    _, count = struct.unpack(">BxH", await rfb.read(4))
    for _ in range(count):
        head = struct.unpack(">HHHHi", await rfb.read(12))
        if head[4] == EXTENDED_SIZE:
            (screens,) = struct.unpack(">Bxxx", await rfb.read(4))
            await rfb.read(16 * screens)
            found.append(head)
        elif head[4] == LEDS:
            found.append((*head, *await rfb.read(1)))
        elif head[4] == DESKTOP_SIZE:
            found.append(head)
        else:
            await rfb.read(head[2] * head[3] * 4)
    return found


async def until_rect(rfb: Rfb, encoding: int) -> tuple[int, ...]:
    async with asyncio.timeout(30):
        while True:
            for rect in await rects(rfb):
                if rect[4] == encoding:
                    return rect


async def test_the_screen_is_resized_by_one_viewer_for_all(driver: Driver) -> None:
    rfb, other = await screen(driver, "web-01"), await screen(driver, "web-01")
    await rfb.write(struct.pack(">BxHii", 2, 2, 0, EXTENDED_SIZE))
    await other.write(struct.pack(">BxHii", 2, 2, 0, DESKTOP_SIZE))
    assert await until_rect(rfb, EXTENDED_SIZE) == (0, 0, 640, 400, EXTENDED_SIZE)
    await rfb.write(struct.pack(">BxHHBxIHHHHI", 251, 800, 600, 1, 1, 0, 0, 800, 600, 0))
    assert await until_rect(rfb, EXTENDED_SIZE) == (1, 0, 800, 600, EXTENDED_SIZE)
    assert await until_rect(other, DESKTOP_SIZE) == (0, 0, 800, 600, DESKTOP_SIZE)
    await rfb.write(struct.pack(">BxHHBx", 251, 10, 10, 0))
    assert await until_rect(rfb, EXTENDED_SIZE) == (1, 3, 800, 600, EXTENDED_SIZE)


async def test_leds_and_clipboard(driver: Driver) -> None:
    rfb, other = await screen(driver, "web-01"), await screen(driver, "web-01")
    await rfb.write(struct.pack(">BxHii", 2, 2, 0, LEDS))
    assert (await until_rect(rfb, LEDS))[5] == 0
    await rfb.key(0xFFE5, True)
    assert (await until_rect(rfb, LEDS))[5] == 4
    await other.write(struct.pack(">BxxxI", 6, 5) + b"gr\xfc\xdfe")
    assert await rfb.read(8) == struct.pack(">BxxxI", 3, 5)
    assert await rfb.read(5) == b"gr\xfc\xdfe"


@pytest.mark.parametrize("nonsense", [b"\x07", struct.pack(">BxxxI", 6, 1 << 30), b"\0\0\0\0" + bytes(16)])
async def test_nonsense_ends_the_stream(driver: Driver, nonsense: bytes) -> None:
    rfb = await screen(driver, "web-01")
    await rfb.write(nonsense)
    with pytest.raises(EOFError):
        await rfb.read(1)


def unzrled(data: bytes, width: int, height: int, bytes_each: int) -> Pixels:
    """ZRLE's tiles as pixels, by RFC 6143, 7.7.6: one colour, a packed palette, or raw."""
    picture = np.zeros((height, width, bytes_each), np.uint8)
    at = 0
    for top in range(0, height, 64):
        for left in range(0, width, 64):
            high, wide = min(64, height - top), min(64, width - left)
            kind, at = data[at], at + 1
            palette = np.frombuffer(data, np.uint8, kind * bytes_each, at).reshape(-1, bytes_each)
            at += kind * bytes_each
            if kind == 0:
                size = high * wide * bytes_each
                tile = np.frombuffer(data, np.uint8, size, at).reshape(high, wide, bytes_each)
                at += size
            elif kind == 1:
                tile = np.broadcast_to(palette[0], (high, wide, bytes_each))
            else:
                bits = 1 if kind == 2 else 2 if kind <= 4 else 4
                row = (wide * bits + 7) // 8
                packed = np.frombuffer(data, np.uint8, row * high, at).reshape(high, row)
                at += row * high
                index = np.unpackbits(packed, axis=1)[:, : wide * bits].reshape(high, wide, bits)
                tile = palette[index @ (1 << np.arange(bits)[::-1])]
            picture[top : top + high, left : left + wide] = tile
    assert at == len(data)
    return picture


@pytest.mark.parametrize("colours", [1, 2, 3, 5, 16, 17, 256])
@pytest.mark.parametrize("size", [(64, 64), (130, 67), (1, 1)])
def test_zrle_says_what_raw_says(colours: int, size: tuple[int, int]) -> None:
    dice = np.random.default_rng(colours)
    palette = dice.integers(0, 256, (colours, 4), np.uint8)
    pixels: Pixels = palette[dice.integers(0, colours, size)]
    assert np.array_equal(unzrled(zrle(pixels, slice(0, 3)), size[1], size[0], 3), pixels[..., :3])


@pytest.mark.parametrize(
    ("wanted", "red", "compact"),
    [
        (PixelFormat(), b"\0\0\xff", slice(0, 3)),
        (PixelFormat(big_endian=True), b"\0\xff\0\0", slice(1, 4)),
        (PixelFormat(shifts=(0, 8, 16)), b"\xff\0\0\0", slice(0, 3)),
        (PixelFormat(shifts=(24, 16, 8)), b"\0\0\0\xff", slice(1, 4)),
        (PixelFormat(16, 16, False, (31, 63, 31), (11, 5, 0)), b"\0\xf8", slice(None)),
        (PixelFormat(8, 8, False, (7, 7, 3), (5, 2, 0)), b"\xe0", slice(None)),
    ],
)
def test_pixels_in_the_clients_format(wanted: PixelFormat, red: bytes, compact: slice) -> None:
    one = np.array([[[0, 0, 255, 255]]], np.uint8)
    assert wanted.encode(one).tobytes()[: len(red)] == red
    assert wanted.compact() == compact
    assert PixelFormat.unpack(wanted.pack()) == wanted


async def say(line: Door, text: str, answer: str) -> str:
    assert line.socket is not None
    loop, heard = asyncio.get_running_loop(), ""
    await loop.sock_sendall(line.socket, text.encode())
    async with asyncio.timeout(30):
        while answer not in heard:
            data = await loop.sock_recv(line.socket, 1 << 16)
            assert data, f"the line ended after {heard!r}"
            heard += data.decode(errors="replace")
    return heard


async def ended(line: Door) -> bool:
    assert line.socket is not None
    async with asyncio.timeout(30):
        while await asyncio.get_running_loop().sock_recv(line.socket, 1 << 16):
            pass
    return True


async def test_a_line_is_one_persons_and_stays_as_it_was(driver: Driver) -> None:
    line = await door(driver, "web-01", ConsoleKind.SERIAL)
    await say(line, "", "web-01 login: ")
    await say(line, "ann\r", "root@web-01:~# ")
    assert "\x1b[1;34metc" in await say(line, "ls\r", "# ")
    assert "nonsense: command not found" in await say(line, "nonsense\r", "# ")
    assert "漢字" in await say(line, "utf8\r", "# ")
    assert "\r\nhallo\r\n" in await say(line, "echo hß\x7fallo\r", "# ")
    with pytest.raises(Conflict) as caught:
        await door(driver, "web-01", ConsoleKind.SERIAL)
    assert caught.value.cure
    taken = await door(driver, "web-01", ConsoleKind.SERIAL, force=True)
    assert await ended(line)
    assert "login" not in await say(taken, "\r", "root@web-01:~# ")


async def test_a_flood_waits_for_its_reader_and_ends_at_ctrl_c(driver: Driver) -> None:
    line = await door(driver, "web-01", ConsoleKind.SERIAL)
    await say(line, "ann\r", "# ")
    heard = await say(line, "flood 3000\r", "# ")
    numbers = [int(row[:8]) for row in heard.splitlines() if "quick brown" in row]
    assert numbers == list(range(3000))
    await say(line, "flood\r", "00000100")
    await asyncio.sleep(0.1)
    rest = await say(line, "\x03", "^C\r\n")
    assert len(rest) < 20 << 20, "the flood did not wait"


@pytest.mark.parametrize("action", [PowerAction.REBOOT, PowerAction.RESET, PowerAction.SHUTDOWN, PowerAction.OFF])
async def test_consoles_end_with_the_machine(driver: Driver, action: PowerAction) -> None:
    vm = named(driver, "web-01")
    rfb, line = await screen(driver, "web-01"), await door(driver, "web-01", ConsoleKind.SERIAL)
    await driver.power(vm.ref, action)
    assert await ended(line)
    with pytest.raises(EOFError):
        await rfb.read(1)
    off = action in (PowerAction.SHUTDOWN, PowerAction.OFF)
    for console in await driver.consoles(vm.ref):
        assert bool(console.hindrance) == bool(console.cure) == off
    if off:
        with pytest.raises(Conflict):
            await door(driver, "web-01")
    else:
        again = await door(driver, "web-01", ConsoleKind.SERIAL)
        await say(again, "", "login: ")


async def test_a_move_and_a_loss_cut_what_is_open(driver: Driver) -> None:
    other = Driver("other", Settings({"vms": "0", "move_seconds": "0.1"}))
    await other.connect()
    line = await door(driver, "web-01", ConsoleKind.SERIAL)
    to = Ref("other", Kind.HOST, other.world.hosts[0].ref.id)
    await driver.move_live(named(driver, "web-01").ref, other, to, LiveOptions(), lambda _progress: None)
    assert await ended(line)
    there = await door(other, "web-01", ConsoleKind.SERIAL)
    other.lose()
    assert await ended(there)
    await other.close()
    with pytest.raises(Unreachable):
        await other.consoles(named(driver, "db-01").ref)


async def test_faults_and_latency_are_as_asked_for(driver: Driver) -> None:
    driver.faults.add("open_console")
    with pytest.raises(Unreachable):
        await door(driver, "web-01")
    rfb = await screen(driver, "web-01")
    await rfb.update()
    driver.faults.add("stream")
    with pytest.raises(EOFError):
        await rfb.update()
    slow = Driver("slow", Settings({"vms": "2", "latency": "0.2"}))
    await slow.connect()
    rfb = await screen(slow, "web-01")
    began = asyncio.get_running_loop().time()
    await rfb.update()
    assert asyncio.get_running_loop().time() - began >= 0.2
    await slow.close()
