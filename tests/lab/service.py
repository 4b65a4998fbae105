"""Run as a program by the fault tests: an owner of a data folder that does what the command line has no verb for.

    python -m tests.lab.service HOME KEY move CONNECTION/UUID TARGET MODE LIVE-OPTIONS
    python -m tests.lab.service HOME KEY open | resume TASK

The last line that it prints is JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.cli.channel import Desk
from app.migration import Mode
from app.owner import Owner
from app.services import Services
from app.tasks import Task, TaskState
from backends.model import Kind, LiveOptions, Ref

PATIENCE_S = 60.0


async def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < end, "it does not settle"
        await asyncio.sleep(0.05)


async def ready(services: Services) -> None:
    """Until every connection has answered."""
    await until(lambda: all(item.answered for item in services.connections.all()))


def at_rest(task: Task) -> bool:
    return not task.active and task.state != TaskState.UNKNOWN


def said_of(task: Task) -> dict[str, Any]:
    return {"state": task.state, "error": task.error, "cure": task.cure, "log": [text for _, text in task.log]}


async def move(services: Services, vm: str, target: str, mode: str, options: str) -> dict[str, Any]:
    await ready(services)
    connection, _, uuid = vm.partition("/")
    chosen = Mode(mode)
    planned = await services.migrations.plan(
        Ref(connection, Kind.VM, uuid),
        Ref(target, Kind.CONNECTION, target),
        mode=chosen,
        live=LiveOptions(**json.loads(options)),
    )
    assert planned.verdict.allowed, planned.verdict
    task = await services.tasks.wait(services.migrations.start(planned))
    print(json.dumps(said_of(task)), flush=True)
    await until(lambda: at_rest(task))
    return said_of(task)


async def resume(services: Services, ident: str) -> dict[str, Any]:
    await services.recovered()
    await ready(services)
    task = services.tasks.get(ident)
    assert task is not None
    await until(lambda: at_rest(task))
    services.tasks.retry(ident)
    return said_of(await services.tasks.wait(task))


async def main(home: Path, key: Path, verb: str, *words: str) -> None:
    owner = Owner.acquire(home)
    assert owner is not None, "somebody else owns the folder"
    services = await Services.open(home, connect=verb != "open", vault_key_file=key)
    try:
        await owner.serve(Desk(services).handle)
        if verb == "move":
            said: object = await move(services, *words)
        elif verb == "resume":
            said = await resume(services, *words)
        else:
            said = await services.store.open_migrations()
        print(json.dumps(said), flush=True)
    finally:
        await services.close()
        owner.release()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]))
