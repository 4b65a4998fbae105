"""Disks for tests: in memory, with every misbehaviour that a real one may have."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from backends.disks import Extent, Handle


class MemorySource:
    """A source over bytes. `most` limits what one read gives; `ends_at` makes it end early."""

    def __init__(
        self, data: bytes, extents: list[Extent] | None = None, *, parallel: int = 1, most: int = 0, ends_at: int = -1
    ) -> None:
        self.data = data
        self.size = len(data)
        self.block = 4096
        self.parallel = parallel
        self.reads: list[tuple[int, int]] = []
        self._extents = extents if extents is not None else [Extent(0, len(data))] * bool(data)
        self._most = most
        self._ends_at = ends_at

    def extents(self) -> Iterator[Extent]:
        return iter(self._extents)

    def read(self, offset: int, length: int) -> bytes:
        self.reads.append((offset, length))
        if 0 <= self._ends_at <= offset:
            return b""
        end = offset + (min(length, self._most) if self._most else length)
        if self._ends_at >= 0:
            end = min(end, self._ends_at)
        return self.data[offset:end]

    def handle(self) -> Handle | None:
        return None

    def close(self) -> None:
        pass


class MemorySink:
    """A sink over a bytearray. `fails` maps the number of a write to the error that it raises, once."""

    def __init__(self, size: int, *, block: int = 512, parallel: int = 1) -> None:
        self.data = bytearray(size)
        self.size = size
        self.block = block
        self.parallel = parallel
        self.writes: list[tuple[int, int]] = []
        self.flushed = 0
        self.fails: dict[int, Exception] = {}
        self._count = 0
        self._lock = threading.Lock()

    def resume_at(self, journaled: int) -> int:
        return journaled

    def write(self, offset: int, data: bytes) -> None:
        with self._lock:
            number = self._count
            self._count += 1
            if number in self.fails:
                raise self.fails.pop(number)
            assert offset % self.block == 0
            assert len(data) % self.block == 0 or offset + len(data) == self.size
            self.writes.append((offset, len(data)))
            self.data[offset : offset + len(data)] = data

    def zero(self, offset: int, length: int) -> None:
        self.data[offset : offset + length] = bytes(length)

    def flush(self) -> None:
        self.flushed += 1

    def commit(self) -> str:
        return "disk"

    def abort(self) -> None:
        self.data[:] = bytes(self.size)

    def handle(self) -> Handle | None:
        return None
