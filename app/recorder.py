"""Writes what changes into the store: inventory, identities and tasks, gathered for a second each."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from app.inventory import Delta, Inventory
from app.tasks import ENDED, Task, Tasks, TaskState
from backends.errors import BackendError
from backends.model import Object, Ref

if TYPE_CHECKING:
    from app.store import Store

log = logging.getLogger(__name__)
GATHER_S = 1.0


class Recorder:
    """Follows inventory and tasks until `close`, which writes what is left. A store that fails is tried again."""

    def __init__(self, inventory: Inventory, tasks: Tasks, store: Store) -> None:
        self._store = store
        self._objects: dict[Ref, Object] = {}
        self._gone: dict[Ref, None] = {}
        self._tasks: dict[str, Task] = {}
        self._dirty = asyncio.Event()
        self._closing = asyncio.Event()
        self._failed = False
        self._stops = (inventory.subscribe(self._on_delta), tasks.subscribe(self._on_task))
        self._running = asyncio.get_running_loop().create_task(self._run(), name="recorder")

    async def close(self) -> None:
        """Follow no longer; write what is left."""
        for stop in self._stops:
            stop()
        self._closing.set()
        self._dirty.set()
        await self._running
        await self._write()

    def _on_delta(self, delta: Delta) -> None:
        for item in (*delta.added, *delta.changed):
            self._objects[item.ref] = item
            self._gone.pop(item.ref, None)
        for item in delta.removed:
            self._objects.pop(item.ref, None)
            self._gone[item.ref] = None
        self._dirty.set()

    def _on_task(self, task: Task) -> None:
        self._tasks[task.id] = task
        self._dirty.set()

    async def _run(self) -> None:
        while not self._closing.is_set():
            await self._dirty.wait()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), GATHER_S)
            self._dirty.clear()
            await self._write()

    async def _write(self) -> None:
        """Write all that is gathered. What could not be written stays gathered."""
        objects, self._objects = self._objects, {}
        gone, self._gone = self._gone, {}
        tasks, self._tasks = self._tasks, {}
        try:
            if gone:
                await self._store.delete_objects(gone)
            if objects:
                await self._store.save_objects(objects.values())
            for task in tasks.values():
                await self._store.save_task(_row(task))
            self._failed = False
        except BackendError as error:
            self._objects = objects | self._objects
            self._gone = {ref: None for ref in gone | self._gone if ref not in self._objects}
            self._tasks = tasks | self._tasks
            if not self._failed:
                log.error("cannot write the inventory: %s", error)
            self._failed = True
            self._dirty.set()


def _row(task: Task) -> dict[str, object]:
    from app.store import codec

    row: dict[str, object] = codec.encode(task)
    return row


def interrupted(task: Task) -> bool:
    """Whether an earlier owner ended in the middle of this task."""
    return task.state not in ENDED | {TaskState.UNKNOWN, TaskState.INTERRUPTED}
