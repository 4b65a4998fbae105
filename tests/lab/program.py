"""Causeway as its user has it: a program of its own with a data folder of its own, watched and killed from outside."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from app.owner import ask
from app.playground.hosts import Host
from tests.lab.machine import Lab, LabGuest, until

CAUSEWAY = Path(sys.executable).with_name("causeway")
ROOT = Path(__file__).parents[2]
ARRIVED = 1 << 20
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """How a verb ended: its exit code, what --json printed, and what it said to people."""

    code: int
    data: Any
    words: str


@dataclass(frozen=True, slots=True)
class Program:
    """The command `causeway` on one data folder."""

    home: Path
    key: Path

    def command(self, *words: str) -> list[str]:
        return [str(CAUSEWAY), "--home", str(self.home), "--vault-key-file", str(self.key), *words]

    def run(self, *words: str, env: dict[str, str] | None = None, timeout: float = 240) -> Answer:
        """A verb with --json, to its end."""
        done = subprocess.run(
            self.command(*words, "--json"),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=os.environ | (env or {}),
        )
        return Answer(done.returncode, json.loads(done.stdout) if done.stdout.strip() else None, done.stderr)

    def connect(self, kind: str, name: str, **settings: str) -> Answer:
        words = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        return self.run("connect", kind, name, *words)

    def tasks(self) -> list[Row]:
        answer = self.run("tasks")
        assert answer.code == 0, answer.words
        return list(answer.data)

    def open_migrations(self) -> list[str]:
        """The journals that are not closed, read with the program at rest."""
        return list(self.ask("open"))

    def tasks_of(self, guest: LabGuest) -> list[Row]:
        return [task for task in self.tasks() if guest.name in task["title"]]

    def ask_owner(self, verb: str, **args: str) -> None:
        """What a window's click asks of the folder's owner."""

        async def asking() -> list[Row]:
            return [row async for row in ask(self.home, {"verb": verb, "args": args})]

        assert asyncio.run(asking())[-1]["ok"]

    def ask(self, verb: str, *words: str) -> Any:
        """One thing that the command line has no verb for; see `tests.lab.service`."""
        done = subprocess.run(
            self.service(verb, *words), capture_output=True, text=True, timeout=120, check=False, cwd=ROOT
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def service(self, verb: str, *words: str) -> list[str]:
        return [sys.executable, "-m", "tests.lab.service", str(self.home), str(self.key), verb, *words]

    def move(self, guest: LabGuest, source: str, target: str, **options: object) -> Owner:
        """A move in a process of its own, that owns the folder as a window would; `options` are of LiveOptions."""
        mode = str(options.pop("mode", "live"))
        words = self.service("move", f"{source}/{guest.uuid}", target, mode, json.dumps(options))
        log = self.home.with_suffix(".log")
        with log.open("ab") as file:
            return Owner(subprocess.Popen(words, stdout=file, stderr=file, cwd=ROOT), log)


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that owns the folder and is at work. `kill` is kill -9: nothing of it gets a last word."""

    process: subprocess.Popen[bytes]
    log: Path

    def movers(self) -> list[psutil.Process]:
        found = []
        for item in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.Error):
                found += [item] if "app.migration.mover" in item.cmdline() else []
        return found

    def kill(self) -> None:
        """And its movers are seen to end by themselves."""
        movers = self.movers()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)
        _, alive = psutil.wait_procs(movers, 30)
        assert not alive, "a copy goes on without its owner"

    def said(self, state: str) -> bool:
        """Whether it has told of this state of its move."""
        return f'"state": "{state}"' in self.log.read_text()

    def wait(self, seconds: float = 120) -> Row:
        """What became of it."""
        assert self.process.wait(seconds) == 0, self.log.read_text()
        return dict(json.loads(self.log.read_text().strip().splitlines()[-1]))

    def expect(self, done: Any, failure: str, seconds: float = 60) -> None:
        """Poll until `done`, while it is at work."""

        def look() -> bool:
            if done():
                return True
            assert self.process.poll() is None, f"{failure}: {self.log.read_text()}"
            return False

        until(look, failure, seconds)

    def end(self) -> None:
        """Whatever state it is in, it is gone afterwards."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)


def prepared(lab: Lab, folder: Path) -> Program:
    """A data folder with the lab's two hosts, added as a user would."""
    program = Program(folder / "home", folder / "key")
    for seed in lab.state.connections:
        if seed.kind == "libvirt":
            added = program.connect(seed.kind, seed.name, **seed.settings)
            assert added.code == 0, added.words
    return program


def copied(program: Program, folder: Path) -> Program:
    """The same with a folder of its own."""
    shutil.copytree(program.home, folder / "home")
    if program.key.exists():
        shutil.copy(program.key, folder / "key")
    return Program(folder / "home", folder / "key")


def working(host: Host, guest: LabGuest) -> bool:
    """Whether a live move of it is under way: its memory is going over."""
    said = host.virsh("domjobinfo", guest.uuid)
    return "Memory processed" in said and "Memory processed: 0.000" not in said


def arriving(guest: LabGuest, host: Host) -> bool:
    """Whether bytes of its cold move have arrived on a host: more than an empty volume has."""
    files = guest.lab.images(host).glob(f"{guest.name}-*.cw*.raw")
    return any(path.stat().st_blocks * 512 > ARRIVED for path in files)


def runs(lab: Lab, guest: LabGuest) -> list[str]:
    """Where libvirt says that it runs (paused is not running), on both hosts."""
    found = []
    for host in lab.hosts:
        listed = host.virsh("list", "--state-running", "--uuid").split()
        found += [host.name] if guest.uuid in listed else []
    return found


def runs_here(host: Host, guest: LabGuest) -> bool:
    """The same of one host: the other's libvirtd may not answer."""
    return guest.uuid in host.virsh("list", "--state-running", "--uuid").split()


def defined(lab: Lab, guest: LabGuest, *hosts: Host) -> list[str]:
    """Where it is known in any state; only these `hosts` are asked, where some are named."""
    return [host.name for host in hosts or lab.hosts if guest.uuid in host.virsh("list", "--all", "--uuid").split()]


def leftovers(guest: LabGuest) -> list[str]:
    """What moves of it made on both hosts and did not take away: volumes, fences, pools, half-written copies."""
    lab, found = guest.lab, []
    for host in lab.hosts:
        here = defined(lab, guest) == [host.name]
        for path in (*lab.images(host).iterdir(), *lab.shared.iterdir()):
            ours = path.name.startswith(guest.name) or guest.uuid in path.name
            found += [str(path)] if ours and not (path.name == guest.file and here) else []
        found += [name for name in host.virsh("pool-list", "--name").split() if "causeway-export" in name]
    return found
