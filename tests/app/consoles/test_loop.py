"""The console loop: beside the caller's, ended cleanly, and nothing is left behind by who goes away."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from app.consoles.loop import ConsoleLoop
from backends.errors import Cancelled


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "consoles"]


async def test_it_starts_with_the_first_work_and_ends_with_close() -> None:
    loop = ConsoleLoop()
    assert threads() == []

    async def where(word: str, *, mark: str) -> str:
        return word + mark + threading.current_thread().name

    assert await loop.do(where, "on ", mark="the ") == "on the consoles"
    assert await asyncio.wrap_future(loop.run(where("", mark=""))) == "consoles"
    assert threads() == ["consoles"]
    await loop.close()
    await loop.close()
    assert threads() == []


async def test_errors_come_back() -> None:
    loop = ConsoleLoop()

    async def fails() -> None:
        raise ValueError("as it is")

    with pytest.raises(ValueError, match="as it is"):
        await loop.do(fails)
    await loop.close()


async def test_cancelling_ends_the_work_before_it_returns() -> None:
    loop = ConsoleLoop()
    began, tidied = threading.Event(), threading.Event()

    async def works() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            tidied.set()

    task = asyncio.ensure_future(loop.do(works))
    await asyncio.to_thread(began.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert tidied.is_set()
    await loop.close()


async def test_work_cancelled_before_it_began_is_never_made() -> None:
    loop = ConsoleLoop()
    made: list[int] = []

    async def works() -> None:
        made.append(1)

    task = asyncio.ensure_future(loop.do(works))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await loop.close()
    assert made == []


async def test_close_ends_what_runs() -> None:
    loop = ConsoleLoop()
    began = threading.Event()

    async def works() -> None:
        began.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(loop.do(works))
    await asyncio.to_thread(began.wait, 10)
    await loop.close()
    with pytest.raises(Cancelled):
        await task
    with pytest.raises(Cancelled):
        await loop.do(works)
    loop.call(began.clear)
    assert began.is_set(), "nothing is called after the end"


def test_the_start_of_the_program_pays_for_no_console() -> None:
    heavy = "numpy", "asyncssh", "app.consoles.rfb", "app.consoles.terminal"
    code = f"import sys, app.services; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
