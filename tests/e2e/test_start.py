"""The first minutes: `./dev run` without a network and without a screen, and no secret anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from PySide6.QtGui import QImage

from tests.e2e.desktop import desktop, eventually

ROOT = Path(__file__).parents[2]
CAUSEWAY = Path(sys.executable).with_name("causeway")
CANARY = "canary-7f3a-do-not-leak"

pytestmark = [pytest.mark.lab, pytest.mark.e2e]


def bare(**extra: str) -> dict[str, str]:
    """The environment of a shell without a screen."""
    gone = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    return {key: value for key, value in os.environ.items() if key not in gone} | extra


def test_dev_run_needs_neither_network_nor_screen(tmp_path: Path) -> None:
    home = tmp_path / "home"
    env = bare(CAUSEWAY_HOME=str(home), CI="true")
    try:
        done = subprocess.run(
            ["unshare", "-n", "sh", "-c", "ip link set lo up && exec ./dev run"],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        picture = QImage(done.stdout.strip().splitlines()[-1])
        assert picture.width() > 1400, "the window fills its screen, less a frame"
        assert picture.height() > 840
    finally:
        subprocess.run([CAUSEWAY, "--home", home, "playground", "down"], timeout=60, check=True)
    assert not (home / "playground").exists()


def test_a_secret_stays_secret(tmp_path: Path) -> None:
    """A canary goes in by the environment; it is searched for in files, logs and every command line."""
    home = tmp_path / "home"
    key = ["--vault-key-file", str(tmp_path / "vault.key")]
    words = ["connect", "demo", "lab", "--set", "vms=3", "--secret-env", "password=CANARY"]
    subprocess.run([CAUSEWAY, "--home", home, *key, *words], env=bare(CANARY=CANARY), timeout=60, check=True)
    with desktop(tmp_path) as screen:
        window = subprocess.Popen([CAUSEWAY, "--home", home, *key], env=screen.env)
        try:
            screen.window("Causeway")
            end = time.monotonic() + 5
            while time.monotonic() < end:
                for process in psutil.process_iter(["cmdline"]):
                    assert CANARY not in " ".join(process.info["cmdline"] or ())
                time.sleep(0.05)
        finally:
            window.terminate()
            assert window.wait(30) == 0
    found = [path for path in home.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
    assert found == []
    listed = subprocess.run([CAUSEWAY, "--home", home, *key, "connections", "--json"], capture_output=True, check=True)
    assert b"lab" in listed.stdout
    assert CANARY.encode() not in listed.stdout + listed.stderr


def test_a_second_window_raises_the_first(tmp_path: Path) -> None:
    home = tmp_path / "home"
    subprocess.run([CAUSEWAY, "--home", home, "connect", "demo", "lab", "--set", "vms=3"], timeout=60, check=True)
    with desktop(tmp_path) as screen:
        first = subprocess.Popen([CAUSEWAY, "--home", home], env=screen.env)
        try:
            screen.window("Causeway")
            second = subprocess.run([CAUSEWAY, "--home", home], env=screen.env, timeout=60, check=False)
            assert second.returncode == 0
            assert first.poll() is None
            shown = eventually(lambda: screen.xdotool("search", "--onlyvisible", "--name", "^Causeway$"), "one window")
            assert len(shown.split()) == 1
        finally:
            first.terminate()
            assert first.wait(30) == 0
