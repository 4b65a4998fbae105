"""A Plan is a VM, a target and everything chosen on the way; plain values that go into the journal as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from backends.model import Finding, Level, LiveOptions, Ref, VmSpec


class Mode(StrEnum):
    LIVE = "live"
    WARM = "warm"
    COLD = "cold"


class Path(StrEnum):
    """Which way the bytes go."""

    NONE = "none"
    """Storage is shared; only memory moves, from host to host."""
    DIRECT = "direct"
    """From host to host."""
    WORKSTATION = "workstation"
    """Through this workstation."""
    INSIDE = "inside"
    """Inside the cloud."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """What on the source becomes what on the target; empty means the default."""

    networks: tuple[tuple[str, str], ...] = ()
    storage: str = ""
    flavor: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a move should take. None where nothing is known to judge by."""

    seconds: float | None = None
    downtime_s: float | None = None
    bytes: int | None = None
    measured: bool = False
    """Judged by earlier moves this way; else it is an estimate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All of a move. `id` marks every object made for it."""

    id: str
    vm: Ref
    to: Ref
    uid: str = ""
    spec: VmSpec | None = None
    mode: Mode = Mode.COLD
    path: Path = Path.WORKSTATION
    copy: bool = False
    start: bool = True
    mapping: Mapping = field(default_factory=Mapping)
    live: LiveOptions = field(default_factory=LiveOptions)
    forecast: Forecast = field(default_factory=Forecast)
    keep_source_days: int = 7
    source_kind: str = ""
    target_kind: str = ""
    running: bool = False
    """The VM ran when the plan was made."""
    starts_on_create: bool = False
    """The target starts a VM by making it (clouds do): the source is fenced first."""
    shutdown_s: float = 90.0
    """How long a guest may take to shut down before a cold move gives up."""
    force_stop: bool = False
    """Switch it off when it does not shut down in time."""

    @property
    def name(self) -> str:
        """The VM's name; its id where only quick facts were known."""
        return self.spec.name if self.spec is not None else self.vm.id


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is thought of a plan. `colour` is green, amber or red; `text` fits on a row of the tree."""

    colour: str
    text: str
    findings: tuple[Finding, ...] = ()

    @property
    def allowed(self) -> bool:
        return not any(finding.level == Level.RED for finding in self.findings)

    @property
    def cure(self) -> str:
        """What helps against the first red finding, which is what a red `text` says. Empty where nothing does."""
        return next((finding.cure for finding in self.findings if finding.level == Level.RED), "")
