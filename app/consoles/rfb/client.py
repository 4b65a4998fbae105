"""One RFB connection, from the first byte to the last."""

from __future__ import annotations

import asyncio
import socket

from app.consoles.rfb import outgoing
from app.consoles.rfb.framebuffer import Framebuffer
from app.consoles.rfb.incoming import PSEUDO, Incoming
from app.consoles.rfb.options import RfbEvents, RfbOptions
from app.consoles.rfb.security import Credentials, Security, greet, secure
from app.consoles.rfb.wire import Wire
from backends.consoles import DoorTls
from backends.errors import Unreachable

HANDSHAKE = 30.0
"""Seconds until the first picture is asked for."""
QUALITY, COMPRESSION = -32, -256
"""Pseudo-encodings: level 0, to which the level is added."""


class RfbClient:
    """All methods are called on the console loop.

    Parameters: `sock` connected and non-blocking, the client's own from now on; `user` and `password` for servers
    that ask; `tls` how a server with a certificate proves itself, and `unproven` whether one may be without;
    `on` is told what happens.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        password: str = "",
        user: str = "",
        tls: DoorTls | None = None,
        unproven: bool = True,
        options: RfbOptions | None = None,
        on: RfbEvents,
    ) -> None:
        self.options = options or RfbOptions()
        self.framebuffer = Framebuffer()
        self._agreed = Security("")
        self._credentials = Credentials(user, password, tls, unproven)
        self._wire = Wire(sock, self._sent)
        self._incoming = Incoming(self._wire, self.framebuffer, on, self._begun, self._stream)
        self._server = self._incoming.server
        self._ready = self._paused = self._closed = self._continuous = False
        self._ended: asyncio.Event | None = None
        self._pointer: tuple[int, int, int] | None = None
        self._buttons = 0

    @property
    def name(self) -> str:
        """The desktop's name."""
        return self._server.name

    @property
    def can_resize(self) -> bool:
        return self._server.can_resize and not self.options.view_only

    @property
    def leds(self) -> int | None:
        """1 scroll lock, 2 num lock, 4 caps lock; None where the server does not tell."""
        return self._server.leds

    @property
    def security(self) -> str:
        """In words, once known: "none", "VNC password", "TLS, certificate checked"."""
        return self._agreed.words

    @property
    def encrypted(self) -> bool:
        return self._agreed.encrypted

    @property
    def checked(self) -> bool:
        """Encrypted by a server whose certificate holds. Encrypted and not checked: worth a word of warning."""
        return self._agreed.checked

    @property
    def takes_scancodes(self) -> bool:
        """Whether the server asks which key it is; else it goes by what the key means (the keysym)."""
        return self._server.qemu_keys

    @property
    def received(self) -> int:
        """Bytes from the server so far."""
        return self._wire.received

    async def run(self) -> None:
        """The handshake, then the server's messages until `close`. Only once.

        Raises AuthNeeded (`field` is "password", "user" or "trust"), Denied, HostKeyMismatch for a certificate that
        does not hold, Unsupported, Invalid for data that break the protocol, Unreachable when the stream ends or the
        handshake takes too long.
        """
        self._ended = asyncio.Event()
        try:
            try:
                async with asyncio.timeout(HANDSHAKE):
                    await self._handshake()
            except TimeoutError:
                raise Unreachable(f"The screen's server said nothing useful for {HANDSHAKE:.0f} s") from None
            await self._incoming.serve()
        except Unreachable:
            if not self._closed:
                raise
        finally:
            self._ready = False
            self._ended.set()

    async def _handshake(self) -> None:
        minor = await greet(self._wire)
        self._agreed = await secure(self._wire, minor, self._credentials)
        self._credentials = Credentials()
        self._wire.send(bytes([self.options.shared]))
        await self._incoming.start()
        levels = [COMPRESSION + self.options.compress]
        if self.options.quality is not None:
            levels.append(QUALITY + self.options.quality)
        self._wire.send(outgoing.PIXEL_FORMAT + outgoing.encodings((*self.options.encodings, *PSEUDO, *levels)))
        self._ready = True
        if not self._paused:
            self.refresh(incremental=False)

    # Updates

    def _begun(self) -> None:
        """An update begins: ask for the next, so that the server works while this side decodes."""
        if not self._paused and not self._continuous:
            self.refresh()

    def _stream(self, anew: bool = False) -> None:
        """Let the server send on its own, where it can, or no more. `anew`: and everything once, the size is new."""
        if self._server.continuous and (self._continuous or not self._paused):
            self._continuous = not self._paused
            self._wire.send(outgoing.continuous(self._continuous, self.framebuffer.width, self.framebuffer.height))
        if anew and not self._paused:
            self.refresh(incremental=False)

    def refresh(self, incremental: bool = True) -> None:
        """Ask for one update: what changed, or everything. Also while paused."""
        if self._ready:
            self._wire.send(outgoing.update_request(incremental, self.framebuffer.width, self.framebuffer.height))

    def pause(self, paused: bool) -> None:
        """While paused no updates are asked for."""
        if paused == self._paused:
            return
        self._paused = paused
        self._stream()
        if not paused:
            self.refresh()

    # Input

    def key(self, keysym: int, down: bool, scancode: int = 0) -> None:
        """A key. `scancode`: XT set 1, with 0xE000 for the extended ones; 0 where unknown."""
        if not self._ready or self.options.view_only:
            return
        if scancode and self._server.qemu_keys:
            self._wire.send(outgoing.qemu_key(keysym, down, scancode))
        elif keysym:
            self._wire.send(outgoing.key(keysym, down))

    def pointer(self, x: int, y: int, buttons: int) -> None:
        """Where the pointer is, in the guest's pixels, and which buttons are down: 1 left, 2 middle, 4 right,
        8/16 wheel up/down, 32/64 wheel left/right, 128 back, 256 forward."""
        if not self._ready or self.options.view_only:
            return
        x = min(max(x, 0), max(self.framebuffer.width - 1, 0))
        y = min(max(y, 0), max(self.framebuffer.height - 1, 0))
        if self._wire.congested and buttons == self._buttons:
            self._pointer = x, y, buttons  # a way that nobody could follow: only where it ends counts
            return
        self._pointer, self._buttons = None, buttons
        self._wire.send(outgoing.pointer(x, y, buttons, extended=self._server.more_buttons))

    def _sent(self) -> None:
        if self._pointer is not None:
            self.pointer(*self._pointer)

    def cut_text(self, text: str) -> None:
        """Offer text to the guest's clipboard. Raises Invalid where it is too long."""
        if self._ready and not self.options.view_only:
            self._incoming.clipboard.offer(text)

    def resize(self, width: int, height: int) -> None:
        """Ask for another size, where `can_resize`; whether it comes is told by the event."""
        if self._ready and self.can_resize:
            server = self._server
            self._wire.send(outgoing.desktop_size(width, height, server.screen, server.screen_flags))

    async def close(self) -> None:
        """Hang up; `run` returns. Idempotent."""
        self._closed = True
        self._wire.shut()
        if self._ended is not None:
            await self._ended.wait()
        await self._wire.close()
