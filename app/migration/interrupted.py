"""Moves that an earlier run left, or that a lost side stopped: at rest until both sides can be asked, then taken on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from app.migration import recovery
from app.migration.itinerary import itinerary, stage_names
from app.migration.journal import Journal
from app.migration.kept import new_task
from app.migration.move import Move, Tools
from app.migration.plan import Plan
from app.tasks import Stage, Task, Tasks, TaskState
from backends.errors import BackendError, Conflict, Unreachable
from backends.model import Level

if TYPE_CHECKING:
    from app.link import Connection

log = logging.getLogger(__name__)
ASK_AGAIN_S = 15.0
Work = Callable[[Task], Awaitable[None]]


class Interrupted:
    """The tasks of open journals. Lives on the loop.

    Parameters: `at_work` are the plans of all moves that are not over, by task; `forward(move)` does what is left of
    one; `undo_of(task)` gives what takes a task back.
    """

    def __init__(
        self,
        tasks: Tasks,
        tools: Tools,
        at_work: dict[str, Plan],
        forward: Callable[[Move], Awaitable[None]],
        undo_of: Callable[[Task], Work],
    ) -> None:
        self._tasks = tasks
        self._tools = tools
        self._at_work = at_work
        self._forward = forward
        self._undo_of = undo_of
        self._waiting: dict[str, asyncio.Task[None]] = {}
        self._looked: dict[str, asyncio.Event] = {}

    async def recover(self) -> list[Task]:
        """Take up every open journal: one task each. One that cannot be read is told, and left alone."""
        found = []
        for name in await self._tools.store.open_migrations():
            try:
                journal = await Journal.load(self._tools.store, name)
            except ValueError as error:
                log.error("the journal of migration %s cannot be read: %s", name, error)
                text = f"the journal of migration {name} cannot be read; nothing was touched"
                self._tools.tell(text, Level.RED, None)
                continue
            if journal.record.undoes and not journal.record.begun:
                found.append(await self._never_began(journal))
                continue
            found.append(self._take_up(name, journal))
        return found

    async def _never_began(self, journal: Journal) -> Task:
        """An undo that touched nothing is not gone on with: whoever wants it asks again."""
        task = self._task(journal)
        task.state, task.error = TaskState.FAILED, "interrupted before anything was touched"
        task.cure = "undo the move again"
        await journal.close("never began")
        self._tasks.adopt(task)
        return task

    def _task(self, journal: Journal) -> Task:
        record = journal.record
        task = self._tasks.get(record.task)
        if task is None:
            task = new_task("undo" if record.undoes else "copy" if record.plan.copy else "move", record.plan)
            task.id = record.task
            task.stages = [Stage(item) for item in stage_names(itinerary(record.plan, undoes=record.undoes))]
        return task

    def _take_up(self, name: str, journal: Journal) -> Task:
        record = journal.record
        plan = record.plan
        task = self._task(journal)
        task.state, task.retryable = TaskState.UNKNOWN, True
        task.error = f"interrupted; waiting for {plan.vm.connection} and {plan.to.connection}, nothing touched"
        if record.undoes:
            task.error = f"the undo has begun and waits for {plan.vm.connection} and {plan.to.connection}"
        task.cure = "it goes on when both sides answer"
        self._at_work[task.id] = plan
        self._looked[task.id] = asyncio.Event()
        self._tasks.adopt(task, self.reopened(name), self._undo_of(task))
        self.wait(task, at_once=True)
        return task

    def reopened(self, name: str) -> Work:
        """The work of a task whose journal is open."""

        async def work(task: Task) -> None:
            self.stop_waiting(task)
            task.undo = ""
            try:
                if name not in await self._tools.store.open_migrations():
                    raise Conflict("it is over: start it again from the tree")
                await self.go_on(task, name)
            finally:
                # What was taken back meanwhile cannot be gone on with: no Retry that only says so.
                task.retryable = name in await self._tools.store.open_migrations()
                self.rest(task)

        return work

    async def go_on(self, task: Task, name: str) -> None:
        """Go on with an open journal, or take it back: what it says decides."""
        journal = await Journal.load(self._tools.store, name)
        move = Move(journal.record.plan, task, journal, self._tools)
        if recovery.what_next(journal.record) == recovery.Next.BACK:
            await recovery.go_back(move)
        if task.state == TaskState.RUNNING and recovery.what_next(journal.record) == recovery.Next.FORWARD:
            await self._say(move)
        await self._forward(move)

    def rest(self, task: Task) -> None:
        """A task came to rest: an UNKNOWN one is asked again; the others are over."""
        if task.state == TaskState.UNKNOWN:
            self.wait(task)
        elif task.state != TaskState.INTERRUPTED:
            self._at_work.pop(task.id, None)

    def awaited(self) -> set[str]:
        """The connections of the moves that wait for both sides."""
        plans = [self._at_work[ident] for ident in self._waiting if ident in self._at_work]
        return {name for plan in plans for name in (plan.vm.connection, plan.to.connection)}

    async def looked(self) -> None:
        """Until what an earlier run left was looked at, wherever both sides answer, and taken on if it needs nobody."""
        for ident, event in tuple(self._looked.items()):
            plan, task = self._at_work.get(ident), self._tasks.get(ident)
            if plan is not None and task is not None and self._both_answer(plan):
                await event.wait()
                await self._tasks.wait(task)

    # Waiting

    def wait(self, task: Task, *, at_once: bool = False) -> None:
        """Look again when both sides answer, and now and then."""
        self.stop_waiting(task)
        waiting = self._ask_again(task, at_once)
        self._waiting[task.id] = asyncio.get_running_loop().create_task(waiting, name=f"wait {task.id}")

    def stop_waiting(self, task: Task) -> None:
        waiting = self._waiting.pop(task.id, None)
        if waiting is not None and waiting is not asyncio.current_task():
            waiting.cancel()

    async def _ask_again(self, task: Task, at_once: bool) -> None:
        plan = self._at_work[task.id]
        changed = asyncio.Event()

        def on_change(connection: Connection) -> None:
            if connection.name in (plan.vm.connection, plan.to.connection):
                changed.set()

        stop = self._tools.sites.subscribe(on_change)
        try:
            while True:
                if not at_once:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(changed.wait(), ASK_AGAIN_S)
                at_once = False
                changed.clear()
                if self._both_answer(plan):
                    over = await self._taken_on(task)
                    if task.id in self._looked:
                        self._looked[task.id].set()
                    if over:
                        return
        finally:
            stop()

    def _both_answer(self, plan: Plan) -> bool:
        try:
            self._tools.sites.driver(plan.vm.connection)
            self._tools.sites.driver(plan.to.connection)
        except BackendError:
            return False
        return True

    async def _taken_on(self, task: Task) -> bool:
        """Both sides answer: go on by ourselves, or say what was found and ask. False: try again later."""
        journal = await Journal.of_task(self._tools.store, task.id)
        if journal is None:
            return True
        if recovery.what_next(journal.record) != recovery.Next.ASK:
            self._waiting.pop(task.id, None)
            self._tasks.retry(task.id)
            return True
        move = Move(journal.record.plan, task, journal, self._tools)
        try:
            await recovery.release(move)
            await self._say(move)
        except BackendError as error:
            task.state, task.error, task.cure = TaskState.UNKNOWN, error.message, error.cure
            self._tasks.changed(task)
            return False
        task.state = TaskState.INTERRUPTED
        task.error = task.log[-1][1]
        task.cure = "resume it, or take it back"
        task.undo = f"Removes what was copied to {move.plan.to.connection}; {move.plan.vm.connection} is as it was"
        self._tasks.changed(task)
        self._waiting.pop(task.id, None)
        return True

    async def _say(self, move: Move) -> None:
        """What an interrupted move looks like, into its log. A side that cannot say makes the task UNKNOWN."""
        try:
            text = await recovery.found(move)
        except BackendError as error:
            move.task.state = TaskState.UNKNOWN
            raise Unreachable(f"{error}; nothing was touched", cure="it goes on when both sides answer") from error
        if move.note(text):
            self._tools.tell(f"{move.task.title}: {text}", Level.AMBER, move.plan.vm)

    async def close(self) -> None:
        """Stop waiting for sides that do not answer."""
        waiting = list(self._waiting.values())
        for item in waiting:
            item.cancel()
        if waiting:
            await asyncio.gather(*waiting, return_exceptions=True)
