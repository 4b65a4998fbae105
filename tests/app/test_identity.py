"""A uid is for life: through rename, migration and another connection, and never for two VMs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from app import identity as module
from app.identity import Identity
from app.inventory import Inventory
from app.store import Store
from backends.model import Changed, Kind, Ref, Vm, now

UUID = "5a0c2d4e-0000-4000-8000-000000000001"


def ref(connection: str, ident: str = UUID) -> Ref:
    return Ref(connection, Kind.VM, ident)


def vm(connection: str, ident: str = UUID, *, host: str = "", uuid: str = UUID, name: str = "web-01") -> Vm:
    parent = Ref(connection, Kind.HOST, host or f"host-of-{connection}")
    return Vm(ref=ref(connection, ident), name=name, parent=parent, uuid=uuid)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(tmp_path)
    yield opened
    await opened.close()


def test_first_sight_gives_one_and_a_rename_keeps_it() -> None:
    identity = Identity()
    uid = identity.seen(vm("a"))
    assert identity.uid_of(ref("a")) == uid == identity.seen(vm("a", name="renamed"))
    assert identity.ref_of(uid) == ref("a")
    assert identity.uid_of(ref("a", "other")) != uid
    assert identity.ref_of("unknown") is None


def test_a_vm_that_vanished_is_known_again_elsewhere() -> None:
    identity = Identity()
    uid = identity.seen(vm("a"))
    identity.gone(ref("a"))
    assert identity.ref_of(uid) == ref("a")
    assert identity.seen(vm("b")) == uid
    assert identity.ref_of(uid) == ref("b")
    assert [place for place, _ in identity.history(uid)] == [ref("a"), ref("b")]


def test_a_vm_that_was_never_gone_comes_back() -> None:
    identity = Identity()
    uid = identity.seen(vm("a"))
    identity.gone(ref("a"))
    assert identity.seen(vm("a")) == uid
    assert len(identity.history(uid)) == 1


def test_two_at_once_are_two() -> None:
    identity = Identity()
    first, second = identity.seen(vm("a")), identity.seen(vm("b"))
    assert first != second
    assert identity.seen(vm("a")) == first and identity.seen(vm("b")) == second


def test_one_host_by_two_connections_is_one() -> None:
    identity = Identity()
    uid = identity.seen(vm("a", host="h"))
    assert identity.seen(vm("a-by-ssh", host="h")) == uid
    assert identity.ref_of(uid) == ref("a")
    identity.gone(ref("a"))
    assert identity.seen(vm("a-by-ssh", host="h")) == uid
    assert identity.ref_of(uid) == ref("a-by-ssh")


def test_where_else_a_vm_is_seen() -> None:
    identity = Identity()
    for name in ("cloud", "cloud-libcloud", "gone", "elsewhere"):
        identity.seen(vm(name, uuid="" if name == "elsewhere" else UUID))
    there = {ref(name) for name in ("cloud", "cloud-libcloud", "elsewhere")}
    assert identity.also(vm("cloud"), there) == ["cloud-libcloud"]
    assert identity.also(vm("cloud-libcloud"), there) == ["cloud"]
    assert identity.also(vm("elsewhere", uuid=""), there) == []


def test_without_a_uuid_nothing_is_guessed() -> None:
    identity = Identity()
    first = identity.seen(vm("a", "1", uuid=""))
    identity.gone(ref("a", "1"))
    assert identity.seen(vm("b", "1", uuid="")) != first


def test_a_uuid_learned_later_counts() -> None:
    identity = Identity()
    uid = identity.seen(vm("a", "i-1", uuid=""))
    assert identity.seen(vm("a", "i-1")) == uid
    identity.gone(ref("a", "i-1"))
    assert identity.seen(vm("b", "i-9")) == uid


def test_our_own_move_takes_over_what_was_seen_too_early() -> None:
    identity = Identity()
    uid = identity.seen(vm("a"))
    identity.set_group(uid, "shop")
    identity.set_tags(uid, {"owner": "ann"})
    early = identity.seen(vm("b"))
    assert early != uid
    identity.moved(uid, ref("a"), ref("b"))
    assert identity.seen(vm("b")) == identity.uid_of(ref("b")) == uid
    assert identity.ref_of(early) == identity.ref_of(uid) == ref("b")
    assert identity.group_of(early) == "shop" and identity.tags_of(uid) == (("owner", "ann"),)
    identity.gone(ref("a"))
    assert identity.ref_of(uid) == ref("b")
    assert [place for place, _ in identity.history(uid)] == [ref("a"), ref("b")]


def test_there_and_back_again_with_a_fenced_source() -> None:
    identity = Identity()
    uid = identity.seen(vm("a"))
    identity.moved(uid, ref("a"), ref("cloud", "i-1"))
    assert identity.seen(vm("cloud", "i-1", uuid="ec2-uuid")) == uid
    fenced = identity.seen(vm("a"))
    assert fenced != uid
    identity.moved(uid, ref("cloud", "i-1"), ref("a"))
    assert identity.uid_of(ref("a")) == uid == identity.seen(vm("a"))
    assert [place.connection for place, _ in identity.history(uid)] == ["a", "cloud", "a"]


def test_somebody_elses_move_shows_at_the_new_place_first(monkeypatch: pytest.MonkeyPatch) -> None:
    identity = Identity()
    uid = identity.seen(vm("a"))
    early = identity.seen(vm("b"))
    identity.gone(ref("a"))
    assert identity.seen(vm("b")) == uid and identity.ref_of(early) == ref("b")

    old = Identity()
    first, copy = old.seen(vm("a")), old.seen(vm("b"))
    monkeypatch.setattr(module, "now", lambda: now() + timedelta(hours=1))
    old.gone(ref("a"))
    assert old.seen(vm("b")) == copy != first


def test_following_the_inventory() -> None:
    identity, inventory = Identity(), Inventory()
    identity.follow(inventory)
    inventory.apply(Changed((vm("a"),)))
    uid = identity.uid_of(ref("a"))
    inventory.apply(Changed((), (ref("a"),)))
    inventory.apply(Changed((vm("b"),)))
    assert identity.uid_of(ref("b")) == uid


async def test_everything_is_there_after_a_restart(store: Store) -> None:
    identity = await Identity.open(store)
    uid = identity.seen(vm("a"))
    identity.set_group(uid, "shop")
    identity.set_tags(uid, (("z", "1"), ("a", "2")))
    early = identity.seen(vm("b"))
    identity.moved(uid, ref("a"), ref("b"))
    await identity.close()
    again = await Identity.open(store)
    assert again.seen(vm("b")) == uid
    assert again.group_of(uid) == "shop" and again.tags_of(uid) == (("a", "2"), ("z", "1"))
    assert again.history(uid) == identity.history(uid)
    assert again.ref_of(early) is None
    again.gone(ref("b"))
    assert again.seen(vm("c")) == uid
    await again.close()


async def test_it_is_written_in_the_background(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GATHER_S", 0.0)
    identity = await Identity.open(store)
    uid = identity.seen(vm("a"))
    assert identity._writing is not None
    await identity._writing
    assert [row[0] for row in await store.identities()] == [uid]
    await identity.close()


async def test_a_uid_given_before_the_store_was_read_means_the_stored_one(store: Store) -> None:
    before = await Identity.open(store)
    uid = before.seen(vm("a"))
    before.set_group(uid, "web")
    await before.close()
    identity = Identity(store)
    early, fresh = identity.uid_of(ref("a")), identity.uid_of(ref("a", "never seen"))
    assert early != uid
    await identity.load()
    assert identity.true(early) == identity.uid_of(ref("a")) == uid
    assert identity.ref_of(early) == ref("a") and identity.group_of(early) == "web"
    assert identity.true(fresh) == fresh
    await identity.close()
    assert {row[0] for row in await store.identities()} == {uid, fresh}
