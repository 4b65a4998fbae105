"""An RFB 3.8 server (RFC 6143) for the demo's screens: Raw and ZRLE, any true-colour format, sizes, keys, clipboard."""

from __future__ import annotations

import asyncio
import os
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from backends.demo.screen import Pixels, Rect, Screen

VERSION = b"RFB 003.008\n"
NONE, VNC = 1, 2
RAW, ZRLE = 0, 16
DESKTOP_SIZE, QEMU_KEYS, LEDS, EXTENDED_SIZE = -223, -258, -261, -308
TILE = 64
CUT_LIMIT = 1 << 20
ZRLE_FROM = 4096
"""Pixels from which compressing is worth it."""


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How a client wants its pixels (RFC 6143, 7.4)."""

    bits: int = 32
    depth: int = 24
    big_endian: bool = False
    maxima: tuple[int, int, int] = (255, 255, 255)
    shifts: tuple[int, int, int] = (16, 8, 0)

    def pack(self) -> bytes:
        return struct.pack(">BBBBHHH3B3x", self.bits, self.depth, self.big_endian, 1, *self.maxima, *self.shifts)

    @classmethod
    def unpack(cls, data: bytes) -> PixelFormat:
        """Raises ValueError for one that this server does not speak."""
        bits, depth, big, true, *rest = struct.unpack(">BBBBHHH3B3x", data)
        if bits not in (8, 16, 32) or not true or max(rest[3:]) >= bits:
            raise ValueError("only true colour in 8, 16 or 32 bits")
        return cls(bits, depth, bool(big), (rest[0], rest[1], rest[2]), (rest[3], rest[4], rest[5]))

    def encode(self, pixels: Pixels) -> Pixels:
        """The pixels as this format's bytes: (height, width, bytes of a pixel)."""
        if self == PixelFormat():
            return pixels
        value = np.zeros(pixels.shape[:2], np.uint32)
        for channel, (most, shift) in enumerate(zip(self.maxima, self.shifts, strict=True)):
            value |= (pixels[..., 2 - channel].astype(np.uint32) * most + 127) // 255 << shift
        raw = value.astype(f"{'>' if self.big_endian else '<'}u{self.bits // 8}")
        return raw.view(np.uint8).reshape(*pixels.shape[:2], -1)

    def compact(self) -> slice:
        """Which of a pixel's bytes ZRLE sends (RFC 6143, 7.7.5: CPIXEL)."""
        used = sum(most << shift for most, shift in zip(self.maxima, self.shifts, strict=True))
        if self.bits != 32 or self.depth > 24:
            return slice(None)
        if used < 1 << 24:
            return slice(1, 4) if self.big_endian else slice(0, 3)
        return (slice(0, 3) if self.big_endian else slice(1, 4)) if not used & 0xFF else slice(None)


class Session:
    """One viewer of a screen, from the handshake to the end of the stream.

    `password` "" asks for none. `delay` is called before each update and waits or raises, as the demo's world wants.
    """

    def __init__(
        self,
        screen: Screen,
        password: str,
        delay: Callable[[], float],
        cut: Callable[[Session, str], None],
    ) -> None:
        self._screen = screen
        self._password = password
        self._delay = delay
        self._cut = cut
        self._format = PixelFormat()
        self._encodings: tuple[int, ...] = ()
        self._damage: list[Rect] = []
        self._area: Rect | None = None
        self._notices: list[bytes] = []
        self._leds = False
        self._stir = asyncio.Event()
        self._deflate = zlib.compressobj(1)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Raises IncompleteReadError or ConnectionError at the end of the stream, ValueError at nonsense."""
        self._reader, self._writer = reader, writer
        await self._handshake()
        self._screen.show(self._painted)
        sender = asyncio.create_task(self._send_updates())
        receiver = asyncio.create_task(self._receive())
        try:
            await asyncio.wait((sender, receiver), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._screen.hide(self._painted)
            for task in (sender, receiver):
                task.cancel()
            for result in await asyncio.gather(sender, receiver, return_exceptions=True):
                if isinstance(result, Exception):
                    raise result

    def cut_text(self, text: str) -> None:
        """Tell the viewer what the VM's clipboard has."""
        data = text.encode("latin-1", "replace")
        self._writer.write(struct.pack(">BxxxI", 3, len(data)) + data)

    def _painted(self, rect: Rect) -> None:
        self._damage.append(rect)
        self._stir.set()

    async def _handshake(self) -> None:
        read, write = self._reader.readexactly, self._writer.write
        write(VERSION)
        if await read(12) != VERSION:
            reason = b"only version 3.8 is spoken here"
            write(b"\0" + struct.pack(">I", len(reason)) + reason)
            raise ValueError("another version")
        kind = VNC if self._password else NONE
        write(bytes((1, kind)))
        if (await read(1))[0] != kind:
            raise ValueError("a security type that was not offered")
        if kind == VNC:
            challenge = os.urandom(16)
            write(challenge)
            if await read(16) != answer(self._password, challenge):
                reason = b"the password is wrong"
                write(struct.pack(">II", 1, len(reason)) + reason)
                await self._writer.drain()
                raise ValueError("a wrong password")
        write(b"\0\0\0\0")
        await read(1)
        name = self._screen.name.encode()
        size = struct.pack(">HH", self._screen.width, self._screen.height)
        write(size + self._format.pack() + struct.pack(">I", len(name)) + name)

    async def _receive(self) -> None:
        read = self._reader.readexactly
        while True:
            match (await read(1))[0]:
                case 0:
                    self._format = PixelFormat.unpack((await read(19))[3:])
                case 2:
                    (count,) = struct.unpack(">xH", await read(3))
                    self._speaks(struct.unpack(f">{count}i", await read(4 * count)))
                case 3:
                    incremental, *area = struct.unpack(">BHHHH", await read(9))
                    self._request(bool(incremental), (area[0], area[1], area[2], area[3]))
                case 4:
                    down, key = struct.unpack(">BxxI", await read(7))
                    self._screen.key(key, bool(down))
                case 5:
                    buttons, x, y = struct.unpack(">BHH", await read(5))
                    self._screen.point(x, y, buttons)
                case 6:
                    (length,) = struct.unpack(">xxxI", await read(7))
                    if length > CUT_LIMIT:
                        raise ValueError("too long a clipboard")
                    self._cut(self, (await read(length)).decode("latin-1"))
                case 251:
                    width, height, screens = struct.unpack(">xHHBx", await read(7))
                    await read(16 * screens)
                    self._resize(width, height)
                case 255:
                    down, key, _code = struct.unpack(">xHII", await read(11))
                    self._screen.key(key, bool(down))
                case other:
                    raise ValueError(f"an unknown message {other}")

    def _speaks(self, encodings: tuple[int, ...]) -> None:
        new = set(encodings) - set(self._encodings)
        self._encodings = encodings
        if QEMU_KEYS in new:
            self._notices.append(struct.pack(">HHHHi", 0, 0, 0, 0, QEMU_KEYS))
        if LEDS in new:
            self._notices.append(self._led_rect())
        if EXTENDED_SIZE in new:
            self._notices.append(self._size_rect(0, 0))
        self._stir.set()

    def _request(self, incremental: bool, area: Rect) -> None:
        self._area = area
        if not incremental:
            self._damage = [area]
        self._stir.set()

    def _resize(self, width: int, height: int) -> None:
        before = (self._screen.width, self._screen.height)
        if not self._screen.resize(width, height):
            self._notices.append(self._size_rect(1, 3))
        elif before != (width, height):
            self._notices.append(self._size_rect(1, 0))
        self._size = (self._screen.width, self._screen.height)
        self._stir.set()

    async def _send_updates(self) -> None:
        """Answer each request as soon as there is something new; paint only while somebody asks."""
        self._size = (self._screen.width, self._screen.height)
        while True:
            wait = self._screen.advance() if self._area else None
            self._notice()
            if self._area and (self._notices or self._damage):
                delay = self._delay()
                if delay:
                    await asyncio.sleep(delay)
                self._update()
                await self._writer.drain()
            self._stir.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._stir.wait()

    def _notice(self) -> None:
        """What changed beside the picture."""
        if self._size != (self._screen.width, self._screen.height):
            self._size = (self._screen.width, self._screen.height)
            self._damage = [(0, 0, *self._size)]
            if EXTENDED_SIZE in self._encodings:
                self._notices.append(self._size_rect(2, 0))
            elif DESKTOP_SIZE in self._encodings:
                self._notices.append(struct.pack(">HHHHi", 0, 0, *self._size, DESKTOP_SIZE))
        if LEDS in self._encodings and self._leds != self._screen.caps_lock:
            self._notices.append(self._led_rect())

    def _led_rect(self) -> bytes:
        self._leds = self._screen.caps_lock
        return struct.pack(">HHHHiB", 0, 0, 0, 0, LEDS, 4 * self._leds)

    def _size_rect(self, reason: int, status: int) -> bytes:
        width, height = self._screen.width, self._screen.height
        layout = struct.pack(">BxxxIHHHHI", 1, 1, 0, 0, width, height, 0)
        return struct.pack(">HHHHi", reason, status, width, height, EXTENDED_SIZE) + layout

    def _update(self) -> None:
        if self._area is None:
            return
        wide, high = self._screen.width, self._screen.height
        rects = {clipped for rect in self._damage if (clipped := _clip(rect, self._area, wide, high))}
        if len(rects) > 16:
            rects = {_around(rects)}
        if not rects and not self._notices:
            self._damage = []
            return
        body = b"".join([*self._notices, *(self._rect(rect) for rect in rects)])
        self._writer.write(struct.pack(">BxH", 0, len(self._notices) + len(rects)) + body)
        self._damage, self._notices, self._area = [], [], None

    def _rect(self, rect: Rect) -> bytes:
        x, y, width, height = rect
        pixels = self._format.encode(self._screen.pixels[y : y + height, x : x + width])
        preferred = next((item for item in self._encodings if item in (RAW, ZRLE)), RAW)
        if preferred == RAW or width * height < ZRLE_FROM:
            return struct.pack(">HHHHi", *rect, RAW) + pixels.tobytes()
        tiles = zrle(pixels, self._format.compact())
        packed = self._deflate.compress(tiles) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return struct.pack(">HHHHiI", *rect, ZRLE, len(packed)) + packed


def zrle(pixels: Pixels, compact: slice) -> bytes:
    """Pixels as ZRLE's tiles, not yet deflated: one colour, a palette of up to 16, or as they are."""
    out = []
    height, width = pixels.shape[:2]
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            tile = np.ascontiguousarray(pixels[top : top + TILE, left : left + TILE])
            flat = tile.view(f"u{tile.shape[2]}")[..., 0]
            colours, first, index = np.unique(flat, return_index=True, return_inverse=True)
            if len(colours) > 16:
                out.append(b"\0" + tile[..., compact].tobytes())
                continue
            palette = tile.reshape(-1, tile.shape[2])[first][:, compact].tobytes()
            out.append(bytes((len(colours),)) + palette)
            if len(colours) > 1:
                out.append(_packed(index.reshape(flat.shape).astype(np.uint8), len(colours)))
    return b"".join(out)


def answer(password: str, challenge: bytes) -> bytes:
    """What a client that knows the password sends (RFC 6143, 7.2.2: DES, the bits of each key byte mirrored)."""
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.modes import ECB

    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in password.encode("latin-1")[:8].ljust(8, b"\0"))
    encryptor = Cipher(TripleDES(key * 3), ECB()).encryptor()
    return encryptor.update(challenge) + encryptor.finalize()


def _packed(index: Pixels, colours: int) -> bytes:
    """Palette numbers in 1, 2 or 4 bits, each row from a new byte on."""
    bits = 1 if colours == 2 else 2 if colours <= 4 else 4
    each = 8 // bits
    rows = np.pad(index, ((0, 0), (0, -index.shape[1] % each))).reshape(index.shape[0], -1, each)
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    packed: Pixels = np.bitwise_or.reduce(rows << shifts, axis=2)
    return packed.tobytes()


def _clip(rect: Rect, area: Rect, width: int, height: int) -> Rect | None:
    x, y = max(rect[0], area[0]), max(rect[1], area[1])
    right = min(rect[0] + rect[2], area[0] + area[2], width)
    bottom = min(rect[1] + rect[3], area[1] + area[3], height)
    return (x, y, right - x, bottom - y) if right > x and bottom > y else None


def _around(rects: set[Rect]) -> Rect:
    x, y = min(rect[0] for rect in rects), min(rect[1] for rect in rects)
    right, bottom = max(rect[0] + rect[2] for rect in rects), max(rect[1] + rect[3] for rect in rects)
    return x, y, right - x, bottom - y
