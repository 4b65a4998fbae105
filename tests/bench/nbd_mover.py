"""The mover, with a kind of disk that only the bench has: from a file to an NBD server."""

from __future__ import annotations

import sys
from pathlib import Path

from app.migration import mover
from backends import registry
from backends.disks import DiskSink, DiskSource
from backends.driver import Settings
from backends.files import FileSource
from backends.model import DiskSpec
from backends.nbd import NbdSink, NbdSource


class Disks:
    """What a mover asks of a driver."""

    @staticmethod
    def open_source(spec: DiskSpec, settings: Settings) -> DiskSource:
        return FileSource(Path(str(spec.args["path"])))

    @staticmethod
    def open_sink(spec: DiskSpec, settings: Settings) -> DiskSink:
        return NbdSink(str(spec.args["nbd"]), spec.size_bytes, fresh=True)

    @staticmethod
    def read_back(spec: DiskSpec, disk_id: str, settings: Settings) -> DiskSource:
        return NbdSource(disk_id, spec.size_bytes)


if __name__ == "__main__":
    setattr(registry, "load", lambda kind: Disks)  # noqa: B010
    sys.exit(mover.main())
