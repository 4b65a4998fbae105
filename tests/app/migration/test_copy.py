"""Copies: every byte, in order where order matters, holes for nothing, and no silent end."""

from __future__ import annotations

import hashlib
import random
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.migration import copy as copying
from app.migration.copy import PIECE, Copy, Digest, pieces, runs_of_data
from app.migration.filters import Length, Throttle
from backends.disks import Extent
from backends.errors import Cancelled, Denied, Invalid, Throttled, Unreachable
from tests.app.migration.disks import MemorySink, MemorySource


def noise(length: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(length)


def digest_of(data: bytes) -> str:
    outer = hashlib.sha256()
    for at in range(0, len(data), PIECE):
        outer.update(hashlib.sha256(data[at : at + PIECE]).digest())
    return f"sha256/{PIECE}:{outer.hexdigest()}"


@pytest.mark.parametrize("parallel", [1, 8])
@pytest.mark.parametrize("size", [0, 1, 511, PIECE, PIECE + 1, 3 * PIECE + 12345])
def test_every_byte_arrives_and_is_hashed(size: int, parallel: int) -> None:
    source = MemorySource(noise(size), parallel=parallel)
    sink = MemorySink(size, parallel=parallel)
    assert Copy(source, sink).run() == digest_of(source.data)
    assert bytes(sink.data) == source.data


def test_one_way_sides_are_read_and_written_in_order() -> None:
    source, sink = MemorySource(noise(9 * PIECE)), MemorySink(9 * PIECE)
    Copy(source, sink).run()
    assert [offset for offset, _ in source.reads] == sorted(offset for offset, _ in source.reads)
    assert [offset for offset, _ in sink.writes] == sorted(offset for offset, _ in sink.writes)


def test_a_mostly_empty_disk_costs_its_data() -> None:
    size = 1 << 40
    holes = [Extent(0, PIECE, False), Extent(PIECE, 8192), Extent(PIECE + 8192, size - PIECE - 8192, False)]
    source = MemorySource(b"", holes)
    source.size = size
    source.read = lambda offset, length: b"\1" * length  # type: ignore[method-assign]

    class Big(MemorySink):
        def write(self, offset: int, data: bytes) -> None:
            self.writes.append((offset, len(data)))

    sink = Big(0)
    sink.size = size
    Copy(source, sink).run()
    assert sum(length for _, length in sink.writes) <= copying.ZERO_GRAIN
    assert sink.writes[0][0] == PIECE


def test_zeros_inside_data_are_not_written() -> None:
    data = noise(PIECE) + bytes(PIECE) + noise(100)
    source, sink = MemorySource(data), MemorySink(len(data))
    assert Copy(source, sink).run() == digest_of(data)
    assert bytes(sink.data) == data
    assert sum(length for _, length in sink.writes) == PIECE + 100


def test_short_reads_are_completed() -> None:
    source, sink = MemorySource(noise(PIECE + 7), most=100_000), MemorySink(PIECE + 7)
    assert Copy(source, sink).run() == digest_of(source.data)
    assert bytes(sink.data) == source.data


def test_a_source_that_ends_early_is_an_error() -> None:
    with pytest.raises(Invalid, match=f"ended early, at byte {PIECE + 5} of {2 * PIECE}"):
        Copy(MemorySource(noise(2 * PIECE), ends_at=PIECE + 5), MemorySink(2 * PIECE)).run()


def test_a_source_that_gives_too_much_is_an_error() -> None:
    source = MemorySource(noise(PIECE))
    source.read = lambda offset, length: bytes(length + 1)  # type: ignore[method-assign]
    with pytest.raises(Invalid, match="where"):
        Copy(source, MemorySink(PIECE)).run()


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("parallel", [1, 4])
def test_a_write_error_at_any_block_ends_the_copy(number: int, parallel: int) -> None:
    source, sink = MemorySource(noise(6 * PIECE), parallel=parallel), MemorySink(6 * PIECE, parallel=parallel)
    sink.fails[number] = Denied("no")
    with pytest.raises(Denied):
        Copy(source, sink).run()


@pytest.mark.parametrize("error", [Unreachable("gone"), Throttled("slow down", retry_after=0.01)])
def test_errors_that_pass_are_tried_again(error: Exception) -> None:
    source, sink = MemorySource(noise(3 * PIECE)), MemorySink(3 * PIECE)
    sink.fails[1] = error
    assert Copy(source, sink).run() == digest_of(source.data)
    assert bytes(sink.data) == source.data


def test_a_smaller_target_is_refused_before_a_byte_is_read() -> None:
    source = MemorySource(noise(PIECE))
    with pytest.raises(Invalid, match="smaller"):
        Copy(source, MemorySink(PIECE - 1)).run()
    assert source.reads == []


@pytest.mark.parametrize(
    "extents",
    [[], [Extent(0, 10)], [Extent(5, 95)], [Extent(0, 60), Extent(50, 50)], [Extent(0, 101)], [Extent(0, 0)]],
)
def test_extents_that_do_not_cover_the_disk_are_refused(extents: list[Extent]) -> None:
    with pytest.raises(Invalid, match="extents"):
        Copy(MemorySource(noise(100), extents), MemorySink(100)).run()


def test_a_resumed_copy_hashes_all_and_writes_the_rest() -> None:
    source, sink = MemorySource(noise(4 * PIECE)), MemorySink(4 * PIECE)
    sink.data[: 2 * PIECE] = source.data[: 2 * PIECE]
    assert Copy(source, sink, resume=2 * PIECE).run() == digest_of(source.data)
    assert bytes(sink.data) == source.data
    assert min(offset for offset, _ in sink.writes) == 2 * PIECE


def test_a_stopped_copy_ends() -> None:
    stop = threading.Event()
    source, sink = MemorySource(noise(8 * PIECE)), MemorySink(8 * PIECE)
    whole = sink.write

    def write(offset: int, data: bytes) -> None:
        whole(offset, data)
        stop.set()

    sink.write = write  # type: ignore[method-assign]
    with pytest.raises(Cancelled):
        Copy(source, sink, stop=stop).run()
    assert len(sink.writes) < 8


def test_what_is_called_safe_was_written_and_flushed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "FLUSH_EVERY_S", 0.0)
    monkeypatch.setattr(copying, "REPORT_EVERY_S", 0.001)
    data = noise(16 * PIECE)
    source, sink = MemorySource(data, parallel=4), MemorySink(len(data), parallel=4)
    seen: list[int] = []

    def safe(offset: int) -> None:
        assert sink.flushed
        assert bytes(sink.data[:offset]) == data[:offset]
        seen.append(offset)

    Copy(source, sink, safe=safe).run()
    assert seen == sorted(seen)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3 * PIECE), st.booleans()), max_size=8))
def test_pieces_are_exactly_the_data(parts: list[tuple[int, bool]]) -> None:
    extents, at = [], 0
    for length, data in parts:
        extents.append(Extent(at, length, data))
        at += length
    found = list(pieces(extents, at))
    assert [piece.order for piece in found] == list(range(len(found)))
    for piece in found:
        assert piece.offset % PIECE == 0
        assert all(piece.offset <= begin and begin + size <= piece.offset + piece.length for begin, size in piece.runs)
    assert sum(size for piece in found for _, size in piece.runs) == sum(size for size, data in parts if data)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([b"\0" * 512, b"\0" * 511 + b"x", b"y" * 512]), max_size=20), st.integers(0, 511))
def test_runs_of_data_leave_only_zeros_out(blocks: list[bytes], rest: int) -> None:
    data = b"".join(blocks) + b"z" * rest
    rebuilt = bytearray(len(data))
    for start, end in runs_of_data(data, 512):
        assert start % 512 == 0
        rebuilt[start:end] = data[start:end]
    assert bytes(rebuilt) == data


def test_one_flipped_bit_changes_the_digest() -> None:
    data = bytearray(noise(2 * PIECE + 5))
    before = Copy(MemorySource(bytes(data)), None).run()
    data[PIECE + 3] ^= 1
    assert Copy(MemorySource(bytes(data)), None).run() != before


def test_a_hole_and_written_zeros_hash_alike() -> None:
    assert Digest(PIECE + 9).text() == Copy(MemorySource(bytes(PIECE + 9)), None).run()


def test_length_hides_what_the_target_added() -> None:
    source = MemorySource(noise(1000) + b"tail", [Extent(0, 700), Extent(700, 304)])
    cut = Length(source, 1000)
    assert Copy(cut, None).run() == digest_of(source.data[:1000])


def test_throttle_waits_for_its_rate() -> None:
    waits: list[float] = []
    source = Throttle(MemorySource(noise(4096)), 1 << 20, waits.append)
    for _ in range(4):
        source.read(0, 1 << 20)
    assert len(waits) == 3
    assert waits[-1] > 2.5
