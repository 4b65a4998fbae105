"""Migrations: judge, plan, run, take back, and recover what an earlier run left."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Mapping as Values
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.migration import recovery
from app.migration.courier import Courier
from app.migration.engine import back, forward
from app.migration.facts import PLACES, QuickFacts, switches
from app.migration.findings import verdict
from app.migration.forecast import Experience, duration, route
from app.migration.itinerary import in_words, itinerary, stage_names
from app.migration.journal import Journal, Result
from app.migration.move import Identities, Move, Sites, Tools, no_secrets
from app.migration.plan import Mapping, Mode, Plan, Verdict
from app.migration.planning import Wish, judged, new_id
from app.store import codec
from app.tasks import Stage, Task, Tasks, TaskState
from backends import registry
from backends.driver import Exports, Imports
from backends.errors import BackendError, Conflict, Invalid, NotFound, Unreachable, Unsupported
from backends.model import Finding, Kind, Level, LiveOptions, Ref, SourceFacts, TargetFacts, Vm, VmSpec, now

if TYPE_CHECKING:
    from app.inventory import Inventory
    from app.link import Connection
    from app.store import Store

log = logging.getLogger(__name__)
KEPT = "migration.kept"
EXPERIENCE = "migration.experience"
ASK_AGAIN_S = 15.0
JUDGED_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan as it is shown before it runs. `verdict.allowed` says whether `start` takes it."""

    plan: Plan
    verdict: Verdict
    stages: tuple[str, ...]
    steps: tuple[str, ...]
    source: SourceFacts
    target: TargetFacts


class Migrations:
    """All moves of this data folder. Lives on the loop.

    Parameters: `secrets(connection)` gives what a mover needs to open a disk there; `tell` adds to the event log;
    `folder` is where movers keep what a broken copy needs to go on.
    """

    def __init__(
        self,
        inventory: Inventory,
        connections: Sites,
        tasks: Tasks,
        store: Store,
        identity: Identities,
        *,
        secrets: Callable[[str], Awaitable[Values[str, str]]] = no_secrets,
        tell: Callable[[str, Level, Ref | None], object] = lambda text, level, ref: None,
        courier: Courier | None = None,
        folder: Path | None = None,
    ) -> None:
        self._inventory = inventory
        self._sites = connections
        self._tasks = tasks
        self._store = store
        self._identity = identity
        self._facts = QuickFacts(inventory, connections)
        self._tools = Tools(
            sites=connections,
            store=store,
            identity=identity,
            changed=tasks.changed,
            tell=tell,
            secrets=secrets,
            courier=courier or Courier(),
            folder=folder,
        )
        self._experience = Experience(rates={}, stops={})
        self._kept: dict[str, dict[str, Any]] = {}
        self._open: dict[str, Plan] = {}
        self._waiting: dict[str, asyncio.Task[None]] = {}

    # Judging

    def quick(self, vms: Sequence[Ref], to: Ref, copy: bool = False) -> Verdict:
        """What the inventory says of a move, at once: for every row while VMs are held. The worst of several."""
        if to.kind not in PLACES:
            return _refused("place", "is no place for a VM", "drop it on a host, a zone or a connection")
        worst: Verdict | None = None
        rank = {"green": 0, "amber": 1, "red": 2}
        for ref in vms[:JUDGED_AT_ONCE]:
            opinion = self._quick(ref, to, copy)
            if worst is None or rank[opinion.colour] > rank[worst.colour]:
                worst = opinion
            if worst.colour == "red":
                break
        return worst or _refused("nothing", "no VM is held")

    def _quick(self, ref: Ref, to: Ref, copy: bool) -> Verdict:
        vm = self._inventory.vm(ref)
        if vm is None:
            return _refused("gone", "is not there any more")
        busy = self._busy(ref)
        if busy:
            return _refused("busy", busy)
        wish = Wish(vm=ref, to=self._facts.place(to, ref), copy=copy)
        return judged(wish, self._facts.source(vm), self._facts.target(wish.to), known=self._experience)[1]

    async def plan(
        self,
        vm: Ref,
        to: Ref,
        *,
        mode: Mode | None = None,
        copy: bool = False,
        mapping: Mapping = Mapping(),  # noqa: B008
        live: LiveOptions = LiveOptions(),  # noqa: B008
    ) -> Planned:
        """Ask both sides everything and judge. Red findings are in the verdict, not raised.

        Raises NotFound for a VM that is not known, Invalid for a target that is no place.
        """
        found = self._inventory.vm(vm)
        if found is None:
            raise NotFound(f"there is no VM {vm}", object_name=str(vm))
        if to.kind not in PLACES:
            raise Invalid(f"{to} is no place for a VM", cure="name a host, a zone or a connection")
        await self._learnt()
        place = self._facts.place(to, vm)
        source_site, target_site = self._sites.get(vm.connection), self._sites.get(place.connection)
        wish = Wish(
            vm=vm,
            to=place,
            mode=mode,
            copy=copy,
            mapping=mapping,
            live=live,
            uid=self._identity.uid_of(vm),
            source_kind=source_site.kind if source_site is not None else "",
            target_kind=target_site.kind if target_site is not None else "",
            starts_on_create=_starts_on_create(target_site),
        )
        source, target, spec, failed = await self._all_facts(found, place)
        chosen, opinion = judged(wish, source, target, spec, self._experience)
        busy = self._busy(vm)
        extra = failed + ((_finding("busy", busy),) if busy else ())
        if extra:
            opinion = verdict(chosen, (*extra, *opinion.findings))
        return Planned(chosen, opinion, stage_names(itinerary(chosen)), in_words(chosen), source, target)

    async def _all_facts(self, vm: Vm, to: Ref) -> tuple[SourceFacts, TargetFacts, VmSpec | None, tuple[Finding, ...]]:
        """Facts of both sides; a side that does not answer gives what the inventory knows, and a finding."""
        source, target, spec = self._facts.source(vm), self._facts.target(to), None
        failed: list[Finding] = []
        exporter = None
        try:
            exporter = self._sites.driver(vm.ref.connection)
            if isinstance(exporter, Exports):
                facts, spec = await asyncio.gather(exporter.export_facts(vm.ref), exporter.vm_spec(vm.ref))
                source = switches(facts, self._sites.get(vm.ref.connection))
        except BackendError as error:
            failed.append(_finding("source", f"{vm.ref.connection}: {error}", error.cure))
        try:
            importer = self._sites.driver(to.connection)
            if isinstance(importer, Imports):
                seen = await importer.import_facts(to, source if source.complete else None, exporter)
                target = switches(seen, self._sites.get(to.connection))
        except BackendError as error:
            failed.append(_finding("target", f"{to.connection}: {error}", error.cure))
        return source, target, spec, tuple(failed)

    def fenced(self, ref: Ref) -> str:
        """Why this VM must not be started: it is what a finished move keeps for Undo. Empty where it may."""
        for row in self._kept.values():
            plan: Plan = row["plan"]
            if plan.vm == ref and not plan.copy and plan.mode != Mode.LIVE:
                return f"it was moved to {plan.to.connection} and is kept for Undo"
        return ""

    def _busy(self, ref: Ref) -> str:
        if any(plan.vm == ref for plan in self._open.values()):
            return "a move of it is under way"
        fenced = self.fenced(ref)
        return f"{fenced}" if fenced else ""

    # Running

    def start(self, planned: Planned) -> Task:
        """Run a plan. Raises Invalid with the first red finding where it must not run."""
        if not planned.verdict.allowed:
            red = next(finding for finding in planned.verdict.findings if finding.level == Level.RED)
            raise Invalid(red.message, cure=red.cure, field=red.field)
        plan = planned.plan
        busy = self._busy(plan.vm)
        if busy:
            raise Conflict(busy)
        task = Task(
            "copy" if plan.copy else "move",
            f"{planned.source.vm.name} {plan.vm.connection} -> {plan.to.connection}",
            uid=plan.uid,
            ref=plan.vm,
            target=plan.to,
            stages=[Stage(name) for name in planned.stages],
            forecast_s=plan.forecast.seconds,
            downtime_forecast_s=plan.forecast.downtime_s,
            retryable=True,
        )
        if planned.source.vm.parent is not None:
            task.result["from_ref"] = str(planned.source.vm.parent)
        self._open[task.id] = plan
        return self._tasks.start(task, self._work(plan), self._undo_of(task))

    def _work(self, plan: Plan) -> Callable[[Task], Awaitable[None]]:
        """The task's work: begins, or goes on with the journal that an earlier attempt left open."""
        names: list[str] = [plan.id]

        async def work(task: Task) -> None:
            self._stop_waiting(task)
            self._open[task.id] = plan
            task.undo = ""
            try:
                if names[-1] in await self._store.open_migrations():
                    await self._go_on(task, names[-1])
                else:
                    fresh = plan if not await self._store.journal(plan.id) else replace(plan, id=new_id())
                    names.append(fresh.id)
                    journal = await Journal.begin(self._store, fresh, task.id)
                    await self._forward(Move(fresh, task, journal, self._tools))
            finally:
                self._rest(task)

        return work

    async def _go_on(self, task: Task, name: str) -> None:
        journal = await Journal.load(self._store, name)
        move = Move(journal.record.plan, task, journal, self._tools)
        if task.state == TaskState.RUNNING and recovery.what_next(journal.record) == recovery.Next.FORWARD:
            await self._say(move)
        await recovery.go_on(move)
        await self._finish(move)

    async def _forward(self, move: Move) -> None:
        await forward(move)
        await self._finish(move)

    async def _say(self, move: Move) -> None:
        """What an interrupted move looks like, into its log. A side that cannot say makes the task UNKNOWN."""
        try:
            text = await recovery.found(move)
        except BackendError as error:
            move.task.state = TaskState.UNKNOWN
            raise Unreachable(f"{error}; nothing was touched", cure="it goes on when both sides answer") from error
        move.note(text)
        self._tools.tell(f"{move.task.title}: {text}", Level.AMBER, move.plan.vm)

    def _rest(self, task: Task) -> None:
        """A task came to rest: an UNKNOWN one is asked again; the others are over."""
        if task.state == TaskState.UNKNOWN:
            self._wait(task)
        elif task.state != TaskState.INTERRUPTED:
            self._open.pop(task.id, None)

    # Afterwards

    async def _finish(self, move: Move) -> None:
        """What people and the next move want to know of this one."""
        plan, record, task = move.plan, move.journal.record, move.task
        if record.undoes:
            await self._forget(plan.id)
            return
        seconds = (now() - record.began).total_seconds()
        last = record.done["confirm"]
        if plan.mode == Mode.LIVE:
            moved = record.done["move"]
            ref, stop, count = last["ref"], moved.get("downtime_s"), moved.get("bytes")
            took = moved.get("seconds")
        else:
            ref, stop = record.done["create"]["ref"], last["downtime_s"]
            count, took = record.done["copy"]["bytes"], record.done["copy"]["seconds"]
        task.target = codec.decode(Ref, ref)
        task.result.update(
            seconds=round(seconds, 3),
            downtime_s=stop,
            bytes_sent=count,
            target_ref=str(task.target),
            mode=plan.mode.value,
        )
        rate = count / took if count and took else None
        key = route(plan.mode, plan.source_kind, plan.target_kind)
        self._experience = self._experience.learn(key, rate_bps=rate, stop_s=stop)
        await self._store.set_setting(EXPERIENCE, {"rates": self._experience.rates, "stops": self._experience.stops})
        await self._keep(move)
        words = f"stopped for {duration(stop)}" if stop else ""
        move.note(" ".join(filter(None, [f"done in {duration(seconds)}", words])))

    async def _keep(self, move: Move) -> None:
        """Remember what Undo needs, for as long as the source is kept."""
        plan, task = move.plan, move.task
        known = {
            name: result for name, result in move.journal.record.done.items() if name in ("check", "create", "confirm")
        }
        until = now() + timedelta(days=plan.keep_source_days)
        self._kept[plan.id] = {"plan": plan, "known": known, "until": until, "task": task.id}
        await self._write_kept()
        task.undo, task.undo_until = _undo_words(plan), until
        self._tasks.changed(task)

    async def _forget(self, migration: str) -> None:
        if self._kept.pop(migration, None) is not None:
            await self._write_kept()

    async def _write_kept(self) -> None:
        rows = {
            name: {**row, "plan": codec.encode(row["plan"]), "until": row["until"].isoformat()}
            for name, row in self._kept.items()
        }
        await self._store.set_setting(KEPT, rows)

    def _undo_of(self, done: Task) -> Callable[[Task], Awaitable[None]]:
        """Takes `done` back: what was interrupted is rolled back, what is finished is reversed."""

        async def undo(task: Task) -> None:
            for name in await self._store.open_migrations():
                journal = await Journal.load(self._store, name)
                if journal.record.task == done.id:
                    await self._roll_back(task, done, journal)
                    return
            row = next((row for row in self._kept.values() if row["task"] == done.id), None)
            if row is None:
                raise NotFound("there is nothing left to take back")
            plan: Plan = row["plan"]
            if plan.mode == Mode.LIVE:
                await self._move_back(task, done, plan, row["known"])
            else:
                await self._reverse(task, plan, row["known"])

        return undo

    async def _roll_back(self, task: Task, done: Task, journal: Journal) -> None:
        self._stop_waiting(done)
        await back(Move(journal.record.plan, task, journal, self._tools))
        done.state, done.error = TaskState.CANCELLED, "taken back"
        self._open.pop(done.id, None)
        self._tasks.changed(done)

    async def _reverse(self, task: Task, plan: Plan, known: Values[str, Result]) -> None:
        task.stages = [Stage(name) for name in stage_names(itinerary(plan, undoes=True))]
        journal = await Journal.begin(self._store, plan, task.id, undoes=True, known=known)
        self._open[task.id] = plan
        try:
            await self._forward(Move(plan, task, journal, self._tools))
        finally:
            self._tasks.adopt(task, self._reopened(journal.name))
            self._rest(task)

    async def _move_back(self, task: Task, done: Task, plan: Plan, known: Values[str, Result]) -> None:
        came_from = done.result.get("from_ref")
        to = Ref.parse(str(came_from)) if came_from else Ref(plan.vm.connection, Kind.CONNECTION, plan.vm.connection)
        planned = await self.plan(codec.decode(Ref, known["confirm"]["ref"]), to, mode=Mode.LIVE)
        if not planned.verdict.allowed:
            raise Conflict(f"it cannot move back: {planned.verdict.text}")
        task.stages = [Stage(name) for name in planned.stages]
        await self._forget(plan.id)
        await self._work(planned.plan)(task)

    # Recovering

    async def recover(self) -> list[Task]:
        """Take up what an earlier run left: one task each, at rest until both sides can be asked.

        The owner's lock must be ours. Returns at once; each task then says what was found and what becomes of it.
        """
        await self._learnt()
        await self._read_kept()
        found = []
        for name in await self._store.open_migrations():
            try:
                journal = await Journal.load(self._store, name)
            except ValueError as error:
                log.error("the journal of migration %s cannot be read: %s", name, error)
                self._tools.tell(
                    f"the journal of migration {name} cannot be read; nothing was touched", Level.RED, None
                )
                continue
            found.append(self._take_up(name, journal))
        return found

    def _take_up(self, name: str, journal: Journal) -> Task:
        record = journal.record
        plan = record.plan
        task = self._tasks.get(record.task)
        if task is None:
            title = plan.spec.name if plan.spec is not None else plan.vm.id
            task = Task(
                "undo" if record.undoes else "copy" if plan.copy else "move",
                f"{title} {plan.vm.connection} -> {plan.to.connection}",
                uid=plan.uid,
                ref=plan.vm,
                target=plan.to,
                id=record.task,
                stages=[Stage(item) for item in stage_names(itinerary(plan, undoes=record.undoes))],
                retryable=True,
            )
        task.state, task.retryable = TaskState.UNKNOWN, True
        task.error = f"interrupted; waiting for {plan.vm.connection} and {plan.to.connection}, nothing touched"
        task.cure = "it goes on when both sides answer"
        self._open[task.id] = plan
        self._tasks.adopt(task, self._reopened(name), self._undo_of(task))
        self._wait(task)
        return task

    def _reopened(self, name: str) -> Callable[[Task], Awaitable[None]]:
        """The work of a task whose journal is open."""

        async def work(task: Task) -> None:
            self._stop_waiting(task)
            task.undo = ""
            try:
                if name in await self._store.open_migrations():
                    await self._go_on(task, name)
                else:
                    raise Conflict("it is over: start it again from the tree")
            finally:
                self._rest(task)

        return work

    def _wait(self, task: Task) -> None:
        """Look again when both sides answer, and now and then."""
        self._stop_waiting(task)
        self._waiting[task.id] = asyncio.get_running_loop().create_task(self._ask_again(task), name=f"wait {task.id}")

    def _stop_waiting(self, task: Task) -> None:
        waiting = self._waiting.pop(task.id, None)
        if waiting is not None and waiting is not asyncio.current_task():
            waiting.cancel()

    async def _ask_again(self, task: Task) -> None:
        plan = self._open[task.id]
        changed = asyncio.Event()

        def on_change(connection: Connection) -> None:
            if connection.name in (plan.vm.connection, plan.to.connection):
                changed.set()

        stop = self._sites.subscribe(on_change)
        first = not task.log or task.ended is None
        try:
            while True:
                if not first:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(changed.wait(), ASK_AGAIN_S)
                first = False
                changed.clear()
                if self._both_answer(plan) and await self._taken_on(task):
                    return
        finally:
            stop()

    def _both_answer(self, plan: Plan) -> bool:
        try:
            self._sites.driver(plan.vm.connection)
            self._sites.driver(plan.to.connection)
        except BackendError:
            return False
        return True

    async def _taken_on(self, task: Task) -> bool:
        """Both sides answer: go on by ourselves, or say what was found and ask. False: try again later."""
        journal = await self._journal_of(task)
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

    async def _journal_of(self, task: Task) -> Journal | None:
        for name in await self._store.open_migrations():
            journal = await Journal.load(self._store, name)
            if journal.record.task == task.id:
                return journal
        return None

    async def _read_kept(self) -> None:
        rows = await self._store.setting(KEPT, {})
        for name, row in rows.items():
            plan, until = codec.decode(Plan, row["plan"]), datetime.fromisoformat(row["until"])
            self._kept[name] = {**row, "plan": plan, "until": until}
            task = self._tasks.get(row["task"])
            if task is not None:
                self._tasks.adopt(task, None, self._undo_of(task))

    async def _learnt(self) -> None:
        known = await self._store.setting(EXPERIENCE, {})
        self._experience = Experience(rates=known.get("rates", {}), stops=known.get("stops", {}))

    async def close(self) -> None:
        """Stop waiting for sides that do not answer. Tasks at work are ended by Tasks."""
        waiting = list(self._waiting.values())
        for item in waiting:
            item.cancel()
        if waiting:
            await asyncio.gather(*waiting, return_exceptions=True)


def _finding(code: str, message: str, cure: str = "") -> Finding:
    return Finding(level=Level.RED, code=code, message=message, cure=cure)


def _refused(code: str, message: str, cure: str = "") -> Verdict:
    return Verdict("red", message, (_finding(code, message, cure),))


def _starts_on_create(site: Connection | None) -> bool:
    if site is None:
        return False
    try:
        return bool(getattr(registry.load(site.kind), "starts_on_create", False))
    except Unsupported:
        return False


def _undo_words(plan: Plan) -> str:
    name = plan.spec.name if plan.spec is not None else plan.vm.id
    if plan.copy:
        return f"Deletes the copy of {name} on {plan.to.connection}"
    if plan.mode == Mode.LIVE:
        return f"Moves {name} back to {plan.vm.connection} while it runs"
    since = now().astimezone().strftime("%H:%M")
    return (
        f"Stops {name} on {plan.to.connection}, deletes it there and brings it back on {plan.vm.connection} "
        f"as it was; what changed in it since {since} is lost"
    )
