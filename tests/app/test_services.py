"""The program put together, over a real store: actions, tasks, the log, and what the next start finds."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

import app.actions
import app.link
from app.logs import redact
from app.services import Services
from app.tasks import Task, TaskState
from backends.driver import Capability
from backends.errors import AuthNeeded
from backends.model import Changed, Kind, Level, Origin, PowerAction, PowerState, Ref
from tests.app.fakes import World, contents, host, register, until, vm

REF = Ref("a", Kind.VM, "v1")
Opener = Callable[[], Awaitable[Services]]


@pytest.fixture
def worlds(monkeypatch: pytest.MonkeyPatch) -> dict[str, World]:
    monkeypatch.setattr(app.link, "BACKOFF_S", (0.02, 0.05))
    monkeypatch.setattr(app.actions, "SETTLE_S", (0.0, 0.01, 0.01))
    return register(monkeypatch)


@pytest.fixture
async def opened(tmp_path: Path, worlds: dict[str, World]) -> AsyncIterator[Opener]:
    """Opens the services of one folder, again and again; the last ones are closed at the end."""
    made: list[Services] = []

    async def opening() -> Services:
        for services in made:
            await services.close()
        made.append(await Services.open(tmp_path, vault_key_file=tmp_path / "key"))
        return made[-1]

    yield opening
    for services in made:
        await services.close()


@pytest.fixture
async def services(opened: Opener, worlds: dict[str, World]) -> Services:
    """With one connection `a` that has one VM, off."""
    worlds["a"] = World(objects=[host("a"), vm("a")])
    services = await opened()
    connection = await services.connections.add("fake", "a", {"url": "x"}, {})
    await until(lambda: connection.listed)
    return services


async def ended(services: Services, task: Task) -> Task:
    return await services.tasks.wait(task)


async def test_an_action_asks_and_the_report_decides(services: Services, worlds: dict[str, World]) -> None:
    (task,) = services.actions.power([REF], PowerAction.START)
    await ended(services, task)
    assert task.state == TaskState.DONE
    assert "start v1" in worlds["a"].calls
    found = services.inventory.vm(REF)
    assert found is not None
    assert found.state == PowerState.OFF, "the state is what was reported, and nothing was reported yet"
    worlds["a"].events.put_nowait(Changed((vm("a", state=PowerState.RUNNING),)))
    await until(lambda: services.search.match("state:running kind:vm") == {REF})
    assert [line["what"] for line in await services.audit.trail()] == ["start", "connect"]


async def test_without_events_the_platform_is_asked_again(services: Services, worlds: dict[str, World]) -> None:
    worlds["a"].can = frozenset(Capability) - {Capability.WATCH}
    connection = services.connections.get("a")
    assert connection is not None
    connection.listed = False
    worlds["a"].events.put_nowait(AuthNeeded("again"))
    await until(lambda: connection.state == "auth-needed")
    services.connections.retry("a")
    await until(lambda: connection.listed)
    await ended(services, services.actions.power([REF], PowerAction.START)[0])
    await until(lambda: services.search.match("state:running kind:vm") == {REF})


async def test_read_only_denies(services: Services, worlds: dict[str, World]) -> None:
    await services.connections.set_read_only("a", True)
    task = await ended(services, services.actions.power([REF], PowerAction.START)[0])
    assert [(line["what"], line["from"], line["to"]) for line in await services.audit.trail(1)] == [
        ("read-only", "False", "True")
    ]
    assert (task.state, task.error) == (TaskState.FAILED, "a is read-only")
    assert task.cure
    assert not any(call.startswith("start") for call in worlds["a"].calls)


async def test_what_the_connection_cannot_is_unsupported(services: Services) -> None:
    connection = services.connections.get("a")
    assert connection is not None
    connection.capabilities -= {Capability.START}
    task = await ended(services, services.actions.power([REF], PowerAction.START)[0])
    assert (task.state, task.error) == (TaskState.FAILED, "a cannot start VMs")


async def test_a_fenced_vm_does_not_start(services: Services, worlds: dict[str, World]) -> None:
    services.actions._fenced = lambda ref: "it was moved"
    task = await ended(services, services.actions.power([REF], PowerAction.START)[0])
    assert task.state == TaskState.FAILED
    assert "it was moved" in task.error
    assert not any(call.startswith("start") for call in worlds["a"].calls)
    stopped = await ended(services, services.actions.power([REF], PowerAction.OFF)[0])
    assert stopped.state == TaskState.DONE


async def test_a_moving_vm_is_busy(services: Services) -> None:
    moving = services.tasks.start(Task("move", "vm-v1 a -> b", ref=REF), lambda task: asyncio.sleep(3600))
    task = await ended(services, services.actions.power([REF], PowerAction.START)[0])
    assert (task.state, task.error) == (TaskState.FAILED, "vm-v1 is being moved: vm-v1 a -> b")
    services.tasks.cancel(moving.id)
    await ended(services, moving)


async def test_a_vm_in_an_interrupted_move_does_not_start_but_can_be_stopped(
    services: Services, worlds: dict[str, World]
) -> None:
    async def going_on(task: Task) -> None:
        """Goes on."""

    move = Task("move", "vm-v1 a -> b", ref=REF, state=TaskState.INTERRUPTED)
    services.tasks.adopt(move, going_on)
    task = await ended(services, services.actions.power([REF], PowerAction.START)[0])
    assert (task.state, task.error) == (TaskState.FAILED, "vm-v1 is in a move that was interrupted: vm-v1 a -> b")
    assert task.cure == "resume or undo that move first"
    assert not any(call.startswith("start") for call in worlds["a"].calls)
    stopped = await ended(services, services.actions.power([REF], PowerAction.OFF)[0])
    assert stopped.state == TaskState.DONE, stopped.error
    services.tasks.retry(move.id)
    await ended(services, move)
    started = await ended(services, services.actions.power([REF], PowerAction.START)[0])
    assert started.state == TaskState.DONE, started.error


async def test_a_managed_vm_warns_and_goes_on(services: Services, worlds: dict[str, World]) -> None:
    worlds["a"].events.put_nowait(Changed((vm("a", manager="nova"),)))
    await until(lambda: (found := services.inventory.vm(REF)) is not None and found.manager)
    assert [finding.code for finding in services.actions.cautions([REF])] == ["managed"]
    task = await ended(services, services.actions.power([REF], PowerAction.START)[0])
    assert task.state == TaskState.DONE
    assert any(event.level == Level.AMBER and "nova" in event.text for event in services.events)


async def test_rename_and_its_undo(services: Services, worlds: dict[str, World]) -> None:
    task = await ended(services, services.actions.rename(REF, "mail"))
    await until(lambda: services.search.match("name:mail") == {REF})
    undone = services.tasks.undo(task.id)
    assert undone is not None
    await ended(services, undone)
    await until(lambda: services.search.match("name:vm-v1") == {REF})
    assert [line["what"] for line in await services.audit.trail()] == ["undo rename", "rename", "connect"]


@pytest.mark.parametrize("name", ["", "  ", "a\nb"])
async def test_a_bad_new_name_is_refused(services: Services, worlds: dict[str, World], name: str) -> None:
    task = await ended(services, services.actions.rename(REF, name))
    assert task.state == TaskState.FAILED
    assert not any(call.startswith("rename") for call in worlds["a"].calls)


async def test_a_group_is_kept_and_taken_back(services: Services, worlds: dict[str, World], opened: Opener) -> None:
    task = await ended(services, services.actions.set_group([REF], "web"))
    assert services.search.match("group:web") == {REF}
    assert "tag {'group': 'web'}" in worlds["a"].calls
    uid = services.identity.uid_of(REF)
    services = await opened()
    assert services.identity.uid_of(REF) == uid
    assert services.search.match("group:web") == {REF}
    assert services.tasks.get(task.id) is not None


async def test_undo_of_a_group(services: Services) -> None:
    task = await ended(services, services.actions.set_group([REF], "web"))
    undone = services.tasks.undo(task.id)
    assert undone is not None
    await ended(services, undone)
    assert services.search.match("group:web") == set()


async def test_an_edit_logs_its_difference_without_passwords(
    services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    old = "<graphics type='vnc' passwd='canary-4711'/>\n<memory>1</memory>"
    await ended(services, services.actions.redefine(REF, old, old.replace("<memory>1", "<memory>2")))
    assert "-<memory>1</memory>" in caplog.text
    assert "+<memory>2</memory>" in caplog.text
    assert "canary-4711" not in caplog.text


async def test_the_picture_is_there_before_any_server_answers(
    services: Services, worlds: dict[str, World], opened: Opener
) -> None:
    worlds["a"].stuck = True
    again = await opened()
    found = again.inventory.vm(REF)
    assert found is not None
    assert found.origin == Origin.CACHE
    assert again.search.match("vm-v1") == {REF}


async def test_what_ran_when_the_owner_ended_is_interrupted(services: Services, opened: Opener) -> None:
    done = await ended(services, services.actions.power([REF], PowerAction.START)[0])
    running = Task("power", "half way", state=TaskState.RUNNING)
    services.tasks.adopt(running)
    again = await opened()
    states = {task.id: task.state for task in again.tasks.all()}
    assert states == {done.id: TaskState.DONE, running.id: TaskState.INTERRUPTED}


async def test_the_log_is_private_and_has_no_secrets(services: Services, tmp_path: Path) -> None:
    await services.secrets.put("a", "password", "canary-4711")
    log = logging.getLogger("backends.somewhere")
    log.warning("login with %s failed", "canary-4711")
    with suppress(ValueError):
        raise_secret()
    path = tmp_path / "causeway.log"
    assert "login with" in await asyncio.to_thread(path.read_text)
    if sys.platform != "win32":
        assert stat.S_IMODE((await asyncio.to_thread(path.stat)).st_mode) == 0o600
    assert b"canary-4711" not in contents(tmp_path)


def raise_secret() -> None:
    try:
        raise ValueError("bad canary-4711")
    except ValueError:
        logging.getLogger("x").exception("with a traceback")
        raise


@pytest.mark.parametrize(
    "text",
    [
        "password=canary",
        "passwd='canary'",
        '{"secret_access_key": "canary"}',
        "https://user:canary@host/",
        "<secret>canary</secret>",
        "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----",
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str) -> None:
    assert "canary" not in redact(text)


async def test_closing_ends_in_seconds_whatever_hangs(
    services: Services, worlds: dict[str, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.link.CLOSE_S", 0.3)
    worlds["a"].stuck_close = True
    worlds["b"] = World(stuck=True, stuck_close=True)
    await services.connections.add("fake", "b", {"url": "x"}, {})
    async with asyncio.timeout(10):
        await services.close()
    await services.close()


async def test_nothing_is_left_running_after_close(services: Services) -> None:
    await services.close()
    await asyncio.sleep(0)
    others = {task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()}
    assert not {name for name in others if not name.startswith("Task-")}, others


async def test_garbage_in_single_rows_is_told_and_stops_nothing(tmp_path: Path) -> None:
    """A connection, a task and an identity that cannot be read are left out; the others are there."""
    services = await Services.open(tmp_path, connect=False)
    await services.connections.add("demo", "kept", {"vms": "2"}, {})
    await services.close()
    database = sqlite3.connect(tmp_path / "causeway.db")
    with database:
        database.execute("INSERT INTO connections (name, body) VALUES ('q', 'garbage')")
        database.execute("INSERT INTO connections (name, body) VALUES ('r', '{}')")
        database.execute("INSERT INTO tasks (id, created, body) VALUES ('t', '2026', '[1]')")
        database.execute("INSERT INTO identities VALUES ('u','c','no-kind','i','','','','','1.0')")
    database.close()
    services = await Services.open(tmp_path, connect=False)
    try:
        assert [connection.name for connection in services.connections.all()] == ["kept"]
        told = [event.text for event in services.events]
        assert sum("cannot be read" in text for text in told) == 3
    finally:
        await services.close()
