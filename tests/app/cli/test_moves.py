"""Moves on the command line, alone and beside other processes of the same folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import Any

import pytest

from tests.app.cli.shell import Shell, wait_for_task

MIB = 2**20


def test_a_plan_touches_nothing(pair: Shell) -> None:
    before = pair.vms()
    row = pair.json("plan", "a/mail-01", "--to", "b")
    assert {"verdict", "mode", "path", "findings", "stages", "forecast"} <= set(row)
    assert (row["verdict"], row["mode"]) == ("green", "live")
    assert row["stages"]
    assert set(row["forecast"]) == {"seconds", "downtime_s", "bytes", "measured"}
    assert row["forecast"]["measured"] is False
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


def test_move_and_undo(shell: Shell) -> None:
    shell.connect(a={"vms": "5", "move_seconds": "0.1"}, b={"vms": "3", "move_seconds": "0.1"})
    before = shell.vms()["a/mail-01"]
    row = shell.json("move", "a/mail-01", "--to", "b")
    assert {"ok", "task", "seconds", "downtime_s", "bytes_sent", "target_ref"} <= set(row)
    assert row["ok"] is True
    assert row["seconds"] > 0
    after = shell.vms()
    assert "a/mail-01" not in after
    assert after["b/mail-01"]["uid"] == before["uid"]
    assert after["b/mail-01"]["ref"] == row["target_ref"]
    assert row["target"] == "b/mail-01"
    kept = shell.run("disconnect", "a")
    assert kept.returncode == 2
    assert row["task"] in kept.stderr
    done = shell.run("undo", row["task"], "--json")
    assert done.returncode == 0, done.stderr
    assert shell.run("disconnect", "b").returncode == 0, "nothing hangs on it any more"
    assert shell.vms()["a/mail-01"]["uid"] == before["uid"]


def test_an_undo_that_loses_something_is_asked_about(pair: Shell) -> None:
    row = pair.json("move", "a/mail-01", "--to", "b", "--mode", "cold")
    refused = pair.run("undo", row["task"])
    assert refused.returncode == 2, "without a terminal it takes --yes"
    assert "is lost" in refused.stderr and "--yes" in refused.stderr
    vms = pair.vms()
    assert vms["b/mail-01"]["state"] == "running", "nothing was touched"
    assert vms["b/mail-01"]["kept"] == ""
    assert vms["a/mail-01"]["kept"].startswith(f"kept original of mail-01 a -> b (task {row['task']}), until ")
    refused = pair.run("start", "a/mail-01")
    assert refused.returncode == 1 and "kept for Undo" in refused.stderr
    assert pair.run("undo", row["task"], "--yes").returncode == 0
    assert "b/mail-01" not in pair.vms()
    again = pair.run("undo", row["task"], "--yes")
    assert again.returncode == 2
    assert "already undone" in again.stderr
    assert any(task["title"] == "Undo: mail-01 b -> a" for task in pair.json("tasks"))


@pytest.mark.parametrize("beside", [False, True])
def test_ctrl_c_takes_a_move_back(pair: Shell, request: pytest.FixtureRequest, beside: bool) -> None:
    if beside:
        request.getfixturevalue("owner")
    moving = pair.start("move", "a/mail-01", "--to", "b", "--json")
    wait_for_task(pair, "running", moving)
    moving.send_signal(signal.SIGINT)
    out, err = moving.communicate(timeout=60)
    assert moving.returncode == 1, err
    assert json.loads(out)["state"] == "cancelled"
    assert "Traceback" not in err
    after = pair.vms()
    assert after["a/mail-01"]["state"] == "running"
    assert "b/mail-01" not in after


def test_a_verb_beside_a_running_owner_is_done_by_it(pair: Shell, owner: subprocess.Popen[str]) -> None:
    moving = pair.start("move", "a/mail-01", "--to", "b", "--json")
    wait_for_task(pair, "running", moving)
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
    wait_for_task(pair, "running", first)
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


def test_an_interrupted_copy_is_gone_on_with(pair: Shell) -> None:
    disk = pair.worlds / "a" / "disks" / f"{pair.vms()['a/mail-01']['id']}-0.img"
    disk.write_bytes(os.urandom(3 * MIB) + bytes(5 * MIB))
    moving = pair.start("move", "a/mail-01", "--to", "b", "--mode", "cold", "--bandwidth", "1", "--json")
    while not copied(wait_for_task(pair, "running", moving)):
        assert moving.poll() is None
    moving.kill()
    moving.communicate(timeout=30)
    row = wait_for_task(pair, "interrupted")
    assert row["offers"] == ["resume", "undo"]
    assert f"go on: causeway retry {row['id']}" in pair.run("tasks").stdout
    done = pair.run("retry", row["id"], "--json")
    assert done.returncode == 0, done.stderr
    assert pair.vms()["b/mail-01"]["state"] == "running"
    again = pair.run("retry", row["id"])
    assert again.returncode == 2
    assert "nothing to go on with" in again.stderr


def copied(task: dict[str, Any]) -> bool:
    return any(stage.get("progress", {}).get("done_bytes", 0) > MIB // 2 for stage in task["stages"])


def test_what_only_live_moves_have(pair: Shell) -> None:
    slow = pair.json("plan", "a/mail-01", "--to", "b", "--bandwidth", "1", "--name", "post")
    assert slow["mode"] == "live"
    assert slow["forecast"]["seconds"] > pair.json("plan", "a/mail-01", "--to", "b")["forecast"]["seconds"]
    refused = pair.run("plan", "a/mail-01", "--to", "b", "--mode", "cold", "--post-copy", "--tls")
    assert refused.returncode == 2
    assert "--tls, --post-copy is for live moves" in refused.stderr
    row = pair.json("move", "a/mail-01", "--to", "b", "--mode", "cold", "--name", "post")
    assert row["target"] == "b/post"
    assert "b/post" in pair.vms()
