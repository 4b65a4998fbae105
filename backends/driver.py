"""The contract between Causeway and a platform: a small core, and everything else as optional Protocols.

What a connection can do is a set of `Capability`, computed once per connect: what the driver implements, minus
what this endpoint lacks, minus what is switched off. Nobody asks a driver for its class.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Protocol, runtime_checkable

from backends.consoles import Console, Door
from backends.disks import DiskSink, DiskSource
from backends.model import (
    Changed,
    DiskSpec,
    Finding,
    Listing,
    LiveOptions,
    LiveResult,
    PowerAction,
    Progress,
    Ref,
    Sample,
    Scope,
    Section,
    SourceFacts,
    TargetFacts,
    VmSpec,
)

CONTRACT = 1
"""Version of this contract; a plug-in names the one it was written for."""


class Capability(StrEnum):
    """What a connection may be able to do. Menus, verdicts, CLI and the published matrix come from these."""

    WATCH = "watch"
    METER = "meter"
    DESCRIBE = "describe"
    EDIT = "edit"
    START = "start"
    SHUTDOWN = "shutdown"
    OFF = "off"
    REBOOT = "reboot"
    RESET = "reset"
    PAUSE = "pause"
    RESUME = "resume"
    SAVE = "save"
    RESTORE = "restore"
    AUTOSTART = "autostart"
    DELETE = "delete"
    RENAME = "rename"
    TAG = "tag"
    STORAGE = "storage"
    CONSOLE = "console"
    SERIAL = "serial"
    MOVE_LIVE = "move-live"
    EXPORT = "export"
    IMPORT = "import"


POWER_CAPABILITIES = {action: Capability(action.value) for action in PowerAction}


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One setting of a connection kind: the same list makes form, command line, docs and validation.

    A `secret` never reaches store, log, repr or argv. `choices` closes the set; `advanced` hides it in the form.
    """

    name: str
    label: str
    help: str = ""
    default: str = ""
    required: bool = False
    secret: bool = False
    choices: tuple[str, ...] = ()
    advanced: bool = False
    kind: str = "text"
    """text, path, bool, int or lines."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a driver is opened with: plain values, and secrets that no repr shows."""

    values: Mapping[str, str]
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __getitem__(self, name: str) -> str:
        return self.secrets.get(name) or self.values.get(name, "")

    def flag(self, name: str) -> bool:
        return self[name].lower() in ("1", "true", "yes", "on")


@runtime_checkable
class Driver(Protocol):
    """One connection to one platform. Made unconnected; every method but __init__ is called on the loop.

    `scopes()` names the parts that `list` knows, in the order in which the tree should fill. `list` returns
    an error inside the Listing, never raises one of its own making. `close` is idempotent and always returns.
    """

    kind: ClassVar[str]
    title: ClassVar[str]
    section: ClassVar[Section]
    options: ClassVar[tuple[Option, ...]]

    name: str

    def __init__(self, name: str, settings: Settings) -> None: ...
    @property
    def uri(self) -> str: ...
    def implemented(self) -> frozenset[Capability]: ...
    def capabilities(self) -> frozenset[Capability]: ...
    async def check(self) -> list[Finding]: ...
    async def connect(self) -> None: ...
    def scopes(self) -> Sequence[Scope]: ...
    async def list(self, scope: Scope) -> Listing: ...
    async def close(self) -> None: ...


@runtime_checkable
class Sorts(Protocol):
    """A driver for platforms of more than one section: a connection belongs where its settings say."""

    @staticmethod
    def section_of(values: Mapping[str, str]) -> Section: ...


@runtime_checkable
class Watches(Protocol):
    """Reports changes as they happen. The iterator ends by raising Unreachable when the connection is lost.

    It is started before the first `list`, so that nothing falls between the two.
    """

    def watch(self) -> AsyncIterator[Changed]: ...


@runtime_checkable
class Powers(Protocol):
    async def power(self, ref: Ref, action: PowerAction) -> None: ...


@runtime_checkable
class Autostarts(Protocol):
    async def autostart(self, ref: Ref, enabled: bool) -> None: ...


@runtime_checkable
class Deletes(Protocol):
    async def delete(self, ref: Ref, *, disks: bool) -> None: ...


@runtime_checkable
class Renames(Protocol):
    async def rename(self, ref: Ref, name: str) -> None: ...


@runtime_checkable
class Tags(Protocol):
    """Sets tags; an empty value removes one. `group` is the tag that Causeway keeps a VM's group in."""

    async def tag(self, ref: Ref, tags: Mapping[str, str]) -> None: ...


@runtime_checkable
class Meters(Protocol):
    """Readings of all running VMs (and hosts) in one call per tick."""

    async def meter(self) -> Mapping[Ref, Sample]: ...


@runtime_checkable
class Consoles(Protocol):
    """Opens a VM's consoles.

    `consoles` names those that the VM has, the best first, also those that cannot be opened now (with the reason).
    `open_console` opens one of them: Conflict where somebody else holds it and `force` (take it over) was not
    asked for, NotFound where the VM has no such console, Unsupported where it is there but not to be reached.
    CONSOLE stands for screens, SERIAL for serial lines (live, or what the platform kept of their output).
    """

    async def consoles(self, vm: Ref) -> Sequence[Console]: ...
    async def open_console(self, console: Console, *, force: bool = False) -> Door: ...


@runtime_checkable
class Describes(Protocol):
    """The platform's own words about one object, secrets redacted: for the details pane, never for a decision."""

    async def describe(self, ref: Ref) -> str: ...


@runtime_checkable
class Edits(Protocol):
    """The definition as text: `definition` gives the editable one (secrets replaced by placeholders),
    `redefine` applies an edited text, given the one it was made from (Conflict if it changed meanwhile)."""

    async def definition(self, ref: Ref) -> str: ...
    async def redefine(self, ref: Ref, old: str, new: str) -> None: ...


@runtime_checkable
class MovesLive(Protocol):
    """The platform moves a running VM by itself, to another connection of the same platform.

    `move_live` returns when the VM runs on the target (asked there, by UUID); on any error the VM is where it
    was, or OutcomeUnknown is raised. `progress` is called on the loop. Cancelling the coroutine aborts the move.
    `let_go` removes what a broken move left of the VM here, as a whole one does: it is switched off and forgotten.
    Both sides are asked first: Conflict, and nothing touched, unless it runs on the target only. Idempotent.
    """

    async def move_live(
        self,
        vm: Ref,
        target: Driver,
        to: Ref,
        options: LiveOptions,
        progress: Callable[[Progress], None],
    ) -> LiveResult: ...
    async def let_go(self, vm: Ref, target: Driver) -> None: ...


@runtime_checkable
class RemovesLeftovers(Protocol):
    """Deletes on the source the disks that a live move with storage left (LiveResult.leftovers).

    What is shared with `target`, or used by another VM, stays. Returns what was deleted.
    """

    async def remove_leftovers(self, paths: Sequence[str], target: Driver) -> tuple[str, ...]: ...


@runtime_checkable
class Rescues(Protocol):
    """Resumes a VM that a broken live move left paused on its source. `power` refuses that.

    The target is asked first: True if the VM is not there (and was resumed here where it was paused), False if it
    is there in any state (nothing was touched). Raises Unreachable where the target cannot be asked.
    """

    async def rescue(self, vm: Ref, target: Driver) -> bool: ...


@runtime_checkable
class Locates(Protocol):
    """Where a VM is by its platform UUID: its Ref and state here, None if it is surely not here.

    Raises Unreachable where that cannot be known. Recovery asks both sides with it.
    """

    async def locate(self, uuid: str) -> Ref | None: ...


@runtime_checkable
class SignsIn(Protocol):
    """What another process needs to open a disk here, where that is more than the connection's own settings: a
    session that was made with a code which is good once. Blocking."""

    def mover_settings(self) -> Settings: ...


class ExportSession(Protocol):
    """All disks of a VM at one instant. `end` releases what the session holds; idempotent."""

    @property
    def disks(self) -> Sequence[DiskSpec]: ...
    async def end(self) -> None: ...


@runtime_checkable
class Exports(Protocol):
    """A VM's disks can be read.

    `export_facts` gathers what judging needs. `vm_spec` says what the VM is in terms that other platforms know.
    `begin_export` makes a reading of all disks at one instant; `migration` marks what is made for it.
    `open_source` opens one of them, blocking, in the mover process.
    `fence` makes the source unable to start by accident and keeps it; `unfence` takes that back; `retire`
    deletes a fenced VM with its disks. `discard_export` removes what a crashed session left.
    A crash may come between any two calls, so `fence`, `unfence`, `retire` and `discard_export` are idempotent: asked
    again with the same migration id they find their work done and return. A fenced VM keeps its Ref.

    A driver whose `fence` takes the VM out of the platform's list, keeping its definition elsewhere, says so with the
    class attribute `fence_undefines = True`: `locate` then gives None for a kept VM, and `unfence` brings it back.
    """

    async def export_facts(self, vm: Ref) -> SourceFacts: ...
    async def vm_spec(self, vm: Ref) -> VmSpec: ...
    async def begin_export(self, vm: Ref, *, migration: str) -> ExportSession: ...
    async def discard_export(self, migration: str) -> None: ...
    @staticmethod
    def open_source(spec: DiskSpec, settings: Settings) -> DiskSource: ...
    async def fence(self, vm: Ref, *, migration: str) -> None: ...
    async def unfence(self, vm: Ref, *, migration: str) -> None: ...
    async def retire(self, vm: Ref, *, migration: str) -> None: ...


@runtime_checkable
class Imports(Protocol):
    """VMs can be made here from bytes.

    `import_facts` gathers what judging needs; `source` is given so that pairs (CPU, shared storage) can be
    judged. `prepare_disk` makes an empty disk that carries the migration's id and says how to open it (the same
    call again returns the same disk). `open_sink` opens it, blocking, in the mover; its `commit` gives the id.
    `read_back` opens a written disk for verification. `create_vm` makes the VM, not running, from committed
    disks; the same migration id gives the same VM. `discard_import` removes every object of a migration.
    `adopt` ends that (idempotent): the VM and its disks are nobody's but the user's from then on.
    A driver whose `create_vm` starts the VM (clouds) says so with a class attribute `starts_on_create = True`; the
    engine then fences the source before it.
    """

    async def import_facts(self, to: Ref, source: SourceFacts | None, source_driver: Driver | None) -> TargetFacts: ...
    async def prepare_disk(self, to: Ref, spec: VmSpec, disk: int, *, pool: str, migration: str) -> DiskSpec: ...
    @staticmethod
    def open_sink(spec: DiskSpec, settings: Settings) -> DiskSink: ...
    @staticmethod
    def read_back(spec: DiskSpec, disk_id: str, settings: Settings) -> DiskSource: ...
    async def create_vm(self, to: Ref, spec: VmSpec, disk_ids: Sequence[str], *, migration: str) -> Ref: ...
    async def adopt(self, vm: Ref, *, migration: str) -> None: ...
    async def discard_import(self, migration: str) -> None: ...
