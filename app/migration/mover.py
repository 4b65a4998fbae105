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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO, cast

from app.migration.copy import Copy
from app.migration.filters import Length, Throttle
from app.migration.handover import Handover, command
from app.migration.job import Job
from app.secrets import read_secrets
from app.store.codec import decode
from backends import registry
from backends.disks import DiskSink, DiskSource
from backends.driver import Exports, Imports, Settings
from backends.errors import BackendError, Cancelled, Invalid
from backends.model import DiskSpec

STOPPED = 3
LAST_SECONDS = 5.0


def _settings(values: Mapping[str, str], side: str, secrets: Mapping[str, str]) -> Settings:
    """One side's settings; the secrets of both come in one pipe, named `side.name`."""
    own = {name.removeprefix(f"{side}."): value for name, value in secrets.items() if name.startswith(f"{side}.")}
    return Settings(values, own)


class Mover:
    """Does one Job; `tell(event)` goes to the parent."""

    def __init__(self, job: Job, tell: Callable[[Mapping[str, Any]], None], stop: threading.Event) -> None:
        self._job = job
        self._tell = tell
        self._stop = stop
        secrets = read_secrets(job.secrets) if job.secrets >= 0 else {}
        self._source_settings = _settings(job.source_settings, "source", secrets)
        self._sink_settings = _settings(job.sink_settings, "sink", secrets)

    def run(self) -> dict[str, Any]:
        """The final event. Raises what source and sink raise."""
        job = self._job
        if job.sink is not None and job.disk_id:
            return self._read_back(job.sink)
        if job.source is None:
            raise Invalid("a copy needs a source")
        exporter = cast(type[Exports], registry.load(job.source.backend))
        source: DiskSource = exporter.open_source(job.source, self._source_settings)
        try:
            if job.sink is None:
                return {"event": "done", "digest": self._run(source, None, 0)}
            return self._copy(source, job.sink)
        finally:
            source.close()

    def _copy(self, source: DiskSource, spec: DiskSpec) -> dict[str, Any]:
        job = self._job
        importer = cast(type[Imports], registry.load(spec.backend))
        sink: DiskSink = importer.open_sink(spec, self._sink_settings)
        self._tell({"event": "begun"})
        resume = sink.resume_at(job.resume)
        if resume:
            self._tell({"event": "note", "text": f"goes on at byte {resume}"})
        filtered = Throttle(source, job.bandwidth_bps, self._stop.wait) if job.bandwidth_bps else source
        words = () if resume else command(filtered.handle(), sink.handle())
        digest = self._hand_over(words, source, sink) if words else self._run(filtered, sink, resume)
        return {"event": "done", "id": sink.commit(), "digest": digest, "size": source.size}

    def _hand_over(self, words: Sequence[str], source: DiskSource, sink: DiskSink) -> str:
        """A tool copies. What it read is hashed after it: beside it, that would take the processor from the copy."""
        total = sum(extent.length for extent in source.extents() if extent.data)

        def share(part: float) -> None:
            self._tell({"event": "progress", "done": round(part * total), "total": total})

        def look() -> None:
            """qemu-img does not tell: what its file takes on the disk does."""
            if handle is not None and handle.path:
                written = getattr(Path(handle.path).stat(), "st_blocks", 0) * 512
                self._tell({"event": "progress", "done": min(written, total), "total": total})

        handle = sink.handle()
        Handover(words, share).wait(self._stop, look)
        sink.flush()
        self._tell({"event": "copied"})
        return Copy(source, None, stop=self._stop).run()

    def _read_back(self, spec: DiskSpec) -> dict[str, Any]:
        importer = cast(type[Imports], registry.load(spec.backend))
        written = importer.read_back(spec, self._job.disk_id, self._sink_settings)
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
    finally:
        with contextlib.suppress(OSError):
            out.close()
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
