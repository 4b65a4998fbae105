"""SSH to a guest as a text line: at the address that agent or leases told, with known_hosts and ~/.ssh/config."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from app.consoles.line import LineSession
from backends.consoles import Console, ConsoleKind, Door
from backends.errors import Cancelled, NotFound, Unreachable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.consoles.loop import ConsoleLoop
    from app.consoles.world import World
    from backends.model import Ref
    from backends.ssh import Shell

TRIED = 3
"""Addresses that are tried in turn."""


class ShellSession(LineSession):
    """A login shell in the guest. A key of the agent or of ~/.ssh opens it, else AUTH_NEEDED asks for the password:
    `provide(password, user)`. It comes back after a reboot or a move, not after `exit`: then `retry` does.
    """

    def __init__(
        self, services: World, loop: ConsoleLoop, uid: str, *, user: str = "", port: int | None = None
    ) -> None:
        super().__init__(services, loop, uid)
        self._user = user
        self._port = port
        self._shell: Shell | None = None

    @property
    def user(self) -> str:
        """Who logs in; "": whoever ~/.ssh/config names, else this workstation's user."""
        return self._user

    def provide(self, password: str, user: str = "") -> None:
        super().provide(password, user or self._user)

    def resize(self, columns: int, rows: int) -> None:
        super().resize(columns, rows)
        if self._shell is not None:
            self._shell.resize(columns, rows)

    # Inside

    def _facts(self) -> tuple[object, ...]:
        vm = self.vm
        return (*super()._facts(), () if vm is None else vm.addresses)

    async def _opened(self, ref: Ref) -> Door:
        from backends.ssh import SshConnection, SshHost

        vm = self.vm
        addresses = reachable(vm.addresses if vm is not None else ())
        if not addresses:
            cure = "start the guest agent in it, or open its serial line"
            raise NotFound(f"no address of {self.name} is known", object_name=self.name, cure=cure)
        failed: Unreachable | None = None
        for address in addresses[:TRIED]:
            host = SshHost(host=address, user=self._user, port=self._port, password=self._password)
            connection = SshConnection(host)
            try:
                await connection.open()
                shell = self._shell = await connection.shell(*self._size)
                await self._audit(ref, f"ssh {self._user or 'user'}@{address}")
            except Unreachable as error:
                connection.close_soon()
                failed = failed or error
                continue
            except BaseException:
                connection.close_soon()
                raise
            console = Console(ref, ConsoleKind.SERIAL, f"SSH {address}", "ssh")
            self._console = console
            return Door(console=console, socket=shell.socket, release=connection.close_soon)
        assert failed is not None
        raise failed

    async def _serve(self, door: Door) -> None:
        shell = self._shell
        try:
            await super()._serve(door)
        except Unreachable:
            if shell is not None and await shell.ended():
                raise Cancelled(f"the shell on {self.name} has ended", cure="open it again") from None
            raise
        finally:
            self._shell = None


def reachable(addresses: Sequence[str]) -> list[str]:
    """Those that can lead to the guest from here, IPv4 first; what is no address is left out."""
    found: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = []
    for text in addresses:
        try:
            one = ipaddress.ip_address(text.partition("/")[0])
        except ValueError:
            continue
        if not (one.is_link_local or one.is_loopback or one.is_unspecified or one.is_multicast):
            found.append(one)
    return [str(one) for one in sorted(found, key=lambda one: one.version)]
