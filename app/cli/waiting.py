"""What a verb waits for: connections that answer, earlier migrations that are looked at, tasks that come to rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection

from app.cli import shapes
from app.cli.rows import Row, result, warning
from app.connections import ConnectionState
from app.services import Services
from app.tasks import Task, TaskState
from backends.model import Object, Vm

DEADLINE_S = 10.0
"""How long a read waits for connections that have not answered yet."""
DETAILS_S = 3.0
"""How long it then waits for what a platform tells later than the rest: addresses, above all."""
TICK_S = 0.2


async def recovered(services: Services) -> None:
    """Until what an earlier run left was looked at, as far as the sides answer within the deadline."""
    await services.recovered()
    await settled(services, services.migrations.awaited())
    await services.migrations.looked()


async def all_of(services: Services, started: list[Task]) -> AsyncIterator[Row]:
    """Follow tasks until all are at rest; ok where all are done."""
    for task in started:
        yield {"type": "task", "task": task.id}
    for task in started:
        async for row in followed(services, task):
            yield row
        if task.state != TaskState.DONE:
            yield warning(f"{task.title}: {task.error or task.state}", cure=task.cure)
    ok = all(task.state == TaskState.DONE for task in started)
    rows = [
        {"task": task.id, "title": task.title, "state": task.state.value, "error": task.error, "cure": task.cure}
        for task in started
    ]
    failed = sum(task.state != TaskState.DONE for task in started)
    yield result(ok=ok, data={"ok": ok, "tasks": rows}, message="done" if ok else f"{failed} of {len(rows)} failed")


async def followed(services: Services, task: Task) -> AsyncIterator[Row]:
    """A task's progress, a few times a second while it changes, until it is at rest."""
    changed = asyncio.Event()

    def on_change(other: Task) -> None:
        if other is task:
            changed.set()

    stop = services.tasks.subscribe(on_change)
    try:
        waiting = asyncio.ensure_future(services.tasks.wait(task))
        while not waiting.done():
            yield shapes.of_progress(task)
            changed.clear()
            await asyncio.wait({waiting}, timeout=TICK_S)
            if not changed.is_set() and not waiting.done():
                woken = asyncio.ensure_future(changed.wait())
                await asyncio.wait({waiting, woken}, return_when=asyncio.FIRST_COMPLETED)
                woken.cancel()
        yield shapes.of_progress(task)
    finally:
        waiting.cancel()
        stop()


async def settled(services: Services, names: Collection[str] | None) -> list[Row]:
    """Wait until these connections (None: all) have been listed or have said why not. Returns what is missing."""
    asked = [item for item in services.connections.all() if names is None or item.name in names]

    def open_ones() -> list[str]:
        return [connection.name for connection in asked if not connection.answered]

    await _while(open_ones, services.connections.subscribe, DEADLINE_S)
    late = [warning(f"{name} has not answered yet; what is shown of it may be old") for name in open_ones()]
    wrong = [warning(f"{item.name}: {item.error}", cure=item.cure) for item in asked if item.error]
    return late + wrong


async def detailed(services: Services, found: list[Object]) -> list[Object]:
    """These objects as they are once their details are known, as far as they come in time."""
    ready = {item.name for item in services.connections.all() if item.state == ConnectionState.READY}
    waited = {item.ref for item in found if isinstance(item, Vm) and item.ref.connection in ready}

    def lacking() -> bool:
        return any(isinstance(item := services.inventory.get(ref), Vm) and not item.detailed for ref in waited)

    await _while(lacking, services.inventory.subscribe, DETAILS_S)
    return [item for old in found if (item := services.inventory.get(old.ref)) is not None]


async def _while(
    waits: Callable[[], object], subscribe: Callable[[Callable[[object], None]], Callable[[], None]], seconds: float
) -> None:
    """Until `waits` has nothing any more, asked after every change that is told, or the time is over."""
    changed = asyncio.Event()
    stop = subscribe(lambda _: changed.set())
    try:
        async with asyncio.timeout(seconds):
            while waits():
                changed.clear()
                await changed.wait()
    except TimeoutError:
        pass
    finally:
        stop()
