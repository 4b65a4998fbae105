"""How fast the RFB engine decodes, how fast its picture is painted, and TigerVNC's viewer on the same recordings.

    python -m tests.bench.bench_rfb [--json]

Video: 1920x1080 of noise, raw. Desktop: 1920x1080 of an Xvnc on which text runs and a window moves, Tight with JPEG.
A server process plays the recording; CPU is that of the process that decodes, with its reads. Paint is QPainter with
what each update changed, onto a picture in memory; TigerVNC's viewer paints on an Xvfb, whose own CPU does not count.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from struct import pack

import numpy as np
import psutil

from app.consoles.rfb import RfbClient, RfbOptions
from app.consoles.rfb.framebuffer import Box
from backends.errors import Unreachable
from tests.app.consoles.rfb.record import Tap
from tests.app.consoles.rfb.scripted import Events, update
from tests.app.consoles.rfb.servers import xvnc
from tests.bench.row import row

WIDTH, HEIGHT = 1920, 1080
WELCOME = b"RFB 003.008\n\1\1" + bytes(4) + pack(">HH", WIDTH, HEIGHT)
WELCOME += pack(">BBBBHHHBBBxxx", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0) + pack(">I", 5) + b"bench"
DONE = pack(">BxxxIB", 248, 0x80000001, 4) + b"done"
"""A fence: its answer says that all before it is decoded."""


class Recording:
    """Bytes of a server: `head` up to the first picture, then `body`, `times` over, with `frames` updates in all."""

    def __init__(self, path: Path, head: bytes, body: bytes, times: int, frames: int) -> None:
        self.path = path
        self.head = len(head)
        self.times = times
        self.frames = frames
        path.write_bytes(head + body)

    @contextmanager
    def served(self, times: int | None = None) -> Iterator[tuple[int, subprocess.Popen[str]]]:
        """A server of it on a port of this machine; it prints a line when the client has decoded all."""
        count = self.times if times is None else times
        command = [sys.executable, "-m", "tests.bench.bench_rfb", "--serve", str(self.path), str(self.head), str(count)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                yield int(process.stdout.readline()), process
            finally:
                process.kill()


def serve(path: Path, head: int, times: int) -> None:
    """Play a recording to whoever comes, whatever it says, and print when its end came back."""
    data = memoryview(path.read_bytes())
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], flush=True)
        peer, _ = listening.accept()

    def play() -> None:
        with contextlib.suppress(OSError):
            for part in (data[:head], *[data[head:]] * times, DONE):
                peer.sendall(part)

    threading.Thread(target=play, daemon=True).start()
    heard = b""
    while b"\x04done" not in heard:
        part = peer.recv(1 << 16)
        if not part:
            return
        heard = heard[-16:] + part
    print("done", flush=True)
    time.sleep(60)


def video(folder: Path) -> Recording:
    noise = np.random.default_rng(1).integers(0, 256, (4, HEIGHT * WIDTH * 4), dtype=np.uint8)
    body = b"".join(update(((0, 0, WIDTH, HEIGHT), 0, frame.tobytes())) for frame in noise)
    return Recording(folder / "video", WELCOME, body, 30, 120)


class Marks(Events):
    """Where in the stream each update ended."""

    client: RfbClient

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[int] = []

    def damaged(self, boxes: Sequence[Box]) -> None:
        self.ends.append(self.client.received - len(self.client._wire.ready))
        super().damaged(boxes)


async def desktop(folder: Path) -> Recording:
    """Text that runs in a large window, which moves now and then."""
    with xvnc(folder, size=f"{WIDTH}x{HEIGHT}") as screen:
        tap, marks = Tap(screen.door()), Marks()
        marks.client = client = RfbClient(tap.door, options=RfbOptions(), on=marks)
        running = asyncio.create_task(client.run())
        await marks.next("damaged")
        client.pointer(1900, 1060, 0)
        screen.tell("enlarge", 1200, 800)
        for number in range(120):
            screen.tell("write", number)
            if number % 10 == 9:
                screen.tell("move", 30 + number * 4, 40 + number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await marks.next("damaged")
        await client.close()
        await running
        said = tap.join()
    head, end = marks.ends[0], marks.ends[-1]
    return Recording(folder / "desktop", said[:head], said[head:end], 1, len(marks.ends) - 1)


class Damage(Events):
    def __init__(self) -> None:
        super().__init__()
        self.updates: list[list[Box]] = []

    def damaged(self, boxes: Sequence[Box]) -> None:
        self.updates.append(list(boxes))


async def decode(recording: Recording) -> tuple[float, float, RfbClient, list[list[Box]]]:
    """CPU seconds and seconds of all updates after the first picture, and what they left."""
    with recording.served() as (port, process):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setblocking(False)
        events = Damage()
        client = RfbClient(sock, on=events)
        assert process.stdout is not None
        began, clock = time.process_time(), time.monotonic()
        running = asyncio.create_task(client.run())
        done = asyncio.create_task(asyncio.to_thread(process.stdout.readline))
        await asyncio.wait([running, done], return_when=asyncio.FIRST_COMPLETED)
        spent, seconds = time.process_time() - began, time.monotonic() - clock
        await client.close()
        with contextlib.suppress(Unreachable):
            await running
        assert await done == "done\n", "the recording did not play to its end"
    return spent, seconds, client, events.updates


def paint(client: RfbClient, updates: list[list[Box]]) -> float:
    """CPU seconds to paint what each update changed."""
    from PySide6.QtCore import QRect
    from PySide6.QtGui import QImage, QPainter

    pixels = client.framebuffer.pixels
    picture = QImage(pixels.data, WIDTH, HEIGHT, WIDTH * 4, QImage.Format.Format_RGB32)
    screen = QImage(WIDTH, HEIGHT, QImage.Format.Format_RGB32)
    began = time.process_time()
    for boxes in updates:
        painter = QPainter(screen)
        for box in boxes:
            painter.drawImage(QRect(*box), picture, QRect(*box))
        painter.end()
    return time.process_time() - began


@contextmanager
def display() -> Iterator[str]:
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", f"{WIDTH}x{HEIGHT}x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield ":" + process.stdout.readline().strip()
        finally:
            process.kill()


def viewer(recording: Recording, times: int | None, folder: Path) -> float:
    """CPU seconds of TigerVNC's viewer, from its start to the end of the recording."""
    with display() as name, recording.served(times) as (port, process):
        options = ["-SecurityTypes=None", "-RemoteResize=0", "-Shared=1", "-AutoSelect=0", "-FullColor=1"]
        command = ["xtigervncviewer", *options, f"127.0.0.1::{port}"]
        environment = {**os.environ, "DISPLAY": name, "HOME": str(folder)}
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as program:
            try:
                assert process.stdout is not None
                said = process.stdout.readline()
                assert said == "done\n", "TigerVNC's viewer did not play the recording to its end"
                spent = psutil.Process(program.pid).cpu_times()
            finally:
                program.kill()
    return spent.user + spent.system


def rows(folder: Path) -> list[dict[str, object]]:
    result: list[dict[str, object]] = []
    for name, recording, goal in (
        ("RFB: 1080p video, raw", video(folder), 60),
        ("RFB: 1080p desktop, Tight", asyncio.run(desktop(folder)), 30),
    ):
        spent, seconds, client, updates = min((asyncio.run(decode(recording)) for _ in range(3)), key=lambda r: r[0])
        frames = recording.frames
        painted = paint(client, updates[-frames:])
        theirs = min(viewer(recording, None, folder) for _ in range(2)) - viewer(recording, 0, folder)
        ratio = (spent + painted) / max(theirs, 1e-3)
        note = f"{frames} updates, {frames / seconds:.0f}/s on the clock"
        result.append(row(f"{name}: decoded per second of one core", frames / spent, "fps", least=goal, note=note))
        result.append(row(f"{name}: decode per update", spent / frames * 1000, "ms"))
        result.append(row(f"{name}: paint per update", painted / frames * 1000, "ms"))
        note = f"TigerVNC's viewer: {theirs / frames * 1000:.2f} ms per update"
        result.append(row(f"{name}: CPU to TigerVNC's viewer", ratio, "x", most=2, note=note))
    return result


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", nargs=3, metavar=("FILE", "HEAD", "TIMES"))
    arguments = parser.parse_args()
    if arguments.serve:
        serve(Path(arguments.serve[0]), int(arguments.serve[1]), int(arguments.serve[2]))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        result = rows(Path(folder))
    if arguments.json:
        print(json.dumps(result))
    else:
        for line in result:
            print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
