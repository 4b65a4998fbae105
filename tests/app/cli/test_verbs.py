"""The verbs that look, and those that change one VM or one connection."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.app.cli.shell import Shell
from tests.app.fakes import contents


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
    pair.save("slow", vms="1", latency="30")
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
