"""Coroutines that a widget starts and does not wait for: kept alive, cancelled at the end, never failing silently."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from backends.errors import BackendError

log = logging.getLogger(__name__)
Failed = Callable[[str, str], None]
"""What failed and why in one sentence, and what to do next."""


def words(what: str, error: BaseException) -> tuple[str, str]:
    """An error as people read it: what failed and why, and the cure."""
    if isinstance(error, BackendError):
        place = f"{error.object_name}: " if error.object_name and error.object_name not in error.message else ""
        return f"{what}: {place}{error.message}", error.cure
    return f"{what}: {error or type(error).__name__}", "the log has the details"


class Background:
    """Starts coroutines on the loop it was made on. `failed` is told of every error that nobody else takes."""

    def __init__(self, failed: Failed) -> None:
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._running: set[asyncio.Task[Any]] = set()

    def run(self, work: Coroutine[Any, Any, Any], what: str, failed: Failed | None = None) -> asyncio.Task[Any]:
        """Start `work`; `what` names it in an error. Returns its task, so that it can be cancelled."""
        task = self._loop.create_task(work, name=what)
        self._running.add(task)

        def ended(done: asyncio.Task[Any]) -> None:
            self._running.discard(done)
            error = None if done.cancelled() else done.exception()
            if error is not None:
                if not isinstance(error, BackendError):
                    log.error("%s failed", what, exc_info=error)
                (failed or self._failed)(*words(what, error))

        task.add_done_callback(ended)
        return task

    async def close(self) -> None:
        """Cancel what still runs and wait for it."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
