"""May a finished move be taken back, and as what: asked of both sides before either is touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from app.migration.kept import Kept, Past, title, undo_loses, undo_words
from app.migration.move import AT_REST, Tools, look
from app.migration.plan import Mode, Plan
from app.tasks import Tasks
from backends.driver import Locates
from backends.errors import Conflict, NotFound, Unreachable
from backends.model import Kind, PowerState, Vm

if TYPE_CHECKING:
    from app.inventory import Delta, Inventory


class TakeBack:
    """Judges the moves that are kept for Undo, and keeps what their tasks offer true. Lives on the loop.

    Parameters: `at_work` are the plans of all moves that are not over, by task; `busy(ref)` says why a VM cannot be
    touched now.
    """

    def __init__(
        self,
        inventory: Inventory,
        tasks: Tasks,
        tools: Tools,
        kept: Kept,
        at_work: dict[str, Plan],
        busy: Callable[..., str],
    ) -> None:
        self._inventory = inventory
        self._tasks = tasks
        self._tools = tools
        self._kept = kept
        self._at_work = at_work
        self._busy = busy

    def follow(self) -> Callable[[], None]:
        """Offer a rescue as soon as a moved VM is seen to be gone, and no longer once it is back."""

        def on_delta(delta: Delta) -> None:
            gone = {item.ref for item in delta.removed if isinstance(item, Vm)}
            come = {item.ref for item in delta.added if isinstance(item, Vm)}
            if not gone and not come:
                return
            under_way = {plan.id for plan in self._at_work.values()} | self._kept.claims
            found = [past for past in self._kept if past.plan.id not in under_way and past.made in gone | come]
            for past in found:
                self._kept.mark(past, gone=past.made in gone)
            if found:
                self.offer()

        return self._inventory.subscribe(on_delta)

    def offer(self) -> None:
        """Only the last move of a VM can be taken back: the tasks of earlier ones say which goes first."""
        under_way = {plan.id for plan in self._at_work.values()} | self._kept.claims
        for past in self._kept:
            task = self._tasks.get(past.task)
            if task is None or task.active or past.plan.id in under_way:
                continue
            later = self._kept.later(past)
            words, first = ("", later.task) if later is not None else (undo_words(past), "")
            loses = undo_loses(past)
            if (task.undo, task.undo_loses, task.result.get("undo_first", "")) != (words, loses, first):
                task.undo, task.undo_loses, task.result["undo_first"] = words, loses, first
                self._tasks.changed(task)

    async def judge(self, past: Past) -> None:
        """Raises Conflict or NotFound, with nothing touched, where it cannot be taken back as its task offers it.

        A moved VM that is gone is told first; what takes the move back then is the rescue that this offers.
        """
        self._still_last(past)
        there = await look(self._tools.sites.driver(past.plan.to.connection), past.made)
        ours = [] if there is None else [there]
        if past.plan.copy:
            return
        if past.plan.mode == Mode.LIVE:
            if there is None:
                text = f"the VM is not on {past.plan.to.connection} any more: nothing was touched"
                raise NotFound(text, cure=f"look for it in {past.plan.to.connection}'s own tools")
            here = await look(self._tools.sites.driver(past.plan.vm.connection), past.plan.vm)
        else:
            here = await self._kept_vm(past, there)
        await self._nowhere_else(past.plan, tuple(ours) if here is None else (*ours, here))
        if past.fences and past.gone != (there is None):
            now = await self._kept.marked(past, gone=there is None)
            where = f"not on {now.plan.to.connection} any more" if now.gone else f"on {now.plan.to.connection} again"
            raise Conflict(f"it is {where}: nothing was touched", cure=f"undo it again: {undo_words(now)}")

    def _still_last(self, past: Past) -> None:
        """Raises Conflict where the VM that a finished move made went on since: its source may not start beside it."""
        plan, made = past.plan, past.made
        later = self._kept.later(past)
        if later is not None:
            raise Conflict(f"it cannot be taken back: undo {later.task} ({title(later.plan)}) first")
        cure = "take its later move back first"
        if busy := self._busy(made):
            raise Conflict(f"it cannot be taken back: {busy}", cure=cure)
        place = self._tools.identity.ref_of(plan.uid) if plan.uid and not plan.copy else None
        # Once the moved VM was gone, its name for life is at the kept one.
        if place is not None and place not in (made, plan.vm):
            raise Conflict(f"it cannot be taken back: it is on {place.connection} by now", cure=cure)

    async def _kept_vm(self, past: Past, there: Vm | None) -> Vm | None:
        """The source that is locked away, None where its platform does not list it. Raises where it cannot be it."""
        plan = past.plan
        source = self._tools.sites.driver(plan.vm.connection)
        here = await look(source, plan.vm)
        if here is None and not getattr(source, "fence_undefines", False):
            text = f"the kept VM is not on {plan.vm.connection} any more: nothing was touched"
            cure = f"move {there.name} there instead" if there is not None else "it is on neither side"
            raise NotFound(text, object_name=plan.vm.id, cure=cure)
        if here is not None and here.state in (PowerState.RUNNING, PowerState.PAUSED):
            text = f"it cannot be taken back: it is {here.state} on {plan.vm.connection}"
            raise Conflict(text, cure="stop one of the two by hand")
        return here

    async def _nowhere_else(self, plan: Plan, ours: tuple[Vm, ...]) -> None:
        """Raises Conflict where a connection that answers has another VM of this UUID that could run."""
        uuid = plan.spec.uuid if plan.spec is not None else ""
        refs, parents = {vm.ref for vm in ours}, {vm.parent.id for vm in ours if vm.parent is not None}
        for name in {item.ref.connection for item in self._inventory} if uuid else ():
            known = {
                item.ref for item in self._inventory.of(name, Kind.VM) if isinstance(item, Vm) and item.uuid == uuid
            }
            try:
                driver = self._tools.sites.driver(name)
                located = await driver.locate(uuid) if isinstance(driver, Locates) else None
                for ref in (known | ({located} if located is not None else set())) - refs:
                    vm = await look(driver, ref)
                    if vm is None or (self._kept.fences(ref) is not None and vm.state in AT_REST):
                        continue
                    # Two connections may show the same cloud or host.
                    same = ref.id != uuid or (vm.parent is not None and vm.parent.id in parents)
                    if same and ref.id in {item.id for item in refs}:
                        continue
                    text = f"it cannot be taken back: {vm.name} is {vm.state} on {name} as well"
                    raise Conflict(text, cure="remove one of them by hand")
            except Unreachable:
                continue
