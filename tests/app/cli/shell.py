"""Runs the program as people and scripts do: real processes, a real store, the demo platform in a folder."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from app.paths import private_folder
from app.services import Services

ROOT = Path(__file__).parents[3]
OWNER = """
import asyncio, sys
from pathlib import Path
from app.cli.channel import Desk
from app.owner import Owner
from app.services import Services

async def main():
    home = Path(sys.argv[1])
    owner = Owner.acquire(home)
    services = await Services.open(home)
    fronts = []
    services.on_front = lambda: fronts.append(1)
    services.on_picture = lambda path: path.write_text("picture")
    await owner.serve(Desk(services).handle)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await services.close()
    owner.release()
    print("fronts", len(fronts), flush=True)

asyncio.run(main())
"""
"""A process that owns the data folder, as a window does: ready on a line, until its input ends."""
NO_SCREEN = {"DISPLAY": "", "WAYLAND_DISPLAY": "", "QT_QPA_PLATFORM": ""}


class Shell:
    """Runs causeway for one data folder."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.worlds = folder / "worlds"
        self.env = {**os.environ, "CAUSEWAY_HOME": str(self.home), "PYTHONWARNINGS": "error", "COLUMNS": "200"}

    def run(self, *words: str, given: str = "", env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "app", *words],
            cwd=ROOT,
            env={**self.env, **(env or {})},
            input=given,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "app", *words]
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def json(self, *words: str) -> Any:
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def connect(self, **sites: dict[str, str]) -> None:
        """Add demo connections and let them be listed once, in this process: that is not what the test is about."""
        asyncio.run(self._connect(sites))

    async def _connect(self, sites: dict[str, dict[str, str]]) -> None:
        services = await Services.open(private_folder(self.home))
        listed = asyncio.Event()
        for name, settings in sites.items():
            await services.connections.add("demo", name, {"path": str(self.worlds / name), **settings}, {})
        stop = services.connections.subscribe(
            lambda _: listed.set() if all(site.listed for site in services.connections.all()) else None
        )
        if not all(site.listed for site in services.connections.all()):
            await asyncio.wait_for(listed.wait(), 60)
        stop()
        await services.close()

    def save(self, name: str, **settings: str) -> None:
        """Add a demo connection and leave it alone."""

        async def add() -> None:
            services = await Services.open(private_folder(self.home), connect=False)
            await services.connections.add("demo", name, settings, {})
            await services.close()

        asyncio.run(add())

    def vms(self, query: str = "") -> dict[str, dict[str, Any]]:
        return {f"{row['connection']}/{row['name']}": row for row in self.json("ls", f"kind:vm {query}")}


def wait_for_task(shell: Shell, state: str, by: subprocess.Popen[str] | None = None) -> dict[str, Any]:
    """Until the newest move is in a state; asked of whoever owns the folder.

    `by` is the verb that runs it, or makes the folder's owner do so: whoever asked before it owns the folder would own
    it himself, and serve the move to its end before he is heard.
    """
    while by is not None and not (shell.home / "owner.json").exists():
        assert by.poll() is None, by.communicate()
        time.sleep(0.02)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for row in shell.json("tasks"):
            if row["kind"] == "move" and row["state"] == state:
                return dict(row)
        assert by is None or by.poll() is None, by.communicate()
    raise AssertionError(f"no move is {state}")
