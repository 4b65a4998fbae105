"""The mover as a process: it goes on where it was, stops when it is told to, and keeps secrets out of sight."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.migration.courier import Courier
from app.migration.job import Job
from backends.errors import NotFound
from backends.model import DiskSpec

SIZE = 24 << 20
CANARY = "canary-4711"


def job(folder: Path, **more: Any) -> Job:
    def spec(name: str) -> DiskSpec:
        return DiskSpec(backend="demo", target="vda", size_bytes=SIZE, args={"path": str(folder / name)})

    return Job(source=spec("source.img"), sink=spec("sink.img"), **more)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "source.img").write_bytes(os.urandom(SIZE))
    return tmp_path


async def test_it_goes_on_where_the_journal_says(folder: Path) -> None:
    (folder / "sink.img.partial").write_bytes((folder / "source.img").read_bytes()[: SIZE // 2])
    events: list[Mapping[str, Any]] = []
    done = await Courier().carry(job(folder, resume=SIZE // 2), {}, events.append)
    assert any(event.get("text") == f"goes on at byte {SIZE // 2}" for event in events)
    assert (folder / "sink.img").read_bytes() == (folder / "source.img").read_bytes()
    again = await Courier().carry(Job(sink=job(folder).sink, disk_id=str(done["id"]), length=SIZE), {}, events.append)
    assert again["digest"] == done["digest"]


async def test_a_cancelled_copy_has_no_process_left_and_what_it_wrote_stays(folder: Path) -> None:
    started = asyncio.Event()
    work = asyncio.create_task(Courier().carry(job(folder, bandwidth_bps=2 << 20), {}, lambda event: started.set()))
    await started.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    children = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    assert [child for child in children if "app.migration.mover" in child.cmdline()] == []
    assert (folder / "sink.img.partial").exists()


async def test_its_errors_are_ours(folder: Path) -> None:
    (folder / "source.img").unlink()
    with pytest.raises(NotFound, match=r"source\.img is gone"):
        await Courier().carry(job(folder), {}, lambda event: None)


async def test_secrets_are_on_no_command_line(folder: Path) -> None:
    lines: list[list[str]] = []

    def look(event: Mapping[str, Any]) -> None:
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                lines.append(child.cmdline())

    secrets = {"source.password": CANARY, "sink.password": CANARY}
    await Courier().carry(job(folder, bandwidth_bps=20 << 20), secrets, look)
    assert lines
    assert CANARY not in str(lines)
