"""The world as Causeway sees it: frozen values without any SDK object inside.

Sizes are in bytes, durations in seconds, times are aware UTC. `origin` and `seen` say where a value came
from and when; they do not take part in comparison, so that a poll that brings nothing new changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum


def now() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC)


class Kind(StrEnum):
    """What a Ref points at."""

    CONNECTION = "connection"
    DATACENTER = "datacenter"
    CLUSTER = "cluster"
    HOST = "host"
    ZONE = "zone"
    VM = "vm"
    TEMPLATE = "template"
    IMAGE = "image"
    FLAVOR = "flavor"
    SNAPSHOT = "snapshot"
    VOLUME = "volume"
    POOL = "pool"
    NETWORK = "network"
    KEYPAIR = "keypair"


class Section(StrEnum):
    """The three sections of the tree."""

    LOCAL = "local"
    PRIVATE = "private"
    PUBLIC = "public"


class Origin(StrEnum):
    EVENT = "event"
    POLL = "poll"
    CACHE = "cache"


class PowerState(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    OFF = "off"
    CRASHED = "crashed"
    UNKNOWN = "unknown"
    STARTING = "starting"
    STOPPING = "stopping"
    MIGRATING = "migrating"


class PowerAction(StrEnum):
    START = "start"
    SHUTDOWN = "shutdown"
    OFF = "off"
    REBOOT = "reboot"
    RESET = "reset"
    PAUSE = "pause"
    RESUME = "resume"
    SAVE = "save"
    RESTORE = "restore"


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """Names an object where it is. A VM's name for life is its uid (app.identity)."""

    connection: str
    kind: Kind
    id: str

    def __str__(self) -> str:
        return f"{self.connection}/{self.kind}/{self.id}"

    @classmethod
    def parse(cls, text: str) -> Ref:
        """The inverse of str(). Raises ValueError for anything else."""
        connection, kind, ident = text.split("/", 2)
        return cls(connection, Kind(kind), ident)


@dataclass(frozen=True, slots=True, kw_only=True)
class Object:
    """What every object of the inventory has. `parent` is its place in the tree (None: the connection)."""

    ref: Ref
    name: str
    parent: Ref | None = None
    origin: Origin = field(default=Origin.POLL, compare=False)
    seen: datetime = field(default_factory=now, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A disk as attached to a VM. `source` is the platform's word: a path, a volume id."""

    target: str
    source: str = ""
    size_bytes: int | None = None
    format: str = ""
    bus: str = ""
    device: str = "disk"
    boot: bool = False
    readonly: bool = False
    pool: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    mac: str = ""
    model: str = ""
    network: str = ""
    kind: str = "network"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vm(Object):
    """A virtual machine. `disks`, `nics`, `addresses`, `tags` and more may come later (see `detailed`)."""

    state: PowerState = PowerState.UNKNOWN
    native_state: str = ""
    vcpus: int = 0
    memory_bytes: int = 0
    uuid: str = ""
    addresses: tuple[str, ...] = ()
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    group: str = ""
    os: str = ""
    arch: str = ""
    machine: str = ""
    firmware: str = ""
    flavor: str = ""
    zone: str = ""
    image: str = ""
    started: datetime | None = None
    created: datetime | None = None
    autostart: bool | None = None
    persistent: bool = True
    manager: str = ""
    hindrances: tuple[Finding, ...] = ()
    """What keeps it where it is, or deserves a look before it moves, as far as a listing tells."""
    detailed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Host(Object):
    state: PowerState = PowerState.RUNNING
    uuid: str = ""
    hostname: str = ""
    cpus: int = 0
    memory_bytes: int = 0
    hypervisor: str = ""
    arch: str = ""
    maintenance: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone(Object):
    """A region or a zone of a cloud: a place where VMs can live."""

    region: str = ""
    available: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Datacenter(Object):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster(Object):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Template(Object):
    vcpus: int = 0
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Image(Object):
    size_bytes: int | None = None
    arch: str = ""
    os: str = ""
    created: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavor(Object):
    vcpus: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0
    price_per_hour: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot(Object):
    vm: Ref | None = None
    created: datetime | None = None
    size_bytes: int | None = None
    state: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume(Object):
    size_bytes: int = 0
    allocated_bytes: int | None = None
    format: str = ""
    path: str = ""
    state: str = ""
    attached_to: Ref | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoragePool(Object):
    size_bytes: int = 0
    free_bytes: int = 0
    type: str = ""
    path: str = ""
    active: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Network(Object):
    type: str = ""
    cidr: str = ""
    bridge: str = ""
    active: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair(Object):
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading of a VM's or host's meters. Rates are per second; None where the platform has no value."""

    at: float
    cpu_percent: float | None = None
    memory_used_bytes: int | None = None
    disk_read_bps: float | None = None
    disk_write_bps: float | None = None
    net_rx_bps: float | None = None
    net_tx_bps: float | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """A part of a connection that is listed whole: these kinds, below this parent (None: everywhere)."""

    kinds: frozenset[Kind]
    parent: Ref | None = None

    def covers(self, item: Object) -> bool:
        return item.ref.kind in self.kinds and (self.parent is None or item.parent == self.parent)


@dataclass(frozen=True, slots=True)
class Listing:
    """The answer to Driver.list. With an error the objects are what could be had, and nothing may be removed."""

    scope: Scope
    objects: tuple[Object, ...]
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Changed:
    """What a watch reports: objects as they are now, and the refs that are gone."""

    objects: tuple[Object, ...] = ()
    removed: tuple[Ref, ...] = ()


class Level(StrEnum):
    """How bad a finding is. RED forbids, AMBER asks for a look, INFO tells."""

    RED = "red"
    AMBER = "amber"
    INFO = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that an admin should know before something is touched.

    `code` is stable and machine-readable, `field` the option or mapping it belongs to, `cure` what helps.
    """

    level: Level
    code: str
    message: str
    cure: str = ""
    field: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFacts:
    """What a move must know of one disk. `share` names the storage itself where that is known."""

    target: str
    size_bytes: int
    allocated_bytes: int | None = None
    format: str = "raw"
    source: str = ""
    pool: str = ""
    bus: str = ""
    boot: bool = False
    readonly: bool = False
    encrypted: bool = False
    backing: str = ""
    device: str = "disk"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFacts:
    """Everything that judging a move needs from the VM's side. `complete` False: from the inventory only."""

    vm: Vm
    capabilities: frozenset[str]
    platform: str
    disks: tuple[DiskFacts, ...] = ()
    nics: tuple[Nic, ...] = ()
    blocking: tuple[Finding, ...] = ()
    cpu_xml: str = ""
    export_running: bool | None = None
    """Whether its disks can be read at one instant while it runs. None: not known."""
    read_only: bool = False
    online: bool = True
    complete: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetFacts:
    """Everything that judging a move needs from the target's side.

    `pools`, `networks`, `flavors` are what a VM may be mapped to. None in a `bool | None` means not known (yet).
    """

    ref: Ref
    capabilities: frozenset[str]
    platform: str
    pools: tuple[StoragePool, ...] = ()
    networks: tuple[Network, ...] = ()
    flavors: tuple[Flavor, ...] = ()
    names: frozenset[str] = frozenset()
    uuids: frozenset[str] = frozenset()
    machines: frozenset[str] = frozenset()
    firmwares: frozenset[str] = frozenset()
    archs: frozenset[str] = frozenset()
    cpu_compatible: bool | None = None
    shared_pools: frozenset[str] = frozenset()
    ports_open: bool | None = None
    encrypted_transport: bool | None = None
    post_copy: bool | None = None
    free_memory_bytes: int | None = None
    blocking: tuple[Finding, ...] = ()
    read_only: bool = False
    online: bool = True
    complete: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskSpec:
    """How to open one disk in another process: JSON-able, without secrets.

    `backend` is the driver's kind, `args` what its open_source/open_sink needs (a path, an NBD socket, ids).
    """

    backend: str
    target: str
    size_bytes: int
    args: Mapping[str, str | int | bool]
    boot: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VmSpec:
    """A VM as it should be made elsewhere: what every platform understands."""

    name: str
    uuid: str = ""
    vcpus: int = 1
    memory_bytes: int = 0
    arch: str = "x86_64"
    machine: str = ""
    firmware: str = "bios"
    os: str = ""
    disks: tuple[DiskFacts, ...] = ()
    nics: tuple[Nic, ...] = ()
    flavor: str = ""
    group: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    autostart: bool = False
    definition: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOptions:
    """How a platform should move a running VM. Rates are in bytes per second, 0 means no limit."""

    copy_storage: tuple[str, ...] = ()
    unsafe: bool = False
    peer_to_peer: bool = False
    tunnelled: bool = False
    tls: bool = False
    post_copy: bool = False
    auto_converge: bool = False
    parallel: int = 0
    bandwidth_bps: int = 0
    uri: str = ""
    pool: str = ""
    networks: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a long action is. Bytes count what went over, `total` what is known to be needed."""

    done_bytes: int = 0
    total_bytes: int = 0
    rate_bps: float = 0.0
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveResult:
    target: Ref
    seconds: float
    downtime_s: float | None = None
    bytes_sent: int | None = None
    leftovers: tuple[str, ...] = ()
    """Disks that a copy left on the source: dropped by RemovesLeftovers once the move is verified."""
