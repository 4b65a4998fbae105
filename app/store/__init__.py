"""What Causeway remembers, in one SQLite file: connections, inventory cache, identities, tasks, journal, audit trail.

Every method is awaited on the loop and runs beside it: writes in one thread, reads in others. An awaited write
is committed; an awaited journal entry also survives a power cut. Never holds a secret.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from sys import intern
from typing import Any, TypeVar

from app.paths import private_folder
from app.store import cache, codec, files
from app.store.writer import Readers, Writer
from backends.errors import BackendError, Conflict, Unreachable
from backends.model import Finding, Level, Object, Ref, now

T = TypeVar("T")
Row = dict[str, object]
CHUNK = 500
"""Objects written per job: some milliseconds, so that an urgent write never waits for long."""


class Store:
    """The open store of a data folder. `findings` says what was met: a repaired database, rows left out."""

    def __init__(self, path: Path, findings: Sequence[Finding]) -> None:
        self.path = path
        self._findings = list(findings)
        self._writer = Writer(files.connect(path), files.connect(path, synchronous="FULL"))
        self._readers = Readers(lambda: files.connect(path, read_only=True))

    @classmethod
    async def open(cls, home: Path) -> Store:
        """Open the store below `home`, made or migrated as needed.

        Raises Conflict where a newer Causeway wrote it, Unreachable or Invalid where it cannot be used.
        """
        return await asyncio.wrap_future(cls.begin(home))

    @classmethod
    def begin(cls, home: Path) -> Future[Store]:
        """As `open`, in a thread of its own, for a caller that has no loop yet and other things to do meanwhile."""
        opening: Future[Store] = Future()

        def work() -> None:
            try:
                opening.set_result(cls(*files.prepare(private_folder(home))))
            except BaseException as error:
                opening.set_exception(error)

        threading.Thread(target=work, name="store-opening", daemon=True).start()
        return opening

    async def close(self) -> None:
        """Write what is under way, then close. Idempotent."""
        await self._readers.close()
        await self._writer.close()

    # Connections

    async def connections(self) -> list[Row]:
        """The saved connections, in the order in which they were added."""
        rows = await self._read(lambda conn: conn.execute("SELECT body FROM connections ORDER BY rowid").fetchall())
        return self._readable("connection", rows)

    async def save_connection(self, row: Mapping[str, object]) -> None:
        """Add or replace the connection of that `name`; a copy of all connections is kept beside the database."""
        name, body = str(row["name"]), codec.dumps(codec.encode(row))

        def save(conn: sqlite3.Connection) -> None:
            _upsert(conn, "connections", "name", {"name": name, "body": body})

        await self._write(save)
        await self._write(self._keep_copy)

    async def delete_connection(self, name: str) -> None:
        """Forget a connection and what is cached of it."""

        def delete(conn: sqlite3.Connection) -> None:
            conn.execute("DELETE FROM connections WHERE name=?", (name,))
            cache.forget(conn, name)

        await self._write(delete)
        await self._write(self._keep_copy)

    # Inventory cache

    async def save_objects(self, objects: Iterable[Object]) -> None:
        """Insert or replace objects in the cache, in batches."""
        await self._write_chunks(tuple(objects), cache.save)

    async def delete_objects(self, refs: Iterable[Ref]) -> None:
        await self._write_chunks(tuple(refs), cache.delete)

    async def load_objects(self) -> list[Object]:
        """Everything cached, origin CACHE, with its real age. VMs have what tree and search need; see load_body."""
        return await self._read(cache.load)

    async def load_body(self, ref: Ref) -> Object | None:
        """One cached object with all its details, None where it is not known."""
        return await self._read(lambda conn: cache.load_body(conn, ref))

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(self._findings)

    # Identities

    async def identities(self) -> list[tuple[str, ...]]:
        """uid, connection, kind, id, uuid, host, group, tags and history (as app.identity writes them)."""
        query = 'SELECT uid,connection,kind,id,uuid,host,"group",tags,history FROM identities'

        def rows(conn: sqlite3.Connection) -> list[tuple[str, ...]]:
            # Ten thousands of VMs share a host and a connection; a VM's id is often its UUID.
            return [
                (uid, intern(name), intern(kind), ident, ident if uuid == ident else uuid, intern(host), *more)
                for uid, name, kind, ident, uuid, host, *more in conn.execute(query)
            ]

        return await self._read(rows)

    async def save_identity(self, rows: Iterable[Sequence[str]]) -> None:
        """Insert or replace rows as `identities` gives them."""
        query = "INSERT OR REPLACE INTO identities VALUES (?,?,?,?,?,?,?,?,?)"
        await self._write_chunks(tuple(rows), lambda conn, some: conn.executemany(query, some))

    async def delete_identity(self, uids: Iterable[str]) -> None:
        query = "DELETE FROM identities WHERE uid=?"
        await self._write_chunks([(uid,) for uid in uids], lambda conn, some: conn.executemany(query, some))

    # Tasks

    async def save_task(self, row: Mapping[str, object]) -> None:
        """Insert or replace a task, given as codec.encode(task) or any JSON-able mapping with `id` and `created`."""
        task = {"id": str(row["id"]), "created": str(row["created"]), "body": codec.dumps(codec.encode(row))}
        await self._write(lambda conn: _upsert(conn, "tasks", "id", task))

    async def tasks(self, limit: int = 200) -> list[dict[str, Any]]:
        """The newest tasks, newest first; codec.decode(Task, row) makes a Task of each."""
        query = "SELECT body FROM tasks ORDER BY created DESC LIMIT ?"
        rows = await self._read(lambda conn: conn.execute(query, (limit,)).fetchall())
        return self._readable("task", rows)

    # Journal of migrations

    async def journal_append(self, migration: str, entry: Mapping[str, object]) -> int:
        """Add an entry, durable when this returns. Returns its number; numbers only grow.

        Raises Conflict for a closed migration.
        """
        body, at = codec.dumps(codec.encode(entry)), now().isoformat()

        def append(conn: sqlite3.Connection) -> int:
            if conn.execute("SELECT 1 FROM closed WHERE migration=?", (migration,)).fetchone():
                raise Conflict(f"The journal of migration {migration} is closed")
            query = "INSERT INTO journal (migration,at,entry) VALUES (?,?,?)"
            return int(conn.execute(query, (migration, at, body)).lastrowid or 0)

        return await self._write(append, urgent=True)

    async def journal(self, migration: str | None = None) -> list[dict[str, Any]]:
        """All entries (of one migration), in the order of writing, each with `id`, `migration`, `at`."""
        where, values = ("", ()) if migration is None else ("WHERE migration=?", (migration,))
        query = f"SELECT id,migration,at,entry FROM journal {where} ORDER BY id"
        rows = await self._read(lambda conn: conn.execute(query, values).fetchall())
        return [{**json.loads(entry), "id": ident, "migration": name, "at": at} for ident, name, at, entry in rows]

    async def journal_close(self, migration: str) -> None:
        """Mark a migration as ended: its entries stay, nothing is added any more. Durable, idempotent."""
        values = (migration, now().isoformat())
        await self._write(
            lambda conn: conn.execute("INSERT OR IGNORE INTO closed (migration,at) VALUES (?,?)", values), urgent=True
        )

    async def open_migrations(self) -> list[str]:
        """Migrations with entries that were never closed, oldest first."""
        query = (
            "SELECT migration FROM journal WHERE migration NOT IN (SELECT migration FROM closed) "
            "GROUP BY migration ORDER BY min(id)"
        )
        return [name for (name,) in await self._read(lambda conn: conn.execute(query).fetchall())]

    # Audit trail

    async def audit(self, who: str, what: str, ref: Ref | str, detail_from: str, to: str, result: str) -> None:
        """Add a line to the audit trail. Only texts; whoever calls keeps secrets out (app.audit does)."""
        line = (now().isoformat(), who, what, str(ref), detail_from, to, result)
        query = 'INSERT INTO audit (at,who,what,ref,"from","to",result) VALUES (?,?,?,?,?,?,?)'
        await self._write(lambda conn: conn.execute(query, line))

    async def audit_trail(self, limit: int = 500, ref: Ref | str | None = None) -> list[dict[str, str]]:
        """The newest lines (about one object), newest first: at, who, what, ref, from, to, result."""
        where, values = ("", ()) if ref is None else ("WHERE ref=?", (str(ref),))
        names = ("at", "who", "what", "ref", "from", "to", "result")
        query = f'SELECT at,who,what,ref,"from","to",result FROM audit {where} ORDER BY id DESC LIMIT ?'
        rows = await self._read(lambda conn: conn.execute(query, (*values, limit)).fetchall())
        return [dict(zip(names, row, strict=True)) for row in rows]

    # Settings

    async def setting(self, name: str, default: Any = None) -> Any:
        """A JSON value by name, `default` where it was never set."""
        query = "SELECT value FROM settings WHERE name=?"
        found = await self._read(lambda conn: conn.execute(query, (name,)).fetchone())
        return default if found is None else json.loads(found[0])

    async def set_setting(self, name: str, value: object) -> None:
        row = {"name": name, "value": codec.dumps(codec.encode(value))}
        await self._write(lambda conn: _upsert(conn, "settings", "name", row))

    # Inside

    def _readable(self, what: str, rows: Iterable[tuple[str]]) -> list[dict[str, Any]]:
        """The rows that are JSON objects; one that is not is left where it is, and told."""
        found = []
        for (body,) in rows:
            try:
                row = json.loads(body)
            except (TypeError, ValueError):
                row = None
            if isinstance(row, dict):
                found.append(row)
            else:
                message = f"A stored {what} cannot be read and is left out"
                self._findings.append(Finding(level=Level.AMBER, code=f"unreadable-{what}", message=message))
        return found

    def _keep_copy(self, conn: sqlite3.Connection) -> None:
        files.keep_copy(conn, self.path)

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await self._readers.read(work)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    async def _write(self, work: Callable[[sqlite3.Connection], T], *, urgent: bool = False) -> T:
        try:
            return await self._writer.write(work, urgent=urgent)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    async def _write_chunks(
        self, items: Sequence[T], work: Callable[[sqlite3.Connection, Sequence[T]], object]
    ) -> None:
        """Write `items` some at a time; all of them are committed when this returns."""

        def written(some: Sequence[T]) -> Coroutine[Any, Any, object]:
            return self._write(lambda conn: work(conn, some))

        # All are handed over at once: the writer then puts many into one transaction.
        writes = [written(items[start : start + CHUNK]) for start in range(0, len(items), CHUNK)]
        for end in await asyncio.gather(*writes, return_exceptions=True):
            if isinstance(end, BaseException):
                raise end

    def _failed(self, error: sqlite3.Error) -> BackendError:
        return Unreachable(
            f"The database {self.path} failed: {error}",
            cure="See to free space and permissions of the data folder. "
            "A damaged database is repaired at the next start",
        )


def _upsert(conn: sqlite3.Connection, table: str, key: str, row: Mapping[str, str]) -> None:
    """Insert or update one row by its key, keeping its place."""
    names = ",".join(f'"{name}"' for name in row)
    updates = ",".join(f'"{name}"=excluded."{name}"' for name in row if name != key)
    marks = ",".join("?" * len(row))
    conn.execute(
        f"INSERT INTO {table} ({names}) VALUES ({marks}) ON CONFLICT ({key}) DO UPDATE SET {updates}",
        tuple(row.values()),
    )
