"""Temporary folders of demos: each has an owner, and what a killed one left is removed by the next."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

PREFIX = "causeway-demo-"
MARK = "owner"
UNMARKED_S = 86_400.0
"""A folder without a mark is just being made, or of an old version: it is left alone for that long, in seconds."""


class Scratch:
    """A folder for this process, and only while it lives.

    The mark in it is held for that long: by a lock, on Windows by being open. Neither outlives its process.
    """

    def __init__(self) -> None:
        sweep()
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        # Nobody may find the mark before it is held.
        early = self.path / f"{MARK}.new"
        self._mark: IO[bytes] = (self.path / MARK if sys.platform == "win32" else early).open("wb")
        _hold(self._mark)
        if sys.platform != "win32":
            early.rename(self.path / MARK)

    def close(self) -> None:
        """Remove the folder with all that is in it."""
        self._mark.close()
        shutil.rmtree(self.path, ignore_errors=True)


def sweep() -> None:
    """Remove the folders whose owner is gone. What cannot be looked at or removed is left."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if _abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _abandoned(folder: Path) -> bool:
    """Whether nobody holds a folder's mark. Raises OSError for what belongs to somebody else."""
    if folder.is_symlink():
        return False
    mark = folder / MARK
    if not mark.exists():
        return time.time() - folder.stat().st_mtime > UNMARKED_S
    if sys.platform == "win32":
        mark.unlink()  # It fails while it is open.
        return True
    with mark.open("r+b") as file:
        return _hold(file)


def _hold(file: IO[bytes]) -> bool:
    """Lock an open mark until it is closed. False where another process has it. On Windows to be open is enough."""
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
