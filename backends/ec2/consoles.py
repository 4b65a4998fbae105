"""What EC2 kept of an instance's serial line: its last 64 KiB, as GetConsoleOutput gives them.

EC2's serial console (live, by SSH to its own gateway) is not opened here: it takes a key pushed by
ec2-instance-connect, a setting of the account, and gateway keys that AWS publishes by hand for each region.
"""

from __future__ import annotations

from collections.abc import Sequence

from backends.consoles import Console, ConsoleKind, Door
from backends.ec2.core import Core
from backends.errors import Invalid, NotFound, Unsupported
from backends.model import Ref


async def offers(core: Core, vm: Ref) -> Sequence[Console]:
    """An instance's one console. Raises NotFound where there is no such instance."""
    await core._instance(vm.id)
    return (Console(vm, ConsoleKind.OUTPUT, "Console output"),)


async def open_output(core: Core, console: Console) -> Door:
    """What there is now. Older instance types give only what was said at the last boot."""
    if console.kind is not ConsoleKind.OUTPUT:
        raise NotFound(f"EC2 gives no {console.kind} console", object_name=console.vm.id)
    ident = console.vm.id
    region, _ = await core._instance(ident)
    try:
        answer = await core._ec2(region, "get_console_output", InstanceId=ident, Latest=True)
    except (Unsupported, Invalid):
        answer = await core._ec2(region, "get_console_output", InstanceId=ident)
    return Door(console=console, text=str(answer.get("Output") or ""))
