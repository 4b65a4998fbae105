"""Keeps the machine from going to sleep while a task runs."""

from __future__ import annotations

import contextlib
import logging
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from app.tasks import Task, Tasks

log = logging.getLogger(__name__)
ES_CONTINUOUS = 0x80000000
ES_SYSTEM_REQUIRED = 0x00000001


class Awake:
    """Holds the system's inhibitor from the first running task to the last. Silent where there is none."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._child: subprocess.Popen[bytes] | None = None
        self._held = False
        self._stop = tasks.subscribe(self._on_task)

    def close(self) -> None:
        self._stop()
        self._release()

    def _on_task(self, task: Task) -> None:
        wanted = task.active or any(other.active for other in self._tasks.all())
        if wanted and not self._held:
            self._hold()
        elif not wanted and self._held:
            self._release()

    def _hold(self) -> None:
        self._held = True
        if sys.platform == "win32":
            _execution_state(ES_CONTINUOUS | ES_SYSTEM_REQUIRED)
            return
        if (program := shutil.which("systemd-inhibit")) is None or not _has_logind():
            return
        # The child waits on its standard input: it ends when we let go of it, and also when we are killed.
        command = [program, "--what=sleep:idle", "--who=Causeway", "--why=a task is running", "--mode=block", "cat"]
        with contextlib.suppress(OSError):
            self._child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )

    def _release(self) -> None:
        self._held = False
        if sys.platform == "win32":
            _execution_state(ES_CONTINUOUS)
            return
        child, self._child = self._child, None
        if child is None:
            return
        if child.stdin is not None:
            with contextlib.suppress(OSError):
                child.stdin.close()
        threading.Thread(target=child.wait, name="awake", daemon=True).start()


def _has_logind() -> bool:
    return Path("/run/systemd/seats").is_dir()


def _execution_state(flags: int) -> None:
    import ctypes

    with contextlib.suppress(AttributeError, OSError):
        ctypes.windll.kernel32.SetThreadExecutionState(flags)  # type: ignore[attr-defined, unused-ignore]
