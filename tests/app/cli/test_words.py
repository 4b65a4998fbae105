"""What the command line understands, what it says of the rest, and what it does without a display."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.__main__ import arranged
from app.cli.refs import Usage, find, find_target, find_vm, sites_of
from app.inventory import Inventory
from backends.model import Changed, Kind, Ref, Volume
from tests.app.cli.shell import NO_SCREEN, ROOT, Shell
from tests.app.fakes import host, vm


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


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("show", "a/nothing"), "there is no 'a/nothing'"),
        (("show", "nowhere"), "there is no 'nowhere'"),
        (("start", "a/nothing"), "there is no 'a/nothing'"),
        (("plan", "a/web-01", "--to", "nowhere"), "there is no connection, host or zone 'nowhere'"),
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
    assert find("a", inventory) == Ref("a", Kind.HOST, "h1"), "a connection means its host"
    assert find("y", inventory) == Ref("b", Kind.VM, "8")
    assert find("b/y", inventory) == Ref("b", Kind.VM, "8"), "a VM wins over a volume of its name"
    with pytest.raises(Usage):
        find("x", inventory)
    with pytest.raises(Usage) as ambiguous:
        find_vm("a/x", inventory)
    assert [text.split()[0] for text in ambiguous.value.candidates] == ["a/1", "a/2"]
    with pytest.raises(Usage):
        find_vm("a/a-h1", inventory)
    names: Any = Names()
    assert find_target("b", inventory, names) == Ref("b", Kind.CONNECTION, "b")
    assert find_target("a/a-h1", inventory, names) == Ref("a", Kind.HOST, "h1")
    assert find_target("a/host/h1", inventory, names) == Ref("a", Kind.HOST, "h1")
    assert find_vm("y", inventory) == Ref("b", Kind.VM, "8"), "a bare name will do where only one has it"
    assert find_vm("u-3", inventory) == Ref("a", Kind.VM, "3")
    with pytest.raises(Usage) as ambiguous:
        find_vm("x", inventory)
    assert [text.split()[0] for text in ambiguous.value.candidates] == ["a/1", "a/2"]
    assert find_target("a-h1", inventory, names) == Ref("a", Kind.HOST, "h1")
    assert sites_of("a/x", "b/y") == {"a", "b"}
    assert sites_of("a/x", "y") is None, "any may have it"
    with pytest.raises(Usage):
        find_target("c", inventory, names)
