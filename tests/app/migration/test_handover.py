"""Copies by qemu-img and nbdcopy: the same bytes, watched, stopped, and their failures in words."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from app.migration.copy import Copy
from app.migration.courier import Courier
from app.migration.handover import Handover, command
from app.migration.job import Job
from backends.disks import DiskSource, Handle
from backends.errors import BackendError, Cancelled
from backends.files import FileSource
from backends.model import DiskSpec
from backends.nbd import NbdSource, unix_uri

MIB = 1 << 20


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.img"
    with path.open("wb") as file:
        file.truncate(32 * MIB)
        for at in (MIB, 20 * MIB):
            file.seek(at)
            file.write(os.urandom(3 * MIB))
    return path


def spec(path: Path) -> DiskSpec:
    return DiskSpec(backend="demo", target="vda", size_bytes=32 * MIB, args={"path": str(path)})


def carry(job: Job, events: list[Any]) -> Any:
    return asyncio.run(Courier().carry(job, {}, events.append))


def digest(source: DiskSource) -> str:
    try:
        return Copy(source, None).run()
    finally:
        source.close()


def test_a_mover_hands_over_and_its_hash_is_that_of_the_bytes(tmp_path: Path, source: Path) -> None:
    events: list[Any] = []
    sink = tmp_path / "sink.img"
    done = carry(Job(source=spec(source), sink=spec(sink)), events)
    assert [event["event"] for event in events if event["event"] != "progress"] == ["begun", "copied"]
    assert sink.read_bytes() == source.read_bytes()
    assert done["digest"] == digest(FileSource(source))
    assert sink.stat().st_blocks * 512 < 16 * MIB


def test_what_holds_bytes_already_is_not_handed_over(tmp_path: Path, source: Path) -> None:
    events: list[Any] = []
    sink = tmp_path / "sink.img"
    sink.with_name("sink.img.partial").write_bytes(source.read_bytes()[: 2 * MIB])
    carry(Job(source=spec(source), sink=spec(sink), resume=2 * MIB), events)
    assert "copied" not in {event["event"] for event in events}
    assert sink.read_bytes() == source.read_bytes()


def test_nbdcopy_to_a_server(tmp_path: Path, source: Path) -> None:
    served, sock = tmp_path / "served.img", tmp_path / "nbd.sock"
    with served.open("wb") as file:
        file.truncate(32 * MIB)
    server = subprocess.Popen(["qemu-nbd", "-t", "-e", "8", "-k", str(sock), "-f", "raw", "-x", "disk", str(served)])
    try:
        deadline = time.monotonic() + 30
        while not sock.exists():
            assert time.monotonic() < deadline and server.poll() is None
            time.sleep(0.02)
        uri = unix_uri(str(sock), "disk")
        words = command(Handle(path=str(source)), Handle(nbd=uri, empty=True))
        assert words[0] == "nbdcopy"
        shares: list[float] = []
        Handover(words, shares.append).wait(threading.Event())
        assert shares[-1] == 1.0
        assert digest(NbdSource(uri)) == digest(FileSource(source))
    finally:
        server.terminate()
        server.wait(20)


@pytest.mark.parametrize(
    ("source", "sink"),
    [
        (Handle(nbd="nbd://a/b"), Handle(path="/b", empty=True)),
        (Handle(path="/a"), Handle(path="/b")),
        (Handle(path="/a", format="qcow2"), Handle(path="/b", empty=True)),
        (None, Handle(path="/b", empty=True)),
        (Handle(path="/a"), None),
    ],
)
def test_what_no_tool_is_asked_for(source: Handle | None, sink: Handle | None) -> None:
    assert command(source, sink) == ()


def test_a_tool_that_fails_says_why(tmp_path: Path) -> None:
    words = command(Handle(path=str(tmp_path / "none.img")), Handle(path=str(tmp_path / "sink.img"), empty=True))
    with pytest.raises(BackendError, match=r"qemu-img: .*No such file"):
        Handover(words, lambda part: None).wait(threading.Event())


def test_a_tool_is_stopped() -> None:
    stop = threading.Event()
    tool = Handover(
        (sys.executable, "-c", "import time; print('50/100', flush=True); time.sleep(600)"), lambda _: stop.set()
    )
    with pytest.raises(Cancelled):
        tool.wait(stop)
