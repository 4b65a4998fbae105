"""One owner per data folder: real processes, real sockets, kill -9."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app import owner as owning
from app.owner import NoOwner, Owner, ask
from backends.errors import BackendError, Conflict, Invalid, NotFound, Unreachable

ROOT = Path(__file__).parents[2]
CHILD = """
import asyncio, sys
from pathlib import Path
from app.owner import Owner
async def handler(request):
    yield {"from": "child", "echo": request}
    await asyncio.sleep(600)
async def main():
    owner = Owner.acquire(Path(sys.argv[1]))
    print("owner" if owner else "none", flush=True)
    if owner:
        await owner.serve(handler)
        print("serving", flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""


async def answer(request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    if request.get("fail") == "typed":
        raise NotFound("web-01 is gone", object_name="web-01", cure="look elsewhere")
    if request.get("fail") == "midway":
        yield {"n": 0}
        raise Conflict("busy", field="name")
    if request.get("fail") == "bug":
        raise KeyError("oops")
    for number in range(int(request.get("count", 1))):
        yield {"n": number, "text": request.get("text", "")}


async def asked(home: Path, request: dict[str, Any]) -> list[dict[str, Any]]:
    return [item async for item in ask(home, request)]


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
async def owner(tmp_path: Path) -> AsyncIterator[Owner]:
    made = Owner.acquire(tmp_path)
    assert made is not None
    await made.serve(answer)
    yield made
    await made.close()


async def test_a_stream_of_answers(owner: Owner, tmp_path: Path) -> None:
    assert await asked(tmp_path, {"count": 3, "text": "ä\n\u2028"}) == [
        {"n": number, "text": "ä\n\u2028"} for number in range(3)
    ]
    assert await asked(tmp_path, {"count": 0}) == []
    many = await asyncio.gather(*(asked(tmp_path, {"count": 50}) for _ in range(20)))
    assert all(len(items) == 50 for items in many)


async def test_errors_keep_their_type_and_their_cure(owner: Owner, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="web-01 is gone") as caught:
        await asked(tmp_path, {"fail": "typed"})
    assert (caught.value.cure, caught.value.object_name) == ("look elsewhere", "web-01")
    got = []
    with pytest.raises(Conflict) as midway:
        async for item in ask(tmp_path, {"fail": "midway"}):
            got.append(item)
    assert got == [{"n": 0}] and midway.value.field == "name"
    with pytest.raises(BackendError, match="KeyError"):
        await asked(tmp_path, {"fail": "bug"})


async def test_without_an_owner(tmp_path: Path) -> None:
    with pytest.raises(NoOwner):
        await asked(tmp_path, {})
    made = Owner.acquire(tmp_path)
    assert made is not None
    await made.serve(answer)
    await made.close()
    with pytest.raises(NoOwner):
        await asked(tmp_path, {})
    assert names(tmp_path) == ["owner.lock"]


async def test_only_one_owns_and_the_lock_comes_back(tmp_path: Path) -> None:
    first = Owner.acquire(tmp_path)
    assert first is not None
    assert Owner.acquire(tmp_path) is None
    first.release()
    first.release()
    second = Owner.acquire(tmp_path)
    assert second is not None
    second.release()


def child(home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", CHILD, str(home)], stdout=subprocess.PIPE, cwd=ROOT, text=True)


async def test_kill_9_gives_lock_and_socket_to_the_next(tmp_path: Path) -> None:
    process = child(tmp_path)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "owner\n" and process.stdout.readline() == "serving\n"
        assert Owner.acquire(tmp_path) is None
        answers = ask(tmp_path, {"verb": "ls"})
        assert await anext(answers) == {"from": "child", "echo": {"verb": "ls"}}
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with pytest.raises(Unreachable, match="ended before"):
            await anext(answers)
        assert (tmp_path / "owner.sock").exists()
        with pytest.raises(NoOwner):
            await asked(tmp_path, {})
        made = Owner.acquire(tmp_path)
        assert made is not None
        await made.serve(answer)
        assert await asked(tmp_path, {}) == [{"n": 0, "text": ""}]
        await made.close()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def test_an_asker_waits_for_an_owner_that_is_starting(tmp_path: Path) -> None:
    made = Owner.acquire(tmp_path)
    assert made is not None
    asking = asyncio.create_task(asked(tmp_path, {}))
    await asyncio.sleep(0.2)
    assert not asking.done()
    await made.serve(answer)
    assert await asking == [{"n": 0, "text": ""}]
    await made.close()


async def test_who_leaves_cancels_the_answer(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def endless(request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        try:
            while True:
                yield {"tick": 1}
                await asyncio.sleep(0.01)
        finally:
            ended.set()

    made = Owner.acquire(tmp_path)
    assert made is not None
    await made.serve(endless)
    answers = ask(tmp_path, {})
    await anext(answers)
    await answers.aclose()  # type: ignore[attr-defined]
    await asyncio.wait_for(ended.wait(), 30)
    await made.close()


async def raw(home: Path, data: bytes) -> bytes:
    path = json.loads((home / "owner.json").read_text(encoding="utf-8"))["socket"]
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        with contextlib.suppress(OSError):
            writer.write(data)
            await writer.drain()
        return await asyncio.wait_for(reader.read(), 60)
    finally:
        writer.close()


@pytest.mark.parametrize(
    "data", [b"garbage\n", b"[1]\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n", b"x" * (owning.LINE + 10) + b"\n"]
)
async def test_garbage_is_refused_and_does_no_harm(owner: Owner, tmp_path: Path, data: bytes) -> None:
    answered = await raw(tmp_path, data)
    assert json.loads(answered)["error"]["type"] == "Invalid"
    assert await asked(tmp_path, {}) == [{"n": 0, "text": ""}]


async def test_half_open_clients_end(owner: Owner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owning, "REQUEST_S", 1.0)
    silent = await asyncio.gather(*(raw(tmp_path, b"") for _ in range(owning.SILENT)))
    assert set(silent) == {b""}
    assert await asked(tmp_path, {}) == [{"n": 0, "text": ""}]


async def test_half_open_clients_keep_nobody_out(owner: Owner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owning, "REQUEST_S", 600.0)
    silent = [asyncio.create_task(raw(tmp_path, b"half a line")) for _ in range(owning.CLIENTS + 20)]
    while sum(task.done() for task in silent) < len(silent) - owning.SILENT:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert await asked(tmp_path, {}) == [{"n": 0, "text": ""}]
    assert sum(not task.done() for task in silent) >= owning.SILENT - 1
    for task in silent:
        task.cancel()
    await asyncio.gather(*silent, return_exceptions=True)


async def test_who_comes_while_too_many_are_answered_is_told_so(tmp_path: Path) -> None:
    async def endless(request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        yield {}
        await asyncio.sleep(600)

    made = Owner.acquire(tmp_path)
    assert made is not None
    await made.serve(endless)
    answers = [ask(tmp_path, {}) for _ in range(owning.CLIENTS)]
    for one in answers:
        await anext(one)
    with pytest.raises(Conflict, match="too many"):
        await asked(tmp_path, {})
    await answers[0].aclose()  # type: ignore[attr-defined]
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(Conflict):
                last = ask(tmp_path, {})
                assert await anext(last) == {}
                break
    for one in (*answers[1:], last):
        await one.aclose()  # type: ignore[attr-defined]
    await made.close()


async def test_too_long_a_request_never_leaves(owner: Owner, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="too long"):
        await asked(tmp_path, {"text": "x" * owning.LINE})


async def test_a_long_folder_name_gets_a_short_socket(tmp_path: Path) -> None:
    home = tmp_path / ("long" * 30) / "home"
    made = Owner.acquire(home)
    assert made is not None
    await made.serve(answer)
    socket = Path(json.loads((home / "owner.json").read_text(encoding="utf-8"))["socket"])
    assert len(str(socket)) <= owning.LONGEST_PATH
    assert mode(socket.parent) == 0o700
    assert await asked(home, {}) == [{"n": 0, "text": ""}]
    await made.close()
    assert not socket.parent.exists()


async def test_only_this_user_can_ask(owner: Owner, tmp_path: Path) -> None:
    assert mode(tmp_path) == 0o700
    for name in ("owner.sock", "owner.json", "owner.lock"):
        assert mode(tmp_path / name) == 0o600


def test_a_folder_that_cannot_be_written_to_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "owner.lock").mkdir()
    with pytest.raises(Invalid, match="cannot be used"):
        Owner.acquire(tmp_path)


async def test_a_full_disk_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("app.owner.write_private", full)
    owner = Owner.acquire(tmp_path)
    assert owner is not None
    with pytest.raises(Invalid, match="No space left"):
        await owner.serve(answer)
    monkeypatch.undo()
    assert Owner.acquire(tmp_path) is not None, "it is free for the next"
