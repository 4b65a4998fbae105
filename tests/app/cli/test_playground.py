"""What the playground does to the connections of its data folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.cli.verbs import serve
from app.services import Services


@pytest.mark.parametrize(("kept", "left"), [({"vms": "2"}, []), ({"vms": "2", "path": "world"}, ["demo"])])
async def test_the_demo_that_stood_in_for_it_goes(tmp_path: Path, kept: dict[str, str], left: list[str]) -> None:
    services = await Services.open(tmp_path / "home")
    try:
        settings = {key: str(tmp_path / value) if key == "path" else value for key, value in kept.items()}
        await services.connections.add("demo", "demo", settings, {})
        rows = [row async for row in serve(services, {"verb": "playground-add", "args": {"seeds": []}})]
        assert rows[-1]["ok"]
        assert [item.name for item in services.connections.all()] == left
        assert len(rows) == 2 - len(left), "it is told"
    finally:
        await services.close()
