"""Moves that are killed at a journal write, each in a process of its own: forked from one that has imported everything,
as the start of an interpreter takes longer than the move."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path

from app.migration import Mode
from backends.demo import Driver

ROOT = Path(__file__).parents[3]
_one_at_a_time = threading.Lock()


def run_and_kill(home: Path, mode: Mode, last: int, when: str, *more: str) -> bool:
    """A process that moves web-01 and is killed at a journal write. False: it came to its end before that."""
    asked = {"home": str(home), "mode": mode.value, "last": last, "when": when, "cloud": bool(more)}
    with _one_at_a_time:
        mother = _mother()
        assert mother.stdin is not None and mother.stdout is not None
        mother.stdin.write(json.dumps(asked) + "\n")
        mother.stdin.flush()
        ended = json.loads(mother.stdout.readline())
    assert ended["code"] in (0, -signal.SIGKILL), ended["said"]
    return bool(ended["code"])


@cache
def _mother() -> subprocess.Popen[str]:
    # A pool of threads would not be there after a fork.
    env = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.app.migration.killed"]
    mother = subprocess.Popen(command, cwd=ROOT, env=env, stdin=-1, stdout=-1, text=True)

    def end() -> None:
        mother.communicate()

    atexit.register(end)
    return mother


def _serve() -> None:
    """Fork for every line that is asked; say how the child ended."""
    import sqlite_utils  # noqa: F401

    from app.migration import migrations  # noqa: F401
    from tests.app.migration.pair import Pair  # noqa: F401

    for line in sys.stdin:
        with tempfile.TemporaryFile() as said:
            child = os.fork()
            if not child:
                _child(json.loads(line), said.fileno())
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            said.seek(0)
            print(json.dumps({"code": code, "said": said.read().decode(errors="replace")}), flush=True)


def _child(asked: dict[str, object], said: int) -> None:
    """Never returns: neither the parent's loop nor its end are the child's."""
    code = 1
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, target in enumerate((nothing, said, said)):
            os.dup2(target, number)
        asyncio.run(_move(Path(str(asked["home"])), Mode(asked["mode"]), asked["last"], asked["when"], asked["cloud"]))
        code = 0
    except BaseException:
        import traceback

        os.write(said, traceback.format_exc().encode())
    finally:
        os._exit(code)


async def _move(home: Path, mode: Mode, last: object, when: object, cloud: object) -> None:
    from tests.app.migration import cloudlike
    from tests.app.migration.pair import Pair

    if cloud:
        Driver.starts_on_create = False  # type: ignore[attr-defined]
        cloudlike.apply()
    pair = await Pair.open(home)
    append, count = pair.store.journal_append, 0

    async def killing(migration: str, entry: object) -> int:
        nonlocal count
        count += 1
        if count == last and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        number = await append(migration, entry)  # type: ignore[arg-type]
        if count == last and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    pair.store.journal_append = killing  # type: ignore[method-assign]
    await pair.move(mode=mode)
    await pair.close()


if __name__ == "__main__":
    _serve()
