"""One daemon thread with a plain asyncio loop: all I/O and decoding of consoles, beside the window's loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from backends.errors import Cancelled

P = ParamSpec("P")
T = TypeVar("T")
CLOSE_S = 3.0
LEAVE_S = 1.0


class ConsoleLoop:
    """The console loop. Its thread starts with the first piece of work and ends with `close`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._running: set[concurrent.futures.Future[Any]] = set()
        self._closed = False

    def run(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run `work` there; from any thread. Cancelling the future cancels the work. Raises Cancelled after close."""
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._started())
        except BaseException:
            work.close()
            raise
        # A loop keeps no reference to what waits in it: the collector would take it in the middle of its work.
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        return future

    async def do(self, function: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **words: P.kwargs) -> T:
        """Run `function(...)` there and await its result on the caller's loop.

        When this returns or raises, the work has ended: cancelling it waits for that, LEAVE_S at most.
        """
        caller = asyncio.get_running_loop()
        ended: asyncio.Future[asyncio.Task[T]] = caller.create_future()
        tasks: list[asyncio.Task[T]] = []

        def start() -> None:
            task = asyncio.get_running_loop().create_task(function(*args, **words))
            tasks.append(task)
            task.add_done_callback(finish)

        def tell(task: asyncio.Task[T]) -> None:
            if not ended.done():
                ended.set_result(task)

        def finish(task: asyncio.Task[T]) -> None:
            # The caller's loop may have ended meanwhile.
            with contextlib.suppress(RuntimeError):
                caller.call_soon_threadsafe(tell, task)

        self._started().call_soon_threadsafe(start)
        try:
            task = await asyncio.shield(ended)
        except asyncio.CancelledError:
            self.call(lambda: tasks[0].cancel())
            await asyncio.wait({ended}, timeout=LEAVE_S)
            raise
        if task.cancelled():
            raise Cancelled("the consoles are closed")
        return task.result()

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Call `function` there soon; nothing happens after close."""
        try:
            self._started().call_soon_threadsafe(function, *args)
        except (Cancelled, RuntimeError):
            return

    async def close(self) -> None:
        """Cancel what runs there and end the thread. Idempotent; takes CLOSE_S at most."""
        with self._lock:
            self._closed = True
            loop, thread, self._loop = self._loop, self._thread, None
        if loop is None or thread is None:
            return
        loop.call_soon_threadsafe(loop.stop)
        await asyncio.to_thread(thread.join, CLOSE_S)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._closed:
                raise Cancelled("the consoles are closed")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_serve, args=(self._loop,), name="consoles", daemon=True)
                self._thread.start()
            return self._loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=CLOSE_S / 2))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
