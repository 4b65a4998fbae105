"""What a migration did, written before and after every step, so that whoever comes next knows.

Every entry is durable when its method returns. An intent without its result means: that step may have been done,
in part or in whole; steps are written so that doing (or undoing) them again is harmless.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from app.migration.plan import Plan
from app.store import codec
from backends.model import now

if TYPE_CHECKING:
    from app.store import Store

VERSION = 1
"""Of the itineraries. A journal of another version is only rolled back, never resumed."""

Result = dict[str, Any]


@dataclass(slots=True)
class Record:
    """A journal read back.

    `done` holds the results of steps, `begun` those that were begun, `undone` those taken back; `safe` the offset
    up to which a disk's copy is durable, `disks` what finished copies gave (id, digest); `back` says that it is
    being rolled back; `undoes` names the finished migration that this one takes back.
    """

    plan: Plan
    task: str = ""
    version: int = VERSION
    undoes: bool = False
    began: datetime = field(default_factory=now)
    begun: set[str] = field(default_factory=set)
    done: dict[str, Result] = field(default_factory=dict)
    undone: set[str] = field(default_factory=set)
    safe: dict[int, int] = field(default_factory=dict)
    disks: dict[int, Result] = field(default_factory=dict)
    back: bool = False

    def apply(self, entry: Mapping[str, Any]) -> None:
        """Take in one entry after the first."""
        match entry["do"]:
            case "intent":
                self.begun.add(entry["step"])
            case "done":
                self.done[entry["step"]] = dict(entry["result"])
            case "safe":
                self.safe[int(entry["disk"])] = int(entry["offset"])
            case "disk":
                self.disks[int(entry["disk"])] = dict(entry["result"])
            case "back":
                self.back = True
            case "undone":
                self.undone.add(entry["step"])

    @classmethod
    def read(cls, entries: list[dict[str, Any]]) -> Record:
        """From the journal's entries. Raises ValueError where they are not a migration's."""
        if not entries or entries[0].get("do") != "begin":
            raise ValueError("the journal does not begin with a plan")
        first = entries[0]
        record = cls(
            plan=codec.decode(Plan, first["plan"]),
            task=str(first["task"]),
            version=int(first["version"]),
            undoes=bool(first.get("undoes")),
            began=datetime.fromisoformat(first["at"]),
            done=dict(first.get("known") or {}),
        )
        for entry in entries[1:]:
            record.apply(entry)
        return record


class Journal:
    """Writes one migration's entries and keeps its Record up to date."""

    def __init__(self, store: Store, record: Record, name: str) -> None:
        self._store = store
        self.record = record
        self.name = name
        """The migration's name in the store: every attempt to take one back has a journal of its own."""

    @classmethod
    async def begin(
        cls, store: Store, plan: Plan, task: str, *, undoes: bool = False, known: Mapping[str, Result] | None = None
    ) -> Journal:
        """A new journal; `known` are results of an earlier migration that this one needs."""
        results = dict(known or {})
        name, attempt = f"{plan.id}-undo" if undoes else plan.id, 1
        while undoes and await store.journal(name):
            attempt += 1
            name = f"{plan.id}-undo-{attempt}"
        journal = cls(store, Record(plan, task, undoes=undoes, done=results), name)
        entry = {"do": "begin", "version": VERSION, "plan": codec.encode(plan), "task": task}
        await store.journal_append(journal.name, {**entry, "undoes": undoes, "known": results})
        return journal

    @classmethod
    async def load(cls, store: Store, name: str) -> Journal:
        """Raises ValueError for a journal that cannot be understood."""
        try:
            return cls(store, Record.read(await store.journal(name)), name)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the journal of migration {name} is damaged: {error!r}") from error

    @classmethod
    async def of_task(cls, store: Store, task: str) -> Journal | None:
        """The open journal of a task. Those that cannot be understood are nobody's: they hold up no other."""
        for name in await store.open_migrations():
            with contextlib.suppress(ValueError):
                journal = await cls.load(store, name)
                if journal.record.task == task:
                    return journal
        return None

    async def intent(self, step: str) -> None:
        await self._write({"do": "intent", "step": step})

    async def done(self, step: str, result: Result) -> None:
        await self._write({"do": "done", "step": step, "result": result})

    async def safe(self, disk: int, offset: int) -> None:
        await self._write({"do": "safe", "disk": disk, "offset": offset})

    async def disk(self, disk: int, result: Result) -> None:
        await self._write({"do": "disk", "disk": disk, "result": result})

    async def back(self) -> None:
        await self._write({"do": "back"})

    async def undoing(self, step: str) -> None:
        await self._write({"do": "undoing", "step": step})

    async def undone(self, step: str) -> None:
        await self._write({"do": "undone", "step": step})

    async def close(self, how: str) -> None:
        """The migration is over: it is not open any more."""
        await self._write({"do": "end", "how": how})
        await self._store.journal_close(self.name)

    async def _write(self, entry: dict[str, Any]) -> None:
        await self._store.journal_append(self.name, entry)
        self.record.apply(entry)
