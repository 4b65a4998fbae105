"""Disks as bytes: what every platform offers to a copy, whatever its storage.

    source (extents, read) -> filters of the same shape -> sink (write, zero, flush, commit)

All of this is blocking and lives in the mover process; nothing here runs on a loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Extent:
    """A run of bytes. `data` False: reads as zeros, need not be sent."""

    offset: int
    length: int
    data: bool = True


@dataclass(frozen=True, slots=True)
class Handle:
    """A way for an outside tool to reach the disk: a local file or an NBD URI. `empty`: all of it reads as zeros."""

    path: str = ""
    nbd: str = ""
    format: str = "raw"
    empty: bool = False


@runtime_checkable
class DiskSource(Protocol):
    """A disk to read. `block` is the request size that suits it; `read` is safe from several threads where
    `parallel` is more than 1. `extents` covers 0..size without holes, in order."""

    size: int
    block: int
    parallel: int

    def extents(self) -> Iterator[Extent]: ...
    def read(self, offset: int, length: int) -> bytes: ...
    def handle(self) -> Handle | None: ...
    def close(self) -> None: ...


@runtime_checkable
class DiskSink(Protocol):
    """A disk to write. Writes are multiples of `block` long (but for the end) and at multiples of it; what is
    never written reads as zeros. `resume_at(journaled)` says from which offset a broken copy goes on.
    `commit` makes the bytes durable and returns the disk's id; `abort` removes what was written."""

    size: int
    block: int
    parallel: int

    def resume_at(self, journaled: int) -> int: ...
    def write(self, offset: int, data: bytes) -> None: ...
    def zero(self, offset: int, length: int) -> None: ...
    def flush(self) -> None: ...
    def commit(self) -> str: ...
    def abort(self) -> None: ...
    def handle(self) -> Handle | None: ...
