"""The database file: how it is opened, judged, kept a copy of, and replaced when it is broken."""

from __future__ import annotations

import os
import sqlite3
import sys
from datetime import UTC, datetime
from pathlib import Path

from app.store import migrations
from backends.errors import Conflict, Unreachable
from backends.model import Finding, Level

NAME = "causeway.db"
KEPT = ("connections", "identities", "settings")
"""What a copy holds: what asking the platforms again would not bring back. Not the journal: an old one calls
migrations unfinished that have long ended, and undoing such a one would destroy its VM."""
SALVAGED = (("connections",), ("identities",), ("settings",), ("tasks",), ("audit",), ("journal", "closed"))
"""What is looked for after damage; tables that mean something only together come together or not at all."""
COPIES = 5
BUSY_MS = 10_000
REMOTE = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "gpfs", "ocfs2", "gfs2"}
    | {"fuse.sshfs", "fuse.glusterfs", "fuse.s3fs"}
)
"""File systems whose memory maps are not shared between machines."""


def connect(path: Path, *, synchronous: str = "NORMAL", read_only: bool = False) -> sqlite3.Connection:
    """Open the database with explicit transactions, for use from any one thread at a time."""
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    conn = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000)
    conn.execute(f"PRAGMA synchronous={synchronous}")
    conn.execute("PRAGMA trusted_schema=OFF")
    if read_only:
        conn.execute("PRAGMA query_only=ON")
    return conn


def prepare(home: Path) -> tuple[Path, list[Finding]]:
    """Make the database ready for use: sound, of the newest schema, in the right journal mode.

    Returns its path and what an admin should know. Raises Conflict for a newer schema, Unreachable where the
    file cannot be opened at all (permission, full disk, locked by someone else).
    """
    path = home / NAME
    findings: list[Finding] = []
    try:
        try:
            _ready(path, findings)
        except sqlite3.DatabaseError as error:
            if not _broken(error):
                raise
            findings.append(_replace(path, str(error)))
            _ready(path, findings)
    except (sqlite3.Error, OSError) as error:
        raise Unreachable(
            f"The database {path} cannot be used: {error}",
            cure="See to permissions and free space of the data folder, or name another one with --home",
        ) from error
    return path, findings


def keep_copy(conn: sqlite3.Connection, path: Path) -> Path:
    """Copy what cannot be asked for again into `backups/`, whole or not at all. Returns the copy's path."""
    version = conn.execute("PRAGMA user_version").fetchone()[0]
    target = _copies(path) / f"{path.stem}-{_stamp()}-v{version}.db"
    fresh = target.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    copy = connect(fresh, synchronous="FULL")
    try:
        tables = conn.execute("SELECT name,sql FROM sqlite_master WHERE type='table'").fetchall()
        copy.execute("BEGIN")
        for name, sql in tables:
            copy.execute(sql)
            if name in KEPT:
                _copy_rows(conn, copy, name)
        copy.execute(f"PRAGMA user_version={version}")
        copy.execute("COMMIT")
    finally:
        copy.close()
    fresh.replace(target)
    for old in sorted(target.parent.glob(f"{path.stem}-*.db"))[:-COPIES]:
        old.unlink(missing_ok=True)
    return target


def filesystem(path: Path) -> str:
    """The type of the file system that holds `path`, as the kernel names it; empty where that is not known."""
    if sys.platform == "win32":
        import ctypes

        remote = str(path).startswith("\\\\") or ctypes.windll.kernel32.GetDriveTypeW(f"{path.drive}\\") == 4
        return "smb3" if remote else ""
    mounts = Path("/proc/self/mountinfo")
    if not mounts.exists():
        return ""
    best, found = "", ""
    where = str(path.resolve())
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        left, _, right = line.partition(" - ")
        point = left.split(" ")[4].replace("\\040", " ")
        inside = point == "/" or where == point or where.startswith(point + "/")
        if inside and len(point) >= len(best):
            best, found = point, right.split(" ")[0]
    return found


def _ready(path: Path, findings: list[Finding]) -> None:
    conn = connect(path)
    try:
        findings.extend(_journal_mode(conn, path))
        version = conn.execute("PRAGMA user_version").fetchone()[0]
        if version > migrations.NEWEST:
            raise Conflict(
                f"The data folder {path.parent} was used by a newer version of Causeway "
                f"(its data has version {version}, this one knows {migrations.NEWEST})",
                cure="Update Causeway, or name another folder with --home",
            )
        verdict = conn.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise _Damaged(str(verdict))
        if not version and any(_copies(path).glob(f"{path.stem}-*.db")):
            raise _Damaged("it is empty, and there are copies of it")
        if version < migrations.NEWEST:
            if version:
                _whole_copy(conn, path, version)
            migrations.migrate(conn, version)
    finally:
        conn.close()


def _journal_mode(conn: sqlite3.Connection, path: Path) -> list[Finding]:
    kind = filesystem(path)
    remote = kind in REMOTE
    try:
        mode = conn.execute(f"PRAGMA journal_mode={'DELETE' if remote else 'WAL'}").fetchone()[0]
    except sqlite3.OperationalError as error:
        if _broken(error):
            raise
        mode = conn.execute("PRAGMA journal_mode=DELETE").fetchone()[0]
    if mode == "wal":
        return []
    return [
        Finding(
            level=Level.AMBER,
            code="store-network-folder",
            message=f"The data folder is on a file system ({kind or 'unknown'}) where SQLite's WAL does not work; "
            "the slower rollback journal is used",
            cure="Name a folder on a local disk with --home or CAUSEWAY_HOME",
            field="home",
        )
    ]


class _Damaged(sqlite3.DatabaseError):
    """What SQLite's own check of the file says."""


def _broken(error: sqlite3.Error) -> bool:
    """Whether an error means that the file itself is damaged, not that it cannot be reached."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return isinstance(error, _Damaged) or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _replace(path: Path, reason: str) -> Finding:
    """Move a broken database aside and fill a new one from what can be read of it and from the newest copy."""
    aside = path.with_name(f"{path.name}.broken-{_stamp()}")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.replace(aside.with_name(aside.name + suffix))
    fresh = path.with_name(f".{path.name}.fresh")
    fresh.unlink(missing_ok=True)
    conn = connect(fresh)
    try:
        migrations.migrate(conn, 0)
        copies = sorted(_copies(path).glob(f"{path.stem}-*.db"), reverse=True)
        told = [f"{tables[0]}: {_restore(conn, tables, aside, copies)}" for tables in SALVAGED]
    finally:
        conn.close()
    fresh.replace(path)
    return Finding(
        level=Level.RED,
        code="store-broken",
        message=f"The database was damaged ({reason}). It was moved to {aside.name}. Restored: {'; '.join(told)}",
        cure="Look through your connections, and at VMs that were being moved if the journal is not among what was "
        "restored. The inventory fills again by itself. Check this disk",
        field="home",
    )


def _restore(conn: sqlite3.Connection, tables: tuple[str, ...], broken: Path, copies: list[Path]) -> str:
    """Fill tables from the first source that can be read whole. Returns in words what was found."""
    best: list[tuple[str, Path]] = [("the damaged file", broken), *((f"copy {copy.name}", copy) for copy in copies)]
    for words, source in best:
        if words != "the damaged file" and not set(tables) <= set(KEPT):
            break
        conn.execute("BEGIN")
        try:
            old = sqlite3.connect(f"{source.as_uri()}?mode=ro{'' if source == broken else '&immutable=1'}", uri=True)
            try:
                counts = [_copy_rows(old, conn, table) for table in tables]
            finally:
                old.close()
            conn.execute("COMMIT")
            return f"{counts[0]} from {words}"
        except sqlite3.Error:
            conn.execute("ROLLBACK")
    return "nothing"


def _copy_rows(source: sqlite3.Connection, target: sqlite3.Connection, table: str) -> int:
    """Copy the columns that both sides have. Returns the number of rows; raises sqlite3.Error."""
    theirs = [row[1] for row in source.execute(f'PRAGMA table_info("{table}")')]
    ours = {row[1] for row in target.execute(f'PRAGMA table_info("{table}")')}
    names = [name for name in theirs if name in ours]
    if not names:
        raise sqlite3.OperationalError(f"no table {table}")
    columns = ",".join(f'"{name}"' for name in names)
    rows = source.execute(f'SELECT {columns} FROM "{table}"').fetchall()
    target.executemany(f'INSERT INTO "{table}" ({columns}) VALUES ({",".join("?" * len(names))})', rows)
    return len(rows)


def _whole_copy(conn: sqlite3.Connection, path: Path, version: int) -> None:
    """A copy of everything before the schema changes."""
    target = _copies(path) / f"before-{migrations.NEWEST}-from-{version}-{_stamp()}.db"
    copy = connect(target, synchronous="FULL")
    try:
        conn.backup(copy)
    finally:
        copy.close()


def _copies(path: Path) -> Path:
    folder = path.parent / "backups"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
