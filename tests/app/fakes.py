"""A driver whose whole behaviour a test decides: what it answers, when, and how often it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import pytest

from backends import registry
from backends.driver import Capability, Option, Settings
from backends.errors import BackendError
from backends.model import (
    Changed,
    Finding,
    Host,
    Kind,
    Listing,
    Object,
    PowerAction,
    PowerState,
    Ref,
    Sample,
    Scope,
    Section,
    Vm,
)

ALL = frozenset(Capability)


@dataclass
class World:
    """What the server of one connection is like."""

    objects: list[Object] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    listing_error: Exception | None = None
    stuck: bool = False
    stuck_close: bool = False
    can: frozenset[Capability] = ALL
    calls: list[str] = field(default_factory=list)
    events: asyncio.Queue[Changed | BackendError] = field(default_factory=asyncio.Queue)
    secrets: Mapping[str, str] = field(default_factory=dict)


WORLDS: dict[str, World] = {}


class Driver:
    kind: ClassVar[str] = "fake"
    title: ClassVar[str] = "Fake"
    section: ClassVar[Section] = Section.PRIVATE
    options: ClassVar[tuple[Option, ...]] = (
        Option(name="url", label="Address", required=True),
        Option(name="port", label="Port", kind="int"),
        Option(name="mode", label="Mode", choices=("a", "b")),
        Option(name="password", label="Password", secret=True),
    )

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.world = WORLDS.setdefault(name, World())
        self.world.secrets = dict(settings.secrets)

    @property
    def uri(self) -> str:
        return f"fake://{self.name}"

    def implemented(self) -> frozenset[Capability]:
        return ALL

    def capabilities(self) -> frozenset[Capability]:
        return self.world.can

    async def check(self) -> list[Finding]:
        await self.connect()
        return []

    async def connect(self) -> None:
        self.world.calls.append("connect")
        if self.world.stuck:
            await asyncio.Event().wait()
        if self.world.failures:
            raise self.world.failures.pop(0)

    def scopes(self) -> Sequence[Scope]:
        return Scope(frozenset({Kind.HOST})), Scope(frozenset({Kind.VM})), Scope(frozenset({Kind.POOL}))

    async def list(self, scope: Scope) -> Listing:
        self.world.calls.append(f"list {'+'.join(sorted(scope.kinds))}")
        if self.world.listing_error is not None and Kind.VM in scope.kinds:
            return Listing(scope, (), self.world.listing_error)
        return Listing(scope, tuple(item for item in self.world.objects if scope.covers(item)))

    async def close(self) -> None:
        self.world.calls.append("close")
        if self.world.stuck_close:
            await asyncio.Event().wait()

    async def watch(self) -> AsyncIterator[Changed]:
        self.world.calls.append("watch")
        while True:
            item = await self.world.events.get()
            if isinstance(item, BackendError):
                raise item
            yield item

    async def meter(self) -> Mapping[Ref, Sample]:
        self.world.calls.append("meter")
        return {item.ref: Sample(0.0, cpu_percent=50.0) for item in self.world.objects if isinstance(item, Vm)}

    async def power(self, ref: Ref, action: PowerAction) -> None:
        self.world.calls.append(f"{action} {ref.id}")
        state = PowerState.RUNNING if action == PowerAction.START else PowerState.OFF
        self.world.objects = [
            replace(item, state=state) if isinstance(item, Vm) and item.ref == ref else item
            for item in self.world.objects
        ]

    async def rename(self, ref: Ref, name: str) -> None:
        self.world.calls.append(f"rename {name}")
        self.world.objects = [replace(item, name=name) if item.ref == ref else item for item in self.world.objects]

    async def tag(self, ref: Ref, tags: Mapping[str, str]) -> None:
        self.world.calls.append(f"tag {dict(tags)}")

    async def definition(self, ref: Ref) -> str:
        return "<domain/>"

    async def redefine(self, ref: Ref, old: str, new: str) -> None:
        self.world.calls.append("redefine")


def host(connection: str, uuid: str = "", ident: str = "h1") -> Host:
    return Host(ref=Ref(connection, Kind.HOST, ident), name=f"{connection}-{ident}", uuid=uuid)


def vm(connection: str, ident: str = "v1", **values: object) -> Vm:
    known: dict[str, object] = {
        "name": f"vm-{ident}",
        "state": PowerState.OFF,
        "parent": Ref(connection, Kind.HOST, "h1"),
    }
    return Vm(ref=Ref(connection, Kind.VM, ident), **{**known, **values})  # type: ignore[arg-type]


def register(monkeypatch: pytest.MonkeyPatch) -> dict[str, World]:
    """Make the kind `fake` known. Returns the worlds by connection name, empty."""
    info = registry.KindInfo("fake", "Fake", Section.PRIVATE, "tests.app.fakes")
    monkeypatch.setitem(registry.kinds(), "fake", info)
    WORLDS.clear()
    return WORLDS


async def until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait for a condition; raises TimeoutError where it never comes true."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def contents(folder: Path) -> bytes:
    """Every byte of every file below a folder."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
