"""The playground: real KVM hosts and a small cloud on this machine, for a first look and for tests. Needs root."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from app.playground.errors import PlaygroundError

__all__ = ["HostState", "PlaygroundError", "Seed", "SshState", "State", "down", "status", "up"]


class Seed(NamedTuple):
    """A connection to add; its secrets do not show."""

    name: str
    kind: str
    settings: dict[str, str]
    secrets: dict[str, str]

    def __repr__(self) -> str:
        return f"Seed({self.name!r}, {self.kind!r}, {self.settings!r}, {sorted(self.secrets)})"


@dataclass(frozen=True, slots=True)
class HostState:
    """A host. `uri` opens from this machine by its owner; `address` is for the other hosts only."""

    name: str
    uri: str
    hostname: str
    address: str


@dataclass(frozen=True, slots=True)
class SshState:
    """How to reach one host by SSH as root."""

    host: str
    uri: str
    port: int
    key: Path
    known_hosts: Path


@dataclass(frozen=True, slots=True)
class State:
    """What there is. `running`: complete and answering; the other fields are empty where nothing was made."""

    running: bool = False
    hosts: tuple[HostState, ...] = ()
    endpoint_url: str = ""
    endpoint_key: Path | None = None
    ssh: SshState | None = None
    connections: tuple[Seed, ...] = ()


async def up(home: Path, report: Callable[[str], None] = lambda _: None) -> State:
    """Make the playground of this data folder, or add what it lacks and restart what died. Idempotent.

    `report` gets one line per step, from another thread. The user behind sudo becomes its owner.

    Raises:
        PlaygroundError: not root, a package is missing, or a part did not start; carries the cure.
    """
    from app.playground.service import Playground

    await asyncio.to_thread(Playground(home).up, report)
    return await asyncio.to_thread(status, home)


async def down(home: Path) -> None:
    """Remove the playground without a trace, also what a crash left. Idempotent.

    Raises:
        PlaygroundError: not root.
    """
    from app.playground.service import Playground

    await asyncio.to_thread(Playground(home).down)


def status(home: Path) -> State:
    """What there is now. Needs no root but the owner's rights; takes milliseconds."""
    from app.playground.service import Playground

    place = Playground(home)
    if not place.record.complete:
        return State()
    ssh = place.ssh
    cloud = place.cloud
    seeds = [Seed(host.name, "libvirt", {"uri": host.uri, "migration_host": host.address}, {}) for host in place.hosts]
    if cloud.url:
        seeds += _cloud_seeds(cloud.url, cloud.access_key, cloud.secret_key)
    return State(
        running=place.alive() and cloud.running(),
        hosts=tuple(HostState(host.name, host.uri, host.name, host.address) for host in place.hosts),
        endpoint_url=cloud.url,
        endpoint_key=cloud.key_file if cloud.url else None,
        ssh=SshState("kvm-b", ssh.uri, ssh.port, ssh.key, ssh.known_hosts) if ssh else None,
        connections=tuple(seeds),
    )


def _cloud_seeds(url: str, access: str, secret: str) -> list[Seed]:
    region = "us-east-1"
    host, _, port = url.removeprefix("http://").partition(":")
    ec2 = {"endpoint_url": url, "regions": region, "access_key_id": access}
    broad = {"provider": "ec2", "key": access, "region": region, "host": host, "port": port, "secure": "false"}
    return [
        Seed("cloud", "ec2", ec2, {"secret_access_key": secret}),
        # The same endpoint once more, as every other cloud is reached.
        Seed("cloud-libcloud", "libcloud", broad, {"secret": secret}),
    ]
