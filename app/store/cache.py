"""The inventory cache as rows: columns that tree and search need, and a body with the rest, decoded on demand.

A VM's columns are its own fields and its body holds the others; every other object is rare enough to be kept
whole in its body.
"""

from __future__ import annotations

import gc
import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from functools import cache
from operator import attrgetter
from sys import intern
from typing import Any

from app.store import codec
from backends.model import Kind, Object, Origin, PowerState, Ref, Vm

PLAIN = ("native_state", "vcpus", "memory_bytes", "uuid", "group", "os", "flavor", "zone")
"""Columns of a VM that are stored as they are."""
COLUMNS = (
    *("connection", "kind", "id", "name", "parent", "seen"),
    *("state", "addresses", "tags", "detailed"),
    *PLAIN,
)
COLUMN_FIELDS = frozenset({"ref", "name", "parent", "origin", "seen", "state", "addresses", "tags", "detailed", *PLAIN})
NOT_KEPT = frozenset({"origin"})
_plain = attrgetter(*PLAIN)
_NOTHING = (None,) * (len(COLUMNS) - 6)

_names = ",".join(f'"{name}"' for name in COLUMNS)
_updates = ",".join(
    f'"{name}"=' + ("max(detailed,excluded.detailed)" if name == "detailed" else f'excluded."{name}"')
    for name in COLUMNS[3:]
)
_SAVE = (
    f"INSERT INTO objects ({_names}) VALUES ({','.join('?' * len(COLUMNS))}) "
    f"ON CONFLICT (connection,kind,id) DO UPDATE SET {_updates}"
)
_BODY = (
    "INSERT INTO bodies (key,body) SELECT key,? FROM objects WHERE connection=? AND kind=? AND id=? "
    "ON CONFLICT (key) DO "
)
_SELECT = f"SELECT key,{_names} FROM objects"
_ONE = "connection=? AND kind=? AND id=?"
_ORIGIN = datetime(1970, 1, 1, tzinfo=UTC)


def save(conn: sqlite3.Connection, objects: Sequence[Object]) -> None:
    """Insert or replace objects. A VM listed without details keeps the details that are stored."""
    conn.executemany(_SAVE, [_row(item) for item in objects])
    full: list[tuple[str, ...]] = []
    quick: list[tuple[str, ...]] = []
    for item in objects:
        partial = isinstance(item, Vm) and (not item.detailed or item.origin == Origin.CACHE)
        (quick if partial else full).append((_body(item), *_key(item.ref)))
    conn.executemany(_BODY + "UPDATE SET body=excluded.body", full)
    conn.executemany(_BODY + "NOTHING", quick)


def delete(conn: sqlite3.Connection, refs: Iterable[Ref]) -> None:
    keys = [_key(ref) for ref in refs]
    conn.executemany(f"DELETE FROM bodies WHERE key IN (SELECT key FROM objects WHERE {_ONE})", keys)
    conn.executemany(f"DELETE FROM objects WHERE {_ONE}", keys)


def forget(conn: sqlite3.Connection, connection: str) -> None:
    """Drop everything of a connection."""
    conn.execute("DELETE FROM bodies WHERE key IN (SELECT key FROM objects WHERE connection=?)", (connection,))
    conn.execute("DELETE FROM objects WHERE connection=?", (connection,))


def load(conn: sqlite3.Connection) -> list[Object]:
    """All objects, origin CACHE, with the time they were seen. VMs come without what is in their body only."""
    pausing = gc.isenabled()
    # A hundred thousand new objects make the collector walk them again and again, and none of them is garbage.
    gc.disable()
    try:
        return _objects(conn, conn.execute(_SELECT))
    finally:
        if pausing:
            gc.enable()


def load_body(conn: sqlite3.Connection, ref: Ref) -> Object | None:
    """One object with everything that is stored of it, None where there is nothing."""
    rows = conn.execute(f"{_SELECT} WHERE {_ONE}", _key(ref)).fetchall()
    for item in _objects(conn, rows):
        if not isinstance(item, Vm):
            return item
        body = conn.execute("SELECT body FROM bodies WHERE key=?", rows[0][:1]).fetchone()
        return codec.decode(Vm, {**codec.encode(item), **json.loads(body[0])})
    return None


def _key(ref: Ref) -> tuple[str, str, str]:
    return ref.connection, ref.kind.value, ref.id


def _row(item: Object) -> tuple[Any, ...]:
    ref = item.ref
    parent = codec.dumps(codec.encode(item.parent)) if item.parent else ""
    common = (ref.connection, ref.kind.value, ref.id, item.name, parent, round((item.seen - _ORIGIN).total_seconds()))
    if not isinstance(item, Vm):
        return common + _NOTHING
    tags = codec.dumps(item.tags) if item.tags else ""
    own = (item.state.value, "\n".join(item.addresses), tags, int(item.detailed))
    return (*common, *own, *_plain(item))


def _body(item: Object) -> str:
    return codec.dumps(codec.encode_but(item, COLUMN_FIELDS if isinstance(item, Vm) else NOT_KEPT))


def _cached(kind: str, body: dict[str, Any]) -> Object:
    return codec.decode(codec.CLASSES[Kind(kind)], {**body, "origin": Origin.CACHE})


def _objects(conn: sqlite3.Connection, rows: Iterable[tuple[Any, ...]]) -> list[Object]:
    """VMs from their columns, others from their bodies. Equal strings, times and parents are one object in memory."""

    @cache
    def parent_of(text: str) -> Ref | None:
        return codec.decode(Ref, json.loads(text)) if text else None

    @cache
    def time_of(seconds: int) -> datetime:
        return datetime.fromtimestamp(seconds, UTC)

    @cache
    def tags_of(text: str) -> tuple[tuple[str, str], ...]:
        return tuple((key, value) for key, value in json.loads(text)) if text else ()

    states = {state.value: state for state in PowerState}
    objects: list[Object] = []
    vm, cached = Kind.VM, Origin.CACHE
    for key, connection, kind, ident, name, parent, seen, state, addresses, tags, *more in rows:
        if kind != "vm":
            (body,) = conn.execute("SELECT body FROM bodies WHERE key=?", (key,)).fetchone()
            objects.append(_cached(kind, json.loads(body)))
            continue
        detailed, native, cpus, memory, uuid, group, os, flavor, zone = more
        objects.append(
            _vm(
                Ref(intern(connection), vm, ident),
                name,
                parent_of(parent),
                cached,
                time_of(seen),
                states.get(state, PowerState.UNKNOWN),
                tuple(addresses.split("\n")) if addresses else (),
                tags_of(tags),
                bool(detailed),
                intern(native),
                cpus,
                memory,
                ident if uuid == ident else uuid,
                intern(group),
                intern(os),
                intern(flavor),
                intern(zone),
            )
        )
    return objects


def _maker(cls: type[Vm], given: Sequence[str]) -> Callable[..., Vm]:
    """A constructor for `given` fields, by position; the others get their default.

    It sets the slots themselves: a frozen class's own __init__ takes twice as long, and there are 100,000 of them.
    """
    defaults = {item.name: item.default for item in fields(cls) if item.name not in given}
    known = {"cls": cls, "new": object.__new__, **{f"value_{name}": value for name, value in defaults.items()}}
    known.update({f"set_{item.name}": getattr(cls, item.name).__set__ for item in fields(cls)})
    lines = [f"  set_{name}(it, {name})" for name in given] + [f"  set_{name}(it, value_{name})" for name in defaults]
    source = [f"def outer({', '.join(known)}):", f" def made({', '.join(given)}):", "  it = new(cls)", *lines]
    scope: dict[str, Any] = {}
    exec("\n".join([*source, "  return it", " return made"]), scope)
    maker: Callable[..., Vm] = scope["outer"](**known)
    return maker


_vm = _maker(Vm, ("ref", "name", "parent", "origin", "seen", "state", "addresses", "tags", "detailed", *PLAIN))
