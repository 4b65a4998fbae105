"""A real endpoint process for tests, and settings that open it.

Each is forked from one that has imported everything, as that takes longer than most tests.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from app.playground import endpoint as module
from app.playground.endpoint import Endpoint
from backends.driver import Settings

ROOT = Path(__file__).parents[2]


class Forked(Endpoint):
    """An endpoint like any other, but for how its process begins."""

    def _spawn(self, nonce: str) -> subprocess.Popen[bytes]:
        mother = _mother()
        assert mother.stdin is not None
        asked = {"folder": str(self.folder), "nonce": nonce, "vms": self._vms}
        mother.stdin.write(json.dumps(asked).encode() + b"\n")
        mother.stdin.flush()
        return mother


@cache
def _mother() -> subprocess.Popen[bytes]:
    mother = subprocess.Popen([sys.executable, "-m", "tests.backends.cloud"], cwd=ROOT, stdin=subprocess.PIPE)

    def end() -> None:
        mother.communicate()

    atexit.register(end)
    return mother


def _serve() -> None:
    os.environ |= module.MOTO
    from moto.core.utils import get_service_model
    from werkzeug.serving import make_server  # noqa: F401

    from app.playground import blocks, cloud, sigv4, wire  # noqa: F401

    cloud.backend(module.REGION)
    get_service_model("ec2")

    # The kernel takes those that have ended.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        asked = json.loads(line)
        if not os.fork():
            _child(asked["folder"], asked["nonce"], asked["vms"])


def _child(folder: str, nonce: str, vms: list[str]) -> None:
    """Never returns: the parent's end is not the child's."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        log = os.open(Path(folder) / "endpoint.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        module.serve(Path(folder), nonce, 0, vms)
    finally:
        os._exit(0)


@contextmanager
def running_endpoint(*vms: str) -> Iterator[Endpoint]:
    """An endpoint of its own, gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        endpoint = Forked(Path(folder) / "cloud", vms)
        endpoint.start()
        try:
            yield endpoint
        finally:
            endpoint.stop()


def ec2_settings(endpoint: Endpoint, **values: str) -> Settings:
    """The settings of kind ec2 for this endpoint."""
    given = {"endpoint_url": endpoint.url, "access_key_id": endpoint.access_key, "regions": "us-east-1"} | values
    return Settings(given, {"secret_access_key": endpoint.secret_key})


def libcloud_settings(endpoint: Endpoint, **values: str) -> Settings:
    """The settings of kind libcloud for this endpoint, by libcloud's own EC2 driver."""
    host, _, port = endpoint.url.removeprefix("http://").partition(":")
    given = {"provider": "ec2", "key": endpoint.access_key, "host": host, "port": port, "secure": "false"}
    return Settings(given | {"region": "us-east-1"} | values, {"secret": endpoint.secret_key})


if __name__ == "__main__":
    _serve()
