"""The one thread that writes, and the few that read: SQLite never runs on the loop."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from backends.errors import Cancelled

T = TypeVar("T")
Write = Callable[[sqlite3.Connection], T]
BATCH_SECONDS = 0.05
"""After so long a batch is committed, that an urgent write need not wait for long."""


class _Job(Generic[T]):
    """A write that somebody awaits; its answer is given on the loop that asked."""

    __slots__ = ("_future", "_loop", "error", "result", "work")

    def __init__(self, work: Write[T]) -> None:
        self.work = work
        self.result: T | None = None
        self.error: Exception | None = None
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[T] = self._loop.create_future()

    async def wait(self) -> T:
        # Shielded: who stops waiting does not undo what is being written.
        return await asyncio.shield(self._future)

    def answer(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._settle)
        except RuntimeError:
            return  # The loop has ended; the write itself is done.

    def _settle(self) -> None:
        if self._future.cancelled():
            return
        if self.error is None:
            self._future.set_result(self.result)  # type: ignore[arg-type]
        else:
            self._future.set_exception(self.error)
            self._future.exception()  # Retrieved: a write that nobody waits for any more is not an unhandled error.


class Writer:
    """One thread, two queues. Ordinary writes are batched into a transaction; urgent ones go first, each by
    itself on the durable connection. An await resolves after the commit; a failed write undoes only itself.

    Parameters: `ordinary` and `durable` open connections with explicit transactions, used by this thread only.
    """

    def __init__(self, ordinary: sqlite3.Connection, durable: sqlite3.Connection) -> None:
        self._ordinary = ordinary
        self._durable = durable
        self._jobs: deque[_Job[Any]] = deque()
        self._urgent: deque[_Job[Any]] = deque()
        self._wake = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    async def write(self, work: Write[T], *, urgent: bool = False) -> T:
        """Run `work(connection)` in the writer's thread; returns its result after the commit. Raises what it
        raises, sqlite3.Error where the commit fails, Cancelled after close()."""
        job = _Job(work)
        with self._wake:
            if self._closed:
                raise Cancelled("the store is closed")
            (self._urgent if urgent else self._jobs).append(job)
            self._wake.notify()
        return await job.wait()

    async def close(self) -> None:
        """Write what is queued, then end the thread and close both connections. Idempotent."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    def _run(self) -> None:
        try:
            while True:
                with self._wake:
                    while not (self._urgent or self._jobs or self._closed):
                        self._wake.wait()
                    if not (self._urgent or self._jobs):
                        return
                    urgent = self._urgent.popleft() if self._urgent else None
                if urgent is not None:
                    _commit(self._durable, [urgent], lambda: False)
                    urgent.answer()
                else:
                    for job in _commit(self._ordinary, self._jobs, lambda: bool(self._urgent)):
                        job.answer()
        finally:
            self._ordinary.close()
            self._durable.close()


def _commit(conn: sqlite3.Connection, jobs: Any, stop: Callable[[], bool]) -> list[_Job[Any]]:
    """Run jobs from the front in one transaction until none is left, time is over or `stop`; returns them."""
    done: list[_Job[Any]] = []
    pending = jobs if isinstance(jobs, deque) else deque(jobs)
    try:
        conn.execute("BEGIN IMMEDIATE")
        ends = time.monotonic() + BATCH_SECONDS
        while pending and not (done and (stop() or time.monotonic() > ends)):
            job = pending.popleft()
            done.append(job)
            conn.execute("SAVEPOINT job")
            try:
                job.result = job.work(conn)
            except Exception as error:
                job.error = error
                if not conn.in_transaction:
                    raise
                conn.execute("ROLLBACK TO job")
            conn.execute("RELEASE job")
        conn.execute("COMMIT")
    except Exception as error:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        if not done:
            done.append(pending.popleft())
        for job in done:
            job.error = job.error or error
    return done


class Readers:
    """A few threads, each read on its own connection, so that a long read does not hold up a short one.

    Parameters: `connect` opens a read-only connection, in the reading thread; `size` reads at most at once.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], size: int = 2) -> None:
        self._connect = connect
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="store-reader")
        self._idle: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work(connection)` off the loop and return its result."""
        try:
            reading = asyncio.get_running_loop().run_in_executor(self._threads, self._read, work)
        except RuntimeError as error:
            raise Cancelled("the store is closed") from error
        return await reading

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            conn = self._idle.get_nowait()
        except queue.Empty:
            conn = self._connect()
        try:
            return work(conn)
        finally:
            self._idle.put(conn)

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)
        while not self._idle.empty():
            self._idle.get_nowait().close()
