"""Data folders with demo connections, and a process that owns one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.cli.shell import OWNER, ROOT, Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def pair(shell: Shell) -> Shell:
    """Two connections: `a` with five VMs, `b` with three."""
    shell.connect(a={"vms": "5", "move_seconds": "3"}, b={"vms": "3", "move_seconds": "3"})
    return shell


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A connection `a` that no test changes."""
    shell = Shell(tmp_path_factory.mktemp("fixed"))
    shell.connect(a={"vms": "5"})
    return shell


@pytest.fixture
def owner(pair: Shell) -> Iterator[subprocess.Popen[str]]:
    """A process that owns the data folder, as a window does."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(pair.home)],
        cwd=ROOT,
        env=pair.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    if not process.stdin.closed:
        process.stdin.close()
    process.wait(30)
    process.stdout.close()
