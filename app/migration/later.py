"""What a finished or taken back move still owes: a late arrival removed, a fenced source deleted when its time is over.

Both wait in the store until the side that they concern answers, and are done again harmlessly after a crash.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from app.migration.kept import Kept, Past, title
from app.migration.move import Tools, look
from app.migration.plan import Plan
from app.migration.steps import TIDY
from app.store import codec
from app.tasks import Stage, Task, Tasks
from backends.driver import Exports, Imports
from backends.errors import BackendError, Conflict, NotFound
from backends.model import Level, Ref, now

if TYPE_CHECKING:
    from app.store import Store

log = logging.getLogger(__name__)
SETTING = "migration.recheck"
RECHECK_FOR = timedelta(days=2)
"""How long after a roll-back a creation that did not answer may still turn up."""


async def recheck(store: Store, migration: str, connection: str) -> None:
    """Remember that something of this migration may still be made on a connection after it was taken back."""
    rows = await store.setting(SETTING, {})
    rows[migration] = {"connection": connection, "until": (now() + RECHECK_FOR).isoformat()}
    await store.set_setting(SETTING, rows)


class Later:
    """Does what is owed as soon as the connections that it concerns answer. Lives on the loop.

    Parameters: `at_work` are the plans of all moves, and of all that are being taken back, by task.
    """

    def __init__(self, tasks: Tasks, tools: Tools, kept: Kept, at_work: Mapping[str, Plan]) -> None:
        self._tasks = tasks
        self._tools = tools
        self._kept = kept
        self._at_work = at_work
        self._tried: set[str] = set()
        self._work: set[asyncio.Task[None]] = set()
        self._lock = asyncio.Lock()
        self._stop: Callable[[], None] = lambda: None

    def begin(self) -> None:
        """Look now, and whenever a connection becomes ready."""
        self._stop = self._tools.sites.subscribe(lambda connection: self._look())
        self._look()

    def _look(self) -> None:
        work = asyncio.get_running_loop().create_task(self._due(), name="owed by moves")
        self._work.add(work)
        work.add_done_callback(self._work.discard)

    async def close(self) -> None:
        self._stop()
        working = tuple(self._work)
        for work in working:
            work.cancel()
        if working:
            await asyncio.gather(*working, return_exceptions=True)

    async def _due(self) -> None:
        """Once per start for each thing owed; what fails waits for the next start."""
        async with self._lock:
            rows = await self._tools.store.setting(SETTING, {})
            for connection in {row["connection"] for row in rows.values()}:
                if connection not in self._tried and self._answers(connection):
                    self._tried.add(connection)
                    await self._recheck(connection)
            for past in self._kept:
                plan = past.plan
                busy = plan.id in self._kept.claims | {other.id for other in self._at_work.values()}
                if not past.fences or past.until > now() or plan.id in self._tried or busy:
                    continue
                if self._answers(plan.vm.connection) and self._answers(self._place(past).connection):
                    self._tried.add(plan.id)
                    task = Task("retire", f"Delete the kept {title(plan)}", uid=plan.uid, ref=plan.vm)
                    task.stages = [Stage(TIDY)]
                    await self._tasks.wait(self._tasks.start(task, self._retiring(past)))

    def _answers(self, connection: str) -> bool:
        try:
            self._tools.sites.driver(connection)
        except BackendError:
            return False
        return True

    def _place(self, past: Past) -> Ref:
        """Where the moved VM is, or was seen last."""
        known = self._tools.identity.ref_of(past.plan.uid) if past.plan.uid else None
        return known or codec.decode(Ref, past.known["create"]["ref"])

    async def _recheck(self, connection: str) -> None:
        rows = await self._tools.store.setting(SETTING, {})
        mine = {name: row for name, row in rows.items() if row["connection"] == connection}
        if not mine:
            return
        try:
            driver = self._tools.sites.driver(connection)
            for name in mine:
                if isinstance(driver, Imports):
                    await driver.discard_import(name)
        except BackendError as error:
            log.warning("what migration left on %s is looked at later: %s", connection, error)
            return
        rest = await self._tools.store.setting(SETTING, {})
        over = {name for name in mine if rest[name]["until"] < now().isoformat()}
        await self._tools.store.set_setting(SETTING, {name: row for name, row in rest.items() if name not in over})

    def _retiring(self, past: Past) -> Callable[[Task], Awaitable[None]]:
        """Deletes a fenced source: only where the VM that took its place is seen. Its row in the store stays until
        all of it is gone, so that a crash in the middle is gone on with."""

        async def work(task: Task) -> None:
            with self._kept.claim(past):
                await self._retire(past, task)

        return work

    async def _retire(self, past: Past, task: Task) -> None:
        plan = past.plan
        place = self._place(past)
        if place == plan.vm:
            await self._kept.forget(plan.id)
            raise Conflict("it came back since: nothing was deleted")
        if await look(self._tools.sites.driver(place.connection), place) is None:
            text = f"the VM is not on {place.connection} any more: the kept one was not deleted"
            raise NotFound(text, cure="undo its move: that brings the kept one back")
        driver = self._tools.sites.driver(plan.vm.connection)
        assert isinstance(driver, Exports)
        await driver.retire(plan.vm, migration=plan.id)
        await self._kept.forget(plan.id)
        task.note(f"deleted on {plan.vm.connection}: it runs on {place.connection}")
        self._tools.tell(f"{task.title}: its time was over", Level.INFO, plan.vm)
