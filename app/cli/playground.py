"""The playground's verbs. Making it needs root, its connections belong to the user: each part runs as who it must.

Run as a module it is the user's part of a call with sudo: seeds as JSON on standard input, `add` or `drop`.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.errors import BackendError

if TYPE_CHECKING:
    from app.playground import Seed, State

Row = dict[str, Any]
ACTIONS = ("up", "down", "status")


def playground(home: Path, action: str, *, as_json: bool) -> int:
    """Do `up`, `down` or `status` for a data folder. Returns the exit code."""
    if action not in ACTIONS:
        _say(f"error: {action!r} is not one of {', '.join(ACTIONS)}")
        return 2
    if sys.platform == "win32":
        _say("error: the playground needs Linux with KVM or QEMU")
        return 1
    from app.playground import PlaygroundError, status

    try:
        if action == "up":
            return _up(home, as_json=as_json)
        if action == "down":
            return _down(home)
        _show(status(home), as_json=as_json)
        return 0
    except PlaygroundError as error:
        _say(f"error: {error}")
        return 1


def home_of_caller(named: str | None) -> Path:
    """The data folder that the playground is for: the one behind sudo's, who is not the one who runs this."""
    chosen = named or os.environ.get("CAUSEWAY_HOME")
    if chosen:
        return Path(chosen).expanduser().absolute()
    import pwd

    return Path(pwd.getpwuid(int(os.environ["SUDO_UID"])).pw_dir) / ".local/share/causeway"


def _up(home: Path, *, as_json: bool) -> int:
    from app.playground import status, up

    state = status(home)
    if os.geteuid() == 0:
        state = asyncio.run(up(home, _say))
    elif not state.running:
        _say("error: making the playground needs root; this does it:")
        _say(f"  {_sudo(home, 'up')}")
        return 1
    code = _register(home, "add", state.connections)
    _show(state, as_json=as_json)
    return code


def _down(home: Path) -> int:
    from app.playground import down, status

    state = status(home)
    if os.geteuid() != 0:
        if not state.connections:
            return 0
        _say("error: taking the playground down needs root; this does it:")
        _say(f"  {_sudo(home, 'down')}")
        return 1
    code = _register(home, "drop", state.connections) if state.connections else 0
    asyncio.run(down(home))
    _say("The playground is gone")
    return code


def _sudo(home: Path, action: str) -> str:
    """The line that does the root part, to be copied to a shell."""
    program = Path(sys.argv[0]).absolute()
    command = [str(program)] if program.name == "causeway" else [sys.executable, "-m", "app"]
    return shlex.join(["sudo", *command, "--home", str(home), "playground", action])


def _behind_sudo() -> tuple[int, int] | None:
    """uid and gid of the user who called sudo; None where root is the user."""
    if os.geteuid() != 0 or "SUDO_UID" not in os.environ:
        return None
    uid = int(os.environ["SUDO_UID"])
    return (uid, int(os.environ.get("SUDO_GID", uid))) if uid else None


def _register(home: Path, action: str, seeds: Sequence[Seed]) -> int:
    """Add or drop the playground's connections, as the user whose data folder it is."""
    rows = [{"name": s.name, "kind": s.kind, "settings": s.settings, "secrets": s.secrets} for s in seeds]
    owner = _behind_sudo()
    if owner is None:
        return asyncio.run(_registered(home, action, rows))
    import pwd

    user = pwd.getpwuid(owner[0])
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": user.pw_dir, "USER": user.pw_name, "LANG": "C.UTF-8"}
    done = subprocess.run(
        [sys.executable, "-m", "app.cli.playground", str(home), action],
        input=json.dumps(rows).encode(),
        user=owner[0],
        group=owner[1],
        extra_groups=os.getgrouplist(user.pw_name, owner[1]),
        env=environment,
        cwd="/",
        check=False,
    )
    return done.returncode


async def _registered(home: Path, action: str, rows: list[Row]) -> int:
    from app.cli.channel import run

    def on_row(row: Row) -> None:
        if row["type"] in ("error", "warning") or (row["type"] == "result" and row["message"]):
            _say(row["message"])

    return await run(home, {"verb": f"playground-{action}", "args": {"seeds": rows}}, on_row)


def _show(state: State, *, as_json: bool) -> None:
    row = {
        "running": state.running,
        "hosts": [
            {"name": host.name, "uri": host.uri, "hostname": host.hostname, "address": host.address}
            for host in state.hosts
        ],
        "endpoint": {
            "url": state.endpoint_url,
            "key_file": str(state.endpoint_key) if state.endpoint_key else "",
        },
        "connections": [seed.name for seed in state.connections],
    }
    if as_json:
        print(json.dumps(row, indent=2))  # noqa: T201
        return
    print("running" if state.running else "not running")  # noqa: T201
    for host in state.hosts:
        print(f"{host.name}  {host.uri}")  # noqa: T201
    if state.endpoint_url:
        print(f"cloud  {state.endpoint_url}")  # noqa: T201
        print("cloud-libcloud  the same endpoint through libcloud")  # noqa: T201


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(_registered(Path(sys.argv[1]), sys.argv[2], json.load(sys.stdin))))
    except BackendError as failure:
        _say(f"error: {failure}")
        sys.exit(1)
