"""One host with 1,000 domains: steady CPU against virt-manager on the same file, and the time to a complete tree."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import psutil
from PySide6.QtGui import QColor, QImage

from backends.driver import Settings
from backends.model import Kind
from backends.registry import load
from tests.bench.row import row
from tests.e2e.desktop import Desktop, desktop
from widgets.theme import LIGHT

DOMAINS = 1000
CAUSEWAY = Path(sys.executable).with_name("causeway")
METER_S = 2.0
"""Causeway reads the meters of a host that is shown so often."""
ROWS = 15
"""At least so many rows of VMs are on the screen where the host's row is open."""
COUNTING = """
import os, sys, libvirt
asked, real = [0], libvirt.virConnect.getAllDomainStats
counts = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)

def stats(*arguments):
    asked[0] += 1
    os.pwrite(counts, b"%d" % asked[0], 0)
    return real(*arguments)

libvirt.virConnect.getAllDomainStats = stats
from app.__main__ import main
sys.exit(main(["--home", sys.argv[2]]))
"""
"""Starts Causeway, counts its stats calls in a file."""


def test_host(path: Path, count: int) -> str:
    """Write a `test:///` host with `count` running domains; returns its URI."""
    domain = (
        "<domain type='test'><name>vm-{n:05d}</name><uuid>{n:08x}-0000-4000-8000-{n:012x}</uuid>"
        "<memory>1048576</memory><vcpu>2</vcpu><os><type arch='x86_64'>hvm</type></os><devices>"
        "<disk type='file' device='disk'><source file='/img/{n}.img'/><target dev='vda' bus='virtio'/></disk>"
        "<interface type='network'><source network='default'/>"
        "<mac address='52:54:00:{a:02x}:{b:02x}:{c:02x}'/></interface>"
        "</devices></domain>"
    )
    domains = "".join(domain.format(n=n, a=n >> 16 & 255, b=n >> 8 & 255, c=n & 255) for n in range(1, count + 1))
    path.write_text(f"<node>{domains}</node>", encoding="utf-8")
    return f"test://{path}"


def steady(process: psutil.Process, seconds: float) -> tuple[float, float]:
    """CPU seconds that a process and its children use in a stretch of time, and its RSS in MB after it."""

    def used() -> float:
        family = [process, *process.children(recursive=True)]
        return sum(sum(member.cpu_times()[:2]) for member in family)

    began = used()
    time.sleep(seconds)
    return used() - began, process.memory_info().rss / 1e6


def virt_manager(screen: Desktop, uri: str, seconds: float) -> tuple[float, float]:
    env = screen.env | {"GSETTINGS_BACKEND": "memory", "NO_AT_BRIDGE": "1"}
    command = ["dbus-run-session", "--", "virt-manager", "--no-fork", "--connect", uri]
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        screen.window("Virtual Machine Manager")
        time.sleep(20)
        inner = next(
            child
            for child in psutil.Process(process.pid).children(recursive=True)
            if "virt-manager" in " ".join(child.cmdline())
        )
        return steady(inner, seconds)
    finally:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()
        process.wait()


def causeway(screen: Desktop, home: Path, uri: str, seconds: float) -> tuple[float, float, int]:
    """CPU seconds, RSS in MB, and how many stats calls were made; fails where the VMs are not on the screen."""
    subprocess.run(
        [CAUSEWAY, "--home", home, "connect", "libvirt", "big", "--set", f"uri={uri}"],
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=60,
    )
    counts = home / "stats-calls"
    command = [sys.executable, "-c", COUNTING, counts, home]
    process = subprocess.Popen(command, env=screen.env, stderr=subprocess.DEVNULL)
    try:
        screen.window("Causeway")
        time.sleep(20)
        before = int(counts.read_text())
        used, rss = steady(psutil.Process(process.pid), seconds)
        calls = int(counts.read_text()) - before
        shown = rows_of_running(screen.shot())
        assert shown >= ROWS, f"the host's row is not open: {shown} rows of VMs"
        assert calls >= seconds / METER_S * 0.8, f"the meters did not run: {calls} calls in {seconds:g} s"
        return used, rss, calls
    finally:
        process.terminate()
        process.wait(30)


def rows_of_running(image: QImage) -> int:
    """How many rows of the tree carry the sign of a running VM."""
    sign = QColor(LIGHT.ok_bg).rgb()
    lines = [any(image.pixel(x, y) == sign for x in range(30, 110)) for y in range(100, 740)]
    return sum(now and not before for before, now in pairwise(lines))


async def complete_tree(uri: str) -> float:
    """Seconds from connect to a listing of every VM."""
    driver = load("libvirt")("big", Settings({"uri": uri}))
    began = time.monotonic()
    await driver.connect()
    for scope in driver.scopes():
        if scope.kinds & {Kind.HOST, Kind.VM}:
            listing = await driver.list(scope)
            assert listing.error is None, listing.error
            if Kind.VM in scope.kinds:
                assert len(listing.objects) == DOMAINS
    took = time.monotonic() - began
    await driver.close()
    return took


def bare_open(uri: str) -> float:
    code = f"import libvirt,time;t=time.monotonic();c=libvirt.openReadOnly({uri!r});print(time.monotonic()-t)"
    return float(subprocess.check_output([sys.executable, "-c", code], timeout=120))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=30)
    seconds = parser.parse_args().seconds
    folder = Path(tempfile.mkdtemp(prefix="cwb-"))
    try:
        uri = test_host(folder / "host.xml", DOMAINS)
        opens = statistics.median(bare_open(uri) for _ in range(3))
        trees = statistics.median(asyncio.run(complete_tree(uri)) for _ in range(3))
        with desktop(folder) as screen:
            ours, rss, calls = causeway(screen, folder / "home", uri, seconds)
            theirs, their_rss = virt_manager(screen, uri, seconds)
    finally:
        shutil.rmtree(folder)
    per_minute = 60 / seconds
    note = f"{ours * per_minute:.2f} s and {theirs * per_minute:.1f} s of CPU per minute"
    note += f"; {calls} stats calls in {seconds:g} s"
    rows = [
        row(
            "1,000 domains: tree complete beyond libvirt's open", trees - opens, "s", most=1, note=f"open {opens:.2f} s"
        ),
        row("1,000 domains: steady CPU, virt-manager / Causeway", theirs / max(ours, 0.01), "x", least=20, note=note),
        row(
            "1,000 domains: RSS, Causeway / virt-manager",
            rss / their_rss,
            "x",
            note=f"{rss:.0f} and {their_rss:.0f} MB",
        ),
    ]
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
