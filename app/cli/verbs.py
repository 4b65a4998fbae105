"""The verbs: each an async generator over the services, run by the caller's process or by the folder's owner.

It yields plain dicts: `{"type": "note"|"warning"|"progress", ...}` on the way and one `{"type": "result", ...}` at
the end, whose `ok` False means exit code 1. What it raises becomes `{"type": "error", ...}` in `serve`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli import shapes
from app.cli.refs import Usage, find, find_target, find_vm
from app.connections import Connection, ConnectionState
from app.migration.plan import Mapping, Mode
from app.search import NUMBER_KEYS, TEXT_KEYS
from app.services import Services
from app.tasks import Task, TaskState
from backends.driver import Describes
from backends.errors import BackendError
from backends.model import Kind, Level, PowerAction, now

if TYPE_CHECKING:
    from app.migration import Planned

log = logging.getLogger(__name__)
Row = dict[str, Any]
Verb = Callable[[Services, Row], AsyncIterator[Row]]

DEADLINE_S = 10.0
"""How long a read waits for connections that have not answered yet."""
TICK_S = 0.2
PART = 50
"""Rows per message; a task with a long log makes a long row."""
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
        verb = VERBS.get(str(request.get("verb")))
        if verb is None:
            raise Usage(f"there is no verb {request.get('verb')!r}")
        async for row in verb(services, dict(request.get("args") or {})):
            for part in _parts(row):
                yield part
    except BackendError as error:
        yield _error(error)
    except Exception as error:
        log.exception("%s", request.get("verb"))
        yield {"type": "error", "exit": 1, "message": f"{type(error).__name__}: {error}", "cure": "", "candidates": []}


async def connections(services: Services, args: Row) -> AsyncIterator[Row]:
    await _settled(services, None)
    yield _result(data=[shapes.of_connection(connection) for connection in services.connections.all()])


async def connect(services: Services, args: Row) -> AsyncIterator[Row]:
    """Check, then add: with a red finding nothing is saved."""
    kind, name, settings, secrets = args["kind"], args["name"], args["settings"], args["secrets"]
    if services.connections.get(name) is not None:
        raise Usage(f"there is a connection {name!r} already", cure=f"choose another name, or: disconnect {name}")
    findings = await services.connections.check(kind, name, settings, secrets)
    rows = [shapes.of_finding(finding) for finding in findings]
    if any(finding.level == Level.RED for finding in findings):
        yield _result(ok=False, data={"added": False, "findings": rows}, message=f"{name} was not added")
        return
    flags = {flag: bool(args.get(flag)) for flag in ("read_only", "production", "local")}
    connection = await services.connections.add(kind, name, settings, secrets, **flags)
    await _settled(services, {name})
    row = {"added": True, "findings": rows, **shapes.of_connection(connection)}
    vms = len(services.inventory.of(name, Kind.VM))
    known = f"{vms} {'VM' if vms == 1 else 'VMs'}" if connection.state == ConnectionState.READY else connection.state
    yield _result(data=row, message=f"{name} was added: {known}")


async def disconnect(services: Services, args: Row) -> AsyncIterator[Row]:
    name = args["name"]
    if services.connections.get(name) is None:
        raise Usage(f"there is no connection {name!r}", candidates=[item.name for item in services.connections.all()])
    await _recovered(services)
    if not args.get("yes") and (hanging := [task for task in services.tasks.all() if _hangs_on(task, name)]):
        named = [f"{task.id}  {task.title} ({task.undo or task.state})" for task in hanging]
        raise Usage(
            f"what was begun needs {name}", cure="let it end, or forget it all the same: --yes", candidates=named
        )
    await services.connections.forget(name)
    yield _result(data={"name": name}, message=f"{name} is forgotten; nothing happened to its VMs")


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
        for warning in await _settled(services, None):
            yield warning
    if wrong := services.search.questionable(query):
        keys = " ".join([f"{key}:" for key in TEXT_KEYS] + [f"{key}>" for key in NUMBER_KEYS])
        raise Usage(wrong, cure=f"the keys are {keys}; quotes make a word of it")
    wanted = services.search.match(query)
    found = [item for item in services.inventory if item.ref.kind in SHOWN and (wanted is None or item.ref in wanted)]
    found.sort(key=lambda item: (item.ref.connection, item.ref.kind != Kind.HOST, item.ref.kind, item.name))
    yield _result(data=[shapes.of_object(item, services.identity) for item in found])


async def show(services: Services, args: Row) -> AsyncIterator[Row]:
    offline = bool(args.get("offline"))
    if not offline:
        connection, slash, _ = args["ref"].partition("/")
        for warning in await _settled(services, {connection} if slash else None):
            yield warning
    ref = find(args["ref"], services.inventory, anywhere=True)
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
            yield _warning(f"{item.name}: {error}")
    yield _result(data=shapes.of_details(item, services.identity, text))


def power(name: str) -> Verb:
    """The verb that does one power action to all its VMs."""

    async def verb(services: Services, args: Row) -> AsyncIterator[Row]:
        await _settled(services, {text.partition("/")[0] for text in args["refs"]})
        refs = [find_vm(text, services.inventory) for text in args["refs"]]
        async for row in _all_of(services, services.actions.power(refs, POWER[name])):
            yield row

    return verb


async def delete(services: Services, args: Row) -> AsyncIterator[Row]:
    await _settled(services, {text.partition("/")[0] for text in args["refs"]})
    refs = [find_vm(text, services.inventory) for text in args["refs"]]
    async for row in _all_of(services, services.actions.delete(refs, bool(args.get("disks")))):
        yield row


async def plan(services: Services, args: Row) -> AsyncIterator[Row]:
    """A plan that is not allowed is not ok; its findings say why."""
    planned = await _planned(services, args)
    row = shapes.of_plan(planned.plan, planned.verdict, planned.stages, planned.steps)
    yield _result(ok=planned.verdict.allowed, data=row)


async def move(services: Services, args: Row) -> AsyncIterator[Row]:
    """Plan, run, follow. A red finding ends it before anything is touched."""
    planned = await _planned(services, args)
    row = shapes.of_plan(planned.plan, planned.verdict, planned.stages, planned.steps)
    if not planned.verdict.allowed:
        red = next(finding for finding in planned.verdict.findings if finding.level == Level.RED)
        data = {"ok": False, "error": red.message, "cure": red.cure, "plan": row}
        yield _result(ok=False, data=data, message=red.message, cure=red.cure)
        return
    yield {"type": "plan", "data": row}
    began = asyncio.get_running_loop().time()
    task = services.migrations.start(planned)
    yield {"type": "task", "task": task.id}
    async for progress in _followed(services, task):
        yield progress
    ok = task.state == TaskState.DONE
    data = shapes.of_move(task, ok, asyncio.get_running_loop().time() - began)
    place = planned.plan.to.connection
    data["target"] = f"{place}/{planned.plan.mapping.name or planned.source.vm.name}" if ok else ""
    yield _result(ok=ok, data=data, message=task.error or "done", cure=task.cure)


async def tasks(services: Services, args: Row) -> AsyncIterator[Row]:
    await _recovered(services)
    yield _result(data=[shapes.of_task(task) for task in services.tasks.all()])


async def undo(services: Services, args: Row) -> AsyncIterator[Row]:
    await _settled(services, None)
    await _recovered(services)
    before = services.tasks.get(args["task"])
    if before is None:
        raise Usage(f"there is no task {args['task']!r}", cure="see: causeway tasks")
    task = services.tasks.undo(before.id)
    if task is None:
        if first := before.result.get("undo_first"):
            raise Usage(f"{before.title} cannot be undone: the VM was moved on since", cure=f"undo {first} first")
        raise Usage(f"{before.title} cannot be undone", cure="its time is over, or there was nothing to take back")
    async for row in _all_of(services, [task]):
        yield row


async def cancel(services: Services, args: Row) -> AsyncIterator[Row]:
    """Ask a task to end; it ends when what it made is tidied away."""
    services.tasks.cancel(args["task"])
    yield _result()


async def playground_add(services: Services, args: Row) -> AsyncIterator[Row]:
    """Add the playground's connections; one that is there and is as it should be stays."""
    for seed in args["seeds"]:
        name, kind, settings, secrets = seed["name"], seed["kind"], seed["settings"], seed["secrets"]
        known = services.connections.get(name)
        same = known is not None and (known.kind, known.settings) == (kind, settings)
        if same and await services.secrets.all(name) == secrets:
            services.connections.retry(name)
            continue
        if known is not None:
            if not _of_playground(known, seed):
                yield _warning(f"there is another connection {name!r}; the playground's is not added")
                continue
            await services.connections.forget(name)
        await services.connections.add(kind, name, settings, secrets, local=True)
        yield {"type": "note", "message": f"{name} was added"}
    yield _result()


async def playground_drop(services: Services, args: Row) -> AsyncIterator[Row]:
    """Forget the playground's connections, and no others that have their names."""
    for seed in args["seeds"]:
        known = services.connections.get(seed["name"])
        if known is not None and _of_playground(known, seed):
            await services.connections.forget(known.name)
    yield _result()


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
    yield _result(ok=services.bring_to_front())


async def picture(services: Services, args: Row) -> AsyncIterator[Row]:
    """A picture of the window that is open; not ok where there is none."""
    if services.on_picture is not None:
        services.on_picture(Path(args["path"]))
    yield _result(ok=services.on_picture is not None)


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
    "undo": undo,
    "cancel": cancel,
    "playground-add": playground_add,
    "playground-drop": playground_drop,
    "raise": show_window,
    "picture": picture,
}


async def _planned(services: Services, args: Row) -> Planned:
    names = {args["ref"].partition("/")[0], args["to"].partition("/")[0]}
    await _settled(services, names)
    vm = find_vm(args["ref"], services.inventory)
    to = find_target(args["to"], services.inventory, services.connections)
    networks = []
    for text in args.get("map") or ():
        what, equals, pair = text.partition("=")
        old, colon, new = pair.partition(":")
        if what != "network" or not equals or not colon or not new:
            raise Usage(f"--map {text!r} is not understood", cure="write network=SOURCE:TARGET")
        networks.append((old, new))
    mapping = Mapping(networks=tuple(networks), storage=args.get("storage") or "", flavor=args.get("flavor") or "")
    mode = Mode(args["mode"]) if args.get("mode") else None
    planned = await services.migrations.plan(vm, to, mode=mode, copy=bool(args.get("copy")), mapping=mapping)
    _check_networks(networks, planned)
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


async def _recovered(services: Services) -> None:
    """Until what an earlier run left was looked at, as far as the sides answer within the deadline."""
    await services.recovered()
    await _settled(services, services.migrations.awaited())
    await services.migrations.looked()


async def _all_of(services: Services, started: list[Task]) -> AsyncIterator[Row]:
    """Follow tasks until all are at rest; ok where all are done."""
    for task in started:
        yield {"type": "task", "task": task.id}
    for task in started:
        async for row in _followed(services, task):
            yield row
        if task.state != TaskState.DONE:
            yield _warning(f"{task.title}: {task.error or task.state}", cure=task.cure)
    ok = all(task.state == TaskState.DONE for task in started)
    rows = [
        {"task": task.id, "title": task.title, "state": task.state.value, "error": task.error, "cure": task.cure}
        for task in started
    ]
    failed = sum(task.state != TaskState.DONE for task in started)
    yield _result(ok=ok, data={"ok": ok, "tasks": rows}, message="done" if ok else f"{failed} of {len(rows)} failed")


async def _followed(services: Services, task: Task) -> AsyncIterator[Row]:
    """A task's progress, a few times a second while it changes, until it is at rest."""
    changed = asyncio.Event()

    def on_change(other: Task) -> None:
        if other is task:
            changed.set()

    stop = services.tasks.subscribe(on_change)
    try:
        waiting = asyncio.ensure_future(services.tasks.wait(task))
        while not waiting.done():
            yield shapes.of_progress(task)
            changed.clear()
            await asyncio.wait({waiting}, timeout=TICK_S)
            if not changed.is_set() and not waiting.done():
                woken = asyncio.ensure_future(changed.wait())
                await asyncio.wait({waiting, woken}, return_when=asyncio.FIRST_COMPLETED)
                woken.cancel()
        yield shapes.of_progress(task)
    finally:
        waiting.cancel()
        stop()


async def _settled(services: Services, names: Collection[str] | None) -> list[Row]:
    """Wait until these connections (None: all) have been listed or have said why not. Returns what is missing."""
    asked = [item for item in services.connections.all() if names is None or item.name in names]

    def open_ones() -> list[str]:
        return [connection.name for connection in asked if not connection.answered]

    changed = asyncio.Event()
    stop = services.connections.subscribe(lambda connection: changed.set())
    try:
        async with asyncio.timeout(DEADLINE_S):
            while open_ones():
                changed.clear()
                await changed.wait()
    except TimeoutError:
        pass
    finally:
        stop()
    late = [_warning(f"{name} has not answered yet; what is shown of it may be old") for name in open_ones()]
    wrong = [_warning(f"{item.name}: {item.error}", cure=item.cure) for item in asked if item.error]
    return late + wrong


def _parts(row: Row) -> Iterator[Row]:
    """A result with a long list goes in parts: a message between two processes has a limited length."""
    if row["type"] != "result":
        yield row
    elif not isinstance(row["data"], list):
        yield {**row, "gathered": False}
    else:
        for start in range(0, len(row["data"]), PART):
            yield {"type": "rows", "data": row["data"][start : start + PART]}
        yield {**row, "data": None, "gathered": True}


def _result(*, ok: bool = True, data: object = None, message: str = "", cure: str = "") -> Row:
    return {"type": "result", "ok": ok, "data": data, "message": message, "cure": cure}


def _warning(message: str, cure: str = "") -> Row:
    return {"type": "warning", "message": message, "cure": cure}


def _error(error: BackendError) -> Row:
    return {
        "type": "error",
        "exit": 2 if isinstance(error, Usage) else 1,
        "message": error.message,
        "cure": error.cure,
        "candidates": list(getattr(error, "candidates", ())),
    }
