"""What finished moves keep for Undo, and for how long."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from app.migration.journal import Result
from app.migration.move import Move
from app.migration.plan import Mode, Plan
from app.store import codec
from app.tasks import Task
from backends.errors import Conflict
from backends.model import Ref, now

if TYPE_CHECKING:
    from app.store import Store

log = logging.getLogger(__name__)
SETTING = "migration.kept"
KNOWN = ("check", "create", "confirm")
"""The steps whose results Undo needs."""


@dataclass(frozen=True, slots=True)
class Past:
    """A finished move: its plan, what its steps gave, its task's id, and when its time is over."""

    plan: Plan
    known: Mapping[str, Result]
    until: datetime
    task: str
    undoes: bool = False
    """It took another move back: it brought the VM to where an earlier one had put it."""
    gone: bool = False
    """The VM is not where this move put it any more: taking it back is a rescue."""

    @property
    def at(self) -> datetime:
        """When it was done."""
        return self.until - timedelta(days=self.plan.keep_source_days)

    @property
    def made(self) -> Ref:
        """The VM where this move put it."""
        step = "confirm" if self.plan.mode == Mode.LIVE else "create"
        return codec.decode(Ref, self.known[step]["ref"])

    @property
    def words(self) -> str:
        """What its source is, for whoever meets it: the move that keeps it, and until when."""
        until = self.until.astimezone().strftime("%d %b %H:%M")
        return f"kept original of {title(self.plan)} (task {self.task}), until {until}"

    @property
    def fences(self) -> bool:
        """Whether the source is kept, locked away."""
        return not self.plan.copy and self.plan.mode != Mode.LIVE


class Kept:
    """The finished moves of this data folder that can be taken back. Lives on the loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._past: dict[str, Past] = {}
        self._locked: dict[Ref, Past] | None = None
        self.claims: set[str] = set()
        """The moves that are being taken back, or whose kept source is being deleted."""

    @contextmanager
    def claim(self, past: Past) -> Iterator[None]:
        """Only one at a time takes a move back or deletes what it keeps. Raises Conflict for the second."""
        if past.plan.id in self.claims:
            raise Conflict("it is being taken back, or what was kept of it deleted, already")
        self.claims.add(past.plan.id)
        try:
            yield
        finally:
            self.claims.discard(past.plan.id)

    def __iter__(self) -> Iterator[Past]:
        return iter(tuple(self._past.values()))

    def of_task(self, ident: str) -> Past | None:
        return next((past for past in self if past.task == ident), None)

    def fences(self, ref: Ref) -> Past | None:
        """The move that keeps this VM locked away."""
        if self._locked is None:
            # Asked for every row that is painted. The oldest counts.
            self._locked = {past.plan.vm: past for past in reversed(tuple(self)) if past.fences}
        return self._locked.get(ref)

    def brought(self, ref: Ref) -> Past | None:
        """The newest move that brought the VM to where it is."""
        found = [past for past in self if past.made == ref and not past.plan.copy]
        return max(found, key=lambda past: past.at, default=None)

    def later(self, past: Past) -> Past | None:
        """The newest move that took the same VM on after `past`: that one is to be taken back first."""
        uid = "" if past.plan.copy else past.plan.uid
        found = [
            other
            for other in self
            if other.at > past.at
            and not (other.plan.copy or other.undoes)
            and (other.plan.vm == past.made or (uid and other.plan.uid == uid))
        ]
        return max(found, key=lambda other: other.at, default=None)

    async def read(self, adopt: Callable[[Past], None]) -> None:
        """From the store; `adopt` is called for each."""
        rows = await self._store.setting(SETTING, {})
        for name, row in rows.items():
            try:
                plan, until = codec.decode(Plan, row["plan"]), datetime.fromisoformat(row["until"])
                flags = bool(row.get("undoes")), bool(row.get("gone"))
                past = Past(plan, row["known"], until, row["task"], *flags)
            except (ValueError, KeyError, TypeError, AttributeError):
                log.exception("what migration %s keeps for Undo cannot be read", name)
                continue
            self._put(past)
            adopt(past)

    def _put(self, past: Past) -> None:
        self._past[past.plan.id] = past
        self._locked = None

    def mark(self, past: Past, *, gone: bool) -> Past:
        """Note whether the VM is where the move put it."""
        marked = replace(past, gone=gone)
        self._put(marked)
        return marked

    async def marked(self, past: Past, *, gone: bool) -> Past:
        """The same, and write it down."""
        marked = self.mark(past, gone=gone)
        await self._write()
        return marked

    async def keep(self, move: Move, *, gone: bool = False) -> None:
        """Remember a move that is done, and say in its task what taking it back would do."""
        plan, task = move.plan, move.task
        known = {name: result for name, result in move.journal.record.done.items() if name in KNOWN}
        until = now() + timedelta(days=plan.keep_source_days)
        past = Past(plan, known, until, task.id, task.kind == "undo", gone)
        self._put(past)
        await self._write()
        task.undo, task.undo_until, task.undo_loses = undo_words(past), past.until, undo_loses(past)
        move.tools.changed(task)

    async def forget(self, migration: str) -> None:
        if self._past.pop(migration, None) is not None:
            self._locked = None
            await self._write()

    async def _write(self) -> None:
        rows = {
            name: {
                "plan": codec.encode(past.plan),
                "known": dict(past.known),
                "until": past.until.isoformat(),
                "task": past.task,
                "undoes": past.undoes,
                "gone": past.gone,
            }
            for name, past in self._past.items()
        }
        await self._store.set_setting(SETTING, rows)


def title(plan: Plan) -> str:
    """A move's task, in words, where only the plan is known."""
    return f"{plan.name} {plan.vm.connection} -> {plan.to.connection}"


def new_task(kind: str, plan: Plan) -> Task:
    return Task(kind, title(plan), uid=plan.uid, ref=plan.vm, target=plan.to)


def undo_loses(past: Past) -> bool:
    """Whether taking back a finished move deletes what it made; a live one only moves back."""
    return past.plan.copy or past.plan.mode != Mode.LIVE


def undo_words(past: Past) -> str:
    """What taking back a finished move does, and what is lost by it."""
    plan, name = past.plan, past.plan.name
    if plan.copy:
        return f"Deletes the copy of {name} on {plan.to.connection}"
    if plan.mode == Mode.LIVE:
        return f"Moves {name} back to {plan.vm.connection} while it runs"
    since = past.at.astimezone().strftime("%H:%M")
    if past.gone:
        return (
            f"{name} is gone from {plan.to.connection}: brings back the one kept on {plan.vm.connection} as it was at "
            f"{since}; what changed in it since is lost. Not if it lives on elsewhere: there would be two"
        )
    return (
        f"Stops {name} on {plan.to.connection}, deletes it there and brings it back on {plan.vm.connection} "
        f"as it was; what changed in it since {since} is lost"
    )
