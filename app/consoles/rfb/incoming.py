"""The server's messages after the handshake (RFC 6143 7.6 and rfbproto's extensions)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from struct import unpack
from typing import Protocol

from app.consoles.rfb import clipboard, cursor, outgoing
from app.consoles.rfb.framebuffer import Box, Framebuffer
from app.consoles.rfb.options import Encoding, RfbEvents
from app.consoles.rfb.security import printable
from app.consoles.rfb.simple import CopyRect, Raw, Zlib
from app.consoles.rfb.tight import Tight
from app.consoles.rfb.tiles import Hextile, Trle, Zrle
from app.consoles.rfb.wire import Wire
from backends.errors import Invalid

DESKTOP_SIZE, EXTENDED_SIZE, DESKTOP_NAME, LAST_RECT = -223, -308, -307, -224
QEMU_KEYS, QEMU_LEDS, VMWARE_LEDS, MORE_BUTTONS = -258, -261, 0x574D5668, -316
FENCE, CONTINUOUS = -312, -313
PSEUDO = (
    cursor.ALPHA, cursor.RICH, cursor.X11, EXTENDED_SIZE, DESKTOP_SIZE, DESKTOP_NAME, LAST_RECT, QEMU_KEYS, QEMU_LEDS,
    VMWARE_LEDS, MORE_BUTTONS, FENCE, CONTINUOUS, clipboard.ENCODING,
)  # fmt: skip

PIXELS = 64 << 20
"""Pixels of a framebuffer at most: 256 MiB."""
NAME = 64 << 10
"""Bytes of a desktop's name at most."""
BOXES = 32
"""Rectangles of damage told at most for one update."""
FENCE_REQUEST, FENCE_KNOWN = 1 << 31, 7


class Decoder(Protocol):
    async def decode(self, wire: Wire, box: Box, target: Framebuffer) -> None: ...


@dataclass(slots=True)
class Server:
    """What the server has shown that it can."""

    qemu_keys: bool = False
    more_buttons: bool = False
    continuous: bool = False
    can_resize: bool = False
    leds: int | None = None
    name: str = ""
    screen: int = 0
    screen_flags: int = 0


class Incoming:
    """Reads the messages of one connection.

    `ask` is called when an update begins: the moment to ask for the next, so that the server is never idle.
    `stream` is called when the server turns out to be able to send updates on its own, and with True when the size
    is new, so that everything is to be asked for.
    """

    def __init__(
        self,
        wire: Wire,
        framebuffer: Framebuffer,
        on: RfbEvents,
        ask: Callable[[], None],
        stream: Callable[[bool], None],
    ) -> None:
        self._wire = wire
        self._framebuffer = framebuffer
        self._on = on
        self._ask = ask
        self._stream = stream
        self.server = Server()
        self._damage: list[Box] = []
        self.clipboard = clipboard.Clipboard(wire.send, on.clipboard)
        self._decoders: dict[int, Decoder] = {
            Encoding.RAW: Raw(),
            Encoding.COPY_RECT: CopyRect(),
            Encoding.HEXTILE: Hextile(),
            Encoding.ZLIB: Zlib(),
            Encoding.TIGHT: Tight(),
            Encoding.TRLE: Trle(),
            Encoding.ZRLE: Zrle(),
        }
        self._pseudo: dict[int, Callable[[int, Box], Awaitable[None]]] = {
            DESKTOP_SIZE: self._desktop_size,
            EXTENDED_SIZE: self._extended_size,
            DESKTOP_NAME: self._desktop_name,
            QEMU_KEYS: self._feature,
            MORE_BUTTONS: self._feature,
            QEMU_LEDS: self._leds,
            VMWARE_LEDS: self._leds,
            cursor.RICH: self._cursor,
            cursor.X11: self._cursor,
            cursor.ALPHA: self._cursor,
        }
        self._messages: dict[int, Callable[[], Awaitable[None]]] = {
            0: self._update,
            1: self._colours,
            2: self._bell,
            3: self._cut_text,
            150: self._end_of_continuous,
            248: self._fence,
        }

    async def start(self) -> None:
        """The server's first words: size and name."""
        width, height, _, length = unpack(">HH16sI", await self._wire.take(24))
        self._resize(width, height)
        self.server.name = await self._text(length)

    async def serve(self) -> None:
        """Read messages until the stream ends or breaks the protocol."""
        while True:
            (kind,) = await self._wire.take(1)
            handler = self._messages.get(kind)
            if handler is None:
                raise Invalid(f"The screen's server sent a message of an unknown kind, {kind}")
            await handler()
            await self._wire.turn()

    # Messages

    async def _update(self) -> None:
        (count,) = unpack(">xH", await self._wire.take(3))
        self._ask()
        self._damage = []
        for _ in range(count):
            x, y, width, height, encoding = unpack(">HHHHi", await self._wire.take(12))
            if encoding == LAST_RECT:
                break
            box = (x, y, width, height)
            special = self._pseudo.get(encoding)
            if special is not None:
                await special(encoding, box)
                await self._wire.turn()
                continue
            decoder = self._decoders.get(encoding)
            if decoder is None:
                raise Invalid(f"The screen's server sent pixels in an encoding that nobody asked for, {encoding}")
            self._inside(box)
            await decoder.decode(self._wire, box, self._framebuffer)
            await self._wire.turn()
            if width and height:
                self._damage.append(box)
        if self._damage:
            self._on.damaged(coalesced(self._damage, self._framebuffer.height))

    def _inside(self, box: Box) -> None:
        x, y, width, height = box
        have = self._framebuffer
        if x + width > have.width or y + height > have.height:
            raise Invalid(
                f"The screen's server sent {width}x{height} pixels at {x},{y}, outside of {have.width}x{have.height}"
            )

    async def _colours(self) -> None:
        """A palette, which has no meaning in true colour."""
        _, count = unpack(">xHH", await self._wire.take(5))
        await self._wire.take(count * 6)

    async def _bell(self) -> None:
        self._on.bell()

    async def _cut_text(self) -> None:
        (length,) = unpack(">xxxi", await self._wire.take(7))
        if abs(length) > clipboard.LARGEST:
            raise Invalid(f"The screen's server sent a clipboard of {abs(length)} bytes")
        data = bytes(await self._wire.take(abs(length)))
        if length >= 0:
            self.clipboard.plain(data)
        else:
            self.clipboard.extended(data)

    async def _fence(self) -> None:
        flags, length = unpack(">xxxIB", await self._wire.take(8))
        if length > 64:
            raise Invalid(f"The screen's server sent a fence of {length} bytes: 64 are the most")
        payload = bytes(await self._wire.take(length))
        if flags & FENCE_REQUEST:
            self._wire.send(outgoing.fence(flags & FENCE_KNOWN, payload))

    async def _end_of_continuous(self) -> None:
        """The first of these says that the server can; a later one ends what was asked to end."""
        if not self.server.continuous:
            self.server.continuous = True
            self._stream(False)

    # What comes among the rectangles

    async def _desktop_size(self, _: int, box: Box) -> None:
        self._resize(box[2], box[3])
        self._stream(True)

    async def _extended_size(self, _: int, box: Box) -> None:
        reason, status, width, height = box
        (count,) = unpack(">Bxxx", await self._wire.take(4))
        screens = bytes(await self._wire.take(16 * count))
        if reason == 1 and status:
            self.server.can_resize = status != 1  # prohibited
            return
        if count:
            self.server.screen, self.server.screen_flags = unpack(">I8xI", screens[:16])
        self.server.can_resize = True
        if (width, height) != (self._framebuffer.width, self._framebuffer.height):
            self._resize(width, height)
            self._stream(True)

    def _resize(self, width: int, height: int) -> None:
        if width * height > PIXELS:
            raise Invalid(f"The screen's server wants a screen of {width}x{height} pixels")
        self._framebuffer.resize(width, height)
        self._damage = []
        self._on.resized(width, height)

    async def _desktop_name(self, _: int, box: Box) -> None:
        (length,) = unpack(">I", await self._wire.take(4))
        self.server.name = await self._text(length)
        self._on.name(self.server.name)

    async def _text(self, length: int) -> str:
        if length > NAME:
            raise Invalid(f"The screen's server has a name of {length} bytes")
        return printable(bytes(await self._wire.take(length)))

    async def _feature(self, kind: int, _: Box) -> None:
        if kind == QEMU_KEYS:
            self.server.qemu_keys = True
        else:
            self.server.more_buttons = True

    async def _leds(self, kind: int, _: Box) -> None:
        data = await self._wire.take(1 if kind == QEMU_LEDS else 4)
        self.server.leds = data[-1] & 7
        self._on.leds(self.server.leds)

    async def _cursor(self, kind: int, box: Box) -> None:
        hot_x, hot_y, width, height = box
        self._on.cursor(await cursor.read(self._wire, kind, width, height), hot_x, hot_y)


def coalesced(boxes: Sequence[Box], height: int) -> list[Box]:
    """At most BOXES rectangles that cover all of `boxes`: one for each band of the screen where there are more."""
    if len(boxes) <= BOXES:
        return list(boxes)
    band = max(1, -(-height // BOXES))
    bands: dict[int, Box] = {}
    for x, y, width, rows in boxes:
        old = bands.get(y // band)
        if old is None:
            bands[y // band] = (x, y, width, rows)
            continue
        left, top = min(x, old[0]), min(y, old[1])
        right, bottom = max(x + width, old[0] + old[2]), max(y + rows, old[1] + old[3])
        bands[y // band] = (left, top, right - left, bottom - top)
    return list(bands.values())
