"""Copies a disk and hashes it on the way: threads that each read, hash and write one piece at a time.

The hash of a disk is the SHA-256 of the SHA-256 of its pieces (`PIECE` bytes each, over the disk's own length), so
that pieces are hashed by several threads, in any order, and a hole costs nothing. Reads and writes keep their order
where a side has no parallel access.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from backends.disks import DiskSink, DiskSource, Extent
from backends.errors import BackendError, Cancelled, Invalid, Throttled

PIECE = 4 << 20
ZERO_GRAIN = 64 << 10
MOST_THREADS = 16
TRIES = 6
FLUSH_EVERY_S = 5.0
REPORT_EVERY_S = 0.1

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Piece:
    """One unit of work: a part of the disk, and the runs of data in it as (offset, length)."""

    order: int
    offset: int
    length: int
    runs: tuple[tuple[int, int], ...]


def pieces(extents: Iterable[Extent], size: int) -> Iterator[Piece]:
    """The pieces that hold data, in order. Raises Invalid where the extents do not cover 0..size in order."""
    order, at, current = 0, 0, -1
    runs: list[tuple[int, int]] = []

    def made(index: int) -> Piece:
        offset = index * PIECE
        return Piece(order, offset, min(PIECE, size - offset), tuple(runs))

    for extent in extents:
        if extent.offset != at or extent.length <= 0 or at + extent.length > size:
            raise Invalid(f"the source's extents are wrong at byte {at}")
        at += extent.length
        if not extent.data:
            continue
        begin = extent.offset
        while begin < at:
            index = begin // PIECE
            if index != current:
                if runs:
                    yield made(current)
                    order += 1
                runs, current = [], index
            end = min(at, (index + 1) * PIECE)
            if runs and runs[-1][0] + runs[-1][1] == begin:
                runs[-1] = (runs[-1][0], end - runs[-1][0])
            else:
                runs.append((begin, end - begin))
            begin = end
    if at != size:
        raise Invalid(f"the source's extents end at byte {at} of {size}")
    if runs:
        yield made(current)


class Digest:
    """The hash of a disk, piece by piece in any order. What is never added reads as zeros."""

    def __init__(self, size: int) -> None:
        count, rest = divmod(size, PIECE)
        zeros = bytes(PIECE)
        self._digests = bytearray(hashlib.sha256(zeros).digest() * count)
        if rest:
            self._digests += hashlib.sha256(zeros[:rest]).digest()

    def add(self, offset: int, data: bytes) -> None:
        slot = offset // PIECE * 32
        self._digests[slot : slot + 32] = hashlib.sha256(data).digest()

    def text(self) -> str:
        return f"sha256/{PIECE}:{hashlib.sha256(self._digests).hexdigest()}"


class Turns:
    """Lets threads through one at a time in the order of their numbers, or all at once (`ordered` False)."""

    def __init__(self, ordered: bool) -> None:
        self._ordered = ordered
        self._turn = 0
        self._changed = threading.Condition()
        self._broken = False

    def take(self, order: int, work: Callable[[], T]) -> T:
        if not self._ordered:
            return work()
        with self._changed:
            self._changed.wait_for(lambda: self._broken or self._turn == order)
            if self._broken:
                raise Cancelled("another thread failed")
            result = work()
            self._turn += 1
            self._changed.notify_all()
            return result

    def between(self, work: Callable[[], T]) -> T:
        """Run `work` while nobody has the turn."""
        with self._changed:
            return work()

    def end(self) -> None:
        with self._changed:
            self._broken = True
            self._changed.notify_all()


class Copy:
    """One disk from a source to a sink, or (without a sink) only its hash.

    Parameters: `resume` bytes from the start are in the sink already, they are hashed only; `stop` ends it early
    (Cancelled); `report(done, total)` is called from the caller's thread, ten times a second at most; `safe(offset)`
    says that everything before the offset is durable in the sink.
    Raises what source and sink raise; retryable errors are tried again first.
    """

    def __init__(
        self,
        source: DiskSource,
        sink: DiskSink | None,
        *,
        resume: int = 0,
        stop: threading.Event | None = None,
        report: Callable[[int, int], None] = lambda done, total: None,
        safe: Callable[[int], None] = lambda offset: None,
    ) -> None:
        self._source = source
        self._sink = sink
        self._resume = resume
        self._stop = stop or threading.Event()
        self._report = report
        self._safe = safe
        self._digest = Digest(source.size)
        self._reads = Turns(source.parallel <= 1)
        self._writes = Turns(sink is not None and sink.parallel <= 1)
        self._lock = threading.Lock()
        self._busy: dict[int, int] = {}
        self._next = 0
        self._done = 0
        self._error: BaseException | None = None

    def run(self) -> str:
        """Copy everything; returns the hash of what was read. The sink is not committed."""
        if self._sink is not None and self._sink.size < self._source.size:
            raise Invalid(f"the target disk is smaller ({self._sink.size} bytes) than its source ({self._source.size})")
        work = list(pieces(self._source.extents(), self._source.size))
        total = sum(length for piece in work for _, length in piece.runs)
        self._queue = iter(work)
        threads = [
            threading.Thread(target=self._work, name=f"copy-{number}", daemon=True)
            for number in range(min(self._width(), max(1, len(work))))
        ]
        for thread in threads:
            thread.start()
        self._watch(threads, total)
        if self._error is not None:
            raise self._error
        if self._stop.is_set():
            raise Cancelled("the copy was stopped")
        self._report(total, total)
        return self._digest.text()

    def _width(self) -> int:
        widest = max(self._source.parallel, self._sink.parallel if self._sink is not None else 1)
        return max(2, min(widest, MOST_THREADS))

    def _watch(self, threads: list[threading.Thread], total: int) -> None:
        flushed = time.monotonic()
        while any(thread.is_alive() for thread in threads):
            for thread in threads:
                thread.join(REPORT_EVERY_S / len(threads))
            if self._stop.is_set() or self._error is not None:
                self._reads.end()
                self._writes.end()
                continue
            self._report(self._done, total)
            if self._sink is not None and time.monotonic() - flushed > FLUSH_EVERY_S:
                self._keep_safe(self._sink)
                flushed = time.monotonic()

    def _keep_safe(self, sink: DiskSink) -> None:
        with self._lock:
            offset = min(self._busy.values(), default=self._next)
        try:
            self._writes.between(sink.flush)
        except BackendError as error:
            self._error = error
            return
        self._safe(offset)

    def _work(self) -> None:
        try:
            while not self._stop.is_set() and self._error is None:
                with self._lock:
                    piece = next(self._queue, None)
                    if piece is None:
                        return
                    self._busy[piece.order] = piece.offset
                    self._next = piece.offset + piece.length
                self._carry(piece)
                with self._lock:
                    del self._busy[piece.order]
                    self._done += sum(length for _, length in piece.runs)
        except BaseException as error:
            with self._lock:
                if self._error is None and not (isinstance(error, Cancelled) and self._stop.is_set()):
                    self._error = error
            self._reads.end()
            self._writes.end()

    def _carry(self, piece: Piece) -> None:
        data = self._reads.take(piece.order, lambda: self._read(piece))
        self._digest.add(piece.offset, data)
        sink = self._sink
        if sink is not None:
            wanted = piece.offset + piece.length > self._resume
            self._writes.take(piece.order, lambda: self._write(sink, piece, data) if wanted else None)

    def _read(self, piece: Piece) -> bytes:
        if piece.runs == ((piece.offset, piece.length),):
            return self._read_run(piece.offset, piece.length)
        whole = bytearray(piece.length)
        for offset, length in piece.runs:
            start = offset - piece.offset
            whole[start : start + length] = self._read_run(offset, length)
        return bytes(whole)

    def _read_run(self, offset: int, length: int) -> bytes:
        data = b""
        while len(data) < length:
            at, rest = offset + len(data), length - len(data)
            more = self._again(partial(self._source.read, at, rest))
            if not more:
                raise Invalid(f"the source ended early, at byte {at} of {self._source.size}")
            data = more if not data else data + more
        if len(data) > length:
            raise Invalid(f"the source gave {len(data)} bytes at {offset} where {length} were asked for")
        return data

    def _write(self, sink: DiskSink, piece: Piece, data: bytes) -> None:
        for start, end in runs_of_data(data, max(sink.block, ZERO_GRAIN)):
            part = data if end - start == len(data) else data[start:end]
            self._again(partial(sink.write, piece.offset + start, part))

    def _again(self, work: Callable[[], T]) -> T:
        """Do `work`, again after a pause where an error is of the kind that passes."""
        for attempt in range(TRIES):
            try:
                return work()
            except BackendError as error:
                if not error.retryable or attempt == TRIES - 1:
                    raise
                pause = error.retry_after if isinstance(error, Throttled) else 0.2
                if self._stop.wait(min(pause * 2**attempt, 20.0) * random.uniform(0.7, 1.3)):
                    raise
        raise AssertionError("unreachable")


def runs_of_data(data: bytes, grain: int) -> Iterator[tuple[int, int]]:
    """Where `data` is not zero, as (start, end) at multiples of `grain` (the last end is that of the data)."""
    zeros = bytes(grain)
    begin = -1
    for start in range(0, len(data), grain):
        end = min(start + grain, len(data))
        empty = data.startswith(zeros[: end - start], start)
        if empty and begin >= 0:
            yield begin, start
            begin = -1
        elif not empty and begin < 0:
            begin = start
    if begin >= 0:
        yield begin, len(data)
