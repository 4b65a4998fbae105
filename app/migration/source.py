"""The source of a cold move: its disks opened, proved to be what was copied, and the VM fenced.

Others can start the VM and stop it again as long as it is not fenced. What an earlier owner copied is in doubt, as
nobody looked meanwhile, and so is all that was copied when the VM is seen on or its connection is lost. What is in
doubt is read once more on the source before the fence, from an export of its own: a snapshot or a clone shows what was.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from app.link import Connection, ConnectionState
from app.migration import transfer
from app.migration.journal import Result
from app.migration.move import AT_REST, Move, Sites, look
from app.store import codec
from app.tasks import TaskState
from backends.errors import Conflict, NotFound, OutcomeUnknown
from backends.model import Vm

if TYPE_CHECKING:
    from app.inventory import Delta, Inventory


async def source_vm(move: Move) -> Vm:
    vm = await look(move.source, move.plan.vm)
    if vm is None:
        raise NotFound(f"{move.plan.name} is not on {move.plan.vm.connection} any more")
    return vm


@contextlib.contextmanager
def watched(move: Move, inventory: Inventory, sites: Sites) -> Iterator[None]:
    """Doubt all disks of a move whose source was on, or not to be seen, since they were opened."""
    plan, record = move.plan, move.journal.record

    def doubt() -> None:
        if "export" in record.begun and plan.spec is not None and not plan.copy:
            move.doubted.update(range(len(plan.spec.disks)))

    def on_delta(delta: Delta) -> None:
        for item in (*delta.added, *delta.changed):
            if item.ref == plan.vm and isinstance(item, Vm) and item.state not in AT_REST:
                doubt()

    def on_change(connection: Connection) -> None:
        if connection.name == plan.vm.connection and connection.state != ConnectionState.READY:
            doubt()

    ends = (inventory.subscribe(on_delta), sites.subscribe(on_change))
    try:
        yield
    finally:
        for end in ends:
            end()


async def export(move: Move) -> Result:
    await move.exports.discard_export(move.plan.id)
    vm = await source_vm(move)
    if not move.plan.copy and vm.state not in AT_REST:
        raise Conflict(f"{vm.name} is {vm.state}: its disks would change under the copy", cure="move it again")
    move.session = await move.exports.begin_export(move.plan.vm, migration=move.plan.id)
    return {"sources": [codec.encode(disk) for disk in move.session.disks]}


async def end_export(move: Move) -> None:
    session, move.session = move.session, None
    if session is not None:
        await session.end()
    await move.exports.discard_export(move.plan.id)


async def verify(move: Move) -> Result:
    """Read back what was written, and on the source what is in doubt."""
    result = move.journal.record.done.get("verify") or await transfer.verify(move)
    if move.doubted:
        await prove(move)
    return result


async def prove(move: Move) -> None:
    """Read the doubted disks of the source again. Raises Conflict where they are not what was copied."""
    record = move.journal.record
    if "fence" in record.begun:
        with contextlib.suppress(NotFound):
            await unfence(move)
    if await look(move.source, move.plan.vm) is None:
        # The fence tells: the copy may be all that is left of it.
        return
    move.note(f"{move.plan.name} may have run since its disks were copied: reading them again")
    await export(move)
    doubted, move.doubted = move.doubted, set()
    await transfer.compare(move, sorted(doubted))
    if "release" in record.done:
        await end_export(move)


async def release(move: Move) -> Result:
    await end_export(move)
    await asyncio.to_thread(transfer.forget, move)
    return {}


async def fence(move: Move) -> Result:
    """The source may not start by accident any more. A VM that was started meanwhile stops the move."""
    vm = await look(move.source, move.plan.vm)
    if vm is not None and vm.state not in AT_REST:
        raise Conflict(f"{vm.name} was started during the move: what it did would be lost", cure="move it again")
    if move.doubted:
        await prove(move)
    try:
        await move.exports.fence(move.plan.vm, migration=move.plan.id)
    except NotFound as error:
        # The copy may be all that is left of it, or it runs where somebody else took it.
        move.task.state = TaskState.UNKNOWN
        gone = f"{move.plan.name} is gone from {move.plan.vm.connection}: what was copied is kept, not started"
        raise OutcomeUnknown(gone, cure="look where it is; take the move back only if it is safe there") from error
    return {}


async def unfence(move: Move) -> None:
    await move.exports.unfence(move.plan.vm, migration=move.plan.id)
