"""What changes the world is a Task: who, what, on which VM, its stages, how far it is, and how to take it back."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from app.redaction import redact
from backends.errors import BackendError, Cancelled, OutcomeUnknown
from backends.model import Progress, Ref, now

log = logging.getLogger(__name__)


class TaskState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"
    """The outcome cannot be known yet: a side does not answer. Nothing is touched until it does."""
    INTERRUPTED = "interrupted"
    """Its owner ended; it waits to be resumed or rolled back."""


class StageState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


class Offer(StrEnum):
    """What can be done about a task now. RESUME goes on with an interrupted one, RETRY begins a failed one again."""

    PAUSE = "pause"
    CANCEL = "cancel"
    RESUME = "resume"
    RETRY = "retry"
    UNDO = "undo"


ENDED = frozenset({TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED})
WAITING = frozenset({TaskState.INTERRUPTED, TaskState.UNKNOWN})
"""At rest, and not over."""


@dataclass(slots=True)
class Stage:
    """What people see of a task's inside: Prepare, Copy, Switch, Verify, Tidy."""

    name: str
    state: StageState = StageState.WAITING
    progress: Progress = field(default_factory=Progress)
    began: datetime | None = None
    ended: datetime | None = None


@dataclass(slots=True)
class Task:
    """One piece of work. Changed only by its own run and by Tasks, on the loop."""

    kind: str
    title: str
    uid: str = ""
    ref: Ref | None = None
    target: Ref | None = None
    who: str = ""
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    state: TaskState = TaskState.QUEUED
    stages: list[Stage] = field(default_factory=list)
    error: str = ""
    cure: str = ""
    log: list[tuple[datetime, str]] = field(default_factory=list)
    created: datetime = field(default_factory=now)
    ended: datetime | None = None
    forecast_s: float | None = None
    downtime_forecast_s: float | None = None
    result: dict[str, object] = field(default_factory=dict)
    undo: str = ""
    """What undoing would do, in words; empty where there is none."""
    undo_loses: bool = False
    """Whether undoing stops or deletes something that is not brought back: it is asked about first."""
    undo_until: datetime | None = None
    retryable: bool = False
    pausable: bool = False

    def note(self, text: str) -> None:
        """Add a line to the task's own log; known secrets are masked."""
        self.log.append((now(), redact(text)))

    def stage(self, name: str) -> Stage:
        return next(stage for stage in self.stages if stage.name == name)

    @property
    def active(self) -> bool:
        return self.state in (TaskState.QUEUED, TaskState.RUNNING, TaskState.PAUSED)


Work = Callable[[Task], Awaitable[None]]


def _undo_title(task: Task) -> str:
    """What takes a task back; for a move that is done, the way that the VM goes."""
    if task.kind == "move" and task.state == TaskState.DONE and task.ref is not None and task.target is not None:
        there, back = task.ref.connection, task.target.connection
        if task.title.endswith(way := f" {there} -> {back}"):
            return f"Undo: {task.title.removesuffix(way)} {back} -> {there}"
    return f"Undo: {task.title}"


class Tasks:
    """All tasks, newest first. `start` runs one; whoever shows or stores them subscribes."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._works: dict[str, Work] = {}
        self._undoers: dict[str, Work] = {}
        self._pausers: dict[str, Callable[[bool], None]] = {}
        self._subscribers: list[Callable[[Task], None]] = []

    def all(self) -> list[Task]:
        return sorted(self._tasks.values(), key=lambda task: task.created, reverse=True)

    def get(self, ident: str) -> Task | None:
        return self._tasks.get(ident)

    def subscribe(self, function: Callable[[Task], None]) -> Callable[[], None]:
        """Call `function` whenever a task changed; the returned function ends that."""
        self._subscribers.append(function)
        return lambda: self._subscribers.remove(function)

    def changed(self, task: Task) -> None:
        """Tell the subscribers. One that fails is logged: it must not end the work that it only looks at."""
        for function in tuple(self._subscribers):
            try:
                function(task)
            except Exception:
                log.exception("a subscriber of task %s failed", task.id)

    def adopt(self, task: Task, work: Work | None = None, undo: Work | None = None) -> None:
        """Take in a task that an earlier run left, so that it is seen, and can be resumed or undone."""
        self._tasks[task.id] = task
        if work is not None:
            self._works[task.id] = work
        if undo is not None:
            self._undoers[task.id] = undo
        self.changed(task)

    def start(self, task: Task, work: Work, undo: Work | None = None) -> Task:
        """Run `work(task)` on the loop. Its errors end up in the task, never in the caller."""
        self.adopt(task, work, undo)
        self._begin(task, work)
        return task

    def _begin(self, task: Task, work: Work) -> None:
        running = asyncio.get_running_loop().create_task(self._run(task, work), name=f"task {task.id}")
        self._running[task.id] = running
        # Cancelled before its first step, a coroutine runs no line of its own, not even its `finally`.
        running.add_done_callback(lambda _: self._never_ran(task) if task.state == TaskState.QUEUED else None)

    def _never_ran(self, task: Task) -> None:
        task.state, task.error, task.ended = TaskState.CANCELLED, "cancelled", now()
        self._running.pop(task.id, None)
        self.changed(task)

    async def wait(self, task: Task) -> Task:
        """Until the task is at rest. Returns it; its `state` says how it ended."""
        running = self._running.get(task.id)
        if running is not None:
            await asyncio.wait({running})
        return task

    def cancel(self, ident: str) -> None:
        running = self._running.get(ident)
        if running is not None:
            running.cancel()

    def can_pause(self, task: Task, hold: Callable[[bool], None]) -> None:
        """Called by a task's work that can wait: `hold(True)` stops it where it is, `hold(False)` lets it go on."""
        self._pausers[task.id] = hold
        task.pausable = True
        self.changed(task)

    def pause(self, ident: str, on: bool = True) -> None:
        """Hold a running task, or let it go on. Does nothing for one that cannot."""
        task, hold = self._tasks[ident], self._pausers.get(ident)
        if hold is None or task.state != (TaskState.RUNNING if on else TaskState.PAUSED):
            return
        hold(on)
        task.state = TaskState.PAUSED if on else TaskState.RUNNING
        self.changed(task)

    def offers(self, task: Task) -> frozenset[Offer]:
        """What can be done about it. What an earlier run left can only be gone on with where its work was adopted."""
        if task.active:
            return frozenset({Offer.CANCEL, Offer.PAUSE} if task.pausable else {Offer.CANCEL})
        found = set()
        if task.id in self._works and task.id not in self._running:
            if task.state in WAITING:
                found.add(Offer.RESUME)
            elif task.retryable and task.state in (TaskState.FAILED, TaskState.CANCELLED):
                found.add(Offer.RETRY)
        if task.id in self._undoers and task.undo and (task.undo_until is None or task.undo_until > now()):
            found.add(Offer.UNDO)
        return frozenset(found)

    def retry(self, ident: str) -> None:
        """Run a task's work again (a failed, cancelled or interrupted one)."""
        task, work = self._tasks[ident], self._works.get(ident)
        if work is None or task.active or ident in self._running:
            return
        task.error = task.cure = ""
        task.ended = None
        task.state = TaskState.QUEUED
        for stage in task.stages:
            if stage.state == StageState.FAILED:
                stage.state, stage.ended = StageState.WAITING, None
        self.changed(task)
        self._begin(task, work)

    def undo(self, ident: str) -> Task | None:
        """Start the task that takes this one back, where there is one, it is at rest and its time is not over."""
        task = self._tasks[ident]
        if Offer.UNDO not in self.offers(task):
            return None
        work = self._undoers[ident]
        undone = Task("undo", _undo_title(task), uid=task.uid, ref=task.target, target=task.ref, who=task.who)
        undone.retryable = True
        task.undo = ""
        task.result["undone_by"] = undone.id
        self.changed(task)
        return self.start(undone, work)

    async def close(self) -> None:
        """Cancel what runs and wait for it, also for what has not begun."""
        running = list(self._running.values())
        for item in running:
            item.cancel()
        if running:
            await asyncio.gather(*running, return_exceptions=True)

    async def _run(self, task: Task, work: Work) -> None:
        task.state = TaskState.RUNNING
        self.changed(task)
        try:
            await work(task)
            if task.state in (TaskState.RUNNING, TaskState.PAUSED):
                task.state = TaskState.DONE
        except (asyncio.CancelledError, Cancelled):
            task.state = TaskState.CANCELLED
            task.error = "cancelled"
        except BackendError as error:
            if isinstance(error, OutcomeUnknown):
                task.state = TaskState.UNKNOWN
            elif task.state != TaskState.UNKNOWN:
                task.state = TaskState.FAILED
            task.error, task.cure = redact(error.message), redact(error.cure)
        except Exception as error:
            log.exception("task %s failed", task.id)
            task.state = TaskState.FAILED
            task.error = redact(f"{type(error).__name__}: {error}")
        finally:
            for stage in task.stages:
                if stage.state == StageState.RUNNING:
                    stage.state = StageState.DONE if task.state == TaskState.DONE else StageState.FAILED
                    stage.ended = now()
            task.ended = now()
            self._running.pop(task.id, None)
            self._pausers.pop(task.id, None)
            task.pausable = False
            self.changed(task)
