"""Connections against a driver that does what the test says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import app.connections
import app.link
from app.connections import Connection, Connections, ConnectionState
from app.events import Events
from app.form import validate
from app.identity import Identity
from app.inventory import Inventory
from app.link import backoff, sort_error
from app.secrets import Secrets
from app.store import Store
from backends import registry
from backends.driver import Capability
from backends.errors import (
    AuthNeeded,
    BackendError,
    Conflict,
    Denied,
    HostKeyMismatch,
    Invalid,
    NotFound,
    Throttled,
    Unreachable,
    Unsupported,
)
from backends.model import Changed, Kind, Level, Ref
from tests.app.fakes import Driver, World, contents, host, register, until, vm

ADDRESS = {"url": "there"}


class House:
    """Connections and all that they need, over a real store."""

    def __init__(self, home: Path, store: Store, worlds: dict[str, World]) -> None:
        self.store = store
        self.worlds = worlds
        self.inventory = Inventory()
        self.events = Events()
        self.secrets = Secrets(home, key_file=home / "key", system=lambda: None)
        self.identity = Identity()
        self.connections = Connections(self.inventory, store, self.identity, self.secrets, self.events)

    def world(self, name: str) -> World:
        return self.worlds.setdefault(name, World())

    async def add(self, name: str, **values: bool) -> Connection:
        return await self.connections.add("fake", name, ADDRESS, {}, **values)


@pytest.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.setattr(app.link, "BACKOFF_S", (0.02, 0.05))
    monkeypatch.setattr(app.link, "METER_S", 0.02)
    store = await Store.open(tmp_path)
    house = House(tmp_path, store, register(monkeypatch))
    house.connections.start()
    yield house
    await house.connections.close()
    await store.close()


async def test_it_watches_before_it_lists_and_lists_every_scope(house: House) -> None:
    house.world("a").objects = [host("a"), vm("a")]
    connection = await house.add("a")
    await until(lambda: connection.listed)
    assert house.world("a").calls == ["connect", "watch", "list host", "list vm", "list pool"]
    assert connection.state == ConnectionState.READY
    assert connection.uri == "fake://a"
    assert house.inventory.vm(Ref("a", Kind.VM, "v1")) is not None


@pytest.mark.parametrize("error", [Unreachable("gone"), Throttled("slow down", retry_after=0.01), OSError("broken")])
async def test_what_may_pass_is_tried_again(house: House, error: Exception) -> None:
    house.world("a").failures = [error, error]
    connection = await house.add("a")
    seen: list[ConnectionState] = []
    house.connections.subscribe(lambda item: seen.append(item.state))
    await until(lambda: connection.listed)
    assert house.world("a").calls.count("connect") == 3
    assert ConnectionState.RETRYING in seen
    assert connection.error == ""


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (AuthNeeded("wrong password", cure="give another", field="password"), ConnectionState.AUTH_NEEDED),
        (HostKeyMismatch("not who it was"), ConnectionState.AUTH_NEEDED),
        (Invalid("no such address"), ConnectionState.FAILED),
        (Unsupported("too old"), ConnectionState.FAILED),
    ],
)
async def test_what_does_not_pass_waits_for_people(house: House, error: BackendError, state: ConnectionState) -> None:
    house.world("a").failures = [error]
    connection = await house.add("a")
    await until(lambda: connection.state == state)
    await asyncio.sleep(0.2)
    assert house.world("a").calls == ["connect", "close"]
    assert (connection.error, connection.cure, connection.error_field) == (error.message, error.cure, error.field)
    assert connection.next_try is None
    house.connections.retry("a")
    await until(lambda: connection.listed)


async def test_one_line_at_a_loss_and_one_at_the_recovery(house: House, caplog: pytest.LogCaptureFixture) -> None:
    connection = await house.add("a")
    await until(lambda: connection.listed)
    caplog.set_level(logging.WARNING)
    house.world("a").failures = [Unreachable("still gone")] * 4
    house.world("a").events.put_nowait(Unreachable("cut"))
    await until(lambda: connection.state == ConnectionState.RETRYING)
    await until(lambda: connection.listed and connection.state == ConnectionState.READY)
    assert [record.message for record in caplog.records] == ["a: not connected: cut", "a: connected again"]
    assert [event.text for event in house.events] == ["a: cut", "a: connected again"]
    assert house.world("a").calls.count("connect") == 6


async def test_a_lost_connection_keeps_its_last_picture(house: House) -> None:
    house.world("a").objects = [host("a"), vm("a")]
    connection = await house.add("a")
    await until(lambda: connection.listed)
    house.world("a").stuck = True
    house.world("a").events.put_nowait(Unreachable("cut"))
    await until(lambda: connection.driver is not None and connection.state != ConnectionState.READY)
    assert Ref("a", Kind.VM, "v1") in house.inventory
    assert connection.capabilities == frozenset()
    with pytest.raises(Unreachable):
        house.connections.driver("a")


async def test_a_dead_site_delays_nobody(house: House) -> None:
    house.world("dead").stuck = True
    dead, alive = await house.add("dead"), await house.add("alive")
    await until(lambda: alive.listed)
    assert dead.state == ConnectionState.CONNECTING


async def test_closing_ends_though_the_server_hangs(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.link.CLOSE_S", 0.3)
    house.world("a").stuck_close = True
    connection = await house.add("a")
    await until(lambda: connection.listed)
    async with asyncio.timeout(20):
        await house.connections.close()
    assert connection.state == ConnectionState.IDLE


async def test_an_emptied_platform_empties_the_tree(house: House) -> None:
    world = house.world("a")
    world.objects = [host("a"), vm("a")]
    connection = await house.add("a")
    await until(lambda: connection.listed)
    world.objects = []
    house.connections.refresh("a")
    await until(lambda: len(house.inventory) == 0)


async def test_a_refused_scope_is_a_warning_and_removes_nothing(house: House) -> None:
    world = house.world("a")
    world.objects = [host("a"), vm("a")]
    connection = await house.add("a")
    await until(lambda: connection.listed)
    world.listing_error = Denied("you may not")
    house.connections.refresh("a")
    await until(lambda: connection.warnings)
    assert connection.warnings == {"vm": "you may not"}
    assert connection.state == ConnectionState.READY
    assert Ref("a", Kind.VM, "v1") in house.inventory


async def test_without_events_it_polls(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.link, "POLL_S", 0.02)
    world = house.world("a")
    world.can = frozenset(Capability) - {Capability.WATCH}
    connection = await house.add("a")
    await until(lambda: connection.listed)
    world.objects = [vm("a")]
    await until(lambda: Ref("a", Kind.VM, "v1") in house.inventory)
    assert "watch" not in world.calls


async def test_with_events_only_the_rest_is_polled_and_only_while_shown(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.link, "SLOW_POLL_S", 0.02)
    world = house.world("a")
    connection = await house.add("a")
    await until(lambda: connection.listed)
    await asyncio.sleep(0.2)
    assert world.calls.count("list pool") == 1
    house.connections.shown({"a"})
    await until(lambda: world.calls.count("list pool") > 3)
    assert world.calls.count("list vm") == 1


@pytest.mark.parametrize("watched", [False, True])
async def test_after_a_move_what_no_event_tells_is_listed_at_once(house: House, watched: bool) -> None:
    world = house.world("a")
    world.can = frozenset(Capability) if watched else frozenset(Capability) - {Capability.WATCH}
    connection = await house.add("a")
    await until(lambda: connection.listed)
    world.calls.clear()
    house.connections.touch("a")
    await until(lambda: "list pool" in world.calls)
    assert [call for call in world.calls if call.startswith("list")] == ["list vm"] * (not watched) + ["list pool"]
    house.connections.touch("a")
    house.connections.refresh("a")
    await until(lambda: "list host" in world.calls)


async def test_a_long_listing_is_taken_in_by_parts(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.connections, "PORTION", 2)
    world = house.world("a")
    world.objects = [host("a"), *(vm("a", f"v{number}") for number in range(5))]
    sizes: list[int] = []
    house.inventory.subscribe(lambda delta: sizes.append(len(delta.added)))
    connection = await house.add("a")
    await until(lambda: connection.listed)
    assert sizes == [1, 2, 2, 1]
    world.objects = [host("a"), *(vm("a", f"v{number}") for number in range(3))]
    house.connections.refresh("a")
    await until(lambda: len(house.inventory) == 4)


async def test_meters_run_only_while_shown(house: House) -> None:
    world = house.world("a")
    world.objects = [vm("a")]
    connection = await house.add("a")
    await until(lambda: connection.listed)
    await asyncio.sleep(0.1)
    assert "meter" not in world.calls
    house.connections.shown({"a"})
    await until(lambda: house.inventory.sample(Ref("a", Kind.VM, "v1")))
    house.connections.shown(())
    await asyncio.sleep(0.1)
    before = world.calls.count("meter")
    await asyncio.sleep(0.2)
    assert world.calls.count("meter") == before


async def test_read_only_leaves_only_reading(house: House) -> None:
    connection = await house.add("a", read_only=True)
    await until(lambda: connection.listed)
    assert connection.capabilities == {Capability.WATCH, Capability.METER, Capability.DESCRIBE}
    await house.connections.set_read_only("a", False)
    assert Capability.START in connection.capabilities
    assert (await house.store.connections())[0]["read_only"] is False


async def test_saved_connections_come_back_without_their_secrets_in_the_store(house: House, tmp_path: Path) -> None:
    await house.connections.add("fake", "a", ADDRESS, {"password": "canary-4711"}, production=True)
    await house.connections.close()
    again = Connections(house.inventory, house.store, house.identity, house.secrets, house.events)
    await again.load()
    known = again.get("a")
    assert known is not None
    assert (known.settings, known.production, known.state) == (ADDRESS, True, ConnectionState.IDLE)
    again.start()
    await until(lambda: known.listed)
    assert house.world("a").secrets == {"password": "canary-4711"}
    await again.close()
    assert b"canary-4711" not in contents(tmp_path)


async def test_signing_in_keeps_only_what_works(house: House) -> None:
    house.world("a").failures = [AuthNeeded("wrong password")]
    connection = await house.connections.add("fake", "a", ADDRESS, {"password": "old"})
    await until(lambda: connection.state == ConnectionState.AUTH_NEEDED)
    house.world("a").failures = [AuthNeeded("wrong password", field="password")]
    (finding,) = await house.connections.sign_in("a", {"password": "newer"})
    assert (finding.level, finding.field) == (Level.RED, "password")
    assert await house.secrets.all("a") == {"password": "old"}
    assert await house.connections.sign_in("a", {"password": "newest"}) == []
    await until(lambda: connection.listed)
    assert house.world("a").secrets == {"password": "newest"}
    with pytest.raises(NotFound):
        await house.connections.sign_in("b", {})


async def test_forgetting_forgets_everything(house: House) -> None:
    house.world("a").objects = [host("a"), vm("a")]
    await house.connections.add("fake", "a", ADDRESS, {"password": "canary-4711"})
    await until(lambda: len(house.inventory) == 2)
    await house.connections.forget("a")
    assert len(house.inventory) == 0
    assert await house.store.connections() == []
    assert await house.secrets.all("a") == {}
    with pytest.raises(NotFound):
        await house.connections.forget("a")


async def test_a_name_is_taken_once(house: House) -> None:
    await house.add("a")
    with pytest.raises(Conflict):
        await house.add("a")


@pytest.mark.parametrize("name", ["", " a", "a/b", "a\nb"])
async def test_a_bad_name_is_refused(house: House, name: str) -> None:
    with pytest.raises(Invalid) as caught:
        await house.add(name)
    assert caught.value.field == "name"
    assert await house.store.connections() == []


async def test_the_same_host_is_shown_once(house: House) -> None:
    for name in ("a", "b"):
        house.world(name).objects = [host(name, "uuid-1"), vm(name, uuid="vm-uuid")]
    first = await house.add("a")
    await until(lambda: first.listed)
    second = await house.add("b")
    await until(lambda: second.same_as)
    assert second.same_as == "a"
    assert {item.ref.connection for item in house.inventory} == {"a"}
    assert [event.level for event in house.events] == [Level.AMBER]
    house.world("b").events.put_nowait(Changed((vm("b", "v2"),)))
    house.connections.refresh("b")
    await until(lambda: house.world("b").calls.count("list pool") == 2)
    assert {item.ref.connection for item in house.inventory} == {"a"}
    await house.connections.forget("a")
    await until(lambda: Ref("b", Kind.VM, "v1") in house.inventory)


async def test_another_daemon_on_the_same_host_is_no_double(house: House) -> None:
    house.world("system").objects = [host("system", "uuid-1"), vm("system", uuid="x")]
    house.world("session").objects = [host("session", "uuid-1"), vm("session", uuid="y")]
    first, second = await house.add("system"), await house.add("session")
    await until(lambda: first.listed and second.listed)
    assert (first.same_as, second.same_as) == ("", "")


async def test_a_group_hangs_on_the_vm_also_where_the_platform_has_none(house: House) -> None:
    house.world("a").objects = [vm("a")]
    ref = Ref("a", Kind.VM, "v1")
    house.identity.set_group(house.identity.seen(vm("a")), "web")
    await house.add("a")
    await until(lambda: ref in house.inventory)
    found = house.inventory.vm(ref)
    assert found is not None
    assert found.group == "web"


async def test_check_opens_a_driver_of_its_own_and_saves_nothing(house: House) -> None:
    assert await house.connections.check("fake", "a", ADDRESS, {}) == []
    assert house.world("a").calls == ["connect", "close"]
    assert house.connections.all() == []


@pytest.mark.parametrize(
    ("error", "code"),
    [(AuthNeeded("wrong", field="password"), "auth-needed"), (HostKeyMismatch("other key"), "host-key-mismatch")],
)
async def test_check_says_what_is_wrong_where(house: House, error: BackendError, code: str) -> None:
    house.world("a").failures = [error]
    (finding,) = await house.connections.check("fake", "a", ADDRESS, {})
    assert (finding.level, finding.code, finding.field) == (Level.RED, code, error.field)


async def test_check_of_an_unknown_kind_is_a_finding(house: House) -> None:
    (finding,) = await house.connections.check("nothing", "a", {}, {})
    assert (finding.level, finding.field) == (Level.RED, "kind")


def test_an_unusable_kind_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    info = registry.KindInfo("broken", "Broken", Driver.section, "tests.app.no_such_module")
    monkeypatch.setitem(registry.kinds(), "broken", info)
    kinds = {use.info.kind: use for use in Connections.kinds(None)}  # type: ignore[arg-type]
    assert not kinds["broken"].usable
    assert "no_such_module" in kinds["broken"].why
    assert kinds["demo"].usable


def test_settings_are_judged_by_field() -> None:
    wrong = {"port": "many", "mode": "c", "what": "x", "password": "in the open"}
    found = {(finding.code, finding.field) for finding in validate(Driver.options, wrong, ())}
    assert found == {
        ("required", "url"),
        ("number", "port"),
        ("choice", "mode"),
        ("unknown-option", "what"),
        ("secret-in-settings", "password"),
    }
    assert "in the open" not in str(validate(Driver.options, wrong, ()))
    assert validate(Driver.options, {"url": "x", "port": "1", "mode": "a"}, ("password",)) == []


def test_the_back_off_grows_to_a_minute_and_never_falls_in_step() -> None:
    waits = [backoff(attempt) for attempt in range(12)]
    assert 1.0 <= waits[0] <= 1.0
    assert 45 <= waits[11] <= 60
    assert len({backoff(8) for _ in range(20)}) > 1
    assert backoff(0, at_least=30) == 30


def test_errors_lead_to_states() -> None:
    assert sort_error(Unreachable("x")) == ConnectionState.RETRYING
    assert sort_error(AuthNeeded("x")) == ConnectionState.AUTH_NEEDED
    assert sort_error(Unsupported("x")) == ConnectionState.FAILED
    assert sort_error(Denied("x")) == ConnectionState.FAILED
