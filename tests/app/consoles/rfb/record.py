"""Make the recordings anew: `python -m tests.app.consoles.rfb.record`. What a server says, and how its screen ends."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import json
import socket
import tempfile
import threading
from pathlib import Path
from typing import Any

from app.consoles.rfb import Encoding, RfbClient, RfbOptions
from tests.app.consoles.rfb.scripted import Events, opened, until_same
from tests.app.consoles.rfb.servers import Qemu, Xvnc, qemu, xvnc

FOLDER = Path(__file__).with_name("recordings")
QEMU = {"plain": "", "lossy": "lossy=on,non-adaptive=on"}
INDEX = FOLDER / "index.json"


def digest(client: RfbClient) -> str:
    """The whole picture and its size, in short."""
    picture = client.framebuffer
    return hashlib.sha256(f"{picture.width}x{picture.height}".encode() + picture.pixels.tobytes()).hexdigest()


class Tap:
    """Stands in a connection and keeps what the server says. `door` is the client's end."""

    def __init__(self, server: socket.socket) -> None:
        self.door, inner = socket.socketpair()
        self.door.setblocking(False)
        server.setblocking(True)
        self.said = bytearray()
        self._threads = [
            threading.Thread(target=self._pass, args=(server, inner, self.said)),
            threading.Thread(target=self._pass, args=(inner, server, None)),
        ]
        for thread in self._threads:
            thread.start()

    def _pass(self, source: socket.socket, target: socket.socket, kept: bytearray | None) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if kept is not None:
                    kept += data
                target.sendall(data)
        for sock in (source, target):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def join(self) -> bytes:
        for thread in self._threads:
            thread.join()
        return bytes(self.said)


async def keep(name: str, server: socket.socket, scene: Any, **options: Any) -> None:
    """Play a scene, and keep what the server said as a recording."""
    tap = Tap(server)
    async with opened(tap.door, options=RfbOptions(**options)) as (client, events):
        await scene(client, events)
        expected = digest(client)
        client.pause(True)
        await client.close()
    said = tap.join()
    (FOLDER / f"{name}.gz").write_bytes(gzip.compress(said, mtime=0))
    index = json.loads(INDEX.read_text()) if INDEX.exists() else {}
    index[name] = expected
    INDEX.write_text(json.dumps(index, indent=1, sort_keys=True) + "\n")
    print(f"{name}: {len(said)} bytes")


def typing(machine: Qemu) -> Any:
    async def scene(client: RfbClient, events: Events) -> None:
        for letter in b"az":
            client.key(letter, True)
            client.key(letter, False)
            await asyncio.sleep(0.3)
        client.refresh(incremental=False)
        await events.next("damaged")
        await asyncio.sleep(0.5)

    return scene


def moving(screen: Xvnc, exact: bool) -> Any:
    async def scene(client: RfbClient, events: Events) -> None:
        for number in range(2):
            screen.tell("paint", number)
            screen.tell("move", 40 + 50 * number, 60 + 20 * number)
            if exact:
                client.pointer(200 + number, 150, 0)
                await until_same(client, events, screen.picture)
            await asyncio.sleep(0.3)
        screen.tell("copy", "Grüße")
        client.resize(360, 180)
        await asyncio.sleep(0.7)

    return scene


async def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    exact: dict[str, Any] = {"quality": None, "compress": 6}
    with (
        tempfile.TemporaryDirectory() as folder,
        qemu(Path(folder), 64, **QEMU) as machine,
    ):
        for encoding in (Encoding.HEXTILE, Encoding.ZLIB, Encoding.ZRLE, Encoding.TIGHT):
            name = f"qemu-{encoding.name.lower()}"
            await keep(name, machine.door("plain"), typing(machine), encodings=(encoding,), **exact)
        await keep(
            "qemu-jpeg", machine.door("lossy"), typing(machine), encodings=(Encoding.TIGHT,), quality=5, compress=6
        )
    for encoding in (Encoding.RAW, Encoding.HEXTILE, Encoding.ZRLE, Encoding.TIGHT):
        with tempfile.TemporaryDirectory() as folder, xvnc(Path(folder), size="320x200") as screen:
            name = f"xvnc-{encoding.name.lower()}"
            wanted = (Encoding.COPY_RECT, encoding)
            await keep(name, screen.door(), moving(screen, True), encodings=wanted, **exact)
    with tempfile.TemporaryDirectory() as folder, xvnc(Path(folder), size="320x200") as screen:
        wanted = (Encoding.COPY_RECT, Encoding.TIGHT)
        await keep("xvnc-jpeg", screen.door(), moving(screen, False), encodings=wanted, quality=5)


if __name__ == "__main__":
    asyncio.run(main())
