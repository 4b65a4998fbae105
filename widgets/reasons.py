"""What can be done to objects now, and why not: asked by menus, palette, pages and verbs alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.actions import STARTING, held, hindrance
from backends.driver import POWER_CAPABILITIES, Capability
from backends.model import Kind, PowerAction, PowerState, Ref

if TYPE_CHECKING:
    from app.services import Services

YES = ""
"""The reason of a command that can run: none."""
FROM = {
    PowerAction.START: {PowerState.OFF, PowerState.CRASHED, PowerState.SUSPENDED},
    PowerAction.SHUTDOWN: {PowerState.RUNNING},
    PowerAction.OFF: {PowerState.RUNNING, PowerState.PAUSED, PowerState.STOPPING, PowerState.STARTING},
    PowerAction.REBOOT: {PowerState.RUNNING},
    PowerAction.RESET: {PowerState.RUNNING, PowerState.PAUSED},
    PowerAction.PAUSE: {PowerState.RUNNING},
    PowerAction.RESUME: {PowerState.PAUSED},
    PowerAction.SAVE: {PowerState.RUNNING, PowerState.PAUSED},
    PowerAction.RESTORE: {PowerState.SUSPENDED},
}
"""The states from which an action makes sense; UNKNOWN always may be tried."""
POWER_WORDS = {
    PowerAction.START: ("Start", "play"),
    PowerAction.SHUTDOWN: ("Shut down", "power"),
    PowerAction.OFF: ("Force off", "power-off"),
    PowerAction.REBOOT: ("Reboot", "rotate-cw"),
    PowerAction.RESET: ("Reset", "refresh-ccw"),
    PowerAction.PAUSE: ("Pause", "pause"),
    PowerAction.RESUME: ("Resume", "step-forward"),
    PowerAction.SAVE: ("Save to disk", "hard-drive-download"),
    PowerAction.RESTORE: ("Restore", "hard-drive-upload"),
}


def able(services: Services, refs: Sequence[Ref], capability: Capability) -> list[Ref]:
    """Those of `refs` whose connection can do that."""
    found = []
    for ref in refs:
        connection = services.connections.get(ref.connection)
        if connection is not None and capability in connection.capabilities:
            found.append(ref)
    return found


def ready_for(services: Services, refs: Sequence[Ref], action: PowerAction) -> list[Ref]:
    """The VMs among `refs` that can do `action` from the state they are in, and that no move has in hand."""
    states, busy = FROM[action] | {PowerState.UNKNOWN}, held(services.tasks, action)
    kept = {ref for ref in refs if action in STARTING and services.migrations.fenced(ref)}
    vms = (services.inventory.vm(ref) for ref in able(services, refs, POWER_CAPABILITIES[action]))
    return [vm.ref for vm in vms if vm is not None and vm.state in states and vm.ref not in busy.keys() | kept]


def power_reason(services: Services, refs: Sequence[Ref], action: PowerAction) -> str:
    """Why `action` cannot run on any of `refs`; empty if it can on one at least."""
    vms = [ref for ref in refs if ref.kind == Kind.VM]
    if not vms:
        return "select a VM"
    if not able(services, vms, POWER_CAPABILITIES[action]):
        return site_reason(services, vms) or f"{vms[0].connection} cannot do that"
    if not ready_for(services, vms, action):
        if len(vms) == 1 and (task := held(services.tasks, action).get(vms[0])) is not None:
            return f"it {hindrance(task)}"
        vm = services.inventory.vm(vms[0])
        fenced = services.migrations.fenced(vms[0]) if action in STARTING and len(vms) == 1 else ""
        if fenced and vm is not None and vm.state in FROM[action]:
            return f"{fenced}: undo that move first"
        return f"it is {vm.state}" if vm is not None and len(vms) == 1 else "none of them is in the right state"
    return YES


def site_reason(services: Services, refs: Sequence[Ref]) -> str:
    """Why nothing can be changed there: offline or read-only; empty if neither."""
    for ref in refs:
        connection = services.connections.get(ref.connection)
        if connection is None:
            return f"{ref.connection} is gone"
        if connection.state != "ready":
            return f"{ref.connection} is offline"
        if connection.read_only:
            return f"{ref.connection} is read-only"
    return YES
