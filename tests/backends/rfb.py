"""Just enough RFB, by hand, to see that a door leads to a screen: no engine of ours takes part."""

from __future__ import annotations

import asyncio
import socket
import struct

from backends.demo.rfb import answer

NONE, VNC = 1, 2
RETURN, SHIFT = 0xFF0D, 0xFFE1
SHIFTED = '~!@#$%^&*()_+{}|:"<>?'


class Rfb:
    """The protocol on a door's socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.width = self.height = 0
        self.name = ""

    async def read(self, count: int) -> bytes:
        loop, found = asyncio.get_running_loop(), bytearray()
        async with asyncio.timeout(30):
            while len(found) < count:
                data = await loop.sock_recv(self._sock, count - len(found))
                if not data:
                    raise EOFError(f"the stream ended after {bytes(found)!r}")
                found += data
        return bytes(found)

    async def write(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._sock, data)

    async def security(self) -> set[int]:
        """The security types that the server offers."""
        assert await self.read(12) == b"RFB 003.008\n"
        await self.write(b"RFB 003.008\n")
        (count,) = await self.read(1)
        return set(await self.read(count))

    async def begin(self, password: str = "") -> None:
        """Take security type None, or the VNC password where one is given; shared."""
        kind = VNC if password else NONE
        assert kind in await self.security()
        await self.write(bytes((kind,)))
        if password:
            await self.write(answer(password, await self.read(16)))
        assert await self.read(4) == b"\0\0\0\0", "refused"
        await self.write(b"\1")
        self.width, self.height, length = struct.unpack(">HH16xI", await self.read(24))
        self.name = (await self.read(length)).decode()

    async def key(self, key: int, down: bool) -> None:
        await self.write(struct.pack(">BBxxI", 4, down, key))

    async def type(self, text: str, pause: float = 0.0) -> None:
        """Press and release the keys of each character, as on an American keyboard.

        An emulated PS/2 keyboard holds 16 bytes and drops the rest: real guests want a `pause` (s) after each key.
        """
        for letter in text:
            shift = letter in SHIFTED or letter.isupper()
            key = RETURN if letter == "\n" else ord(letter)
            for pressed, down in [(SHIFT, True)] * shift + [(key, True), (key, False)] + [(SHIFT, False)] * shift:
                await self.key(pressed, down)
            await asyncio.sleep(pause)

    async def update(self, incremental: bool = False) -> dict[tuple[int, int, int, int], bytes]:
        """Ask for the picture; the rectangles that come, in Raw."""
        await self.write(struct.pack(">BxHi", 2, 1, 0))
        await self.write(struct.pack(">BBHHHH", 3, incremental, 0, 0, self.width, self.height))
        kind, count = struct.unpack(">BxH", await self.read(4))
        assert kind == 0
        found = {}
        for _ in range(count):
            x, y, width, height, encoding = struct.unpack(">HHHHi", await self.read(12))
            assert encoding == 0
            found[x, y, width, height] = await self.read(width * height * 4)
        return found
