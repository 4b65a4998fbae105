"""Programs that the playground runs, and waiting for what they do."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from app.playground import processes
from app.playground.errors import PlaygroundError

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def call(*words: str, timeout: float = 60.0) -> str:
    """Run a program and return what it says.

    Raises:
        PlaygroundError: it failed; says which and why.
    """
    environment = {"PATH": PATH, "LC_ALL": "C", "HOME": "/root"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=timeout, check=False)
    if done.returncode:
        raise PlaygroundError(f"`{' '.join(words)}` failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def launch(mark: str, log: Path, *words: str) -> None:
    """Start a program that outlives us, with our mark on it."""
    environment = {"PATH": PATH, "LC_ALL": "C", "HOME": "/root", processes.MARK: mark}
    with log.open("ab") as out:
        subprocess.run(
            ["setsid", "--fork", *words],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd="/",
            env=environment,
            check=True,
        )


def wait(done: Callable[[], bool], failure: str, log: Path, seconds: float = 60.0) -> None:
    """Poll until `done`.

    Raises:
        PlaygroundError: not within `seconds`; carries the end of `log`.
    """
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise PlaygroundError(f"{failure[0].upper()}{failure[1:]}: {tail(log)}".rstrip(": "))
        time.sleep(0.03)


def tail(log: Path) -> str:
    """The end of a log, for an error message."""
    return log.read_text(encoding="utf-8", errors="replace").strip()[-1500:] if log.exists() else ""
