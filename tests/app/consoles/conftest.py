"""The program over the demo driver: two sites whose VMs have screens and serial lines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import app.link
from app.services import Services
from backends.model import Kind, PowerState, Ref, Vm
from tests.app.fakes import until


@pytest.fixture
async def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Services]:
    """With the connections `a` (12 VMs) and `b` (none)."""
    monkeypatch.setattr(app.link, "BACKOFF_S", (0.02, 0.05))
    opened = await Services.open(tmp_path / "home", vault_key_file=tmp_path / "key")
    try:
        for name, vms in (("a", "12"), ("b", "0")):
            connection = await opened.connections.add("demo", name, {"vms": vms, "move_seconds": "0.1"}, {})
            await until(lambda connection=connection: connection.listed)  # type: ignore[misc]
        yield opened
    finally:
        await opened.close()


def running(services: Services, prefix: str = "web-") -> Ref:
    """A running VM of `a` by the beginning of its name."""
    return next(vm.ref for vm in vms(services) if vm.name.startswith(prefix) and vm.state == PowerState.RUNNING)


def vms(services: Services) -> list[Vm]:
    return [item for item in services.inventory.of("a", Kind.VM) if isinstance(item, Vm)]


def driver(services: Services, name: str = "a") -> Any:
    """The demo driver itself: what the platform does without being asked by us."""
    return services.connections.driver(name)
