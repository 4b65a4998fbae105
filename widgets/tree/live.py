"""What moves on the rows without being part of them: sparklines of shown VMs, and VMs that a task is moving."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from app.tasks import StageState, Task
from backends.model import Kind, Ref, Sample

if TYPE_CHECKING:
    from widgets.tree.model import Rows

RING = 30


class Live:
    """Follows meters and tasks; keeps rings only for what is on the screen."""

    def __init__(self, rows: Rows, services: Any) -> None:
        self._rows = rows
        self._rings: dict[Ref, deque[float]] = {}
        self._moving: dict[Ref, Task] = {}
        self._stops = [services.inventory.subscribe_meters(self._on_meters), services.tasks.subscribe(self._on_task)]
        for task in services.tasks.all():
            self._on_task(task)

    def close(self) -> None:
        """Follow no longer."""
        for stop in self._stops:
            stop()
        self._stops.clear()

    def ring(self, ref: Ref) -> deque[float] | None:
        """The last values of a VM's processors in percent."""
        return self._rings.get(ref)

    def moving(self, ref: Ref) -> float | None:
        """How far the move of a VM is, 0 to 1; None where none runs."""
        task = self._moving.get(ref)
        return None if task is None else _progress(task)

    def keep(self, shown: set[Ref]) -> None:
        """Forget the rings of what is no longer shown, begin those of what is."""
        self._rings = {ref: self._rings.get(ref) or deque(maxlen=RING) for ref in shown}

    def _on_meters(self, samples: dict[Ref, Sample]) -> None:
        changed = {ref for ref in samples if ref.kind != Kind.VM}
        for ref, ring in self._rings.items():
            sample = samples.get(ref)
            if sample is not None and sample.cpu_percent is not None:
                ring.append(sample.cpu_percent)
                changed.add(ref)
        self._rows.announce(changed)

    def _on_task(self, task: Task) -> None:
        if task.ref is None or task.target is None or task.ref.kind != Kind.VM:
            return
        if task.active:
            self._moving[task.ref] = task
        elif self._moving.get(task.ref) is task:
            del self._moving[task.ref]
        else:
            return
        self._rows.announce({task.ref})


def _progress(task: Task) -> float:
    for stage in task.stages:
        if stage.state == StageState.RUNNING and stage.progress.total_bytes:
            return min(stage.progress.done_bytes / stage.progress.total_bytes, 1.0)
    done = sum(stage.state == StageState.DONE for stage in task.stages)
    return done / len(task.stages) if task.stages else 0.0
