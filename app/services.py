"""The program without a screen, put together: what window, command line and tests work with."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from app import logs
from app.actions import Actions
from app.awake import Awake
from app.connections import Connections
from app.consoles import Consoles
from app.events import Events
from app.inventory import Inventory
from app.recorder import Recorder, interrupted
from app.search import Search
from app.tasks import Task, Tasks, TaskState
from backends.model import Level, Ref, now

if TYPE_CHECKING:
    from app.audit import Audit
    from app.identity import Identity
    from app.migration import Migrations
    from app.secrets import Prompt, Secrets
    from app.store import Store

log = logging.getLogger(__name__)
TASKS_KEPT = 200
PORTION = 1000
"""So many stored objects are taken in before the loop runs again: some milliseconds."""


class Services:
    """Everything of one data folder. Made by `open`, on the loop that it then lives on; ended by `close`."""

    def __init__(self, home: Path, store: Store, identity: Identity, secrets: Secrets, audit: Audit) -> None:
        self.home = home
        self.store = store
        self.identity = identity
        self.secrets = secrets
        self.audit = audit
        self.events = Events()
        self.inventory = Inventory()
        self.tasks = Tasks()
        self.connections = Connections(self.inventory, store, identity, secrets, self.events, audit)
        self.search = Search(self.inventory)
        self.consoles = Consoles(self)
        self.who = audit.who
        self.migrations = _migrations(self)
        self.actions = Actions(
            self.inventory,
            self.connections,
            self.tasks,
            identity,
            audit,
            self.events,
            who=self.who,
            fenced=self.migrations.fenced,
        )
        self._recorder: Recorder | None = None
        self._awake = Awake(self.tasks)
        self._log = logs.start(home)
        self._closed = False
        self._told: dict[str, TaskState] = {}
        self._writing: set[asyncio.Task[None]] = set()
        self._recovery: asyncio.Task[None] | None = None
        self.on_front: Callable[[], None] | None = None
        """What brings the window to the front; the window sets it."""
        self.on_console: Callable[[Ref], object] | None = None
        """What opens a VM's console in the window, or shows the one that is open; the window sets it."""
        self.on_picture: Callable[[Path], None] | None = None
        """What writes a picture of the window (raises Invalid where it cannot); the window sets it."""

    @property
    def closed(self) -> bool:
        """Whether it has ended, or is about to."""
        return self._closed

    def bring_to_front(self) -> bool:
        """Show the window. False where there is none."""
        if self.on_front is not None:
            self.on_front()
        return self.on_front is not None

    async def recovered(self) -> None:
        """Until it is known what earlier migrations left."""
        if self._recovery is not None:
            await asyncio.wait({self._recovery})

    @classmethod
    async def open(
        cls,
        home: Path,
        *,
        connect: bool = True,
        vault_key_file: Path | None = None,
        prompt: Prompt | None = None,
    ) -> Services:
        """Open the data folder: the last known picture at once, the connections after it.

        Parameters: `connect` False leaves every connection idle (offline); `vault_key_file` and `prompt` open the
        vault of secrets where there is no keyring. Raises what Store.open raises.
        """
        services = await cls.begin(home, connect=connect, vault_key_file=vault_key_file, prompt=prompt)
        await services.fill()
        await services.identify()
        if connect:
            services.go()
        return services

    @classmethod
    async def begin(
        cls,
        home: Path,
        *,
        connect: bool = True,
        vault_key_file: Path | None = None,
        prompt: Prompt | None = None,
        opening: Future[Store] | None = None,
    ) -> Services:
        """As `open`, but with an empty inventory, which `fill` fills: enough to show a window meanwhile.

        `connect` also says that we own the folder, so whatever was running then is not running now. `opening` is
        the store of `home`, where its opening was begun before.
        """
        from app.audit import Audit
        from app.identity import Identity
        from app.secrets import Secrets
        from app.store import Store

        store = await (Store.open(home) if opening is None else asyncio.wrap_future(opening))
        try:
            secrets = Secrets(home, key_file=vault_key_file, prompt=prompt)
            services = cls(home, store, Identity(store), secrets, Audit(store))
        except BaseException:
            await store.close()
            raise
        await services.connections.load()
        await services._load_tasks(adopt=connect)
        for finding in store.findings:
            services.events.add(finding.message, level=finding.level)
        return services

    async def fill(self) -> None:
        """Take in the last known picture, some milliseconds at a time."""
        names = {connection.name for connection in self.connections.all()}
        objects = await self.store.load_objects()
        for start in range(0, len(objects), PORTION):
            self.inventory.restore(item for item in objects[start : start + PORTION] if item.ref.connection in names)
            await asyncio.sleep(0)

    async def identify(self) -> None:
        """Who is who; from then on what changes is written down."""
        await self.identity.load()
        self.identity.follow(self.inventory)
        self._recorder = Recorder(self.inventory, self.tasks, self.store)

    def go(self) -> None:
        """Connect everything, and look at what earlier migrations left."""
        self.connections.start()
        self._recovery = asyncio.create_task(self._recover(), name="recovery")

    async def close(self) -> None:
        """End it in order: what asks, what runs, what writes, the store. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._recovery is not None:
            self._recovery.cancel()
            await asyncio.wait({self._recovery})
        await self.consoles.close()
        await self.migrations.close()
        await self.tasks.close()
        self._awake.close()
        await self.actions.close()
        await self.connections.close()
        self.search.close()
        if self._recorder is not None:
            await self._recorder.close()
        if self._writing:
            await asyncio.wait(self._writing)
        await self.identity.close()
        self.secrets.close()
        await self.store.close()
        logs.stop(self._log)

    async def _load_tasks(self, *, adopt: bool) -> None:
        from app.store import codec

        for row in await self.store.tasks(TASKS_KEPT):
            try:
                task = codec.decode(Task, row)
            except ValueError as error:
                log.warning("a stored task cannot be read: %s", error)
                continue
            if adopt and interrupted(task):
                task.state = TaskState.INTERRUPTED
                task.error = "Causeway ended in the middle of it"
                task.ended = now()
            self.tasks.adopt(task)
        self._told = {task.id: task.state for task in self.tasks.all()}
        self.tasks.subscribe(self._on_task)

    async def _recover(self) -> None:
        """Take away what an earlier run's viewers left, and let its migrations say what they found."""
        await self.consoles.tidy()
        try:
            for task in await self.migrations.recover():
                self.events.add(f"{task.title}: {task.error or task.state.value}", level=Level.AMBER, ref=task.ref)
        except Exception as error:
            log.exception("recovery")
            self.events.add(f"earlier migrations could not be looked at: {error}", level=Level.RED)

    def _on_task(self, task: Task) -> None:
        """One event when a migration begins; one, and a line in the audit trail, when it is at rest.

        Only migrations have stages; actions tell their own.
        """
        before, self._told[task.id] = self._told.get(task.id), task.state
        if before == task.state or not task.stages:
            return
        if task.state == TaskState.RUNNING and before != TaskState.PAUSED:
            self.events.add(f"{task.title}: started", ref=task.ref)
        elif not task.active:
            for name in {ref.connection for ref in (task.ref, task.target) if ref is not None}:
                self.connections.touch(name)
            level = Level.INFO if task.state == TaskState.DONE else Level.RED
            self.events.add(f"{task.title}: {task.error or task.state.value}", level=level, ref=task.target or task.ref)
            result = "ok" if task.state == TaskState.DONE else f"{task.state}: {task.error}"
            line = self.audit.record(task.kind, task.ref or task.uid, str(task.ref), str(task.target), result)
            writing = asyncio.get_running_loop().create_task(line)
            self._writing.add(writing)
            writing.add_done_callback(self._writing.discard)


def _migrations(services: Services) -> Migrations:
    from app.migration import Migrations

    return Migrations(
        services.inventory,
        services.connections,
        services.tasks,
        services.store,
        services.identity,
        secrets=services.secrets.all,
        tell=lambda text, level, ref: services.events.add(text, level=level, ref=ref),
        folder=services.home / "copies",
    )
