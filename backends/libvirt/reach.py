"""The way to a daemon: what libvirt must open for a connection's settings, and the SSH connection below it."""

from __future__ import annotations

from contextlib import suppress

from backends.driver import Settings
from backends.errors import BackendError
from backends.libvirt.uris import Address, address
from backends.ssh import SshConnection, SshHost

SYSTEM = (
    "/run/libvirt/libvirt-sock",
    "/var/run/libvirt/libvirt-sock",
    "/run/libvirt/virtqemud-sock",
    "/var/run/libvirt/virtqemud-sock",
)
SESSION = ("libvirt-sock", "virtqemud-sock")


class Reach:
    """Opens the way once; `close` ends it. Local and TLS/TCP daemons need none."""

    def __init__(self, settings: Settings) -> None:
        self.address = address(settings)
        self.ssh: SshConnection | None = None
        """The one SSH connection for control and consoles; None where the way is another."""
        if self.address.transport == "ssh" and settings["transport"] != "ssh":
            self.ssh = SshConnection(ssh_host(self.address, settings))

    async def open(self) -> str:
        """The URI to open. Raises what SshConnection raises."""
        if self.ssh is None:
            return self.address.text()
        await self.ssh.open()
        if self.address.path == "/session" and not self.address.param("socket"):
            user = (await self.ssh.run("id -u")).strip()
            candidates = tuple(f"/run/user/{user}/libvirt/{name}" for name in SESSION)
        else:
            candidates = self._candidates()
        return self.address.through(await self.ssh.forward(candidates))

    def open_blocking(self) -> str:
        """The same for the mover, which has no loop; system daemons only."""
        if self.ssh is None:
            return self.address.text()
        return self.address.through(self.ssh.open_blocking(self._candidates()))

    async def close(self) -> None:
        if self.ssh is not None:
            with suppress(BackendError, OSError):
                await self.ssh.close()

    def close_blocking(self) -> None:
        if self.ssh is not None:
            with suppress(BackendError, OSError, TimeoutError):
                self.ssh.close_blocking()

    def _candidates(self) -> tuple[str, ...]:
        return (self.address.param("socket"),) if self.address.param("socket") else SYSTEM


def ssh_host(where: Address, settings: Settings) -> SshHost:
    return SshHost(
        host=where.host,
        user=where.user,
        port=where.port,
        keyfile=where.param("keyfile"),
        known_hosts=where.param("known_hosts"),
        passphrase=settings["passphrase"],
    )
