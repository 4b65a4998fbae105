"""The schema as numbered steps. A step never changes once released; a new one is added at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Step = Callable[[Any], None]


def _first(db: Any) -> None:
    """Connections, inventory cache (columns and body), identities, tasks, journal, audit trail, settings."""
    db["connections"].create({"name": str, "body": str}, pk="name")
    columns = {
        **dict.fromkeys(("connection", "kind", "id", "name", "parent", "state", "native_state"), str),
        **dict.fromkeys(("vcpus", "memory_bytes"), int),
        **dict.fromkeys(("uuid", "addresses", "group", "tags", "os", "flavor", "zone"), str),
        **dict.fromkeys(("detailed", "seen"), int),
    }
    objects = db["objects"].create({"key": int, **columns}, pk="key")
    objects.create_index(["connection", "kind", "id"], unique=True)
    db["bodies"].create({"key": int, "body": str}, pk="key")
    identity = dict.fromkeys(("uid", "connection", "kind", "id", "uuid", "host", "group", "tags", "history"), str)
    db["identities"].create(identity, pk="uid")
    db["tasks"].create({"id": str, "created": str, "body": str}, pk="id").create_index(["created"])
    db["journal"].create({"id": int, "migration": str, "at": str, "entry": str}, pk="id").create_index(["migration"])
    db["closed"].create({"migration": str, "at": str}, pk="migration")
    trail = dict.fromkeys(("at", "who", "what", "ref", "from", "to", "result"), str)
    db["audit"].create({"id": int, **trail}, pk="id").create_index(["ref"])
    db["settings"].create({"name": str, "value": str}, pk="name")


STEPS: tuple[Step, ...] = (_first,)
NEWEST = len(STEPS)


def migrate(conn: Any, version: int) -> None:
    """Bring the schema from `version` to the newest, all of it or nothing.

    Parameters: `conn` an open sqlite3 connection outside of a transaction, whose transactions are explicit.
    """
    import sqlite_utils

    db = sqlite_utils.Database(conn, execute_plugins=False)
    conn.execute("BEGIN IMMEDIATE")
    try:
        for step in STEPS[version:]:
            step(db)
        conn.execute(f"PRAGMA user_version={NEWEST}")
        conn.execute("COMMIT")
    except BaseException:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        raise
