"""How a verb gets to the services: by the folder's owner where there is one, else by becoming the owner meanwhile."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from typing import Any

from app.cli.verbs import serve
from app.owner import NoOwner, Owner, ask
from app.secrets import Prompt
from app.services import Services
from backends.errors import Conflict

Row = dict[str, Any]
RACE_S = 15.0
"""How long an owner that is just starting or ending may neither answer nor let go of the folder."""


class Desk:
    """Serves the requests of other processes from our services, and knows when the last one is served."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._open = 0
        self._ending = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def handle(self, request: Row) -> AsyncIterator[Row]:
        """What the owner's socket is given."""
        if self._ending or self._services.closed:
            yield {"type": "ending"}
            return
        self._open += 1
        self._idle.clear()
        try:
            async with aclosing(serve(self._services, request)) as rows:
                async for row in rows:
                    yield row
        finally:
            self._open -= 1
            if not self._open:
                self._idle.set()

    async def finish(self) -> None:
        """Until nobody is being served; who asks from then on is told to come back."""
        await self._idle.wait()
        self._ending = True


async def run(
    home: Path,
    request: Row,
    on_row: Callable[[Row], None],
    *,
    vault_key_file: Path | None = None,
    prompt: Prompt | None = None,
) -> int:
    """Run one verb and hand every dict that it yields to `on_row`. Returns the exit code: 0, 1 or 2.

    Ctrl+C asks the verb's tasks to end and waits for that; a second one gives up waiting.
    """
    if request["args"].get("offline"):
        services = await Services.open(home, connect=False)
        try:
            return await _follow(serve(services, request), on_row, lambda task: _nothing())
        finally:
            await services.close()
    deadline = asyncio.get_running_loop().time() + RACE_S
    while True:
        try:
            return await _follow(ask(home, request), on_row, lambda task: _cancel(home, task))
        except NoOwner:
            owner = await asyncio.to_thread(Owner.acquire, home)
        if owner is not None:
            break
        if asyncio.get_running_loop().time() > deadline:
            raise Conflict("another Causeway holds the data folder and does not answer", cure="end it, or use --home")
        await asyncio.sleep(0.1)
    try:
        return await _own(owner, home, request, on_row, vault_key_file, prompt)
    finally:
        owner.release()


async def _own(
    owner: Owner, home: Path, request: Row, on_row: Callable[[Row], None], key: Path | None, prompt: Prompt | None
) -> int:
    services = await Services.open(home, vault_key_file=key, prompt=prompt)
    try:
        desk = Desk(services)
        await owner.serve(desk.handle)

        async def cancel(task: str) -> None:
            services.tasks.cancel(task)

        code = await _follow(serve(services, request), on_row, cancel)
        await desk.finish()
        return code
    finally:
        await services.close()


async def _follow(rows: AsyncIterator[Row], on_row: Callable[[Row], None], cancel: Callable[[str], Any]) -> int:
    """Hand on every dict; Ctrl+C cancels the tasks that were named, once."""
    tasks: list[str] = []
    gathered: list[Any] = []
    code = 1
    loop = asyncio.get_running_loop()
    main = asyncio.current_task()
    cancelling: list[asyncio.Task[None]] = []

    def on_interrupt(*_: object) -> None:
        if not tasks or cancelling:
            if main is not None:
                main.cancel()
            return
        cancelling.extend(asyncio.ensure_future(cancel(task)) for task in tasks)

    restore = _on_interrupt(loop, on_interrupt)
    try:
        async for row in rows:
            if row["type"] == "ending":
                raise NoOwner("the owner is just ending")
            if row["type"] == "rows":
                gathered += row["data"]
                continue
            if row["type"] == "task":
                tasks.append(row["task"])
            if row["type"] == "result":
                code = 0 if row["ok"] else 1
                row = {**row, "data": gathered} if row["gathered"] else row
            if row["type"] == "error":
                code = int(row["exit"])
            on_row(row)
    finally:
        restore()
        if cancelling:
            await asyncio.wait(cancelling)
    return code


def _on_interrupt(loop: asyncio.AbstractEventLoop, function: Callable[..., None]) -> Callable[[], object]:
    """Call `function` on the loop at Ctrl+C. Returns what takes that back."""
    if sys.platform != "win32":
        with suppress(RuntimeError, ValueError):
            loop.add_signal_handler(signal.SIGINT, function)
            return partial(loop.remove_signal_handler, signal.SIGINT)
    before = signal.signal(signal.SIGINT, lambda *_: loop.call_soon_threadsafe(function))
    return partial(signal.signal, signal.SIGINT, before)


async def _cancel(home: Path, task: str) -> None:
    with suppress(NoOwner):
        async for _ in ask(home, {"verb": "cancel", "args": {"task": task}}):
            pass


async def _nothing() -> None:
    return None
