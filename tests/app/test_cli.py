"""The command line as people and scripts meet it: real processes, a real store, the demo platform in a folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.__main__ import arranged
from app.cli.refs import Usage, find, find_target, find_vm
from app.inventory import Inventory
from backends.model import Changed, Kind, Ref, Volume
from tests.app.fakes import contents, host, vm

ROOT = Path(__file__).parents[2]
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

    def connect(self, name: str, *settings: str) -> None:
        options = [word for text in (f"path={self.worlds / name}", *settings) for word in ("--set", text)]
        done = self.run("connect", "demo", name, *options)
        assert done.returncode == 0, done.stderr

    def vms(self, query: str = "") -> dict[str, dict[str, Any]]:
        return {f"{row['connection']}/{row['name']}": row for row in self.json("ls", f"kind:vm {query}")}


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def pair(shell: Shell) -> Shell:
    """Two connections: `a` with five VMs, `b` with three."""
    shell.connect("a", "vms=5", "move_seconds=3")
    shell.connect("b", "vms=3", "move_seconds=3")
    return shell


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A connection `a` that no test changes."""
    shell = Shell(tmp_path_factory.mktemp("fixed"))
    shell.connect("a", "vms=5")
    return shell


@pytest.fixture
def owner(pair: Shell) -> Iterator[subprocess.Popen[str]]:
    """A process that owns the data folder, as a window does."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(pair.home)],
        cwd=ROOT,
        env=pair.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    if not process.stdin.closed:
        process.stdin.close()
    process.wait(30)
    process.stdout.close()


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, app.__main__; "
        "heavy = {'PySide6', 'boto3', 'sqlite_utils', 'libvirt', 'asyncssh', 'numpy', 'libcloud', 'keyring'}; "
        "print(sorted(heavy & set(sys.modules)), app.__main__.main(['--help']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert "[] 0" in done.stdout
    assert "connections" in done.stdout


NO_SCREEN = {"DISPLAY": "", "WAYLAND_DISPLAY": "", "QT_QPA_PLATFORM": ""}


def test_without_a_display_the_window_says_so_and_a_picture_is_made(shell: Shell, tmp_path: Path) -> None:
    done = shell.run(env=NO_SCREEN)
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is no display")
    done = shell.run("--screenshot", str(tmp_path / "window.png"), env=NO_SCREEN)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "window.png").read_bytes().startswith(b"\x89PNG")
    done = shell.run("--screenshot", str(tmp_path / "missing" / "window.png"), env=NO_SCREEN)
    assert done.returncode == 1
    assert "cannot be written" in done.stderr


def test_a_second_start_is_answered_by_the_window_that_is_open(
    pair: Shell, owner: subprocess.Popen[str], tmp_path: Path
) -> None:
    done = pair.run(env=NO_SCREEN)
    assert (done.returncode, done.stderr.strip()) == (0, "raised the window that is open")
    done = pair.run("--screenshot", str(tmp_path / "window.png"), env=NO_SCREEN)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "window.png").read_text(encoding="utf-8") == "picture"
    done = pair.run("--screenshot", str(tmp_path / "missing" / "window.png"), env=NO_SCREEN)
    assert done.returncode == 1
    assert "error:" in done.stderr


def test_connect_says_what_it_found(shell: Shell) -> None:
    assert "a was added: 5 VMs" in shell.run("connect", "demo", "a", "--set", "vms=5").stdout


def test_connections(pair: Shell) -> None:
    rows = pair.json("connections")
    assert [(row["name"], row["kind"], row["state"], row["error"]) for row in rows] == [
        ("a", "demo", "ready", ""),
        ("b", "demo", "ready", ""),
    ]
    assert rows[0]["uri"] == "demo:///a"
    assert "demo:///a" in pair.run("connections").stdout


def test_ls_has_the_promised_fields(pair: Shell) -> None:
    rows = pair.json("ls")
    promised = {"ref", "uid", "name", "kind", "connection", "parent", "state", "vcpus", "memory_bytes"}
    promised |= {"addresses", "group", "origin", "age_s"}
    assert all(promised <= set(row) for row in rows)
    vms = [row for row in rows if row["kind"] == "vm"]
    assert len(vms) == 8
    assert all(row["uid"] and row["parent"] and row["vcpus"] for row in vms)
    assert len({row["uid"] for row in vms}) == 8
    assert "cache" not in {row["origin"] for row in vms}
    again = {row["ref"]: row["uid"] for row in pair.json("ls", "kind:vm")}
    assert again == {row["ref"]: row["uid"] for row in vms}


def test_ls_takes_a_query(pair: Shell) -> None:
    assert set(pair.vms("site:a name:web")) == {"a/web-01"}
    assert pair.json("ls", "nothing-like-this") == []


def test_ls_offline_reads_only_the_store(pair: Shell) -> None:
    pair.json("ls")
    (pair.worlds / "a" / "state.json").write_text("broken", encoding="utf-8")
    rows = pair.json("ls", "--offline", "kind:vm")
    assert len(rows) == 8
    assert {row["origin"] for row in rows} == {"cache"}
    assert all(row["age_s"] >= 0 for row in rows)


def test_a_dead_site_does_not_hide_the_others(pair: Shell) -> None:
    done = pair.run("connect", "demo", "slow", "--set", "vms=1", "--set", "latency=30")
    assert done.returncode == 0, done.stderr
    began = time.monotonic()
    done = pair.run("ls", "--json", "kind:vm")
    assert time.monotonic() - began < 25
    assert done.returncode == 0
    assert "slow has not answered" in done.stderr
    assert len(json.loads(done.stdout)) == 8


def test_show(fixed: Shell) -> None:
    row = fixed.json("show", "a/web-01")
    assert row["name"] == "web-01"
    assert row["disks"]
    assert fixed.json("show", row["ref"])["uid"] == row["uid"]
    assert fixed.json("show", f"a/{row['id']}")["uid"] == row["uid"]
    assert fixed.json("show", "web-01")["uid"] == row["uid"]
    hosts = fixed.run("show", "a")
    assert hosts.returncode == 2
    assert "a/a-host-01" in hosts.stderr
    shown = fixed.run("show", "a/web-01").stdout
    assert "web-01" in shown
    assert "[{" not in shown


def test_power(pair: Shell) -> None:
    before = pair.vms()["a/web-01"]["state"]
    assert before == "running"
    done = pair.run("stop", "a/web-01", "a/db-01", "--json")
    assert done.returncode == 0, done.stderr
    assert [row["state"] for row in json.loads(done.stdout)["tasks"]] == ["done", "done"]
    assert pair.vms()["a/web-01"]["state"] == "off"
    assert pair.run("start", "a/web-01").returncode == 0
    assert pair.vms()["a/web-01"]["state"] == "running"
    failed = pair.run("start", "a/web-01")
    assert failed.returncode == 1
    assert "running" in failed.stderr
    assert [row["state"] for row in pair.json("tasks")] == ["failed", "done", "done", "done"]


def test_delete_wants_to_be_sure(pair: Shell) -> None:
    assert pair.run("stop", "b/web-01").returncode == 0
    assert pair.run("delete", "b/web-01").returncode == 2
    assert "b/web-01" in pair.vms()
    assert pair.run("delete", "b/web-01", "--disks", "--yes").returncode == 0
    assert "b/web-01" not in pair.vms()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("show", "a/nothing"), "there is no 'a/nothing'"),
        (("show", "nowhere"), "there is no 'nowhere'"),
        (("start", "a/nothing"), "there is no 'a/nothing'"),
        (("plan", "a/web-01", "--to", "nowhere"), "there is no connection 'nowhere'"),
        (("plan", "a/web-01", "--to", "a", "--map", "what"), "--map"),
        (("plan", "a/web-01", "--to", "a", "--map", "network=no:lan"), "no network 'no'   its networks: lan"),
        (
            ("plan", "a/web-01", "--to", "a", "--map", "network=lan:no"),
            "no network 'no' at a   the networks there: lan",
        ),
        (("plan", "a/web-01", "--to", "a", "--mode", "fast"), "--mode"),
        (("ls", "foo:bar"), "there is no key 'foo'   the keys are name: state:"),
        (("ls", "cpu>abc"), "needs a number"),
        (("ls", "--offline", "state:bogus"), "there is no state 'bogus'"),
        (("capabilities", "--json", "--markdown"), "choose one"),
        (("disconnect", "nothing"), "there is no connection"),
        (("connect", "demo", "a"), "there is a connection 'a' already"),
        (("connect", "demo", "c", "--set", "vms"), "key=value"),
        (("undo", "nothing"), "there is no task"),
        (("playground", "sideways"), "sideways"),
        (("frobnicate",), "frobnicate"),
    ],
)
def test_what_makes_no_sense_is_exit_2(fixed: Shell, words: tuple[str, ...], says: str) -> None:
    done = fixed.run(*words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert says in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [("show", "nowhere"), ("plan", "a/web-01"), ("frobnicate",), ("show", "a/nothing")])
def test_what_makes_no_sense_is_said_in_json_too(fixed: Shell, words: tuple[str, ...]) -> None:
    done = fixed.run(*words, "--json")
    assert done.returncode == 2
    row = json.loads(done.stdout)
    assert row["ok"] is False
    assert row["error"]
    assert row["error"] in done.stderr
    assert row["cure"]


def test_connect_checks_first(shell: Shell) -> None:
    done = shell.run("connect", "demo", "c", "--set", "vms=many", "--json")
    assert done.returncode == 1
    row = json.loads(done.stdout)
    assert row["added"] is False
    assert [finding["field"] for finding in row["findings"]] == ["vms"]
    assert shell.json("connections") == []


def test_a_secret_goes_in_by_stdin_file_or_environment_and_is_nowhere_to_be_seen(shell: Shell, tmp_path: Path) -> None:
    key = ("--vault-key-file", str(tmp_path / "vault.key"))
    (tmp_path / "pw").write_text("canary-4711\n", encoding="utf-8")
    (tmp_path / "bad").write_text("wrong\n", encoding="utf-8")
    refused = shell.run(*key, "connect", "demo", "x", "--secret-file", f"password={tmp_path / 'bad'}")
    assert refused.returncode == 1
    assert "password is wrong" in refused.stdout + refused.stderr
    ways = {
        "f": (("--secret-file", f"password={tmp_path / 'pw'}"), "", {}),
        "e": (("--secret-env", "password=PW"), "", {"PW": "canary-4711"}),
        "s": (("--secret-stdin", "password"), "canary-4711\n", {}),
    }
    for name, (words, given, env) in ways.items():
        done = shell.run(*key, "connect", "demo", name, "--set", "vms=1", *words, given=given, env=env)
        assert done.returncode == 0, done.stderr
        assert "canary-4711" not in done.stdout + done.stderr
    done = shell.run(*key, "connections", "--json")
    assert [row["state"] for row in json.loads(done.stdout)] == ["ready"] * 3
    assert b"canary-4711" not in contents(shell.home)
    locked = json.loads(shell.run("connections", "--json", env={"DBUS_SESSION_BUS_ADDRESS": ""}).stdout)
    assert [row["state"] for row in locked] == ["auth-needed"] * 3


def test_read_only_denies(shell: Shell) -> None:
    done = shell.run("connect", "demo", "ro", "--read-only", "--production", "--set", f"path={shell.worlds / 'ro'}")
    assert done.returncode == 0, done.stderr
    (row,) = shell.json("connections")
    assert (row["read_only"], row["production"]) == (True, True)
    done = shell.run("stop", "ro/web-01")
    assert done.returncode == 1
    assert "read-only" in done.stderr
    assert shell.vms()["ro/web-01"]["state"] == "running"


def test_disconnect_forgets(pair: Shell) -> None:
    assert pair.run("disconnect", "a").returncode == 0
    assert [row["name"] for row in pair.json("connections")] == ["b"]
    assert {row["connection"] for row in pair.json("ls", "--offline")} == {"b"}


def test_a_plan_touches_nothing(pair: Shell) -> None:
    before = pair.vms()
    row = pair.json("plan", "a/mail-01", "--to", "b")
    assert {"verdict", "mode", "path", "findings", "stages", "forecast"} <= set(row)
    assert (row["verdict"], row["mode"]) == ("green", "live")
    assert row["stages"]
    assert {"seconds", "downtime_s", "bytes"} == set(row["forecast"])
    done = pair.run("plan", "a/web-01", "--to", "b", "--json")
    assert done.returncode == 1
    red = json.loads(done.stdout)
    assert (red["verdict"], red["steps"]) == ("red", [])
    assert [finding["code"] for finding in red["findings"] if finding["level"] == "red"] == ["name"]
    assert set(pair.vms()) == set(before)
    assert "green" in pair.run("plan", "a/mail-01", "--to", "b").stdout
    assert "exists there already" in pair.run("plan", "a/web-01", "--to", "b").stdout
    assert pair.run("plan", "a/mail-01", "--to", "b", "--map", "network=lan:lan").returncode == 0


def test_a_red_plan_does_not_move(pair: Shell) -> None:
    done = pair.run("move", "a/web-01", "--to", "b", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["ok"] is False
    assert "a/web-01" in pair.vms()


def test_move_and_undo(pair: Shell) -> None:
    before = pair.vms()["a/mail-01"]
    row = pair.json("move", "a/mail-01", "--to", "b")
    assert {"ok", "task", "seconds", "downtime_s", "bytes_sent", "target_ref"} <= set(row)
    assert row["ok"] is True
    assert row["seconds"] > 0
    after = pair.vms()
    assert "a/mail-01" not in after
    assert after["b/mail-01"]["uid"] == before["uid"]
    assert after["b/mail-01"]["ref"] == row["target_ref"]
    assert row["target"] == "b/mail-01"
    kept = pair.run("disconnect", "a")
    assert kept.returncode == 2
    assert row["task"] in kept.stderr
    done = pair.run("undo", row["task"], "--json")
    assert done.returncode == 0, done.stderr
    assert pair.run("disconnect", "b").returncode == 0, "nothing hangs on it any more"
    assert pair.vms()["a/mail-01"]["uid"] == before["uid"]


@pytest.mark.parametrize("beside", [False, True])
def test_ctrl_c_takes_a_move_back(pair: Shell, request: pytest.FixtureRequest, beside: bool) -> None:
    if beside:
        request.getfixturevalue("owner")
    moving = pair.start("move", "a/mail-01", "--to", "b", "--json")
    wait_for_task(pair, "running")
    moving.send_signal(signal.SIGINT)
    out, err = moving.communicate(timeout=60)
    assert moving.returncode == 1, err
    assert json.loads(out)["state"] == "cancelled"
    assert "Traceback" not in err
    after = pair.vms()
    assert after["a/mail-01"]["state"] == "running"
    assert "b/mail-01" not in after


def wait_for_task(shell: Shell, state: str) -> None:
    """Until the newest move is in a state; asked of whoever owns the folder."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if any(row["kind"] == "move" and row["state"] == state for row in shell.json("tasks")):
            return
    raise AssertionError(f"no move is {state}")


def test_a_verb_beside_a_running_owner_is_done_by_it(pair: Shell, owner: subprocess.Popen[str]) -> None:
    moving = pair.start("move", "a/mail-01", "--to", "b", "--json")
    wait_for_task(pair, "running")
    assert len(pair.vms()) >= 8
    assert len(pair.json("ls", "--offline")) >= 8
    assert pair.run("stop", "a/web-01").returncode == 0
    out, err = moving.communicate(timeout=60)
    assert moving.returncode == 0, err
    assert json.loads(out)["ok"] is True
    assert owner.poll() is None
    assert "b/mail-01" in pair.vms()


def test_a_verb_that_owns_the_folder_serves_the_others_to_their_end(pair: Shell) -> None:
    first = pair.start("move", "a/mail-01", "--to", "b", "--json")
    wait_for_task(pair, "running")
    second = pair.start("move", "a/build-01", "--to", "b", "--json")
    for process in (first, second):
        out, err = process.communicate(timeout=90)
        assert process.returncode == 0, err
        assert json.loads(out)["ok"] is True
    assert {"b/mail-01", "b/build-01"} <= set(pair.vms())


def test_a_second_window_brings_the_first_to_the_front(pair: Shell, owner: subprocess.Popen[str]) -> None:
    assert pair.run().returncode == 0
    assert owner.stdin is not None
    assert owner.stdout is not None
    owner.stdin.close()
    assert owner.stdout.readline() == "fronts 1\n"


def test_capabilities(shell: Shell) -> None:
    table = shell.json("capabilities")
    assert table["demo"]["move-live"] is True
    assert table["demo"]["edit"] is False
    assert "| move-live |" in shell.run("capabilities", "--markdown").stdout


def test_the_data_folder_may_be_named_anywhere(pair: Shell, tmp_path: Path) -> None:
    other = str(tmp_path / "other")
    assert (
        pair.run("connections", "--home", other, "--json").stdout
        == pair.run("--home", other, "connections", "--json").stdout
    )
    assert json.loads(pair.run("connections", "--home", other, "--json").stdout) == []


def test_arguments_as_the_parser_wants_them() -> None:
    assert arranged(["ls", "--home", "x", "web"]) == ["--home", "x", "ls", "web"]
    assert arranged(["ls", "--home=x"]) == ["--home=x", "ls"]
    assert arranged(["--demo"]) == ["--demo", "12"]
    assert arranged(["--demo", "50"]) == ["--demo", "50"]
    assert arranged(["--demo", "--screenshot", "p"]) == ["--demo", "12", "--screenshot", "p"]
    assert arranged(["ls", "--", "--home", "x"]) == ["ls", "--", "--home", "x"]


class Names:
    """Connections, as far as a target's name needs them."""

    def get(self, name: str) -> object | None:
        return object() if name in ("a", "b") else None

    def all(self) -> list[object]:
        return []


def test_references() -> None:
    inventory = Inventory()
    objects = [
        host("a"),
        vm("a", "1", name="x"),
        vm("a", "2", name="x"),
        vm("a", "3", name="1", uuid="u-3"),
        vm("b", "9", name="a-h1"),
        vm("b", "8", name="y"),
        Volume(ref=Ref("b", Kind.VOLUME, "v"), name="y"),
    ]
    inventory.apply(Changed(tuple(objects)))
    assert find_vm("a/1", inventory) == Ref("a", Kind.VM, "1"), "an id wins over a name"
    assert find_vm("a/u-3", inventory) == Ref("a", Kind.VM, "3")
    assert find("a/vm/2", inventory) == Ref("a", Kind.VM, "2")
    assert find("a", inventory, anywhere=True) == Ref("a", Kind.HOST, "h1"), "a connection means its host"
    assert find("y", inventory, anywhere=True) == Ref("b", Kind.VM, "8")
    assert find("b/y", inventory) == Ref("b", Kind.VM, "8"), "a VM wins over a volume of its name"
    with pytest.raises(Usage):
        find("x", inventory, anywhere=True)
    with pytest.raises(Usage) as ambiguous:
        find_vm("a/x", inventory)
    assert [text.split()[0] for text in ambiguous.value.candidates] == ["a/1", "a/2"]
    with pytest.raises(Usage):
        find_vm("a/a-h1", inventory)
    names: Any = Names()
    assert find_target("b", inventory, names) == Ref("b", Kind.CONNECTION, "b")
    assert find_target("a/a-h1", inventory, names) == Ref("a", Kind.HOST, "h1")
    assert find_target("a/host/h1", inventory, names) == Ref("a", Kind.HOST, "h1")
    with pytest.raises(Usage):
        find_target("c", inventory, names)
