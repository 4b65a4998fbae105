"""Real servers to test against: QEMU with a boot sector that draws, TigerVNC's Xvnc with a window to move."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import pack

import numpy as np

Picture = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

# More than 256 colours everywhere: QEMU packs the last of exactly 256 as the first (Tight).
BOOT = bytes.fromhex(
    "31c08ed8be697cb90500 bace01adef42adefe2f6"  # 640x400 in true colour, by the table at the end
    "b800a08ec031db"
    "31f631ed31ff31c9"  # x, y, offset and bank from 0
    "bace01b80500ef4289c8ef"
    "89e883e03ff7e60facd00301d8f6c4017402f6d0"  # x * (y & 63) / 8 + the last key, up and down
    "aaaa89ea80e20330d0aaaa"  # is blue and green, and nearly red
    "4681fe8002750331f64585ff75d34183f91075c2"
    "30e4cd1688c3ebb2"  # the next key
    "0400000001008002020090010300200004004100"
)
SECONDS = 60.0


def until(there: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait for a socket that a program makes."""
    end = time.monotonic() + SECONDS
    while not there.exists():
        assert process.poll() is None, f"{process.args!r} ended with {process.returncode}"
        assert time.monotonic() < end, f"no {there}"
        time.sleep(0.02)


def reach(path: Path) -> socket.socket:
    """A door: connected, not blocking."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(path))
    sock.setblocking(False)
    return sock


@contextmanager
def running(*command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


class Qemu:
    """A machine that shows slopes of colours. `door(name)` reaches one of its VNC servers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._monitor = socket.socket(socket.AF_UNIX)
        self._monitor.settimeout(SECONDS)
        self._monitor.connect(str(folder / "monitor"))
        self._lines = self._monitor.makefile("r", encoding="utf-8")
        self._lines.readline()
        self.tell("qmp_capabilities")

    def tell(self, verb: str, **arguments: object) -> object:
        """One command of QEMU's monitor protocol."""
        self._monitor.sendall(json.dumps({"execute": verb, "arguments": arguments}).encode() + b"\n")
        while "event" in (answer := json.loads(self._lines.readline())):
            pass
        return answer["return"]

    def picture(self) -> Picture:
        """The screen as QEMU itself sees it: (height, width, 3) bytes R, G, B."""
        path = self.folder / "screen.ppm"
        self.tell("screendump", filename=str(path))
        head, size, depth, pixels = path.read_bytes().split(b"\n", 3)
        assert (head, depth) == (b"P6", b"255")
        width, height = map(int, size.split())
        return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)

    def door(self, name: str) -> socket.socket:
        return reach(self.folder / name)

    def close(self) -> None:
        self._lines.close()
        self._monitor.close()


@contextmanager
def qemu(folder: Path, height: int = 400, **servers: str) -> Iterator[Qemu]:
    """`servers`: a name, and what `-vnc unix:NAME` is to be followed by."""
    disk = folder / "boot"
    disk.write_bytes(BOOT.replace(pack("<HH", 2, 400), pack("<HH", 2, height)).ljust(510, b"\0") + b"\x55\xaa")
    command = ["qemu-system-x86_64", "-nodefaults", "-vga", "std", "-m", "16", "-accel", "tcg", "-display", "none"]
    command += ["-drive", f"file={disk},format=raw", "-qmp", f"unix:{folder}/monitor,server=on,wait=off"]
    for name, options in servers.items():
        if options.startswith("tls-creds-"):
            kind, options = options.split(" ", 1)
            command += ["-object", f"{kind},id={name},endpoint=server,dir={folder},verify-peer=off"]
            options = f"tls-creds={name},{options}"
        command += ["-vnc", f"unix:{folder}/{name},id={name},{options}".rstrip(",")]
    with running(*command) as process:
        until(folder / "monitor", process)
        machine = Qemu(folder)
        try:
            end = time.monotonic() + SECONDS
            while (shown := machine.picture()).shape[:2] != (height, 640) or not shown[-1].any(axis=1).all():
                assert time.monotonic() < end, "the boot sector never drew"
                time.sleep(0.1)
            yield machine
        finally:
            machine.close()


class Xvnc:
    """An X server for VNC, and a program that paints on it."""

    def __init__(self, path: Path, painter: subprocess.Popen[bytes]) -> None:
        self._path = path
        self._painter = painter

    def door(self) -> socket.socket:
        return reach(self._path)

    def tell(self, *words: object) -> str:
        """A command of `painter.py`; returns its answer."""
        assert self._painter.stdin is not None and self._painter.stdout is not None
        self._painter.stdin.write(json.dumps(words).encode() + b"\n")
        self._painter.stdin.flush()
        answer = self._painter.stdout.readline()
        assert answer, "the painter died"
        return str(json.loads(answer))

    def picture(self) -> Picture:
        """The screen as an X client sees it: (height, width, 3) bytes R, G, B."""
        path = self._path.with_name("screen.ppm")
        self.tell("grab", str(path))
        _, size, _, pixels = path.read_bytes().split(b"\n", 3)
        width, height = map(int, size.split())
        return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


@contextmanager
def xvnc(folder: Path, *options: str, size: str = "640x480") -> Iterator[Xvnc]:
    path = folder / "vnc"
    command = ["Xvnc", "-displayfd", "1", "-rfbport", "-1", "-rfbunixpath", str(path), "-nolisten", "tcp"]
    command += ["-desktop", "desk", "-geometry", size, "-depth", "24", "-SecurityTypes", "None", *options]
    with running(*command) as server:
        assert server.stdout is not None
        display = ":" + server.stdout.readline().decode().strip()
        until(path, server)
        painter = (sys.executable, "-m", "tests.app.consoles.rfb.painter")
        with running(*painter, DISPLAY=display, QT_QPA_PLATFORM="xcb", QT_LOGGING_RULES="*=false") as process:
            screen = Xvnc(path, process)
            assert screen.tell("hello") == "hello"
            yield screen
