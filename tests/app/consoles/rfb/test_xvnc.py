"""Against TigerVNC's Xvnc: windows that move, sizes, clipboards, fences, continuous updates, signing in."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.consoles.rfb import Encoding, RfbClient, RfbOptions
from app.consoles.rfb import outgoing as outgoing_module
from app.consoles.rfb.security import response
from backends.consoles import DoorTls
from backends.errors import AuthNeeded, HostKeyMismatch
from tests.app.consoles.rfb.authority import Authority
from tests.app.consoles.rfb.scripted import Events, opened, psnr, until, until_same
from tests.app.consoles.rfb.servers import Xvnc, xvnc

LOSSLESS = [encoding for encoding in Encoding if encoding not in (Encoding.TRLE, Encoding.COPY_RECT, Encoding.ZLIB)]

PLACES = itertools.cycle(range(400, 470, 7))


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Xvnc]:
    with xvnc(tmp_path_factory.mktemp("xvnc")) as screen:
        yield screen


@asynccontextmanager
async def pointing(screen: Xvnc, **arguments: Any) -> AsyncIterator[tuple[RfbClient, Events]]:
    """A client that wants exact pictures, and has its pointer on the screen: before that, Xvnc paints one into them."""
    async with opened(screen.door(), **{"options": RfbOptions(quality=None), **arguments}) as (client, events):
        client.pointer(600, next(PLACES), 0)  # elsewhere than the last client's, or Xvnc sees no move
        yield client, events


@pytest.mark.parametrize("encoding", LOSSLESS, ids=lambda encoding: encoding.name)
async def test_the_picture_is_exact(screen: Xvnc, encoding: Encoding) -> None:
    options = RfbOptions(encodings=(Encoding.COPY_RECT, encoding), quality=None)
    async with pointing(screen, options=options) as (client, events):
        for number in range(3):
            screen.tell("paint", encoding * 10 + number)
            await until_same(client, events, screen.picture)
            screen.tell("move", 20 + number * 61, 90 - number * 30)
            await until_same(client, events, screen.picture)


async def test_a_window_that_moves_is_copied(screen: Xvnc) -> None:
    """Raw and CopyRect only: a move of 40,000 pixels costs no more than the 2,400 that it uncovers, and its own box."""
    options = RfbOptions(encodings=(Encoding.COPY_RECT, Encoding.RAW))
    async with pointing(screen, options=options) as (client, events):
        screen.tell("move", 300, 200)
        await until_same(client, events, screen.picture)
        before = client.received
        screen.tell("move", 310, 204)
        await until_same(client, events, screen.picture)
        assert 0 < client.received - before < 40_000 * 4 / 2


async def test_jpeg_is_like_the_picture(screen: Xvnc) -> None:
    screen.tell("paint", 1)
    options = RfbOptions(encodings=(Encoding.TIGHT,), quality=8)
    async with pointing(screen, options=options) as (client, _):
        assert 30 <= psnr(client, screen.picture()) < 80, "not like the picture, or no JPEG was sent"


async def test_fences_and_continuous_updates(screen: Xvnc, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    for name in ("fence", "continuous", "update_request"):
        make = getattr(outgoing_module, name)

        def noted(*arguments: object, name: str = name, make: object = make) -> bytes:
            said.append(name)
            return make(*arguments)  # type: ignore[operator, no-any-return]

        monkeypatch.setattr(outgoing_module, name, noted)
    async with pointing(screen) as (client, events):
        screen.tell("paint", 5)
        await until_same(client, events, screen.picture)
        assert said.count("continuous") == 1 and said.count("fence") >= 1
        asked = said.count("update_request")
        for number in range(5):
            screen.tell("paint", number)
            await until_same(client, events, screen.picture)
        assert said.count("update_request") == asked, "it asked though the server sends on its own"
        client.pause(True)
        await asyncio.sleep(0.2)
        events.told.clear()
        screen.tell("paint", 9)
        await asyncio.sleep(0.2)
        assert not [event for event in events.told if event[0] == "damaged"], "updates came while paused"
        client.pause(False)
        await until_same(client, events, screen.picture)


async def test_the_guest_takes_another_size(screen: Xvnc) -> None:
    async with pointing(screen) as (client, events):
        client.resize(800, 560)
        assert await events.next("resized") == (800, 560)
        await until_same(client, events, screen.picture)
        assert screen.tell("size") == "800x560"
        client.resize(640, 480)
        assert await events.next("resized") == (640, 480)
        await until_same(client, events, screen.picture)


async def test_clipboards_in_any_script(screen: Xvnc) -> None:
    async with pointing(screen) as (client, events):
        screen.tell("copy", "Grüße, 世界 🙂\nzweite")
        assert await events.next("clipboard") == ("Grüße, 世界 🙂\nzweite",)
        client.cut_text("zurück\nЖ 🙂")
        await until(lambda: screen.tell("paste") == "zurück\nЖ 🙂")


async def test_the_pointer_has_a_shape(screen: Xvnc) -> None:
    async with pointing(screen) as (client, events):
        screen.tell("cursor")
        client.pointer(100, 100, 0)
        pixels, _, _ = await events.next("cursor")
        while pixels is None:
            pixels, _, _ = await events.next("cursor")
        assert getattr(pixels, "shape", ())[2] == 4 and pixels.any()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("VncAuth", "VNC password"),
        ("TLSVnc", "TLS, server not checked"),
        ("TLSNone", "TLS, server not checked"),
        ("X509Vnc", "TLS, certificate checked"),
        ("X509None", "TLS, certificate checked"),
    ],
)
async def test_security(tmp_path: Path, kind: str, words: str) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.sign("desk.example")
    secret = tmp_path / "secret"
    secret.write_bytes(obscured("secret12"))
    options = ["-SecurityTypes", kind, "-PasswordFile", str(secret), "-X509Cert", str(certificate)]
    with xvnc(tmp_path, *options, "-X509Key", str(key)) as screen:
        tls = DoorTls(host="desk.example", ca=str(authority.ca))
        async with pointing(screen, password="secret12", tls=tls) as (client, events):
            assert client.security == words
            await until_same(client, events, screen.picture)
        if kind.endswith("Vnc"):
            with pytest.raises(AuthNeeded):
                async with pointing(screen, password="wrong", tls=tls):
                    pytest.fail("a wrong password got through")
        if kind.startswith("X509"):
            with pytest.raises(HostKeyMismatch):
                async with opened(
                    screen.door(), password="secret12", tls=DoorTls(host="other.example", ca=str(authority.ca))
                ):
                    pytest.fail("a server that is another one got through")


def obscured(password: str) -> bytes:
    """A password as TigerVNC keeps it: encrypted with a key that everybody knows."""
    return response(password.encode().ljust(8, b"\0")[:8], bytes([23, 82, 107, 6, 35, 78, 88, 7]).decode("latin-1"))
