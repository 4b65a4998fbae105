"""What runs beside the loop: blocking SDK calls in a small pool of threads, and loops in threads of their own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from backends.errors import Cancelled, OutcomeUnknown, Unreachable

T = TypeVar("T")
Job = tuple[Callable[[], Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


class LoopThread:
    """An asyncio loop in a daemon thread that starts at its first use and lives as long as the process."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: set[concurrent.futures.Future[Any]] = set()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name=self._name, daemon=True).start()
            return self._loop

    def start(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run `work` there, for a caller in any thread."""
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        # A loop keeps no reference to what waits in it: the collector would take it in the middle of its work.
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        return future

    def submit(self, work: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        """Run `work` there and await it on the caller's loop."""
        return asyncio.wrap_future(self.start(work))

    def wait(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """The same for a caller without a loop. TimeoutError after `seconds`."""
        return self.start(work).result(seconds)


class Pool:
    """Runs blocking functions in daemon threads.

    A call that passes its deadline raises Unreachable, or OutcomeUnknown where it changes something; its
    thread stays with the stuck call and a fresh one takes its place, so one dead server never starves the rest.

    Parameters: `name` for the threads; `size` threads at most at work; `deadline` seconds for a call;
    `on_deadline` is called from the loop when a call passes it (cut the socket there).
    """

    def __init__(
        self, name: str, size: int = 4, deadline: float = 30.0, on_deadline: Callable[[], None] | None = None
    ) -> None:
        self.name = name
        self.deadline = deadline
        self._size = size
        self._on_deadline = on_deadline
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._threads = 0
        self._idle = 0
        self._lock = threading.Lock()
        self._closed = False

    async def call(
        self, function: Callable[[], T], *, deadline: float | None = None, changes: bool = False, what: str = ""
    ) -> T:
        """Run `function` in a thread and await its result.

        Raises whatever it raises; Unreachable or OutcomeUnknown past the deadline; Cancelled after close().
        """
        if self._closed:
            raise Cancelled(f"{self.name} is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._lock:
            self._jobs.put((function, loop, future))
            if self._idle < self._jobs.qsize() and self._threads < self._size:
                self._spawn()
        seconds = self.deadline if deadline is None else deadline
        try:
            return await asyncio.wait_for(future, seconds)
        except TimeoutError:
            with self._lock:
                self._size += 1
            if self._on_deadline is not None:
                self._on_deadline()
            error = OutcomeUnknown if changes else Unreachable
            raise error(f"{what or self.name}: no answer within {seconds:g} s") from None

    def close(self) -> None:
        """Let the threads end after what they are doing; later calls raise Cancelled. Idempotent."""
        with self._lock:
            self._closed = True
            for _ in range(self._threads):
                self._jobs.put(None)

    def _spawn(self) -> None:
        self._threads += 1
        threading.Thread(target=self._work, name=f"{self.name}-{self._threads}", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            job = self._jobs.get()
            with self._lock:
                self._idle -= 1
            if job is None:
                with self._lock:
                    self._threads -= 1
                return
            function, loop, future = job
            if future.cancelled():
                continue
            result: Any = None
            error: BaseException | None = None
            try:
                result = function()
            except BaseException as caught:
                error = caught
            try:
                loop.call_soon_threadsafe(_deliver, future, result, error)
            except RuntimeError:
                return
            del function, future, result, error, job


def _deliver(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
