"""The mover: a process of its own that copies or reads back one disk. Bytes never flow through the window's process.

    python -m app.migration.mover  <  one line of JSON (a Job)  >  lines of JSON (events)

Standard input stays open for as long as the parent lives; when it closes, the mover stops at once and leaves the
sink as it is (the journal knows from where to go on). Secrets come by an inherited file descriptor.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO, cast

from app.migration.copy import Copy
from app.migration.filters import Length, Throttle
from app.migration.wire import decode
from backends import registry
from backends.disks import DiskSink, DiskSource
from backends.driver import Exports, Imports, Settings
from backends.errors import BackendError, Cancelled, Invalid
from backends.model import DiskSpec

STOPPED = 3
LAST_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a mover does: copy `source` to `sink`, or (with `disk_id`) read the written disk back and hash it.

    `secrets` is the number of the inherited descriptor that holds {"source": {...}, "sink": {...}}, -1 for none.
    `resume` is the offset that the journal knows to be safe; `length` the disk's own length in bytes.
    """

    source: DiskSpec | None = None
    source_settings: Mapping[str, str] = field(default_factory=dict)
    sink: DiskSpec
    sink_settings: Mapping[str, str] = field(default_factory=dict)
    disk_id: str = ""
    length: int = 0
    resume: int = 0
    bandwidth_bps: int = 0
    secrets: int = -1


def read_secrets(descriptor: int) -> dict[str, dict[str, str]]:
    """What the parent wrote into the pipe; it is closed afterwards."""
    if descriptor < 0:
        return {}
    with os.fdopen(descriptor, "r", encoding="utf-8") as pipe:
        return cast(dict[str, dict[str, str]], json.load(pipe))


class Mover:
    """Does one Job; `tell(event)` goes to the parent."""

    def __init__(self, job: Job, tell: Callable[[Mapping[str, Any]], None], stop: threading.Event) -> None:
        self._job = job
        self._tell = tell
        self._stop = stop
        secrets = read_secrets(job.secrets)
        self._source_settings = Settings(job.source_settings, secrets.get("source", {}))
        self._sink_settings = Settings(job.sink_settings, secrets.get("sink", {}))

    def run(self) -> dict[str, Any]:
        """The final event. Raises what source and sink raise."""
        if self._job.disk_id:
            return self._read_back()
        return self._copy()

    def _copy(self) -> dict[str, Any]:
        job = self._job
        if job.source is None:
            raise Invalid("a copy needs a source")
        exporter = cast(type[Exports], registry.load(job.source.backend))
        importer = cast(type[Imports], registry.load(job.sink.backend))
        source: DiskSource = exporter.open_source(job.source, self._source_settings)
        try:
            sink: DiskSink = importer.open_sink(job.sink, self._sink_settings)
            resume = sink.resume_at(job.resume) if job.resume else 0
            if resume:
                self._tell({"event": "note", "text": f"goes on at byte {resume}"})
            filtered = Throttle(source, job.bandwidth_bps, self._stop.wait) if job.bandwidth_bps else source
            digest = self._run(filtered, sink, resume)
            ident = sink.commit()
        finally:
            source.close()
        return {"event": "done", "id": ident, "digest": digest, "size": source.size}

    def _read_back(self) -> dict[str, Any]:
        importer = cast(type[Imports], registry.load(self._job.sink.backend))
        written = importer.read_back(self._job.sink, self._job.disk_id, self._sink_settings)
        try:
            if written.size < self._job.length:
                raise Invalid(f"the written disk has {written.size} bytes, {self._job.length} were sent")
            digest = self._run(Length(written, self._job.length), None, 0)
        finally:
            written.close()
        return {"event": "done", "digest": digest}

    def _run(self, source: DiskSource, sink: DiskSink | None, resume: int) -> str:
        def report(done: int, total: int) -> None:
            self._tell({"event": "progress", "done": done, "total": total})

        def safe(offset: int) -> None:
            self._tell({"event": "safe", "offset": offset})

        return Copy(source, sink, resume=resume, stop=self._stop, report=report, safe=safe).run()


def _await_end(stop: threading.Event) -> None:
    """Ends the process when the parent is gone (or closes our standard input)."""
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    stop.set()
    threading.Event().wait(LAST_SECONDS)
    os._exit(STOPPED)


def _first_line() -> bytes:
    """The job, read byte by byte: what follows it is the parent's sign of life, not ours to buffer."""
    line = bytearray()
    while not line.endswith(b"\n"):
        more = os.read(0, 1)
        if not more:
            break
        line += more
    return bytes(line)


def _failure(error: BaseException) -> dict[str, Any]:
    if isinstance(error, BackendError):
        return {"event": "error", "type": type(error).__name__, "message": error.message, "cure": error.cure}
    return {"event": "error", "type": "", "message": f"{type(error).__name__}: {error}", "cure": ""}


def main() -> int:
    """Read the job, do it, say how it ended. 0: done, 1: failed, 3: stopped by the parent."""
    out: TextIO = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    lock = threading.Lock()
    stop = threading.Event()

    def tell(event: Mapping[str, Any]) -> None:
        try:
            with lock:
                out.write(json.dumps(event) + "\n")
                out.flush()
        except OSError:
            stop.set()

    try:
        job = decode(Job, json.loads(_first_line()))
        threading.Thread(target=_await_end, args=(stop,), name="parent", daemon=True).start()
        tell(Mover(job, tell, stop).run())
    except Cancelled:
        return STOPPED
    except Exception as error:
        tell(_failure(error))
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
