"""Where Causeway keeps its data."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from backends.errors import Invalid


def home(override: str | None = None) -> Path:
    """The data folder, made private (0700) if it is not there: `override`, else CAUSEWAY_HOME, else the platform's.

    Raises Invalid where it is not a folder, belongs to someone else or cannot be made.
    """
    named = override or os.environ.get("CAUSEWAY_HOME")
    if named:
        path = Path(named).expanduser().absolute()
    else:
        import platformdirs

        path = Path(platformdirs.user_data_dir("causeway", appauthor=False))
    private_folder(path)
    return path


def private_folder(path: Path) -> Path:
    """Make `path` a folder that only its owner can enter. Raises Invalid where that cannot be.

    A folder that was made by someone else is refused rather than tightened: whoever owns it can open it again. So is
    one that is open to others and not ours: `--home /etc`, said by root, must not lock everybody out of it.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if sys.platform != "win32":
            status = path.stat()
            if status.st_uid != os.geteuid():
                raise Invalid(
                    f"The data folder {path} belongs to another user",
                    cure="Name a folder of your own with --home or CAUSEWAY_HOME",
                    field="home",
                )
            if status.st_mode & 0o077:
                if not _ours(path):
                    raise Invalid(
                        f"The folder {path} is open to other users and holds other things",
                        cure="Name a folder of Causeway's own with --home or CAUSEWAY_HOME",
                        field="home",
                    )
                path.chmod(0o700)
    except OSError as error:
        raise Invalid(
            f"The data folder {path} cannot be used: {error.strerror or error}",
            cure="Name a folder that you can write to with --home or CAUSEWAY_HOME",
            field="home",
        ) from None
    return path


def _ours(path: Path) -> bool:
    """Whether a folder is empty or has been a data folder before."""
    names = {item.name for item in path.iterdir()}
    return not names or bool(names & {"causeway.db", "owner.lock", "playground"})


def write_private(path: Path, data: bytes) -> None:
    """Replace a file's content at once and durably; readable by its owner only.

    A reader sees the old or the new content, never a part, also after a power cut. Raises OSError.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    if sys.platform != "win32":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
