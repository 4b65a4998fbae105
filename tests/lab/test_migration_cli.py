"""A cold move of a running VM from the command line: it says the stop before, and the VM runs again at the target."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.lab.machine import Lab
from tests.lab.program import defined, prepared, runs

pytestmark = pytest.mark.lab


def test_a_running_vm_moves_cold_where_that_is_chosen(lab: Lab, healed: Lab, tmp_path: Path) -> None:
    program = prepared(lab, tmp_path)
    guest = lab.make(lab.a, pool="default")
    boot = guest.wait_beats(lab.a, 1)[-1].boot
    words = (f"kvm-a/{guest.name}", "--to", "kvm-b", "--mode", "cold")
    for_people = subprocess.run(
        program.command("plan", *words), capture_output=True, text=True, check=False, timeout=120, env=os.environ
    )
    assert for_people.returncode == 0, for_people
    assert re.search(rf"{guest.name} is stopped for about \d", for_people.stdout), for_people.stdout
    assert f"Shut {guest.name} down on kvm-a" in for_people.stdout
    assert runs(lab, guest) == ["kvm-a"], "a plan touches nothing"
    moved = program.run("move", *words)
    assert moved.code == 0, moved
    assert moved.data["ok"] and moved.data["downtime_s"] > 0
    assert runs(lab, guest) == ["kvm-b"]
    assert guest.where() == [lab.b]
    assert defined(lab, guest) == ["kvm-b"]
    assert guest.wait_beats(lab.b, 1)[-1].boot != boot, "it was shut down, and started there"
