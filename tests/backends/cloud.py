"""A real endpoint process for tests, and settings that open it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.playground.endpoint import Endpoint
from backends.driver import Settings


@contextmanager
def running_endpoint(*vms: str) -> Iterator[Endpoint]:
    """An endpoint of its own, gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        endpoint = Endpoint(Path(folder) / "cloud", vms)
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
