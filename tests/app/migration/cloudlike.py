"""Makes the demo platform behave as clouds do: a VM that is made starts at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backends.demo import Driver
from backends.model import PowerAction, PowerState


def apply(set_on: Callable[[Any, str, Any], object] = setattr) -> None:
    """Change the demo driver's class with `set_on` (monkeypatch.setattr where it must end with the test)."""
    create = Driver.create_vm

    async def create_and_start(self: Driver, *args: Any, **words: Any) -> Any:
        ref = await create(self, *args, **words)
        if self.world.get(ref).state == PowerState.OFF:
            await self.power(ref, PowerAction.START)
        return ref

    set_on(Driver, "create_vm", create_and_start)
    set_on(Driver, "starts_on_create", True)
