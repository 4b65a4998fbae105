"""How a verb gets to the services."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from app.cli import channel
from app.owner import Owner
from backends.errors import Invalid


async def test_the_lock_is_taken_off_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    def acquire(home: Path) -> None:
        threads.append(threading.current_thread())
        raise Invalid("seen")

    monkeypatch.setattr(Owner, "acquire", acquire)
    with pytest.raises(Invalid, match="seen"):
        await channel.run(tmp_path, {"verb": "ls", "args": {}}, print)
    assert threads and threading.main_thread() not in threads
