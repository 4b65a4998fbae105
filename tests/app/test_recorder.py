"""What changes reaches the store, in batches, and at the latest when the recorder closes."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

import app.recorder
from app.inventory import Inventory
from app.recorder import Recorder
from app.tasks import Task, Tasks
from backends.errors import Unreachable
from backends.model import Changed, Object, Ref
from tests.app.fakes import host, until, vm


class Shelf:
    """A store of which only the writing is there; it can fail."""

    def __init__(self) -> None:
        self.objects: dict[Ref, Object] = {}
        self.tasks: dict[str, str] = {}
        self.batches: list[int] = []
        self.broken = False

    async def save_objects(self, objects: Iterable[Object]) -> None:
        if self.broken:
            raise Unreachable("the disk is full")
        items = list(objects)
        self.batches.append(len(items))
        self.objects.update({item.ref: item for item in items})

    async def delete_objects(self, refs: Iterable[Ref]) -> None:
        for ref in refs:
            self.objects.pop(ref, None)

    async def save_task(self, row: dict[str, object]) -> None:
        self.tasks[str(row["id"])] = str(row.get("state", "queued"))


async def test_many_changes_are_one_batch_with_the_newest_values() -> None:
    inventory, shelf = Inventory(), Shelf()
    recorder = Recorder(inventory, Tasks(), shelf)  # type: ignore[arg-type]
    for number in range(50):
        inventory.apply(Changed((vm("a", name=f"name-{number}"),)))
    inventory.apply(Changed((host("a"),)))
    inventory.apply(Changed((), (host("a").ref,)))
    await recorder.close()
    assert shelf.batches == [1]
    assert [item.name for item in shelf.objects.values()] == ["name-49"]


async def test_what_goes_and_comes_back_is_there() -> None:
    inventory, shelf = Inventory(), Shelf()
    recorder = Recorder(inventory, Tasks(), shelf)  # type: ignore[arg-type]
    inventory.apply(Changed((vm("a"),)))
    inventory.apply(Changed((), (vm("a").ref,)))
    inventory.apply(Changed((vm("a", name="again"),)))
    await recorder.close()
    assert [item.name for item in shelf.objects.values()] == ["again"]


async def test_a_store_that_fails_is_tried_again_and_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(app.recorder, "GATHER_S", 0.01)
    inventory, tasks, shelf = Inventory(), Tasks(), Shelf()
    shelf.broken = True
    recorder = Recorder(inventory, tasks, shelf)  # type: ignore[arg-type]
    inventory.apply(Changed((vm("a"),)))
    tasks.adopt(Task("power", "Start x", id="t1"))
    await until(lambda: caplog.records)
    inventory.apply(Changed((host("a"),)))
    shelf.broken = False
    await until(lambda: len(shelf.objects) == 2)
    await recorder.close()
    assert [record.message for record in caplog.records] == ["cannot write the inventory: the disk is full"]
    assert shelf.tasks == {"t1": "queued"}
