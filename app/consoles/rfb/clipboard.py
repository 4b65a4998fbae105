"""The clipboard of both sides: plain (Latin-1), and extended (UTF-8; rfbproto, "Extended Clipboard")."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from struct import pack, unpack

from app.consoles.rfb import outgoing
from backends.errors import Invalid

ENCODING = 0xC0A1E5CE - (1 << 32)
TEXT = 1
CAPS, REQUEST, PEEK, NOTIFY, PROVIDE = (1 << bit for bit in range(24, 29))
LARGEST = 16 << 20
"""Bytes of text at most, either way."""


class Clipboard:
    """Speaks for one connection. `send` takes bytes for the server, `told` is given the guest's text."""

    def __init__(self, send: Callable[[bytes], None], told: Callable[[str], None]) -> None:
        self._send = send
        self._told = told
        self._server = 0
        """What the server said it can; 0: the plain clipboard only."""
        self._text: str | None = None

    def offer(self, text: str) -> None:
        """Give the guest this text: at once, or where the server has the extended clipboard when it asks."""
        if len(text) * 4 > LARGEST and len(text.encode()) > LARGEST:
            raise Invalid(f"The clipboard's text is too long for a guest: more than {LARGEST >> 20} MiB")
        text = text.replace("\r\n", "\n")
        self._text = text
        if self._server & NOTIFY:
            self._say(NOTIFY | TEXT)
        elif self._server & PROVIDE:
            self._provide()
        else:
            self._send(outgoing.cut_text(text))

    def plain(self, data: bytes) -> None:
        """The server sent text in Latin-1."""
        self._told(data.decode("latin-1").replace("\r\n", "\n"))

    def extended(self, data: bytes) -> None:
        """The server sent an extended message."""
        if len(data) < 4:
            raise Invalid("The screen's server sent a clipboard message that is too short")
        (flags,) = unpack(">I", data[:4])
        if flags & CAPS:
            self._server = flags
            self._send(outgoing.extended_cut(pack(">II", CAPS | REQUEST | PEEK | NOTIFY | PROVIDE | TEXT, 0)))
        elif flags & REQUEST and flags & TEXT:
            self._provide()
        elif flags & PEEK:
            self._say(NOTIFY | (TEXT if self._text is not None else 0))
        elif flags & NOTIFY and flags & TEXT:
            self._say(REQUEST | TEXT)
        elif flags & PROVIDE and flags & TEXT:
            self._told(provided(data[4:]))

    def _say(self, flags: int) -> None:
        self._send(outgoing.extended_cut(pack(">I", flags)))

    def _provide(self) -> None:
        if self._text is None:
            return
        text = self._text.replace("\n", "\r\n").encode() + b"\0"
        packed = zlib.compress(pack(">I", len(text)) + text)
        self._send(outgoing.extended_cut(pack(">I", PROVIDE | TEXT) + packed))


def provided(packed: bytes) -> str:
    """The text of a server's PROVIDE. Raises Invalid for what is none, or too long."""
    stream = zlib.decompressobj()
    try:
        head = stream.decompress(packed, 4)
        length = int.from_bytes(head, "big")
        if length > LARGEST:
            raise Invalid(f"The screen's server sent a clipboard of {length} bytes")
        text = stream.decompress(stream.unconsumed_tail, length) if length else b""
    except zlib.error as error:
        raise Invalid(f"The screen's server sent a broken clipboard: {error}") from error
    if len(head) != 4 or len(text) != length:
        raise Invalid("The screen's server sent a clipboard that is shorter than it says")
    return text.partition(b"\0")[0].decode("utf-8", "replace").replace("\r\n", "\n")
