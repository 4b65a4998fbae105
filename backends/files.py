"""Raw disks in local files: the plainest DiskSource and DiskSink."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from backends.disks import Extent, Handle
from backends.errors import Invalid, NotFound

BLOCK = 1 << 20
PARALLEL = 4


class _File:
    """A file read and written at any offset, by several threads at once where the system can do that."""

    def __init__(self, path: Path, mode: str) -> None:
        self._file = path.open(mode, buffering=0)
        self._lock = threading.Lock()
        self.descriptor = self._file.fileno()
        self.close = self._file.close

    def read(self, offset: int, length: int) -> bytes:
        if sys.platform == "win32":
            with self._lock:
                self._file.seek(offset)
                return self._file.read(length) or b""
        else:
            return os.pread(self.descriptor, length, offset)

    def write(self, offset: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            if sys.platform != "win32":
                count = os.pwrite(self.descriptor, view, offset)
            else:
                with self._lock:
                    self._file.seek(offset)
                    count = self._file.write(view) or 0
            view, offset = view[count:], offset + count

    def data_after(self, offset: int, size: int) -> tuple[int, int]:
        """Begin and end of the first run of data from `offset` on; `size` twice where there is none."""
        if sys.platform == "win32":
            return offset, size
        with self._lock:
            try:
                data = min(os.lseek(self.descriptor, offset, os.SEEK_DATA), size)
                return data, min(os.lseek(self.descriptor, data, os.SEEK_HOLE), size) if data < size else data
            except OSError:
                return size, size


class FileSource:
    """Reads a raw disk file; holes are found where the file system tells them.

    Parameters: `path`, and `size` in bytes (None: the file's own). Raises NotFound where there is no file.
    """

    block = BLOCK
    parallel = PARALLEL

    def __init__(self, path: Path, size: int | None = None) -> None:
        try:
            self._file = _File(path, "rb")
        except FileNotFoundError:
            raise NotFound(f"the disk {path.name} is gone", object_name=str(path)) from None
        self._path = path
        self.size = os.fstat(self._file.descriptor).st_size if size is None else size

    def extents(self) -> Iterator[Extent]:
        offset = 0
        while offset < self.size:
            data, hole = self._file.data_after(offset, self.size)
            if data > offset:
                yield Extent(offset, data - offset, data=False)
            if hole > data:
                yield Extent(data, hole - data)
            offset = hole if hole > offset else self.size

    def read(self, offset: int, length: int) -> bytes:
        chunk = self._file.read(offset, length)
        return chunk + bytes(length - len(chunk)) if len(chunk) < length else chunk

    def handle(self) -> Handle | None:
        return Handle(path=str(self._path))

    def close(self) -> None:
        self._file.close()


class FileSink:
    """Writes a raw disk file: first as `<name>.partial`, renamed by `commit`, whose id is the file's name."""

    block = BLOCK
    parallel = PARALLEL

    def __init__(self, path: Path, size: int) -> None:
        self.size = size
        self._path = path
        self._partial = path.with_name(path.name + ".partial")
        existed = self._partial.exists()
        self._file = _File(self._partial, "r+b" if existed else "w+b")
        os.truncate(self._file.descriptor, size)
        self._fresh = not existed

    def resume_at(self, journaled: int) -> int:
        return 0 if self._fresh else min(journaled, self.size)

    def write(self, offset: int, data: bytes) -> None:
        if offset + len(data) > self.size:
            raise Invalid(f"a write of {len(data)} bytes at {offset} ends beyond the disk's {self.size} bytes")
        self._file.write(offset, data)

    def zero(self, offset: int, length: int) -> None:
        if not self._fresh:
            step = bytes(min(length, BLOCK))
            for at in range(offset, offset + length, BLOCK):
                self.write(at, step[: min(BLOCK, offset + length - at)])

    def flush(self) -> None:
        os.fsync(self._file.descriptor)

    def commit(self) -> str:
        self.flush()
        self._file.close()
        self._partial.replace(self._path)
        return self._path.name

    def abort(self) -> None:
        self._file.close()
        self._partial.unlink(missing_ok=True)

    def handle(self) -> Handle | None:
        return Handle(path=str(self._partial), empty=self._fresh)
