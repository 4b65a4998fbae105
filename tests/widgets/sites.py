"""Two KVM hosts with seven VMs, an offline site and a cloud, for the stand-in; and its connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from backends.driver import Capability, Option
from backends.model import (
    Disk,
    Finding,
    Host,
    Kind,
    Network,
    Nic,
    Object,
    Origin,
    PowerState,
    Ref,
    Section,
    StoragePool,
    Vm,
    Zone,
    now,
)

GIB = 1024**3
MIB = 1024**2
ALL = frozenset(Capability)


def host_ref(connection: str) -> Ref:
    return Ref(connection, Kind.HOST, f"host-{connection}")


def vm_ref(connection: str, name: str) -> Ref:
    return Ref(connection, Kind.VM, name)


def make_vm(connection: str, name: str, state: PowerState = PowerState.RUNNING, **fields: object) -> Vm:
    values: dict[str, object] = {
        "state": state,
        "vcpus": 4,
        "memory_bytes": 8 * GIB,
        "uuid": f"5b0e9c1c-1111-4000-8000-{abs(hash(name)) % 10**12:012d}",
        "addresses": ("10.20.0.31",) if state == PowerState.RUNNING else (),
        "disks": (
            Disk(target="vda", source="/fast/a.qcow2", size_bytes=40 * GIB, format="qcow2", bus="virtio", pool="fast"),
            Disk(target="vdb", source="/bulk/a.qcow2", size_bytes=200 * GIB, format="qcow2", bus="virtio", pool="bulk"),
        ),
        "nics": (Nic(mac="52:54:00:7a:11:0c", model="virtio", network="lan"),),
        "group": "web",
        "os": "debian 12",
        "started": now() - timedelta(days=3, hours=4) if state == PowerState.RUNNING else None,
        "detailed": True,
        "origin": Origin.EVENT,
    }
    return Vm(ref=vm_ref(connection, name), name=name, **{"parent": host_ref(connection), **values, **fields})  # type: ignore[arg-type]


def world() -> list[Object]:
    """Two hosts, their VMs, pools and networks; a cloud with two regions; a site known from the store only."""
    objects: list[Object] = []
    for connection, names in {"kvm-a": ("web-01", "web-02", "db-01"), "kvm-b": ("cache-01", "mail")}.items():
        parent = host_ref(connection)
        objects.append(
            Host(ref=parent, name=connection, cpus=16, memory_bytes=64 * GIB, hypervisor="QEMU 8.2", arch="x86_64")
        )
        objects += [make_vm(connection, name) for name in names]
        objects += [
            StoragePool(
                ref=Ref(connection, Kind.POOL, pool),
                name=pool,
                parent=parent,
                size_bytes=size * GIB,
                free_bytes=size * GIB // 3,
                type="dir",
            )
            for pool, size in (("fast", 500), ("bulk", 4000))
        ]
        objects.append(
            Network(
                ref=Ref(connection, Kind.NETWORK, "lan"), name="lan", parent=parent, type="nat", cidr="10.20.0.0/24"
            )
        )
    objects.append(make_vm("kvm-a", "build", PowerState.OFF))
    objects.append(make_vm("kvm-b", "old-crm", PowerState.PAUSED, os="windows 2016"))
    for region in ("eu-west-1", "us-east-1"):
        zone = Zone(ref=Ref("aws-prod", Kind.ZONE, region), name=region, region=region)
        objects.append(zone)
        objects += [
            Vm(
                ref=vm_ref("aws-prod", f"i-{region}-{number}"),
                name=f"shop-{number:02}",
                parent=zone.ref,
                state=PowerState.RUNNING if number % 3 else PowerState.OFF,
                vcpus=2,
                memory_bytes=4 * GIB,
                flavor="t3.medium",
                detailed=True,
            )
            for number in range(1, 13)
        ]
    old = now() - timedelta(minutes=4)
    lab = Host(ref=host_ref("lab"), name="lab-01", cpus=8, memory_bytes=32 * GIB, origin=Origin.CACHE, seen=old)
    objects.append(lab)
    objects.append(make_vm("lab", "lab-vm", parent=None, origin=Origin.CACHE, seen=old))
    return objects


@dataclass
class StandinConnection:
    name: str
    kind: str = "libvirt"
    section: Section = Section.LOCAL
    title: str = "KVM / libvirt"
    settings: dict[str, str] = field(default_factory=dict)
    read_only: bool = False
    production: bool = False
    colour: str = ""
    state: str = "ready"
    error: str = ""
    cure: str = ""
    since: datetime = field(default_factory=now)
    next_try: datetime | None = None
    capabilities: frozenset[Capability] = ALL
    driver: object | None = None
    uri: str = "qemu:///system"
    last_seen: datetime = field(default_factory=now)


@dataclass(frozen=True)
class StandinInfo:
    kind: str
    title: str
    section: Section
    module: str = ""
    contract: int = 1
    sections: frozenset[Section] = frozenset()


@dataclass(frozen=True)
class StandinKind:
    info: StandinInfo
    why: str = ""


class Connections:
    OPTIONS: Mapping[str, tuple[Option, ...]] = {
        "libvirt": (
            Option(name="uri", label="URI", help="qemu:///system, qemu+ssh://user@host/system", required=True),
            Option(name="password", label="Password", secret=True),
            Option(name="keyfile", label="Key file", kind="path", advanced=True),
            Option(name="tls", label="Verify TLS", kind="bool", default="true", advanced=True),
        ),
        "ec2": (
            Option(name="regions", label="Regions", kind="lines", default="eu-west-1", required=True),
            Option(name="mode", label="Sign-in", choices=("keys", "profile"), default="keys"),
            Option(name="access_key", label="Access key"),
            Option(name="secret_key", label="Secret key", secret=True),
        ),
    }

    def __init__(self) -> None:
        self._all = [
            StandinConnection("kvm-a"),
            StandinConnection("kvm-b", production=True),
            StandinConnection(
                "aws-prod", "ec2", Section.PUBLIC, "Amazon EC2", uri="https://ec2.eu-west-1.amazonaws.com"
            ),
            StandinConnection(
                "lab",
                state="retrying",
                error="lab-01 does not answer on port 22",
                cure="check the network, or that the host is on",
                next_try=now() + timedelta(seconds=40),
                capabilities=frozenset(),
                last_seen=now() - timedelta(minutes=4),
            ),
        ]
        self._subscribers: list[Callable[[StandinConnection], None]] = []
        self.findings: list[Finding] = []
        self.added: list[tuple[str, str, dict[str, str], dict[str, str]]] = []
        self.calls: list[tuple[str, object]] = []
        self.visible: set[str] = set()

    def all(self) -> list[StandinConnection]:
        return list(self._all)

    def get(self, name: str) -> StandinConnection | None:
        return next((item for item in self._all if item.name == name), None)

    def subscribe(self, function: Callable[[StandinConnection], None]) -> Callable[[], None]:
        self._subscribers.append(function)
        return lambda: self._subscribers.remove(function)

    def tell(self, connection: StandinConnection) -> None:
        for function in tuple(self._subscribers):
            function(connection)

    def kinds(self) -> list[StandinKind]:
        return [
            StandinKind(StandinInfo("libvirt", "KVM / libvirt", Section.LOCAL)),
            StandinKind(StandinInfo("ec2", "Amazon EC2 or compatible", Section.PUBLIC)),
            StandinKind(StandinInfo("libcloud", "Other clouds", Section.PUBLIC), "it is not installed"),
        ]

    def options(self, kind: str) -> tuple[Option, ...]:
        return self.OPTIONS[kind]

    async def check(
        self, kind: str, name: str, settings: Mapping[str, str], secrets: Mapping[str, str]
    ) -> list[Finding]:
        await asyncio.sleep(0)
        return self.findings

    async def add(
        self,
        kind: str,
        name: str,
        settings: Mapping[str, str],
        secrets: Mapping[str, str],
        *,
        read_only: bool = False,
        production: bool = False,
    ) -> StandinConnection:
        self.added.append((kind, name, dict(settings), dict(secrets)))
        made = StandinConnection(name, kind, read_only=read_only, production=production, settings=dict(settings))
        self._all.append(made)
        self.tell(made)
        return made

    async def sign_in(self, name: str, secrets: Mapping[str, str]) -> list[Finding]:
        self.calls.append(("sign in", name, dict(secrets)))
        return self.findings

    async def forget(self, name: str) -> None:
        self.calls.append(("forget", name))
        gone = self.get(name)
        assert gone is not None
        self._all.remove(gone)
        self.tell(gone)

    async def set_read_only(self, name: str, on: bool) -> None:
        found = self.get(name)
        assert found is not None
        found.read_only = on
        self.tell(found)

    async def set_production(self, name: str, on: bool) -> None:
        found = self.get(name)
        assert found is not None
        found.production = on
        self.tell(found)

    def retry(self, name: str) -> None:
        self.calls.append(("retry", name))

    def refresh(self, name: str | None = None) -> None:
        self.calls.append(("refresh", name))

    def shown(self, names: set[str]) -> None:
        self.visible = set(names)

    def watch_details(self, name: str) -> None:
        self.visible.add(name)

    def driver(self, name: str) -> object:
        return StandinDriver()


class StandinDriver:
    XML = "<domain>\n  <name>web-01</name>\n  <memory>8388608</memory>\n</domain>\n"

    async def describe(self, ref: Ref) -> str:
        return self.XML

    async def definition(self, ref: Ref) -> str:
        return self.XML
