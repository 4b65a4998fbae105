"""The main job, with a real mouse: a running guest is dragged from one KVM host to the other, and comes back by CLI.

Judged from outside: by the QEMU processes, by the guest's own boot id and heartbeat, and by the screen.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from app.services import Services
from backends.model import Kind, Ref
from tests.e2e.desktop import Desktop, desktop, eventually
from tests.lab.machine import Lab, LabGuest
from widgets.theme import LIGHT
from widgets.window import STATE

CAUSEWAY = Path(sys.executable).with_name("causeway")
TREE = (20, 380)
"""The tree's columns on the screen, in pixels."""
TREE_TOP = 90

pytestmark = [pytest.mark.lab, pytest.mark.e2e]


def base(home: Path) -> list[str]:
    """The command with its data folder and the key of its vault."""
    return [str(CAUSEWAY), "--home", str(home), "--vault-key-file", str(home.with_name("vault.key"))]


def causeway(home: Path, *words: str, env: dict[str, str] | None = None, timeout: float = 240) -> object:
    """Run a verb with --json; fails with what it said unless it ended well."""
    command = [*base(home), *words, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=env, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)


def rows(home: Path) -> dict[str, dict[str, object]]:
    """`ls --json` by connection/name."""
    listed = causeway(home, "ls")
    assert isinstance(listed, list)
    return {f"{row['connection']}/{row['name']}": row for row in listed}


def place(home: Path, name: str) -> str:
    """The connection that shows a VM of this name; empty while there is none or more than one."""
    found = [str(row["connection"]) for row in rows(home).values() if row["name"] == name and row["state"] == "running"]
    return found[0] if len(found) == 1 else ""


@pytest.fixture
def home(lab: Lab, tmp_path: Path) -> Path:
    """A data folder of its own with the lab's connections, added as a user would."""
    folder = tmp_path / "home"
    for seed in lab.state.connections:
        words = [part for key, value in seed.settings.items() for part in ("--set", f"{key}={value}")]
        secrets = [part for key in seed.secrets for part in ("--secret-env", f"{key}=CW_{key.upper()}")]
        env = os.environ | {f"CW_{key.upper()}": value for key, value in seed.secrets.items()}
        command = [*base(folder), "connect", seed.kind, seed.name, *words, *secrets]
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, check=False)
        assert done.returncode == 0, done.stderr + done.stdout
    return folder


def heartbeat(uri: str, uuid: str, seconds: float = 90) -> dict[str, str]:
    """What a guest beats on its serial console: `n`, `up` and `boot`."""
    connection = libvirt.open(uri)
    stream = connection.newStream()
    connection.lookupByUUIDString(uuid).openConsole(None, stream, libvirt.VIR_DOMAIN_CONSOLE_FORCE)
    patience = threading.Timer(seconds, stream.abort)
    patience.start()
    heard = b""
    try:
        while True:
            heard += stream.recv(4096)
            lines = [line for line in heard.decode(errors="replace").splitlines() if line.startswith("HB n=")]
            if len(lines) > 1:
                return dict(word.split("=") for word in lines[0].split()[1:])
    except libvirt.libvirtError as error:
        raise AssertionError(f"no heartbeat within {seconds:g} s: {heard[-500:]!r}") from error
    finally:
        patience.cancel()
        connection.close()


def same_start(folder: Path, original: Path, size: int) -> bool:
    """Whether a disk in the folder has the original's boot sector and kernel blocks: all but what the guest writes.

    A running guest writes to its disk, so that here only the parts before the file system are compared; the engine's
    own hash over the whole disk is checked where no guest runs (tests/lab/test_migration.py).
    """
    head = 1 << 20
    with original.open("rb") as file:
        wanted = file.read(head)
    disks = [path for path in folder.iterdir() if path.is_file() and path.stat().st_size >= size]
    return any(path.read_bytes()[:head] == wanted for path in disks)


async def put_in_group(home: Path, ref: Ref, group: str) -> str:
    services = await Services.open(home, connect=False)
    try:
        uid = services.identity.uid_of(ref)
        services.identity.set_group(uid, group)
        return uid
    finally:
        await services.close()


async def open_tabs(home: Path) -> str:
    services = await Services.open(home, connect=False)
    try:
        return json.dumps(await services.store.setting(STATE))
    finally:
        await services.close()


class Program:
    """Causeway's window in its own process, as a user starts it."""

    def __init__(self, home: Path, screen: Desktop) -> None:
        self.screen = screen
        self.process = subprocess.Popen(base(home), env=screen.env)
        screen.window("Causeway")

    def point_at(self, name: str) -> tuple[int, int]:
        """Select a row by typing its name into the tree, as the keyboard does, and find it on the screen."""
        self.screen.click(TREE[0] + 100, 690)
        self.screen.type(name)
        time.sleep(1.2)
        found = self.screen.row_of(LIGHT.accent_bg, left=TREE[0] + 100, right=TREE[1] - 100, top=TREE_TOP)
        assert found, f"no selected row for {name}"
        return found

    def end(self) -> None:
        self.process.terminate()
        assert self.process.wait(30) == 0


@pytest.fixture
def program(home: Path, tmp_path: Path) -> Iterator[Program]:
    with desktop(tmp_path) as screen:
        made = Program(home, screen)
        try:
            yield made
        finally:
            if made.process.poll() is None:
                made.process.kill()
                made.process.wait()


@pytest.fixture
def guest(lab: Lab, healed: Lab) -> LabGuest:
    made = lab.make(lab.a, pool="shared")
    made.wait_beats(lab.a, 1)
    return made


def test_a_running_guest_is_dragged_to_the_other_host_and_comes_back(
    lab: Lab, guest: LabGuest, home: Path, tmp_path: Path
) -> None:
    rows(home)
    uid = asyncio.run(put_in_group(home, Ref("kvm-a", Kind.VM, guest.uuid), "web"))
    with desktop(tmp_path) as screen:
        program = Program(home, screen)
        eventually(lambda: place(home, guest.name) == "kvm-a", "the guest in the tree")
        before = guest.beats(lab.a)[-1]
        start = program.point_at(guest.name)
        screen.key("Return")
        time.sleep(1)
        target = program.point_at("kvm-b")
        verdicts: list[bool] = []

        def look() -> None:
            image = screen.shot("held")
            row = {image.pixelColor(x, target[1] - 8 + y).name() for x in range(200, 395) for y in range(16)}
            verdicts.append(LIGHT.ok_bg in row or LIGHT.warn_bg in row)

        screen.drag(start, target, hold=look)
        assert verdicts == [True], "no verdict on the row under the mouse"
        time.sleep(6)
        screen.shot("plan")
        screen.key("Return")
        eventually(lambda: guest.where() == [lab.b], "it runs on the other host only", 90)
        after = guest.wait_beats(lab.b)[-1]
        assert after.boot == before.boot
        assert after.n > before.n
        eventually(lambda: place(home, guest.name) == "kvm-b", "the row moved")
        time.sleep(1)
        screen.shot("moved")
        tasks = causeway(home, "tasks")
        assert isinstance(tasks, list)
        moved = next(task for task in tasks if guest.name in str(task))
        assert "downtime_s" in json.dumps(moved)
        program.end()
    assert uid in asyncio.run(open_tabs(home)), "the open tab hangs on the uid"
    row = rows(home)[f"kvm-b/{guest.name}"]
    assert (row["uid"], row["group"]) == (uid, "web")
    back = causeway(home, "move", f"kvm-b/{guest.name}", "--to", "kvm-a")
    assert isinstance(back, dict)
    assert back["ok"] is True
    assert guest.where() == [lab.a]
    assert guest.wait_beats(lab.a)[-1].boot == before.boot
    assert rows(home)[f"kvm-a/{guest.name}"]["uid"] == uid


def test_a_bootable_guest_goes_to_the_cloud_and_comes_back_booting(
    lab: Lab, healed: Lab, home: Path, tmp_path: Path
) -> None:
    guest = lab.make(lab.a, pool="default", bootable=True)
    boot = guest.wait_beats(lab.a, 1)[-1].boot
    out = causeway(home, "move", f"kvm-a/{guest.name}", "--to", "cloud")
    assert isinstance(out, dict)
    assert out["ok"] is True
    assert guest.where() == []
    source = lab.images(lab.a) / guest.file
    size = source.stat().st_size
    source.rename(tmp_path / "away")
    back = causeway(home, "move", f"cloud/{guest.name}", "--to", "kvm-b")
    assert isinstance(back, dict)
    assert back["ok"] is True
    carried = Path(str(rows(home)[f"kvm-b/{guest.name}"]["ref"])).name
    assert heartbeat(lab.b.uri, carried)["boot"] != boot, "it booted anew, from the disk that came back"
    assert same_start(lab.images(lab.b), tmp_path / "away", size), "the disk that came back is another"
