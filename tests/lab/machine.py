"""The lab as tests use it: hosts to break, guests to make, heartbeats to count. All of it from outside libvirt."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from app import playground
from app.playground import guest as guests
from app.playground.domains import Guest
from app.playground.errors import PlaygroundError
from app.playground.hosts import Host
from app.playground.service import Playground

BEAT = re.compile(r"^HB n=(\d+) up=([\d.]+) boot=([0-9a-f-]{36})\s*$", re.MULTILINE)
PATIENCE = 90.0
"""Seconds that a guest's boot may take on a busy machine without KVM."""


@dataclass(frozen=True, slots=True)
class Beat:
    """One heartbeat: its number, the guest's uptime in seconds, its kernel's boot id."""

    n: int
    up: float
    boot: str


@dataclass(frozen=True, slots=True)
class LabGuest:
    """A guest of the lab. A guest that moves writes its heartbeats on the host where it runs."""

    lab: Lab
    name: str
    uuid: str
    file: str = ""
    """The name of its disk in its pool, "" for none."""

    def beats(self, host: Host) -> list[Beat]:
        """All heartbeats that this host has recorded."""
        return [Beat(int(n), float(up), boot) for n, up, boot in BEAT.findall(self.serial(host))]

    def serial(self, host: Host) -> str:
        """All that its serial line said on this host."""
        path = host.logs / f"{self.name}.serial"
        return path.read_text(encoding="utf-8", errors="replace").replace("\r", "") if path.exists() else ""

    def wait_beats(self, host: Host, more: int = 2) -> list[Beat]:
        """Wait until it has beaten `more` times from now on, on this host; all its beats there. The first one says
        that it has booted, a second that its time goes on."""
        seen = len(self.beats(host))
        until(lambda: len(self.beats(host)) >= seen + more, f"{self.name} does not beat on {host.name}")
        return self.beats(host)

    def where(self) -> list[Host]:
        """The hosts on which its QEMU runs; more than one while it moves, or when something went wrong."""
        return [host for host in self.lab.hosts if self.uuid in host.running()]

    def tell(self, host: Host, line: str, answer: str) -> str:
        """Type a line on its serial console and wait until `answer` (a regular expression) appears after it."""
        import libvirt

        connection = libvirt.open(host.uri)
        before = len(self.serial(host))
        try:
            stream = connection.newStream(libvirt.VIR_STREAM_NONBLOCK)
            connection.lookupByUUIDString(self.uuid).openConsole(None, stream, libvirt.VIR_DOMAIN_CONSOLE_FORCE)
            stream.send(f"{line}\n".encode())
            until(lambda: re.search(answer, self.serial(host)[before:]) is not None, f"no answer to {line!r}")
            stream.abort()
        finally:
            connection.close()
        return self.serial(host)[before:]


class Lab:
    """Two hosts and what can be done to them; see Host for kill_libvirtd, freeze, power_cut, unplug and so on."""

    def __init__(self, place: Playground) -> None:
        self.playground = place
        self.home = place.home
        self.a, self.b = place.hosts
        self._made: list[LabGuest] = []

    @property
    def hosts(self) -> tuple[Host, Host]:
        return self.a, self.b

    @property
    def state(self) -> playground.State:
        return playground.status(self.home)

    @property
    def shared(self) -> Path:
        """The folder behind both hosts' pool `shared`."""
        return self.playground.folder / "shared"

    def images(self, host: Host) -> Path:
        """The folder behind a host's pool `default`."""
        return host.folder / "lib/images"

    def guest(self, name: str) -> LabGuest:
        """A guest of the playground itself: web-01, db-01 or app-01. Not for tests that break it."""
        one = next(one for one, _ in self.playground.guests if one.name == name)
        return LabGuest(self, one.name, one.uuid, one.file)

    def make(
        self,
        host: Host,
        *,
        pool: str = "",
        bootable: bool = False,
        memory: int = 96,
        format: str = "raw",
        start: bool = True,
        change: Callable[[str], str] = lambda xml: xml,
    ) -> LabGuest:
        """A guest of a new name. `memory` in MiB; `pool` "default", "shared" or "" (no disk).

        `change` edits its XML before it is defined.
        """
        uuid = str(uuid4())
        one = Guest(
            name=f"t-{uuid[:8]}",
            uuid=uuid,
            number=150 + len(self._made) % 100,
            pool=pool,
            bootable=bootable,
            memory=memory,
            format=format,
        )
        files = guests.guest_files(print)
        made = LabGuest(self, one.name, one.uuid, one.file if pool else "")
        self._made.append(made)
        disk = files.disk if bootable else files.data
        self.playground.define(host, one, disk, guests.domain_type(files), change)
        if start:
            host.virsh("start", one.name)
        return made

    def remove(self, guest: LabGuest) -> None:
        """Take a guest and its disk from both hosts, whatever state it is in."""
        for host in self.hosts:
            for words in (("destroy",), ("undefine", "--managed-save", "--snapshots-metadata", "--nvram")):
                if guest.uuid in host.virsh("list", "--all", "--uuid").split():
                    _try(host, words[0], guest.uuid, *words[1:])
            for folder in (self.images(host), self.shared):
                if guest.file:
                    (folder / guest.file).unlink(missing_ok=True)
            for pool in ("default", "shared"):
                _try(host, "pool-refresh", pool)
        self._made = [one for one in self._made if one != guest]

    def clear(self) -> None:
        """Remove every guest that `make` made."""
        for one in tuple(self._made):
            self.remove(one)

    def heal(self) -> None:
        """Both hosts run, answer and are plugged in again. Guests that a power cut ended stay off."""
        for host in self.hosts:
            if host.libvirtd() is not None:
                host.thaw()
            host.start()


def until(done: Callable[[], bool], failure: str, seconds: float = PATIENCE) -> None:
    """Poll until `done`; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise AssertionError(failure)
        time.sleep(0.1)


def _try(host: Host, *words: str) -> None:
    try:
        host.virsh(*words)
    except PlaygroundError as error:
        print(error)
