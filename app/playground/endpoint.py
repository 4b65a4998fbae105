"""A small cloud on this machine: EC2, EBS direct and STS on 127.0.0.1, for the holder of a random key only.

As a process: `python -m app.playground.endpoint --folder F --nonce N [--port P] [--vm NAME]...`
The class Endpoint starts and stops it; everything that it leaves behind is in its folder:

    key.json       access_key and secret_key (0600)
    endpoint.json  nonce, pid, started, url; the process ends when this file is gone or names another nonce
    faults.json    what is to go wrong (see app.playground.wire.Faults); written by tests
    blocks/        the bytes of volumes and snapshots, sparse
    endpoint.log

Its state lives in memory: after a stop, a start begins with an empty cloud.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REGION = "us-east-1"
MOTO = {
    "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",
    "MOTO_ENABLE_AMI_VALIDATION": "true",
    "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION": "true",
    "MOTO_ENABLE_KEYPAIR_VALIDATION": "false",
}
"""Settings that moto reads when it is imported."""


class Endpoint:
    """The endpoint of one data folder, seen from its parent. All methods block (start: a few seconds).

    Parameters: `folder` is the endpoint's own (it is made, 0700, and removed by `stop`); `vms` are names of
    instances that the fresh cloud begins with.
    """

    def __init__(self, folder: Path, vms: Sequence[str] = ()) -> None:
        self.folder = folder
        self._vms = tuple(vms)

    @property
    def url(self) -> str:
        """http://127.0.0.1:PORT, or "" when it was not started."""
        return str(self._state().get("url", ""))

    @property
    def access_key(self) -> str:
        return self._key()["access_key"]

    @property
    def secret_key(self) -> str:
        return self._key()["secret_key"]

    @property
    def key_file(self) -> Path:
        return self.folder / "key.json"

    @property
    def faults_file(self) -> Path:
        return self.folder / "faults.json"

    def running(self) -> bool:
        """Whether our process (and not another one on the same port) answers."""
        state = self._state()
        if not state.get("url"):
            return False
        try:
            connection = http.client.HTTPConnection(str(state["url"]).removeprefix("http://"), timeout=10)
            connection.request("GET", "/")
            answer = connection.getresponse()
            answer.read()
            connection.close()
        except (OSError, http.client.HTTPException):
            return False
        return bool(answer.getheader("X-Endpoint") == state["nonce"])

    def start(self, timeout: float = 90.0) -> None:
        """Start it, or do nothing where it runs. What a crash left is cleaned away first.

        Raises RuntimeError with the log's end where it does not come up within `timeout` seconds.
        """
        if self.running():
            return
        self.stop()
        self.folder.mkdir(mode=0o700, parents=True)
        self.folder.chmod(0o700)
        key = {"access_key": f"AKIA{secrets.token_hex(8).upper()}", "secret_key": secrets.token_urlsafe(30)}
        _write(self.key_file, key)
        nonce = secrets.token_hex(16)
        _write(self.folder / "endpoint.json", {"nonce": nonce})
        process = self._spawn(nonce)
        end = time.monotonic() + timeout
        while not self.running():
            if process.returncode is not None or time.monotonic() > end:
                tail = (self.folder / "endpoint.log").read_text(encoding="utf-8", errors="replace")[-2000:]
                self.stop()
                raise RuntimeError(f"the playground's cloud did not start: {tail}")
            time.sleep(0.05)

    def _spawn(self, nonce: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "app.playground.endpoint", "--folder", str(self.folder), "--nonce", nonce]
        for name in self._vms:
            command += ["--vm", name]
        with (self.folder / "endpoint.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=Path(__file__).parents[2],
                start_new_session=True,
            )
        threading.Thread(target=process.wait, daemon=True).start()
        return process

    def stop(self, timeout: float = 15.0) -> None:
        """End the process and remove the folder. Idempotent; also cleans after a process that was killed."""
        state = self._state()
        (self.folder / "endpoint.json").unlink(missing_ok=True)
        end = time.monotonic() + timeout
        while state.get("pid") and _started(int(state["pid"])) == state["started"]:
            if time.monotonic() > end:
                os.kill(int(state["pid"]), signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
                end = time.monotonic() + timeout
            time.sleep(0.05)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _state(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads((self.folder / "endpoint.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return {}
        return state

    def _key(self) -> dict[str, str]:
        key: dict[str, str] = json.loads(self.key_file.read_text(encoding="utf-8"))
        return key


def _started(pid: int) -> str:
    """When a process began, in the system's own words; "" where it does not run (or that cannot be known)."""
    if sys.platform != "linux":
        return ""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] in ("Z", "X") else fields[19]


def _write(path: Path, value: dict[str, Any]) -> None:
    """Replace a file at one stroke, for our own eyes only."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(value, file)
    fresh.replace(path)


def _wanted(folder: Path, nonce: str) -> bool:
    return bool(Endpoint(folder)._state().get("nonce") == nonce)


def serve(folder: Path, nonce: str, port: int, vms: Sequence[str]) -> None:
    """Be the endpoint until `endpoint.json` no longer names us."""
    state: dict[str, Any] = {"nonce": nonce, "pid": os.getpid(), "started": _started(os.getpid())}
    if not _wanted(folder, nonce):
        return
    _write(folder / "endpoint.json", state)
    os.environ |= MOTO
    from werkzeug.serving import WSGIRequestHandler, make_server

    from app.playground import cloud
    from app.playground.blocks import BlockStore
    from app.playground.sigv4 import Key
    from app.playground.wire import Wire

    class Handler(WSGIRequestHandler):
        """Keeps connections open and says nothing."""

        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_request(self, *_: object) -> None: ...

        def connection_dropped(self, error: BaseException, environ: dict[str, Any] | None = None) -> None:
            self.close_connection = True

    store = BlockStore(folder / "blocks")
    cloud.install(store)
    key = json.loads((folder / "key.json").read_text(encoding="utf-8"))
    wire = Wire(store, {key["access_key"]: Key(key["secret_key"])}, folder / "faults.json", nonce)
    cloud.seed(REGION, vms)
    server = make_server("127.0.0.1", port, wire, threaded=True, request_handler=Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    if _wanted(folder, nonce):
        _write(folder / "endpoint.json", state | {"url": f"http://127.0.0.1:{server.server_port}"})
    while _wanted(folder, nonce):
        time.sleep(0.2)


def main() -> None:
    """The endpoint's own command line; there is no secret on it."""
    parser = argparse.ArgumentParser(prog="python -m app.playground.endpoint")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--nonce", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--vm", action="append", default=[])
    options = parser.parse_args()
    serve(options.folder, options.nonce, options.port, options.vm)
    os._exit(0)


if __name__ == "__main__":
    main()
