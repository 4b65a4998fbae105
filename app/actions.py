"""What people do to VMs: each action is a Task, audited, and shown as done only by what the platform then reports."""

from __future__ import annotations

import asyncio
import difflib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from app.connections import Connection, Connections
from app.events import Events
from app.inventory import Inventory
from app.logs import redact
from app.tasks import Offer, Task, Tasks, TaskState
from backends.driver import POWER_CAPABILITIES, Autostarts, Capability, Deletes, Driver, Edits, Powers, Renames, Tags
from backends.errors import BackendError, Conflict, Denied, Invalid, NotFound, Unsupported
from backends.model import Changed, Finding, Level, Object, PowerAction, PowerState, Ref, Vm

if TYPE_CHECKING:
    from app.audit import Audit
    from app.identity import Identity

log = logging.getLogger(__name__)

WORDS = {
    PowerAction.START: "Start",
    PowerAction.SHUTDOWN: "Shut down",
    PowerAction.OFF: "Force off",
    PowerAction.REBOOT: "Reboot",
    PowerAction.RESET: "Reset",
    PowerAction.PAUSE: "Pause",
    PowerAction.RESUME: "Resume",
    PowerAction.SAVE: "Save",
    PowerAction.RESTORE: "Restore",
}
SETTLE_S = (0.0, 1.0, 2.0, 4.0, 8.0)
"""When a platform without events is asked again after an action, in seconds from the question before."""
STARTING = frozenset({PowerAction.START, PowerAction.RESTORE})
HOLDING = frozenset({"move", "copy", "delete", "undo"})
"""The kinds of tasks that let nobody else change their VM."""
TRANSITIONAL = frozenset({PowerState.STARTING, PowerState.STOPPING, PowerState.MIGRATING})


class Actions:
    """Starts tasks on VMs. Every guard is asked when the task runs, so that the answer is in the task.

    Parameters: `who` stands in the audit trail; `fenced` says of a Ref why it must not start (a moved VM's old
    copy), empty where it may.
    """

    def __init__(
        self,
        inventory: Inventory,
        connections: Connections,
        tasks: Tasks,
        identity: Identity,
        audit: Audit,
        events: Events,
        *,
        who: str,
        fenced: Callable[[Ref], str] = lambda ref: "",
    ) -> None:
        self._inventory = inventory
        self._connections = connections
        self._tasks = tasks
        self._identity = identity
        self._audit = audit
        self._events = events
        self._who = who
        self._fenced = fenced
        self._settling: set[asyncio.Task[None]] = set()

    def power(self, refs: Sequence[Ref], action: PowerAction) -> list[Task]:
        """One task per VM: start, shutdown, off, reboot, reset, pause, resume, save, restore."""

        async def work(driver: Driver, item: Object) -> None:
            if action in STARTING and (why := self._fenced(item.ref)):
                raise Denied(f"{item.name} must not start: {why}", object_name=item.name, cure="undo its move first")
            if (holder := held(self._tasks, action).get(item.ref)) is not None and not holder.active:
                cure = "resume or undo that move first"
                raise Conflict(f"{item.name} {hindrance(holder)}", object_name=item.name, cure=cure)
            if not isinstance(driver, Powers):
                raise Unsupported(f"{item.ref.connection} cannot {action}")
            await driver.power(item.ref, action)

        needs = POWER_CAPABILITIES[action]
        return [self._on(ref, action.value, WORDS[action], needs, work) for ref in refs]

    def delete(self, refs: Sequence[Ref], disks: bool) -> list[Task]:
        """One task per VM. With `disks` its disks go too: there is no way back."""

        async def work(driver: Driver, item: Object) -> None:
            if not isinstance(driver, Deletes):
                raise Unsupported(f"{item.ref.connection} cannot delete")
            await driver.delete(item.ref, disks=disks)

        to = "with its disks" if disks else "disks kept"
        return [self._on(ref, "delete", "Delete", Capability.DELETE, work, to=to) for ref in refs]

    def rename(self, ref: Ref, name: str) -> Task:
        """Give a VM another name. Undo gives it the old one."""
        old = self._name(ref)

        def renaming(to: str) -> Callable[[Driver, Object], Awaitable[None]]:
            async def work(driver: Driver, item: Object) -> None:
                if not to.strip() or not to.isprintable():
                    raise Invalid("a VM's name is one line with something in it", field="name")
                if not isinstance(driver, Renames):
                    raise Unsupported(f"{ref.connection} cannot rename")
                await driver.rename(ref, to.strip())

            return work

        needs, title = Capability.RENAME, f"Rename to {name}:"
        undo = f"rename it back to {old}", renaming(old)
        return self._on(ref, "rename", title, needs, renaming(name), was=old, to=name, undo=undo)

    def autostart(self, ref: Ref, on: bool) -> Task:
        """Start a VM with its host, or no longer. Undo takes it back."""

        def setting(value: bool) -> Callable[[Driver, Object], Awaitable[None]]:
            async def work(driver: Driver, item: Object) -> None:
                if not isinstance(driver, Autostarts):
                    raise Unsupported(f"{ref.connection} cannot start VMs with the host")
                await driver.autostart(ref, value)

            return work

        title = "Start with the host:" if on else "Do not start with the host:"
        undo = "switch it back", setting(not on)
        return self._on(
            ref, "autostart", title, Capability.AUTOSTART, setting(on), was=str(not on), to=str(on), undo=undo
        )

    def redefine(self, ref: Ref, old: str, new: str) -> Task:
        """Apply an edited definition, made from `old`. What changed goes to the log, secrets redacted."""

        async def work(driver: Driver, item: Object) -> None:
            if not isinstance(driver, Edits):
                raise Unsupported(f"{ref.connection} has no definitions to edit")
            lines = difflib.unified_diff(
                redact(old).splitlines(),
                redact(new).splitlines(),
                f"{item.name} before",
                f"{item.name} after",
                "",
                "",
                2,
            )
            log.info("%s: new definition\n%s", ref, "\n".join(line.rstrip("\n") for line in lines))
            await driver.redefine(ref, old, new)

        return self._on(ref, "redefine", "Edit the definition of", Capability.EDIT, work)

    def set_group(self, refs: Sequence[Ref], group: str) -> Task:
        """Put VMs into a group (empty: into none): it hangs on the VM's uid, and is a tag where there are tags."""
        before = {ref: vm.group for ref in refs if (vm := self._inventory.vm(ref)) is not None}

        async def work(task: Task) -> None:
            await self._group(task, dict.fromkeys(refs, group))

        async def back(task: Task) -> None:
            await self._group(task, before)

        task = self._many("group", f"Group {group}" if group else "No group", refs)
        task.undo = "put each back into the group it was in"
        return self._tasks.start(task, work, back)

    def tag(self, refs: Sequence[Ref], tags: Mapping[str, str]) -> Task:
        """Set tags of VMs; an empty value removes one."""

        async def work(task: Task) -> None:
            text = ", ".join(f"{key}={value}" for key, value in tags.items())
            for ref in refs:
                item, connection, driver = self._allowed(ref, Capability.TAG, task)
                if not isinstance(driver, Tags):
                    raise Unsupported(f"{ref.connection} has no tags")
                await self._audited(task, ref, "tag", "", text, driver.tag(ref, tags))
                self._settle(connection, item, slow=True)

        return self._tasks.start(self._many("tag", "Tag", refs), work)

    def cautions(self, refs: Sequence[Ref]) -> list[Finding]:
        """What to say before something is done to these: managers, production, read-only. Pure and quick."""
        found: list[Finding] = []
        for ref in refs:
            vm, connection = self._inventory.vm(ref), self._connections.get(ref.connection)
            if vm is not None and vm.manager:
                found.append(_managed(vm))
            if connection is not None and connection.read_only:
                found.append(_finding(Level.RED, "read-only", f"{connection.name} is read-only", "switch that off"))
            elif connection is not None and connection.production:
                found.append(_finding(Level.AMBER, "production", f"{connection.name} is production"))
        return list(dict.fromkeys(found))

    async def close(self) -> None:
        """Stop asking after earlier actions."""
        for item in self._settling:
            item.cancel()
        if self._settling:
            await asyncio.wait(self._settling, timeout=2.0)

    # Inside

    def _on(
        self,
        ref: Ref,
        kind: str,
        words: str,
        needs: Capability,
        work: Callable[[Driver, Object], Awaitable[None]],
        *,
        was: str = "",
        to: str = "",
        undo: tuple[str, Callable[[Driver, Object], Awaitable[None]]] | None = None,
    ) -> Task:
        """Start the task that does `work` to one VM, behind all guards."""

        def running(
            what: str, work: Callable[[Driver, Object], Awaitable[None]], was: str, to: str
        ) -> Callable[[Task], Awaitable[None]]:
            async def run(task: Task) -> None:
                item, connection, driver = self._allowed(ref, needs, task)
                state = getattr(item, "state", "")
                await self._audited(task, ref, what, was or str(state), to, work(driver, item))
                self._settle(connection, item, slow=needs not in POWER_CAPABILITIES.values())

            return run

        uid = self._identity.uid_of(ref)
        task = Task(kind, f"{words} {self._name(ref)}", uid=uid, ref=ref, target=ref, who=self._who, retryable=True)
        if undo is None:
            return self._tasks.start(task, running(kind, work, was, to))
        task.undo = undo[0]
        return self._tasks.start(task, running(kind, work, was, to), running(f"undo {kind}", undo[1], to, was))

    def _many(self, kind: str, words: str, refs: Sequence[Ref]) -> Task:
        one = refs[0] if len(refs) == 1 else None
        title = f"{words}: {self._name(one) if one else f'{len(refs)} VMs'}"
        return Task(kind, title, uid=self._identity.uid_of(one) if one else "", ref=one, target=one, who=self._who)

    def _allowed(self, ref: Ref, needs: Capability, task: Task) -> tuple[Object, Connection, Driver]:
        """The object, its connection and its driver; raises what forbids the action."""
        item, connection = self._inventory.get(ref), self._connections.get(ref.connection)
        if item is None or connection is None:
            raise NotFound(f"{ref} is not there any more", object_name=str(ref))
        if connection.read_only:
            raise Denied(f"{connection.name} is read-only", object_name=item.name, cure="switch read-only off")
        driver = self._connections.driver(ref.connection)
        if needs not in connection.capabilities:
            raise Unsupported(f"{connection.name} cannot {needs} VMs", object_name=item.name)
        holder = held(self._tasks, besides=task).get(ref)
        if holder is not None:
            cure = "wait, or cancel that"
            raise Conflict(f"{item.name} {hindrance(holder)}", object_name=item.name, cure=cure)
        if isinstance(item, Vm) and item.manager:
            caution = _managed(item)
            task.note(caution.message)
            self._events.add(caution.message, level=Level.AMBER, ref=ref)
        return item, connection, driver

    async def _audited(self, task: Task, ref: Ref, what: str, was: str, to: str, doing: Awaitable[None]) -> None:
        try:
            await doing
        except (BackendError, asyncio.CancelledError) as error:
            result = f"{type(error).__name__}: {error}"
            self._events.add(f"{task.title}: {error or 'cancelled'}", level=Level.RED, ref=ref)
            await self._audit.record(what, ref, was, to, result, who=task.who)
            raise
        self._events.add(f"{task.title}: done", ref=ref)
        await self._audit.record(what, ref, was, to, "ok", who=task.who)

    async def _group(self, task: Task, groups: Mapping[Ref, str]) -> None:
        for ref, group in groups.items():
            vm, connection = self._inventory.vm(ref), self._connections.get(ref.connection)
            if vm is None or connection is None:
                raise NotFound(f"{ref} is not there any more", object_name=str(ref))
            self._identity.set_group(self._identity.seen(vm), group)
            self._inventory.apply(Changed((replace(vm, group=group),)))
            driver: object = connection.driver
            if Capability.TAG in connection.capabilities and isinstance(driver, Tags):
                await self._audited(task, ref, "group", vm.group, group, driver.tag(ref, {"group": group}))
            else:
                task.note(f"{vm.name}: kept here only, not as a tag at {connection.name}")
                await self._audit.record("group", ref, vm.group, group, "ok", who=task.who)

    def _settle(self, connection: Connection, before: Object, *, slow: bool) -> None:
        """Ask the platform how it is now, where no event will say it.

        `slow`: the kind of change for which also platforms with events often send none; one question is enough.
        """
        watched = Capability.WATCH in connection.capabilities
        if watched and not slow:
            return
        task = asyncio.get_running_loop().create_task(self._ask_again(before, SETTLE_S[:1] if watched else SETTLE_S))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _ask_again(self, before: Object, pauses: Sequence[float]) -> None:
        for pause in pauses:
            await asyncio.sleep(pause)
            await self._connections.reread(before.ref)
            after = self._inventory.get(before.ref)
            if after is None or (after != before and getattr(after, "state", None) not in TRANSITIONAL):
                return

    def _name(self, ref: Ref) -> str:
        item = self._inventory.get(ref)
        return ref.id if item is None else item.name


def held(tasks: Tasks, action: PowerAction | None = None, besides: Task | None = None) -> dict[Ref, Task]:
    """The VMs that a task (not `besides`) has in hand, with that task.

    Nothing but the task may change them while it is active. They may not be started (`action`) either while their move
    waits to be resumed or undone: its copy is of disks at rest.
    """

    def holds(task: Task) -> bool:
        if task.active:
            return True
        waits = task.state == TaskState.INTERRUPTED and Offer.RESUME in tasks.offers(task)
        return waits and action in STARTING

    return {
        task.ref: task
        for task in reversed(tasks.all())
        if task.ref is not None and task.kind in HOLDING and task is not besides and holds(task)
    }


def hindrance(task: Task) -> str:
    """What a VM is, that `task` has in hand: "is being moved: web-01 a -> b"."""
    if not task.active:
        return f"is in a move that was interrupted: {task.title}"
    return f"is {'being moved' if task.kind == 'move' else 'busy'}: {task.title}"


def _finding(level: Level, code: str, message: str, cure: str = "") -> Finding:
    return Finding(level=level, code=code, message=message, cure=cure)


def _managed(vm: Vm) -> Finding:
    text = f"{vm.name} belongs to {vm.manager}, which may take back what is done here"
    return _finding(Level.AMBER, "managed", text, f"do it in {vm.manager}")
