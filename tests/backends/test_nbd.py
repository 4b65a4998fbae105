"""The NBD client against the real qemu-nbd."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backends.disks import DiskSink, DiskSource
from backends.errors import NotFound, QuotaExceeded, Unreachable
from backends.nbd import NbdConnection, NbdSink, NbdSource, unix_uri

MIB = 1 << 20
Serve = Callable[[Path, str], str]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    running = []

    def start(path: Path, kind: str) -> str:
        sock = tmp_path / f"{len(running)}.sock"
        command = ["qemu-nbd", "-t", "-e", "4", "-k", str(sock), "-f", kind, "-x", "disk", "--discard=unmap", str(path)]
        running.append(subprocess.Popen(command))
        deadline = time.monotonic() + 30
        while not sock.exists():
            assert time.monotonic() < deadline and running[-1].poll() is None
            time.sleep(0.02)
        return unix_uri(str(sock), "disk")

    yield start
    for process in running:
        process.terminate()
        process.wait(20)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """16 MiB with data at 1, and at 8 to 10 MiB."""
    path = tmp_path / "disk.raw"
    with path.open("wb") as file:
        file.truncate(16 * MIB)
        file.seek(MIB)
        file.write(os.urandom(MIB))
        file.seek(8 * MIB)
        file.write(os.urandom(2 * MIB))
    return path


def test_reads_only_what_is_there(serve: Serve, disk: Path) -> None:
    source = NbdSource(serve(disk, "raw"))
    assert isinstance(source, DiskSource) and source.size == 16 * MIB
    extents = list(source.extents())
    assert [(e.offset // MIB, e.length // MIB) for e in extents if e.data] == [(1, 1), (8, 2)]
    assert sum(e.length for e in extents) == source.size
    with ThreadPoolExecutor(8) as pool:
        parts = pool.map(lambda at: source.read(at, MIB), range(0, source.size, MIB))
        assert b"".join(parts) == disk.read_bytes()
    source.close()


def test_writes_from_several_threads(serve: Serve, disk: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", copy, "16M"], check=True)
    uri = serve(copy, "qcow2")
    sink, data = NbdSink(uri, 16 * MIB), disk.read_bytes()
    assert isinstance(sink, DiskSink)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda at: sink.write(at, data[at : at + MIB]), range(0, 16 * MIB, MIB)))
    sink.zero(8 * MIB, MIB)
    assert sink.commit() == uri
    source = NbdSource(uri)
    assert source.read(0, 16 * MIB) == data[: 8 * MIB] + bytes(MIB) + data[9 * MIB :]
    source.close()


def test_a_disk_too_small_is_refused(serve: Serve, disk: Path) -> None:
    with pytest.raises(QuotaExceeded):
        NbdSink(serve(disk, "raw"), 17 * MIB)


def test_an_unknown_export_is_not_found(serve: Serve, disk: Path) -> None:
    with pytest.raises(NotFound):
        NbdConnection(serve(disk, "raw").replace("/disk?", "/other?"))


def test_nobody_there_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(Unreachable):
        NbdConnection(unix_uri(str(tmp_path / "none.sock")))


def test_a_server_that_dies_is_unreachable(disk: Path, tmp_path: Path) -> None:
    sock = tmp_path / "die.sock"
    process = subprocess.Popen(["qemu-nbd", "-t", "-k", str(sock), "-f", "raw", str(disk)])
    deadline = time.monotonic() + 30
    while not sock.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    connection = NbdConnection(unix_uri(str(sock)))
    process.kill()
    process.wait(20)
    with pytest.raises(Unreachable):
        connection.read(0, MIB)
    connection.close()
