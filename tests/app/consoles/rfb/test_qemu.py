"""Against QEMU: what is seen is what its own `screendump` has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app.consoles.rfb import Encoding, RfbOptions
from backends.consoles import DoorTls
from backends.errors import AuthNeeded, Unsupported
from tests.app.consoles.rfb.authority import Authority
from tests.app.consoles.rfb.scripted import opened, psnr, until, until_same
from tests.app.consoles.rfb.servers import Qemu, qemu

LOSSLESS = [encoding for encoding in Encoding if encoding not in (Encoding.TRLE, Encoding.COPY_RECT)]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Qemu]:
    folder = tmp_path_factory.mktemp("qemu")
    Authority(folder).sign("guest.example")
    servers = {
        "plain": "",
        "lossy": "lossy=on,non-adaptive=on",
        "secret": "password=on",
        "anonymous": "tls-creds-anon password=on",
        "certificate": "tls-creds-x509 password=on",
        "open": "tls-creds-x509 ",
        "sasl": "sasl=on",
    }
    with qemu(folder, **servers) as machine:
        for name in ("secret", "anonymous", "certificate"):
            machine.tell("set_password", protocol="vnc", display=name, password="secret12")
        yield machine


@pytest.mark.parametrize("encoding", LOSSLESS, ids=lambda encoding: encoding.name)
async def test_the_picture_is_exact(machine: Qemu, encoding: Encoding) -> None:
    options = RfbOptions(encodings=(encoding,), quality=None)
    async with opened(machine.door("plain"), options=options) as (client, events):
        await until_same(client, events, machine.picture)
        before = machine.picture()
        key = ord("A") + LOSSLESS.index(encoding)
        client.key(key, True)
        client.key(key, False)
        await until(lambda: not np.array_equal(before, machine.picture()))
        await until_same(client, events, machine.picture)


async def test_jpeg_is_like_the_picture(machine: Qemu) -> None:
    options = RfbOptions(encodings=(Encoding.TIGHT,), quality=6, compress=6)
    async with opened(machine.door("lossy"), options=options) as (client, _):
        assert 30 <= psnr(client, machine.picture()) < 80, "not like the picture, or no JPEG was sent"


async def test_what_qemu_can(machine: Qemu) -> None:
    async with opened(machine.door("plain")) as (client, events):
        assert client.name == "QEMU" and client.security == "none"
        assert client.leds == 0 and client.can_resize
        for state in (4, 0):
            for keysym, code in ((0xFFE5, 0x3A), (ord("a"), 0x1E)):  # its BIOS sees to the lights at the next key
                client.key(keysym, True, code)
                client.key(keysym, False, code)
            assert await events.next("leds") == (state,)


async def test_scan_codes_choose_the_key_whatever_the_layout(machine: Qemu) -> None:
    """The picture begins with the code of the key that was read: the scan code of z, with some other key's symbol."""
    async with opened(machine.door("plain")) as (client, events):
        client.key(ord("y"), True, 0x2C)
        client.key(ord("y"), False, 0x2C)
        await until(lambda: machine.picture()[0, 0, 2] == ord("z"))
        await until_same(client, events, machine.picture)


@pytest.mark.parametrize(
    ("name", "words", "tls"),
    [
        ("secret", "VNC password", False),
        ("anonymous", "TLS, server not checked", False),
        ("certificate", "TLS, certificate checked", True),
        ("open", "TLS, certificate checked", True),
    ],
)
async def test_security(machine: Qemu, tmp_path: Path, name: str, words: str, tls: bool) -> None:
    ca = machine.folder / "ca-cert.pem"
    door = DoorTls(host="guest.example", ca=str(ca)) if tls else None
    async with opened(machine.door(name), password="secret12", tls=door) as (client, events):
        assert client.security == words
        await until_same(client, events, machine.picture)
    if name != "open":
        with pytest.raises(AuthNeeded, match="password"):
            async with opened(machine.door(name), password="wrong", tls=door):
                pytest.fail("a wrong password got through")


async def test_sasl_is_said_not_to_be_spoken(machine: Qemu) -> None:
    with pytest.raises(Unsupported, match="SASL"):
        async with opened(machine.door("sasl")):
            pytest.fail("SASL got through")
