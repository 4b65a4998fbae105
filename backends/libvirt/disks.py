"""Volumes as bytes, by libvirt's own streams: works over every transport, and holes cost nothing on the wire.

Opened in the mover process, each on a connection of its own.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import libvirt

from backends.disks import Extent, Handle
from backends.driver import Settings
from backends.errors import BackendError, Invalid, NotFound
from backends.libvirt.client import EVENTS, translated
from backends.libvirt.reach import Reach
from backends.model import DiskSpec

BLOCK = 1 << 20
PIECE = 4 * BLOCK
KEPT = 4
"""How many pieces that `extents` has read on its way are kept for the `read` that follows."""
STREAM = 256 * 1024
AT_HOLE = -3
SPARSE_DOWN = libvirt.VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM
SPARSE_UP = libvirt.VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM


class _Volume:
    """A volume by pool and name, on a connection that nobody else uses."""

    def __init__(self, spec: DiskSpec, settings: Settings) -> None:
        EVENTS.start()
        self._reach = Reach(settings)
        pool, name = str(spec.args["pool"]), str(spec.args["volume"])
        try:
            self.conn = libvirt.open(self._reach.open_blocking())
            self.item = self.conn.storagePoolLookupByName(pool).storageVolLookupByName(name)
            self.allocated = int(self.item.info()[2])
        except libvirt.libvirtError as error:
            self._reach.close_blocking()
            if error.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_VOL:
                raise NotFound(f"the disk {name} is gone", object_name=name) from None
            raise translated(error, name) from None

    def close(self) -> None:
        with suppress(libvirt.libvirtError):
            self.conn.close()
        self._reach.close_blocking()


class _Reader:
    """One sparse download from an offset on: pieces of data or holes, in order."""

    def __init__(self, volume: _Volume, offset: int, size: int) -> None:
        self.position = offset
        self._size = size
        self._stream = volume.conn.newStream(0)
        volume.item.download(self._stream, offset, size - offset, SPARSE_DOWN)

    def pieces(self) -> Iterator[tuple[int, bytes | None, int]]:
        """(offset, data or None for a hole, length) until the end."""
        while self.position < self._size:
            got = self._stream.recvFlags(STREAM, libvirt.VIR_STREAM_RECV_STOP_AT_HOLE)
            if got == AT_HOLE:
                length = min(int(self._stream.recvHole(0)), self._size - self.position)
                piece: tuple[int, bytes | None, int] = (self.position, None, length)
            elif isinstance(got, bytes) and got:
                piece = (self.position, got, len(got))
            else:
                break
            self.position += piece[2]
            yield piece
        if self.position < self._size:
            yield self.position, None, self._size - self.position
            self.position = self._size

    def end(self) -> None:
        with suppress(libvirt.libvirtError):
            self._stream.abort()


class VolumeSource:
    """Reads a raw volume. Extents are learnt by streaming, and what was streamed is kept for the read after it."""

    block = BLOCK
    parallel = 1

    def __init__(self, spec: DiskSpec, settings: Settings) -> None:
        self.size = spec.size_bytes
        self._volume = _Volume(spec, settings)
        self._lock = threading.Lock()
        self._recent: deque[tuple[int, bytes]] = deque(maxlen=KEPT)
        self._reader: _Reader | None = None
        self._pieces: Iterator[tuple[int, bytes | None, int]] = iter(())
        self._held: tuple[int, bytes | None, int] = (0, None, 0)

    def extents(self) -> Iterator[Extent]:
        try:
            reader = _Reader(self._volume, 0, self.size)
            gathered, start = bytearray(), 0
            for offset, data, length in reader.pieces():
                if data is not None:
                    start = start if gathered else offset
                    gathered += data
                if gathered and (data is None or len(gathered) >= PIECE):
                    yield self._keep(start, gathered)
                    gathered = bytearray()
                if data is None:
                    yield Extent(offset, length, data=False)
            if gathered:
                yield self._keep(start, gathered)
            reader.end()
        except libvirt.libvirtError as error:
            raise translated(error, "reading the disk") from None

    def read(self, offset: int, length: int) -> bytes:
        with self._lock:
            for start, data in self._recent:
                if start <= offset and offset + length <= start + len(data):
                    return data[offset - start : offset - start + length]
            try:
                return self._streamed(offset, length)
            except libvirt.libvirtError as error:
                raise translated(error, "reading the disk") from None

    def handle(self) -> Handle | None:
        return None

    def close(self) -> None:
        with self._lock:
            if self._reader is not None:
                self._reader.end()
                self._reader = None
            self._volume.close()

    def _keep(self, start: int, gathered: bytearray) -> Extent:
        with self._lock:
            self._recent.append((start, bytes(gathered)))
        return Extent(start, len(gathered))

    def _streamed(self, offset: int, length: int) -> bytes:
        """From the open stream where the offset lies ahead of it, else from a new one."""
        if self._reader is None or offset < self._held[0]:
            if self._reader is not None:
                self._reader.end()
            self._reader = _Reader(self._volume, offset, self.size)
            self._pieces, self._held = self._reader.pieces(), (offset, None, 0)
        found = bytearray(length)
        end = min(offset + length, self.size)
        while True:
            start, data, count = self._held
            first, last = max(start, offset), min(start + count, end)
            if data is not None and first < last:
                found[first - offset : last - offset] = data[first - start : last - start]
            if start + count >= end:
                return bytes(found)
            self._held = next(self._pieces, (end, None, 0))


class VolumeSink:
    """Writes a raw volume by one sparse upload; the volume is new, so that what is skipped reads as zeros."""

    block = BLOCK
    parallel = 1

    def __init__(self, spec: DiskSpec, settings: Settings) -> None:
        self.size = spec.size_bytes
        self._name = f"{spec.args['pool']}/{spec.args['volume']}"
        self._volume = _Volume(spec, settings)
        self._fresh = self._volume.allocated == 0
        self._stream: Any = None
        self._position = 0
        self._high = 0
        self._lock = threading.Lock()

    def resume_at(self, journaled: int) -> int:
        return 0 if self._fresh else min(journaled, self.size) // BLOCK * BLOCK

    def write(self, offset: int, data: bytes) -> None:
        if offset + len(data) > self.size:
            raise Invalid(f"a write of {len(data)} bytes at {offset} ends beyond the disk's {self.size} bytes")
        with self._lock:
            try:
                self._seek(offset)
                view = data
                while view:
                    sent = self._stream.send(view[:STREAM])
                    view = view[sent:]
                    self._position += sent
                self._high = max(self._high, self._position)
            except libvirt.libvirtError as error:
                raise translated(error, "writing the disk") from None

    def zero(self, offset: int, length: int) -> None:
        if not self._fresh:
            blank = bytes(BLOCK)
            for at in range(offset, offset + length, BLOCK):
                self.write(at, blank[: min(BLOCK, offset + length - at)])

    def flush(self) -> None:
        """Make durable what was written: the daemon syncs a stream when it ends."""
        with self._lock:
            stream, self._stream = self._stream, None
            if stream is not None:
                try:
                    stream.finish()
                except libvirt.libvirtError as error:
                    raise translated(error, "writing the disk") from None

    def commit(self) -> str:
        with self._lock:
            try:
                self._fill()
            except libvirt.libvirtError as error:
                raise translated(error, "writing the disk") from None
        self.flush()
        self._volume.close()
        return self._name

    def abort(self) -> None:
        with self._lock:
            stream, self._stream = self._stream, None
            with suppress(libvirt.libvirtError, BackendError):
                if stream is not None:
                    stream.abort()
                self._volume.item.delete(0)
        self._volume.close()

    def handle(self) -> Handle | None:
        return None

    def _fill(self) -> None:
        """Give the volume its full length: the daemon cuts a file at the end of every hole it is sent."""
        if self._high < self.size:
            self._seek(self._high)
            self._stream.sendHole(self.size - self._high, 0)
            self._position = self._high = self.size

    def _seek(self, offset: int) -> None:
        """Go there: by a hole where the volume is new and the place lies ahead, else by a new stream."""
        if self._stream is not None and offset != self._position:
            if self._fresh and offset > self._position >= self._high:
                self._stream.sendHole(offset - self._position, 0)
                self._position = offset
                return
            self._stream.finish()
            self._stream = None
        if self._stream is None:
            self._stream = self._volume.conn.newStream(0)
            self._volume.item.upload(self._stream, offset, self.size - offset, SPARSE_UP)
            self._position = offset
