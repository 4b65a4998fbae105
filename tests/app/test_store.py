"""The store on real files: what is written is there, after a crash too."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.store import Store, codec, files, migrations
from app.tasks import Task
from backends.errors import BackendError, Cancelled, Conflict, Invalid, Unreachable
from backends.model import Disk, Host, Image, Kind, Level, Network, Nic, Object, Origin, PowerState, Ref, Vm, Zone

SEEN = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
HOST = Ref("kvm-a", Kind.HOST, "host-1")
ROOT = Path(__file__).parents[2]


def vm(number: int, **more: object) -> Vm:
    ident = f"00000000-0000-0000-0000-{number:012d}"
    made = Vm(
        ref=Ref("kvm-a", Kind.VM, ident),
        name=f"web-{number}",
        parent=HOST,
        uuid=ident,
        state=PowerState.RUNNING,
        native_state="running",
        vcpus=2,
        memory_bytes=2**31,
        seen=SEEN,
    )
    return replace(made, **more)  # type: ignore[arg-type]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(tmp_path / "home")
    yield opened
    await opened.close()


async def test_connections_keep_their_order_and_are_replaced_by_name(store: Store) -> None:
    await store.save_connection({"name": "b", "kind": "libvirt", "settings": {"host": "x"}})
    await store.save_connection({"name": "a", "kind": "ec2", "read_only": True})
    await store.save_connection({"name": "b", "kind": "libvirt", "settings": {"host": "y"}})
    assert await store.connections() == [
        {"name": "b", "kind": "libvirt", "settings": {"host": "y"}},
        {"name": "a", "kind": "ec2", "read_only": True},
    ]
    await store.save_objects([vm(1)])
    await store.delete_connection("kvm-a")
    await store.delete_connection("b")
    assert [row["name"] for row in await store.connections()] == ["a"]
    assert await store.load_objects() == []


async def test_objects_come_back_from_the_cache_with_their_age(store: Store) -> None:
    full = vm(
        1,
        addresses=("10.0.0.1", "fe80::1"),
        tags=(("owner", "ann"), ("env", "a=b,c\nd")),
        disks=(Disk(target="vda", size_bytes=5),),
        nics=(Nic(mac="52:54:00:00:00:01"),),
        machine="q35",
        created=SEEN,
        autostart=True,
        detailed=True,
    )
    others: list[Object] = [
        Host(ref=HOST, name="kvm-a", cpus=8, maintenance=True, seen=SEEN),
        Zone(ref=Ref("cloud", Kind.ZONE, "eu-1"), name="eu-1", region="eu", seen=SEEN),
        Image(ref=Ref("cloud", Kind.IMAGE, "ami-1"), name="img", size_bytes=7, created=SEEN, seen=SEEN),
        Network(ref=Ref("kvm-a", Kind.NETWORK, "n"), name="default", parent=HOST, cidr="10.0.0.0/8", seen=SEEN),
    ]
    await store.save_objects([full, vm(2), *others])
    loaded = {item.ref: item for item in await store.load_objects()}
    assert {item.origin for item in loaded.values()} == {Origin.CACHE}
    assert {item.seen for item in loaded.values()} == {SEEN}
    for item in others:
        assert loaded[item.ref] == item
        assert await store.load_body(item.ref) == item
    assert loaded[full.ref] == replace(full, disks=(), nics=(), machine="", created=None, autostart=None)
    body = await store.load_body(full.ref)
    assert body == full
    assert body is not None and body.origin == Origin.CACHE and body.seen == SEEN
    await store.delete_objects([full.ref, HOST])
    assert {item.ref for item in await store.load_objects()} == set(loaded) - {full.ref, HOST}
    assert await store.load_body(full.ref) is None


async def test_a_quick_listing_keeps_the_stored_details(store: Store) -> None:
    full = vm(1, disks=(Disk(target="vda"),), detailed=True)
    await store.save_objects([full])
    await store.save_objects([vm(1, name="renamed", state=PowerState.OFF)])
    await store.save_objects(await store.load_objects())
    body = await store.load_body(full.ref)
    assert isinstance(body, Vm)
    assert (body.name, body.state, body.disks) == ("renamed", PowerState.OFF, full.disks)
    await store.save_objects([vm(1, detailed=True)])
    body = await store.load_body(full.ref)
    assert isinstance(body, Vm) and body.disks == ()


async def test_tasks_newest_first(store: Store) -> None:
    tasks = [Task("power", f"Start {n}", created=SEEN + timedelta(seconds=n)) for n in range(5)]
    for task in tasks:
        await store.save_task(codec.encode(task))
    tasks[4].note("done")
    await store.save_task(codec.encode(tasks[4]))
    back = [codec.decode(Task, row) for row in await store.tasks(limit=3)]
    assert back == [tasks[4], tasks[3], tasks[2]]


async def test_the_journal_is_ordered_and_closes(store: Store) -> None:
    for number in range(20):
        await store.journal_append("m1" if number % 2 else "m2", {"step": "copy", "n": number, "ref": HOST})
    assert [entry["n"] for entry in await store.journal("m1")] == list(range(1, 20, 2))
    entries = await store.journal()
    assert [entry["n"] for entry in entries] == list(range(20))
    assert [entry["id"] for entry in entries] == sorted(entry["id"] for entry in entries)
    assert entries[0]["ref"] == ["kvm-a", "host", "host-1"]
    assert await store.open_migrations() == ["m2", "m1"]
    await store.journal_close("m2")
    await store.journal_close("m2")
    assert await store.open_migrations() == ["m1"]
    with pytest.raises(Conflict):
        await store.journal_append("m2", {"step": "late"})
    assert len(await store.journal("m2")) == 10


async def test_the_audit_trail(store: Store) -> None:
    await store.audit("ann", "shutdown", HOST, "running", "off", "done")
    await store.audit("bob", "rename", "kvm-a/vm/1", "a", "b", "failed: taken")
    assert [line["who"] for line in await store.audit_trail(10)] == ["bob", "ann"]
    (line,) = await store.audit_trail(10, HOST)
    at = line.pop("at")
    assert datetime.fromisoformat(at).tzinfo is not None
    assert line == {
        "who": "ann",
        "what": "shutdown",
        "ref": "kvm-a/host/host-1",
        "from": "running",
        "to": "off",
        "result": "done",
    }


async def test_settings(store: Store) -> None:
    assert await store.setting("theme") is None
    assert await store.setting("theme", "auto") == "auto"
    await store.set_setting("theme", {"mode": "dark", "sizes": [1, 2]})
    assert await store.setting("theme") == {"mode": "dark", "sizes": [1, 2]}


async def test_a_failed_write_undoes_only_itself(store: Store) -> None:
    def bad(conn: sqlite3.Connection) -> None:
        conn.execute("INSERT INTO settings VALUES ('half', '1')")
        raise ValueError("broken")

    results = await asyncio.gather(
        store.set_setting("one", 1), store._write(bad), store.set_setting("two", 2), return_exceptions=True
    )
    assert isinstance(results[1], ValueError)
    assert [await store.setting(name) for name in ("one", "half", "two")] == [1, None, 2]


async def test_an_urgent_entry_does_not_wait_for_a_long_batch(store: Store) -> None:
    saving = asyncio.create_task(store.save_objects([vm(number) for number in range(20_000)]))
    await asyncio.sleep(0)
    await store.journal_append("m", {"step": "now"})
    assert not saving.done()
    await saving
    assert len(await store.load_objects()) == 20_000


async def test_after_close_nothing_is_accepted(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    write = asyncio.create_task(store.set_setting("last", 1))
    await asyncio.sleep(0)
    await store.close()
    await write
    await store.close()
    with pytest.raises(Cancelled):
        await store.set_setting("x", 1)
    with pytest.raises(Cancelled):
        await store.setting("x")
    again = await Store.open(tmp_path)
    assert await again.setting("last") == 1
    await again.close()


async def test_only_the_owner_can_read_it(store: Store) -> None:
    await store.save_connection({"name": "a"})
    home = store.path.parent
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    found = [path for path in home.rglob("*") if path.is_file()]
    assert len(found) >= 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o600}


CHILD = """
import asyncio, sys
from pathlib import Path
from app.store import Store
async def main():
    store = await Store.open(Path(sys.argv[1]))
    for number in range(100_000):
        print(await store.journal_append("m", {"n": number}), flush=True)
asyncio.run(main())
"""


def test_what_the_journal_promised_survives_kill_9(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT, text=True)
    assert child.stdout is not None
    promised = [int(child.stdout.readline()) for _ in range(50)]
    os.kill(child.pid, signal.SIGKILL)
    promised += [int(line) for line in child.stdout.read().split("\n") if line.strip()]
    child.wait()
    child.stdout.close()

    async def check() -> None:
        store = await Store.open(tmp_path)
        entries = await store.journal("m")
        assert [entry["id"] for entry in entries][: len(promised)] == promised
        assert [entry["n"] for entry in entries] == list(range(len(entries)))
        assert await store.open_migrations() == ["m"]
        assert store.findings == ()
        await store.close()

    asyncio.run(check())


async def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    await store.close()
    conn = sqlite3.connect(store.path)
    conn.execute(f"PRAGMA user_version={migrations.NEWEST + 1}")
    conn.close()
    before = store.path.read_bytes()
    with pytest.raises(Conflict, match="newer version") as caught:
        await Store.open(tmp_path)
    assert "--home" in caught.value.cure
    assert store.path.read_bytes() == before


async def test_a_migration_copies_first_and_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await Store.open(tmp_path)
    await store.set_setting("kept", 1)
    await store.close()

    def breaks(db: object) -> None:
        db["extra"].create({"id": int}, pk="id")  # type: ignore[index]
        raise sqlite3.OperationalError("no room")

    def works(db: object) -> None:
        db["extra"].create({"id": int}, pk="id")  # type: ignore[index]

    monkeypatch.setattr(migrations, "NEWEST", 2)
    monkeypatch.setattr(migrations, "STEPS", (*migrations.STEPS, breaks))
    with pytest.raises(BackendError):
        await Store.open(tmp_path)
    assert len(list((tmp_path / "backups").glob("before-2-from-1-*.db"))) == 1
    conn = sqlite3.connect(store.path)
    assert conn.execute("PRAGMA user_version").fetchone() == (1,)
    assert conn.execute("SELECT count(*) FROM sqlite_master WHERE name='extra'").fetchone() == (0,)
    conn.close()
    monkeypatch.setattr(migrations, "STEPS", (*migrations.STEPS[:1], works))
    again = await Store.open(tmp_path)
    assert await again.setting("kept") == 1
    await again.close()
    copies = sorted((tmp_path / "backups").glob("before-2-from-1-*.db"))
    conn = sqlite3.connect(copies[-1])
    assert conn.execute("SELECT value FROM settings").fetchone() == ("1",)
    conn.close()


def beside(home: Path, pattern: str) -> list[Path]:
    return list(home.glob(pattern))


async def filled(home: Path) -> Path:
    store = await Store.open(home)
    await store.save_connection({"name": "kvm-a", "kind": "libvirt"})
    await store.save_connection({"name": "cloud", "kind": "ec2"})
    await store.journal_append("m1", {"step": "copy"})
    await store.save_objects([vm(number) for number in range(2000)])
    await store.close()
    return store.path


@pytest.mark.parametrize("damage", ["garbage", "truncated", "page"])
async def test_a_broken_database_is_named_moved_aside_and_loses_no_connection(tmp_path: Path, damage: str) -> None:
    path = await filled(tmp_path)
    raw = path.read_bytes()
    if damage == "garbage":
        path.write_bytes(os.urandom(len(raw)))
    elif damage == "truncated":
        path.write_bytes(raw[: len(raw) // 2 + 100])
    else:
        half = len(raw) // 2 // 4096 * 4096
        path.write_bytes(raw[:half] + os.urandom(4096 * 4) + raw[half + 4096 * 4 :])
    broken = path.read_bytes()
    store = await Store.open(tmp_path)
    (finding,) = store.findings
    assert (finding.level, finding.code) == (Level.RED, "store-broken")
    (aside,) = beside(tmp_path, "causeway.db.broken-*[0-9]")
    assert aside.name in finding.message
    assert aside.read_bytes() == broken
    assert [row["name"] for row in await store.connections()] == ["kvm-a", "cloud"]
    assert ("journal: nothing" in finding.message) == (await store.journal() == [])
    await store.save_objects([vm(1)])
    await store.close()
    again = await Store.open(tmp_path)
    assert again.findings == ()
    await again.close()


@pytest.mark.parametrize("damage", ["empty", "missing", "zeros"])
async def test_an_empty_database_beside_a_copy_of_it_is_never_taken_for_a_new_one(tmp_path: Path, damage: str) -> None:
    path = await filled(tmp_path)
    size = path.stat().st_size
    path.unlink()
    if damage != "missing":
        path.write_bytes(bytes(size if damage == "zeros" else 0))
    store = await Store.open(tmp_path)
    (finding,) = store.findings
    assert (finding.level, finding.code) == (Level.RED, "store-broken")
    assert "connections: 2 from copy causeway-" in finding.message
    assert [row["name"] for row in await store.connections()] == ["kvm-a", "cloud"]
    await store.close()
    again = await Store.open(tmp_path)
    assert again.findings == ()
    await again.close()


async def test_a_folder_without_copies_is_new(tmp_path: Path) -> None:
    (tmp_path / "causeway.db").touch()
    store = await Store.open(tmp_path)
    assert store.findings == ()
    assert await store.connections() == []
    await store.close()


async def test_an_old_journal_is_never_taken_for_the_present_one(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    await store.journal_append("m1", {"step": "copy"})
    await store.save_connection({"name": "kvm-a"})
    await store.journal_close("m1")
    await store.close()
    conn = sqlite3.connect(store.path)
    (page,) = conn.execute("SELECT rootpage FROM sqlite_master WHERE name='closed'").fetchone()
    conn.close()
    with store.path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(os.urandom(4096))
    again = await Store.open(tmp_path)
    assert "journal: nothing" in again.findings[0].message
    assert await again.open_migrations() == [] and await again.journal() == []
    assert [row["name"] for row in await again.connections()] == ["kvm-a"]
    await again.close()


async def test_an_empty_file_is_a_new_database(tmp_path: Path) -> None:
    (tmp_path / files.NAME).write_bytes(b"")
    store = await Store.open(tmp_path)
    assert store.findings == () and await store.connections() == []
    await store.close()


async def test_a_network_folder_is_told_and_does_without_wal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "filesystem", lambda path: "nfs4")
    store = await Store.open(tmp_path)
    assert [finding.code for finding in store.findings] == ["store-network-folder"]
    await store.set_setting("a", 1)
    assert await store.setting("a") == 1
    assert beside(tmp_path, "*-wal") == []
    await store.close()


def test_the_file_system_of_a_folder_is_known(tmp_path: Path) -> None:
    if Path("/proc/self/mountinfo").exists():
        assert files.filesystem(Path("/proc")) == "proc"
        assert files.filesystem(tmp_path) not in files.REMOTE | {""}


async def test_a_folder_that_cannot_be_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(Invalid, match="cannot be used") as caught:
        await Store.open(tmp_path / "file")
    assert caught.value.cure
    (tmp_path / "home" / files.NAME).mkdir(parents=True)
    with pytest.raises(Unreachable, match="cannot be used"):
        await Store.open(tmp_path / "home")


async def test_a_hundred_thousand_vms_load_as_they_were(store: Store) -> None:
    wanted = [
        vm(number, addresses=(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",)) for number in range(100_000)
    ]
    await store.save_objects(wanted)
    began = time.perf_counter()
    loaded = await store.load_objects()
    print(f"load_objects: 100,000 VMs in {time.perf_counter() - began:.2f} s")
    assert loaded == wanted
    first, last = loaded[0], loaded[-1]
    assert isinstance(first, Vm) and isinstance(last, Vm)
    assert first.parent is last.parent and first.seen is last.seen and first.native_state is last.native_state
