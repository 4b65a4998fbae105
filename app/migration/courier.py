"""Starts movers and listens to them: the parent's side of a copy."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import IO, Any

from app.migration.job import Job
from app.migration.shield import uninterrupted
from app.redaction import redact
from app.secrets import pipe_secrets
from app.store import codec
from backends import errors
from backends.errors import BackendError, Invalid

MOVER = (sys.executable, "-m", "app.migration.mover")
GRACE_S = 8.0
LONGEST_LINE = 65_536
WORDS_KEPT = 2000

Event = Mapping[str, Any]


class Courier:
    """Runs one mover at a time per call. `command` is what is started (tests put something else there)."""

    def __init__(self, command: Sequence[str] = MOVER) -> None:
        self._command = tuple(command)

    async def carry(self, job: Job, secrets: Mapping[str, str], tell: Callable[[Event], None]) -> Event:
        """Run `job` in a mover; its events go to `tell`, on the loop. Returns the last one ("done").

        Cancelling stops the mover and waits for its end; what it wrote stays. Raises what the mover met.
        """
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[Event | BackendError | None] = asyncio.Queue()
        with tempfile.TemporaryFile() as words:
            process = await asyncio.to_thread(self._start, job, secrets, words)

            def listen() -> None:
                assert process.stdout is not None
                # Closed as soon as nobody reads on: a process that goes on talking ends by that.
                with process.stdout, contextlib.suppress(RuntimeError):
                    for item in _events(process):
                        loop.call_soon_threadsafe(events.put_nowait, item)
                    loop.call_soon_threadsafe(events.put_nowait, None)

            listener = threading.Thread(target=listen, name="courier", daemon=True)
            listener.start()
            try:
                final = await self._follow(events, tell)
            finally:
                await uninterrupted(asyncio.to_thread(_end, process, listener))
            if final is not None:
                return final
            raise BackendError(
                f"the copy's process ended unexpectedly (exit code {process.returncode}){_tail(words)}",
                cure="try again: it goes on where it was",
            )

    def _start(self, job: Job, secrets: Mapping[str, str], words: IO[bytes]) -> subprocess.Popen[bytes]:
        descriptor = pipe_secrets(dict(secrets)) if secrets else -1
        inherited: dict[str, Any] = {"pass_fds": (descriptor,) if secrets else ()}
        if sys.platform == "win32":
            inherited = {"close_fds": not secrets}
        try:
            process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words, **inherited
            )
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        assert process.stdin is not None
        line = codec.dumps(codec.encode(replace(job, secrets=descriptor))).encode() + b"\n"
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(line)
            process.stdin.flush()
        return process

    async def _follow(
        self, events: asyncio.Queue[Event | BackendError | None], tell: Callable[[Event], None]
    ) -> Event | None:
        while (event := await events.get()) is not None:
            if isinstance(event, BackendError):
                raise event
            if event["event"] == "done":
                return event
            if event["event"] == "error":
                raise _error(event)
            tell(event)
        return None


def _events(process: subprocess.Popen[bytes]) -> Any:
    """What the mover says, line by line; anything that is no event ends it."""
    assert process.stdout is not None
    while line := process.stdout.readline(LONGEST_LINE):
        try:
            event = json.loads(line)
            if not isinstance(event, dict) or not isinstance(event.get("event"), str):
                raise ValueError("no event")
        except ValueError:
            yield Invalid("the copy's process gave an answer that makes no sense", cure="try again")
            return
        yield event


def _error(event: Event) -> BackendError:
    """The mover's error as one of ours."""
    found = getattr(errors, str(event.get("type") or ""), None)
    cls: type[BackendError] = found if isinstance(found, type) and issubclass(found, BackendError) else BackendError
    return cls(redact(str(event.get("message", "the copy failed"))), cure=str(event.get("cure", "")))


def _end(process: subprocess.Popen[bytes], listener: threading.Thread) -> None:
    """Close its standard input, wait, and kill it if it does not end. Blocking."""
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    listener.join(GRACE_S)


def _tail(words: IO[bytes]) -> str:
    """The last words of the process, without secrets."""
    size = words.seek(0, os.SEEK_END)
    words.seek(max(0, size - WORDS_KEPT))
    lines = words.read().decode("utf-8", "replace").strip().splitlines()
    return f": {redact(lines[-1])}" if lines else ""
