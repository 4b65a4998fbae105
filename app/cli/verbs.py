"""The verbs: each an async generator over the services, run by the caller's process or by the folder's owner.

It yields plain dicts: `{"type": "note"|"warning"|"progress", ...}` on the way and one `{"type": "result", ...}` at
the end, whose `ok` False means exit code 1. What it raises becomes `{"type": "error", ...}` in `serve`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli import console, shapes
from app.cli.refs import Usage, find, find_target, find_vm, sites_of
from app.cli.requests import arguments
from app.cli.rows import Row, failure, parts, result, warning
from app.cli.waiting import all_of, detailed, followed, recovered, settled
from app.connections import Connection, ConnectionState
from app.migration.plan import Mapping, Mode
from app.search import NUMBER_KEYS, TEXT_KEYS
from app.services import Services
from app.tasks import Offer, Task, TaskState
from backends.driver import Describes
from backends.errors import BackendError
from backends.model import Kind, Level, LiveOptions, PowerAction, Ref, now

if TYPE_CHECKING:
    from app.migration import Planned

log = logging.getLogger(__name__)
Verb = Callable[[Services, Row], AsyncIterator[Row]]

SHOWN = frozenset({Kind.VM, Kind.HOST, Kind.ZONE, Kind.CLUSTER, Kind.DATACENTER, Kind.TEMPLATE})
POWER = {
    "start": PowerAction.START,
    "shutdown": PowerAction.SHUTDOWN,
    "stop": PowerAction.OFF,
    "reboot": PowerAction.REBOOT,
    "pause": PowerAction.PAUSE,
    "resume": PowerAction.RESUME,
}


async def serve(services: Services, request: Row) -> AsyncGenerator[Row, None]:
    """Run the verb that a request names. Never raises but when it is cancelled: errors are its last dict."""
    try:
        name, args = arguments(request)
        verb = VERBS.get(name)
        if verb is None:
            raise Usage(f"there is no verb {name!r}")
        async for row in verb(services, args):
            for part in parts(row):
                yield part
    except BackendError as error:
        yield failure(error)
    except Exception as error:
        log.exception("%s", name)
        yield {"type": "error", "exit": 1, "message": f"{type(error).__name__}: {error}", "cure": "", "candidates": []}


async def connections(services: Services, args: Row) -> AsyncIterator[Row]:
    await settled(services, None)
    yield result(data=[shapes.of_connection(connection) for connection in services.connections.all()])


async def connect(services: Services, args: Row) -> AsyncIterator[Row]:
    """Check, then add: with a red finding nothing is saved."""
    kind, name, settings, secrets = args["kind"], args["name"], args["settings"], args["secrets"]
    if services.connections.get(name) is not None:
        raise Usage(f"there is a connection {name!r} already", cure=f"choose another name, or: disconnect {name}")
    findings = await services.connections.check(kind, name, settings, secrets)
    rows = [shapes.of_finding(finding) for finding in findings]
    if any(finding.level == Level.RED for finding in findings):
        yield result(ok=False, data={"added": False, "findings": rows}, message=f"{name} was not added")
        return
    flags = {flag: bool(args.get(flag)) for flag in ("read_only", "production", "local")}
    connection = await services.connections.add(kind, name, settings, secrets, **flags)
    await settled(services, {name})
    row = {"added": True, "findings": rows, **shapes.of_connection(connection)}
    vms = len(services.inventory.of(name, Kind.VM))
    known = f"{vms} {'VM' if vms == 1 else 'VMs'}" if connection.state == ConnectionState.READY else connection.state
    yield result(data=row, message=f"{name} was added: {known}")


async def disconnect(services: Services, args: Row) -> AsyncIterator[Row]:
    name = args["name"]
    if services.connections.get(name) is None:
        raise Usage(f"there is no connection {name!r}", candidates=[item.name for item in services.connections.all()])
    await recovered(services)
    if not args.get("yes") and (hanging := [task for task in services.tasks.all() if _hangs_on(task, name)]):
        named = [f"{task.id}  {task.title} ({task.undo or task.state})" for task in hanging]
        raise Usage(
            f"what was begun needs {name}", cure="let it end, or forget it all the same: --yes", candidates=named
        )
    await services.connections.forget(name)
    yield result(data={"name": name}, message=f"{name} is forgotten; nothing happened to its VMs")


def _hangs_on(task: Task, connection: str) -> bool:
    """Whether a task still needs a connection: it runs, was interrupted, or may yet be taken back."""
    if connection not in {ref.connection for ref in (task.ref, task.target) if ref is not None}:
        return False
    interrupted = task.kind == "move" and task.state in (TaskState.INTERRUPTED, TaskState.UNKNOWN)
    pending = bool(task.undo) and task.kind != "undo" and task.undo_until is not None and task.undo_until > now()
    return task.active or interrupted or pending


async def ls(services: Services, args: Row) -> AsyncIterator[Row]:
    query = args.get("query") or ""
    if not args.get("offline"):
        for missing in await settled(services, None):
            yield missing
    if wrong := services.search.questionable(query):
        keys = " ".join([f"{key}:" for key in TEXT_KEYS] + [f"{key}>" for key in NUMBER_KEYS])
        raise Usage(wrong, cure=f"the keys are {keys}; quotes make a word of it")
    wanted = services.search.match(query)
    await services.recovered()
    found = [item for item in services.inventory if item.ref.kind in SHOWN and (wanted is None or item.ref in wanted)]
    if not args.get("offline"):
        found = await detailed(services, found)
    found.sort(key=lambda item: (item.ref.connection, item.ref.kind != Kind.HOST, item.ref.kind, item.name))
    yield result(data=[shapes.of_object(item, services.identity, _kept(services, item.ref)) for item in found])


def _kept(services: Services, ref: Ref) -> str:
    """What a VM is the kept original of; empty where it is none."""
    past = services.migrations.original(ref)
    return past.words if past is not None else ""


async def show(services: Services, args: Row) -> AsyncIterator[Row]:
    offline = bool(args.get("offline"))
    if not offline:
        for missing in await settled(services, sites_of(args["ref"])):
            yield missing
    await services.recovered()
    ref = find(args["ref"], services.inventory)
    item = services.inventory.get(ref)
    if item is None or (getattr(item, "detailed", True) is False):
        item = await services.store.load_body(ref) or item
    if item is None:
        raise Usage(f"there is no {args['ref']!r}")
    text = ""
    connection = services.connections.get(ref.connection)
    driver: object = connection.driver if connection is not None and not offline else None
    if isinstance(driver, Describes):
        try:
            text = await driver.describe(ref)
        except BackendError as error:
            yield warning(f"{item.name}: {error}")
    yield result(data=shapes.of_details(item, services.identity, text, _kept(services, ref)))


def power(name: str) -> Verb:
    """The verb that does one power action to all its VMs."""

    async def verb(services: Services, args: Row) -> AsyncIterator[Row]:
        await settled(services, sites_of(*args["refs"]))
        refs = [find_vm(text, services.inventory) for text in args["refs"]]
        await services.recovered()
        async for row in all_of(services, services.actions.power(refs, POWER[name])):
            yield row

    return verb


async def delete(services: Services, args: Row) -> AsyncIterator[Row]:
    await settled(services, sites_of(*args["refs"]))
    refs = [find_vm(text, services.inventory) for text in args["refs"]]
    async for row in all_of(services, services.actions.delete(refs, bool(args.get("disks")))):
        yield row


async def plan(services: Services, args: Row) -> AsyncIterator[Row]:
    """A plan that is not allowed is not ok; its findings say why."""
    planned = await _planned(services, args)
    row = shapes.of_plan(planned.plan, planned.verdict, planned.stages, planned.steps)
    yield result(ok=planned.verdict.allowed, data=row)


async def move(services: Services, args: Row) -> AsyncIterator[Row]:
    """Plan, run, follow. A red finding ends it before anything is touched."""
    planned = await _planned(services, args)
    row = shapes.of_plan(planned.plan, planned.verdict, planned.stages, planned.steps)
    if not planned.verdict.allowed:
        red = next(finding for finding in planned.verdict.findings if finding.level == Level.RED)
        data = {"ok": False, "error": red.message, "cure": red.cure, "plan": row}
        yield result(ok=False, data=data, message=red.message, cure=red.cure)
        return
    yield {"type": "plan", "data": row}
    began = asyncio.get_running_loop().time()
    task = services.migrations.start(planned)
    yield {"type": "task", "task": task.id}
    async for progress in followed(services, task):
        yield progress
    ok = task.state == TaskState.DONE
    data = shapes.of_move(task, ok, asyncio.get_running_loop().time() - began)
    place = planned.plan.to.connection
    data["target"] = f"{place}/{planned.plan.mapping.name or planned.source.vm.name}" if ok else ""
    yield result(ok=ok, data=data, message=task.error or "done", cure=task.cure)


async def tasks(services: Services, args: Row) -> AsyncIterator[Row]:
    await recovered(services)
    yield result(data=[shapes.of_task(task, services.tasks.offers(task)) for task in services.tasks.all()])


async def retry(services: Services, args: Row) -> AsyncIterator[Row]:
    """Go on with what was interrupted, or begin again what failed in a program that still runs."""
    task = await _known(services, args["task"])
    if not services.tasks.offers(task) & {Offer.RESUME, Offer.RETRY}:
        raise Usage(f"there is nothing to go on with: {task.title} is {task.state}", cure="see: causeway tasks")
    services.tasks.retry(task.id)
    async for row in all_of(services, [task]):
        yield row


async def _known(services: Services, ident: str) -> Task:
    """The task that is meant, once it is known what earlier runs left. Raises Usage where there is none."""
    await settled(services, None)
    await recovered(services)
    task = services.tasks.get(ident)
    if task is None:
        raise Usage(f"there is no task {ident!r}", cure="see: causeway tasks")
    return task


async def undo(services: Services, args: Row) -> AsyncIterator[Row]:
    """Take a task back; what loses something is only done where `yes` says so."""
    before = await _known(services, args["task"])
    offered = Offer.UNDO in services.tasks.offers(before)
    if offered and before.undo_loses and not args.get("yes"):
        yield {**failure(Usage(before.undo, cure="undo it all the same: --yes")), "asks": before.undo}
        return
    task = services.tasks.undo(before.id)
    if task is None:
        raise _not_undone(services, before)
    async for row in all_of(services, [task]):
        yield row


def _not_undone(services: Services, task: Task) -> Usage:
    """Why a task cannot be taken back."""
    by = services.tasks.get(str(task.result.get("undone_by", "")))
    if by is not None and by.active:
        return Usage(f"{task.title} is being undone", cure="see: causeway tasks")
    if by is not None and by.state == TaskState.DONE:
        return Usage(f"{task.title} is already undone", cure=f"it was task {by.id}")
    if first := task.result.get("undo_first"):
        return Usage(f"{task.title} cannot be undone: the VM was moved on since", cure=f"undo {first} first")
    return Usage(f"{task.title} cannot be undone", cure="its time is over, or there was nothing to take back")


async def cancel(services: Services, args: Row) -> AsyncIterator[Row]:
    """Ask a task to end; it ends when what it made is tidied away."""
    services.tasks.cancel(args["task"])
    yield result()


async def playground_add(services: Services, args: Row) -> AsyncIterator[Row]:
    """Add the playground's connections; one that is there and is as it should be stays. The demo that stood in for
    it goes."""
    demo = services.connections.get("demo")
    if demo is not None and demo.kind == "demo" and demo.settings.keys() <= {"vms"}:
        await services.connections.forget(demo.name)
        yield {"type": "note", "message": "the demo is forgotten: here is the playground"}
    for seed in args["seeds"]:
        name, kind, settings, secrets = seed["name"], seed["kind"], seed["settings"], seed["secrets"]
        known = services.connections.get(name)
        same = known is not None and (known.kind, known.settings) == (kind, settings)
        if same and await services.secrets.all(name) == secrets:
            services.connections.retry(name)
            continue
        if known is not None:
            if not _of_playground(known, seed):
                yield warning(f"there is another connection {name!r}; the playground's is not added")
                continue
            await services.connections.forget(name)
        await services.connections.add(kind, name, settings, secrets, local=True)
        yield {"type": "note", "message": f"{name} was added"}
    yield result()


async def playground_drop(services: Services, args: Row) -> AsyncIterator[Row]:
    """Forget the playground's connections, and no others that have their names."""
    for seed in args["seeds"]:
        known = services.connections.get(seed["name"])
        if known is not None and _of_playground(known, seed):
            await services.connections.forget(known.name)
    yield result()


def _of_playground(known: Connection, seed: Row) -> bool:
    """Whether a connection is one that a playground of this folder made, maybe an earlier one at other addresses."""
    local = ("127.0.0.1", "localhost", "socket=")
    return known.kind == seed["kind"] and all(
        known.settings.get(key) == value or any(word in known.settings.get(key, "") for word in local)
        for key, value in seed["settings"].items()
        if key in ("uri", "endpoint_url", "url")
    )


async def show_window(services: Services, args: Row) -> AsyncIterator[Row]:
    """A second start of the window: the first one comes to the front."""
    yield result(ok=services.bring_to_front())


async def picture(services: Services, args: Row) -> AsyncIterator[Row]:
    """A picture of the window that is open; not ok where there is none."""
    if services.on_picture is not None:
        services.on_picture(Path(args["path"]))
    yield result(ok=services.on_picture is not None)


VERBS: dict[str, Verb] = {
    "connections": connections,
    "connect": connect,
    "disconnect": disconnect,
    "ls": ls,
    "show": show,
    **{name: power(name) for name in POWER},
    "delete": delete,
    "plan": plan,
    "move": move,
    "tasks": tasks,
    "retry": retry,
    "undo": undo,
    "cancel": cancel,
    "playground-add": playground_add,
    "playground-drop": playground_drop,
    "raise": show_window,
    "picture": picture,
    **console.VERBS,
}


async def _planned(services: Services, args: Row) -> Planned:
    to = args["to"]
    # A connection is a target by its bare name.
    named = to if "/" in to or services.connections.get(to) is None else f"{to}/"
    await settled(services, sites_of(args["ref"], named))
    vm = find_vm(args["ref"], services.inventory)
    place = find_target(to, services.inventory, services.connections)
    networks = []
    for text in args.get("map") or ():
        what, equals, pair = text.partition("=")
        old, colon, new = pair.partition(":")
        if what != "network" or not equals or not colon or not new:
            raise Usage(f"--map {text!r} is not understood", cure="write network=SOURCE:TARGET")
        networks.append((old, new))
    chosen = {key: args.get(key) or "" for key in ("storage", "flavor", "name")}
    mapping = Mapping(networks=tuple(networks), **chosen)
    mode = Mode(args["mode"]) if args.get("mode") else None
    live = LiveOptions(**(args.get("live") or {}))
    planned = await services.migrations.plan(
        vm, place, mode=mode, copy=bool(args.get("copy")), mapping=mapping, live=live
    )
    _check_networks(networks, planned)
    if planned.plan.mode != Mode.LIVE and live != LiveOptions(bandwidth_bps=live.bandwidth_bps):
        named = ", ".join(f"--{key.replace('_', '-')}" for key in args["live"] if key != "bandwidth_bps")
        raise Usage(f"{named} is for live moves; this one is {planned.plan.mode}", cure="leave it out")
    return planned


def _check_networks(chosen: list[tuple[str, str]], planned: Planned) -> None:
    """Raises Usage for a network that the VM has not, or that is not there; says which ones are."""
    have = {nic.network for nic in planned.source.nics if nic.network}
    there = {network.name for network in planned.target.networks}
    ids = {network.ref.id for network in planned.target.networks}
    for old, new in chosen:
        if planned.source.complete and old not in have:
            name = planned.source.vm.name
            cure = f"its networks: {', '.join(sorted(have)) or 'none'}"
            raise Usage(f"--map: {name} has no network {old!r}", cure=cure)
        if planned.target.complete and new not in there | ids:
            cure = f"the networks there: {', '.join(sorted(there)) or 'none'}"
            raise Usage(f"--map: there is no network {new!r} at {planned.plan.to.connection}", cure=cure)
