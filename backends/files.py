"""Raw disks in local files: the plainest DiskSource and DiskSink."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

from backends.disks import Extent, Handle
from backends.errors import Invalid, NotFound

BLOCK = 1 << 20


class FileSource:
    """Reads a raw disk file; holes are found where the file system tells them.

    Parameters: `path`, and `size` in bytes (None: the file's own). Raises NotFound where there is no file.
    """

    block = BLOCK
    parallel = 1

    def __init__(self, path: Path, size: int | None = None) -> None:
        try:
            self._file = path.open("rb", buffering=0)
        except FileNotFoundError:
            raise NotFound(f"the disk {path.name} is gone", object_name=str(path)) from None
        self._path = path
        self._lock = threading.Lock()
        self.size = os.fstat(self._file.fileno()).st_size if size is None else size

    def extents(self) -> Iterator[Extent]:
        seek_data, seek_hole = getattr(os, "SEEK_DATA", None), getattr(os, "SEEK_HOLE", None)
        if seek_data is None or seek_hole is None:
            yield Extent(0, self.size)
            return
        offset, descriptor = 0, self._file.fileno()
        while offset < self.size:
            with self._lock:
                try:
                    data = min(os.lseek(descriptor, offset, seek_data), self.size)
                    hole = min(os.lseek(descriptor, data, seek_hole), self.size) if data < self.size else data
                except OSError:
                    data = hole = self.size
            if data > offset:
                yield Extent(offset, data - offset, data=False)
            if hole > data:
                yield Extent(data, hole - data)
            offset = hole if hole > offset else self.size

    def read(self, offset: int, length: int) -> bytes:
        with self._lock:
            self._file.seek(offset)
            chunk = self._file.read(length) or b""
        return chunk + bytes(length - len(chunk)) if len(chunk) < length else chunk

    def handle(self) -> Handle | None:
        return Handle(path=str(self._path))

    def close(self) -> None:
        self._file.close()


class FileSink:
    """Writes a raw disk file: first as `<name>.partial`, renamed by `commit`, whose id is the file's name."""

    block = BLOCK
    parallel = 1

    def __init__(self, path: Path, size: int) -> None:
        self.size = size
        self._path = path
        self._partial = path.with_name(path.name + ".partial")
        existed = self._partial.exists()
        self._file = self._partial.open("r+b" if existed else "w+b", buffering=0)
        self._file.truncate(size)
        self._fresh = not existed
        self._lock = threading.Lock()

    def resume_at(self, journaled: int) -> int:
        return 0 if self._fresh else min(journaled, self.size)

    def write(self, offset: int, data: bytes) -> None:
        if offset + len(data) > self.size:
            raise Invalid(f"a write of {len(data)} bytes at {offset} ends beyond the disk's {self.size} bytes")
        with self._lock:
            self._file.seek(offset)
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) or 0 :]

    def zero(self, offset: int, length: int) -> None:
        if not self._fresh:
            step = bytes(min(length, BLOCK))
            for at in range(offset, offset + length, BLOCK):
                self.write(at, step[: min(BLOCK, offset + length - at)])

    def flush(self) -> None:
        os.fsync(self._file.fileno())

    def commit(self) -> str:
        self.flush()
        self._file.close()
        self._partial.replace(self._path)
        return self._path.name

    def abort(self) -> None:
        self._file.close()
        self._partial.unlink(missing_ok=True)

    def handle(self) -> Handle | None:
        return Handle(path=str(self._partial))
