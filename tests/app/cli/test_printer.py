"""What a terminal is given: no name of a VM, no error of a server can colour it, move its cursor or reverse it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.cli.printer import Printer, show_fields, show_objects

EVIL = "\x1b[31m\x1b]0;title\x07\x9b2J\u202eexe\u2028\r[red]<img src=x>"


def row(name: str) -> dict[str, Any]:
    facts = {"kind": "vm", "state": "running", "vcpus": 1, "memory_bytes": 5, "addresses": [EVIL], "group": EVIL}
    return {"name": name, "connection": "kvm", "origin": "live", "age_s": 1, "kept": "", **facts}


def result(data: object) -> dict[str, Any]:
    return {"type": "result", "ok": True, "message": "", "cure": "", "data": data}


def test_nothing_that_a_terminal_obeys_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    Printer(False, show_objects)(result([row(f"web{EVIL}")]))
    Printer(False, show_fields)(result({"name": EVIL, "description": f"<domain>\n\t{EVIL}</domain>"}))
    Printer(False)({"type": "error", "message": EVIL, "cure": EVIL, "candidates": [EVIL]})
    out, err = capsys.readouterr()
    for text in (out, err):
        assert "[red]<img src=x>" in text, "the rest is there as it is"
        assert not set(text) & set("\x1b\x07\x9b\u202e\u2028\r")
    assert "<domain>\n" in out


def test_a_name_of_two_lines_makes_one_row(capsys: pytest.CaptureFixture[str]) -> None:
    Printer(False, show_objects)(result([row("web\nother/vm")]))
    assert "kvm/web other/vm" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("origin", "age_s", "seen"), [("live", 0.2, "now"), ("live", 12, "12 s"), ("cache", 0.2, "0 s ago")]
)
def test_every_row_says_how_old_it_is(capsys: pytest.CaptureFixture[str], origin: str, age_s: float, seen: str) -> None:
    Printer(False, show_objects)(result([{**row("web"), "group": "", "origin": origin, "age_s": age_s}]))
    assert capsys.readouterr().out.rstrip().endswith(f" {seen}")


def test_fields_are_written_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    disk = {"target": "vda", "size_bytes": 10 * 2**30, "pool": "", "shared": False}
    Printer(False, show_fields)(
        result({"memory_bytes": 2**29, "addresses": ["10.0.0.1", "::1"], "disks": [disk, disk]})
    )
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    one = "target vda, size 10 GiB, shared no"
    assert lines == [["memory", "512 MiB"], ["addresses", "10.0.0.1, ::1"], ["disks", f"{one}; {one}"]]


def test_json_keeps_every_character(capsys: pytest.CaptureFixture[str]) -> None:
    Printer(True)(result([row(EVIL)]))
    out = capsys.readouterr().out
    assert json.loads(out)[0]["name"] == EVIL
    assert "\x1b" not in out


def test_a_kept_original_is_not_just_off(capsys: pytest.CaptureFixture[str]) -> None:
    Printer(False, show_objects)(result([row("web") | {"state": "off", "kept": "web-01 kvm-a -> cloud"}, row("db")]))
    kept, other = (line for line in capsys.readouterr().out.splitlines() if "kvm/" in line)
    assert "off (kept)" in kept and "(kept)" not in other
