"""What a mover is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from backends.model import DiskSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a mover does: copy `source` to `sink`, or only hash `source`, or the disk written to `sink` (its `disk_id`).

    `secrets` is the number of the inherited descriptor that holds {"source.NAME": ..., "sink.NAME": ...}, -1 for none.
    `resume` is the offset that the journal knows to be safe; `length` the disk's own length in bytes.
    """

    source: DiskSpec | None = None
    source_settings: Mapping[str, str] = field(default_factory=dict)
    sink: DiskSpec | None = None
    sink_settings: Mapping[str, str] = field(default_factory=dict)
    disk_id: str = ""
    length: int = 0
    resume: int = 0
    bandwidth_bps: int = 0
    secrets: int = -1
