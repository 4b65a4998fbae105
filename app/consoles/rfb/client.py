"""One RFB connection, from the first byte to the last."""

from __future__ import annotations

import socket

from app.consoles.rfb.framebuffer import Framebuffer
from app.consoles.rfb.options import RfbEvents, RfbOptions
from backends.consoles import DoorTls
from backends.errors import Unsupported


class RfbClient:
    """All methods are called on the console loop.

    Parameters: `sock` connected and non-blocking, the client's own from now on; `user` and `password` for servers
    that ask; `tls` how a server with a certificate proves itself; `on` is told what happens.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        password: str = "",
        user: str = "",
        tls: DoorTls | None = None,
        options: RfbOptions | None = None,
        on: RfbEvents,
    ) -> None:
        self.framebuffer = Framebuffer()
        self.name = ""
        self.can_resize = False
        self.leds: int | None = None
        self.security = ""
        """In words, once known: "none", "VNC password, not encrypted", "TLS, certificate checked"."""
        self.encrypted = False
        self.options = options or RfbOptions()

    async def run(self) -> None:
        """The handshake, then the server's messages until `close`.

        Raises AuthNeeded (`field` is "password" or "user"), Denied, Unsupported, Invalid for data that breaks the
        protocol, Unreachable when the stream ends or the handshake takes too long.
        """
        raise Unsupported("The RFB engine has no handshake yet")

    def key(self, keysym: int, down: bool, scancode: int = 0) -> None:
        """A key. `scancode`: XT set 1, with 0xE000 for the extended ones; 0 where unknown."""

    def pointer(self, x: int, y: int, buttons: int) -> None:
        """Where the pointer is, in the guest's pixels, and which buttons are down: 1 left, 2 middle, 4 right,
        8/16 wheel up/down, 32/64 wheel left/right, 128 back, 256 forward."""

    def cut_text(self, text: str) -> None:
        """Offer text to the guest's clipboard."""

    def resize(self, width: int, height: int) -> None:
        """Ask for another size, where `can_resize`; whether it comes is told by the event."""

    def refresh(self, incremental: bool = True) -> None:
        """Ask for one update: what changed, or everything. Also while paused."""

    def pause(self, paused: bool) -> None:
        """While paused no updates are asked for."""

    async def close(self) -> None:
        """Hang up; `run` returns. Idempotent."""
