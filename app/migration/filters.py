"""Filters: a source in front of a source. All blocking, all in the mover process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from backends.disks import DiskSource, Extent, Handle


class Filter:
    """A source that passes everything on; the base of the others. It has no handle: outside tools would go past it."""

    def __init__(self, source: DiskSource) -> None:
        self._source = source
        self.size = source.size
        self.block = source.block
        self.parallel = source.parallel

    def extents(self) -> Iterator[Extent]:
        return self._source.extents()

    def read(self, offset: int, length: int) -> bytes:
        return self._source.read(offset, length)

    def handle(self) -> Handle | None:
        return None

    def close(self) -> None:
        self._source.close()


class Throttle(Filter):
    """Reads no faster than `bytes_per_s`, over all threads together."""

    def __init__(self, source: DiskSource, bytes_per_s: int, wait: Callable[[float], object] = time.sleep) -> None:
        super().__init__(source)
        self._rate = bytes_per_s
        self._wait = wait
        self._lock = threading.Lock()
        self._free_at = time.monotonic()

    def read(self, offset: int, length: int) -> bytes:
        with self._lock:
            moment = time.monotonic()
            begin = max(moment, self._free_at)
            self._free_at = begin + length / self._rate
        if begin > moment:
            self._wait(begin - moment)
        return self._source.read(offset, length)


class Length(Filter):
    """The first `size` bytes of a source: what was copied, without what the target's block size added to it."""

    def __init__(self, source: DiskSource, size: int) -> None:
        super().__init__(source)
        self.size = min(size, source.size)

    def extents(self) -> Iterator[Extent]:
        for extent in self._source.extents():
            if extent.offset >= self.size:
                return
            yield Extent(extent.offset, min(extent.length, self.size - extent.offset), extent.data)
