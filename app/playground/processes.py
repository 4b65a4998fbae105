"""The playground's processes, found by a mark in their environment: no list that a crash could leave wrong."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from app.playground.errors import PlaygroundError

MARK = "CAUSEWAY_PLAYGROUND"
PROC = Path("/proc")


def marked(mark: str, *, anyone: bool = False) -> list[int]:
    """Process ids of the processes whose mark is `mark` or lies below it ("KEY" finds "KEY/kvm-a").

    Root's only, unless `anyone`: another user may write any mark, and we enter the namespaces of what we find.
    """
    found = []
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if entry.stat().st_uid and not anyone:
                continue
            for item in (entry / "environ").read_bytes().split(b"\0"):
                name, _, value = item.decode(errors="replace").partition("=")
                if name == MARK and f"{value}/".startswith(f"{mark}/") and not _ended(entry):
                    found.append(int(entry.name))
    return found


def first(mark: str) -> int | None:
    """Process 1 of the pid namespace with this mark, as the machine numbers it; None where it does not run."""
    for pid in marked(mark):
        with contextlib.suppress(OSError):
            numbers = _status(pid, "NSpid")
            if len(numbers) > 1 and numbers[-1] == "1":
                return pid
    return None


def namespace(pid: int, kind: str) -> str:
    """The kernel's name of a process's namespace; "" where the process is gone."""
    try:
        return str((PROC / str(pid) / "ns" / kind).readlink())
    except OSError:
        return ""


def inside(pid: int) -> Iterator[tuple[int, list[str]]]:
    """Process id and command line of everything in the same pid namespace as `pid`."""
    space = namespace(pid, "pid")
    for entry in PROC.iterdir():
        if entry.name.isdigit() and space and namespace(int(entry.name), "pid") == space:
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
                if words[0] and not _ended(entry):
                    yield int(entry.name), words


def end(mark: str, seconds: float = 20.0) -> None:
    """Kill everything with this mark, and with it every pid namespace that such a process is the first of.

    The cloud runs as the playground's owner, so it may be anyone's. Only two empty looks in a row count: a process
    has no environment while it becomes another program.

    Raises:
        PlaygroundError: something is still there after `seconds`.
    """
    deadline = time.monotonic() + seconds
    quiet = 0
    while quiet < 2:
        pids = [pid for pid in marked(mark, anyone=True) if pid != os.getpid()]
        quiet = 0 if pids else quiet + 1
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if pids and time.monotonic() > deadline:
            raise PlaygroundError(f"Processes {pids} of the playground do not end", "restart the machine")
        time.sleep(0.02)


def _status(pid: int, field: str) -> list[str]:
    for line in (PROC / str(pid) / "status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return line.split()[1:]
    return []


def _ended(entry: Path) -> bool:
    return _status(int(entry.name), "State")[:1] in (["Z"], ["X"])
