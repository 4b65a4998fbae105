"""Migrations: judge, plan, run, take back, and recover what an earlier run left."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Mapping as Values
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from app.migration import cold
from app.migration.courier import Courier
from app.migration.engine import back, forward
from app.migration.facts import PLACES, QuickFacts, switches
from app.migration.findings import verdict
from app.migration.forecast import Experience, duration, pair, route
from app.migration.interrupted import Interrupted
from app.migration.itinerary import in_words, itinerary, stage_names
from app.migration.journal import Journal, Result
from app.migration.kept import Kept, Past
from app.migration.later import Later
from app.migration.move import Identities, Move, Sites, Tools, Vanished, no_secrets
from app.migration.plan import Mapping, Mode, Plan, Verdict
from app.migration.planning import Wish, judged, new_id
from app.migration.shield import uninterrupted
from app.migration.sizes import resized
from app.migration.source import watched
from app.migration.takeback import TakeBack
from app.store import codec
from app.tasks import ENDED, Stage, Task, Tasks, TaskState
from backends import registry
from backends.driver import Exports, Imports
from backends.errors import BackendError, Conflict, Invalid, NotFound, Unsupported
from backends.model import Finding, Kind, Level, LiveOptions, Ref, SourceFacts, TargetFacts, Vm, VmSpec, now

if TYPE_CHECKING:
    from app.inventory import Inventory
    from app.link import Connection
    from app.store import Store

log = logging.getLogger(__name__)
EXPERIENCE = "migration.experience"
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
        self._kept = Kept(store)
        self._open: dict[str, Plan] = {}
        self._later = Later(tasks, self._tools, self._kept, self._open)
        self._interrupted = Interrupted(tasks, self._tools, self._open, self._forward, self._undo_of)
        self._takeback = TakeBack(inventory, tasks, self._tools, self._kept, self._open, self._busy)
        self._unfollow = self._takeback.follow()

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
        brought = self._kept.brought(vm)
        before, origin = (brought.plan.spec, brought.plan.vm.connection) if brought is not None else (None, "")
        extra = failed + ((_finding("busy", busy),) if busy else ())
        extra += resized(source, target, chosen.spec, before, origin)
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

    def original(self, ref: Ref) -> Past | None:
        """The finished move that keeps this VM for Undo; None for a VM that is no kept original."""
        past = self._kept.fences(ref)
        if past is not None and not past.gone and past.plan.uid and self._identity.ref_of(past.plan.uid) == ref:
            # It came back by a later move: this is the VM itself, not what was kept.
            return None
        return past

    def fenced(self, ref: Ref) -> str:
        """Why this VM must not be started: it is what a finished move keeps for Undo. Empty where it may."""
        past = self.original(ref)
        return f"it was moved to {past.plan.to.connection} and is kept for Undo" if past is not None else ""

    def _busy(self, ref: Ref, besides: str = "") -> str:
        for ident, plan in self._open.items():
            task = self._tasks.get(ident)
            # A task that was cancelled before its first step is over without having said so here.
            if plan.vm == ref and ident != besides and task is not None and task.state not in ENDED:
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
        task.result["mode"] = plan.mode.value
        self._open[task.id] = plan
        return self._tasks.start(task, self._work(plan), self._undo_of(task))

    def _work(self, plan: Plan) -> Callable[[Task], Awaitable[None]]:
        """The task's work: begins, or goes on with the journal that an earlier attempt left open."""
        names: list[str] = [plan.id]

        async def work(task: Task) -> None:
            self._interrupted.stop_waiting(task)
            self._open[task.id] = plan
            task.undo = ""
            try:
                if names[-1] in await self._store.open_migrations():
                    await self._interrupted.go_on(task, names[-1])
                else:
                    # What is tried again may have been moved by another task since.
                    if busy := self._busy(plan.vm, besides=task.id):
                        raise Conflict(busy)
                    fresh = plan if not await self._store.journal(plan.id) else replace(plan, id=new_id())
                    names.append(fresh.id)
                    journal = await Journal.begin(self._store, fresh, task.id)
                    await self._forward(Move(fresh, task, journal, self._tools))
            finally:
                self._interrupted.rest(task)

        return work

    async def _forward(self, move: Move) -> None:
        try:
            with watched(move, self._inventory, self._sites):
                await forward(move)
        except Vanished:
            await uninterrupted(self._vanished(move))
            raise
        await self._finish(move)

    # Afterwards

    async def _vanished(self, move: Move) -> None:
        """It had arrived and was gone before its move was done: over, with what is kept here for Undo."""
        if not move.plan.copy and move.plan.mode != Mode.LIVE:
            await cold.identity(move)
            await self._kept.keep(move, gone=True)
        await move.journal.close("vanished")
        self._tools.tell(f"{move.task.title}: the VM vanished on {move.plan.to.connection}", Level.RED, move.plan.vm)
        self._takeback.offer()

    async def _finish(self, move: Move) -> None:
        """What people and the next move want to know of this one."""
        plan, record, task = move.plan, move.journal.record, move.task
        if record.undoes:
            await self._kept.forget(plan.id)
            self._takeback.offer()
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
        for key in (route(plan.mode, plan.source_kind, plan.target_kind), pair(plan)):
            self._experience = self._experience.learn(key, rate_bps=rate, stop_s=stop)
        await self._store.set_setting(EXPERIENCE, {"rates": self._experience.rates, "stops": self._experience.stops})
        await self._kept.keep(move)
        self._takeback.offer()
        words = f"stopped for {duration(stop)}" if stop else ""
        move.note(", ".join(filter(None, [f"done in {duration(seconds)}", words])))

    def _undo_of(self, done: Task) -> Callable[[Task], Awaitable[None]]:
        """Takes `done` back: what was interrupted is rolled back, what is finished is reversed."""

        async def undo(task: Task) -> None:
            journal = await Journal.of_task(self._store, done.id)
            if journal is not None:
                await self._roll_back(task, done, journal)
                return
            past = self._kept.of_task(done.id)
            if past is None:
                raise NotFound("there is nothing left to take back")
            try:
                with self._kept.claim(past):
                    await self._takeback.judge(past)
                    if past.plan.mode == Mode.LIVE:
                        await self._move_back(task, done, past.plan, past.known)
                    else:
                        await self._reverse(task, past.plan, past.known)
            finally:
                self._takeback.offer()

        return undo

    async def _roll_back(self, task: Task, done: Task, journal: Journal) -> None:
        self._interrupted.stop_waiting(done)
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
            if task.state == TaskState.UNKNOWN:
                self._tasks.adopt(task, self._interrupted.reopened(journal.name))
            self._interrupted.rest(task)

    async def _move_back(self, task: Task, done: Task, plan: Plan, known: Values[str, Result]) -> None:
        came_from = done.result.get("from_ref")
        to = Ref.parse(str(came_from)) if came_from else Ref(plan.vm.connection, Kind.CONNECTION, plan.vm.connection)
        planned = await self.plan(codec.decode(Ref, known["confirm"]["ref"]), to, mode=Mode.LIVE)
        if not planned.verdict.allowed:
            raise Conflict(f"it cannot move back: {planned.verdict.text}")
        task.stages = [Stage(name) for name in planned.stages]
        await self._kept.forget(plan.id)
        await self._work(planned.plan)(task)

    # Recovering

    async def recover(self) -> list[Task]:
        """Take up what an earlier run left: one task each, at rest until both sides can be asked.

        The owner's lock must be ours. Returns at once; each task then says what was found and what becomes of it.
        """
        await self._learnt()

        def adopt(past: Past) -> None:
            task = self._tasks.get(past.task)
            if task is not None:
                self._tasks.adopt(task, None, self._undo_of(task))

        await self._kept.read(adopt)
        self._takeback.offer()
        found = await self._interrupted.recover()
        self._later.begin()
        return found

    def awaited(self) -> set[str]:
        """The connections that moves which are not over, and do not run, wait for."""
        return self._interrupted.awaited()

    async def looked(self) -> None:
        """Until what an earlier run left was looked at, wherever both sides answer, and taken on if it needs nobody."""
        await self._interrupted.looked()

    async def _learnt(self) -> None:
        known = await self._store.setting(EXPERIENCE, {})
        self._experience = Experience(rates=known.get("rates", {}), stops=known.get("stops", {}))

    async def close(self) -> None:
        """Stop waiting for sides that do not answer. Tasks at work are ended by Tasks."""
        self._unfollow()
        await self._later.close()
        await self._interrupted.close()


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
