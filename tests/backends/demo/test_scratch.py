"""Temporary folders of demos: the next one removes what a killed one left, and nothing that is in use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from backends.demo.scratch import PREFIX, UNMARKED_S, Scratch

CHILD = "import sys, backends.demo.scratch as s; made = s.Scratch(); print(made.path, flush=True); sys.stdin.read()"


def test_what_a_killed_demo_left_goes_with_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    environment = {**os.environ, "TMPDIR": str(tmp_path), "TEMP": str(tmp_path)}
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert child.stdout is not None and child.stdin is not None
    left = Path(child.stdout.readline().strip())
    (left / "disks").mkdir()
    mine = Scratch()
    stranger, old = tmp_path / f"{PREFIX}making", tmp_path / f"{PREFIX}old"
    stranger.mkdir()
    old.mkdir()
    os.utime(old, (0, UNMARKED_S))
    Scratch().close()
    assert {left, mine.path, stranger} == set(tmp_path.iterdir()), "in use, or just being made"
    child.send_signal(signal.SIGKILL)
    child.wait(10)
    child.stdin.close()
    child.stdout.close()
    other = Scratch()
    assert set(tmp_path.iterdir()) == {mine.path, other.path, stranger}
    other.close()
    mine.close()
    assert set(tmp_path.iterdir()) == {stranger}
