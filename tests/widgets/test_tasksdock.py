"""The rows of the tasks: what stands on the bars, what is offered, what the buttons do."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from PySide6.QtWidgets import QApplication, QLabel

from app.tasks import Stage, StageState, Task, TaskState
from backends.model import Progress, now
from tests.widgets.standin import Services, host_ref, move_task, show_tasks, until, vm_ref
from widgets import format as fmt
from widgets.prompts import Confirm
from widgets.tasksdock import TaskRow, TasksDock, result_text, stage_text

HOURS = timedelta(hours=1)


def test_what_stands_on_a_bar() -> None:
    copy = Stage("Copy", StageState.RUNNING, Progress(done_bytes=63, total_bytes=100, rate_bps=0.5))
    assert stage_text(copy) == "Copy 63 % · 0 B/s · 1 min left"
    assert stage_text(copy, at_rest=True) == "Copy stopped at 63 %"
    done = Stage("Copy", StageState.DONE, began=now() - timedelta(seconds=4.1), ended=now())
    assert stage_text(done) == "Copy 4.1 s"
    assert stage_text(Stage("Verify", StageState.FAILED)) == "Verify failed"
    assert stage_text(Stage("Copy", StageState.SKIPPED)) == "Copy: not needed"


def test_forecast_beside_fact() -> None:
    task = Task("move", "web-01 kvm-a -> kvm-b", downtime_forecast_s=0.04)
    assert result_text(task) == "stop forecast 40 ms"
    task.state, task.result = TaskState.DONE, {"downtime_s": 0.038}
    assert result_text(task) == "stopped 38 ms (forecast 40 ms)"
    off = Task("move", "mail-02 kvm-a -> kvm-b", downtime_forecast_s=0.0)
    assert result_text(off) == "nothing is stopped"
    off.state, off.result = TaskState.DONE, {"downtime_s": 0.0}
    assert result_text(off) == "done, nothing was stopped"
    task.state = TaskState.UNKNOWN
    assert result_text(task) == "outcome unknown, nothing touched"


async def test_offers_follow_the_state(qapp: QApplication) -> None:
    services = Services()
    task = Task("move", "web-01 kvm-a -> kvm-b")

    async def work(task: Task) -> None:
        """What an earlier run left can be gone on with."""

    services.tasks.adopt(task, work, work)
    row = TaskRow(services, task)  # type: ignore[arg-type]
    cases = (
        (TaskState.RUNNING, {"cancel"}),
        (TaskState.INTERRUPTED, {"resume", "undo"}),
        (TaskState.UNKNOWN, {"resume", "undo"}),
        (TaskState.DONE, {"undo"}),
        (TaskState.FAILED, {"undo", "retry"}),
    )
    task.undo, task.retryable = "moves it back", True
    for state, offers in cases:
        task.state = state
        assert row.offers() == offers
    task.undo_until = now() - HOURS
    assert row.offers() == {"retry"}
    alone = Task("power", "stop web-01", state=TaskState.INTERRUPTED, retryable=True, undo="starts it")
    services.tasks.adopt(alone)
    assert TaskRow(services, alone).offers() == set(), "nothing is offered that cannot be done"  # type: ignore[arg-type]


async def test_rows_come_go_and_act(qapp: QApplication) -> None:
    services = Services()
    dock = TasksDock(services)  # type: ignore[arg-type]
    show_tasks(services)
    await until(lambda: len(dock.rows()) == 2)
    held = []

    async def work(task: Task) -> None:
        services.tasks.can_pause(task, held.append)
        task.note("began")
        await asyncio.Event().wait()

    task = services.tasks.start(Task("move", "db-01 kvm-a -> kvm-b"), work)
    await until(lambda: len(dock.rows()) == 3)
    row = next(row for row in dock.rows() if row.task is task)
    await until(lambda: row.offers() == {"cancel", "pause"})
    row._pause()
    row._pause()
    assert held == [True, False]
    dock.show()
    row.toggle_log()
    assert "began" in row.log_text()
    row._actions["cancel"].click()
    await services.tasks.wait(task)
    await until(lambda: "cancelled" in row.accessibleName())
    dock.clear_ended()
    assert task not in [row.task for row in dock.rows()]
    assert len(dock.rows()) == 2
    dock.close_down()


@pytest.mark.parametrize("loses", [True, False])
async def test_an_undo_that_loses_something_asks_first(qapp: QApplication, loses: bool) -> None:
    services = Services()
    dock = TasksDock(services)  # type: ignore[arg-type]

    async def back(task: Task) -> None:
        task.note("back")

    moved = move_task(vm_ref("kvm-a", "web-01"), host_ref("kvm-b"), "web-01", "cold")
    moved.state, moved.undo, moved.undo_loses = TaskState.DONE, "Stops web-01 on kvm-b", loses
    services.tasks.adopt(moved, undo=back)
    await until(dock.rows)
    dock.show()
    dock.rows()[0]._actions["undo"].click()
    asked = dock.findChild(Confirm)
    if loses:
        assert isinstance(asked, Confirm)
        assert asked.windowTitle() == "Undo web-01 kvm-a → kvm-b?"
        assert "Stops web-01 on kvm-b." in [line.text() for line in asked.findChildren(QLabel)]
        assert asked.focusWidget() is asked.cancel, "Enter changes nothing"
        assert moved.undo, "nothing was done"
        asked.go.click()
    assert (asked is not None) == loses
    await until(lambda: any(task.title == "Undo: web-01 kvm-b -> kvm-a" for task in services.tasks.all()))
    dock.close_down()


async def test_ages_go_on_while_they_are_seen(qapp: QApplication) -> None:
    services = Services()
    dock = TasksDock(services)  # type: ignore[arg-type]
    dock._ages.setInterval(1)
    task = Task("power", "Start web-01", state=TaskState.DONE, ended=now())
    services.tasks.adopt(task)
    await until(dock.rows)
    dock.show()
    task.ended = now() - 3 * HOURS
    await until(lambda: any(label.text() == f"done {fmt.age(task.ended)}" for label in dock.findChildren(QLabel)))
    assert fmt.age(task.ended) != "now"
    dock.hide()
    assert not dock._ages.isActive()
    dock.close_down()


async def test_a_move_names_its_vm_in_bold_and_its_mode_last(qapp: QApplication) -> None:
    services = Services()
    dock = TasksDock(services)  # type: ignore[arg-type]
    services.tasks.adopt(move_task(vm_ref("kvm-a", "web-01"), host_ref("kvm-b"), "my web-01", "cold"))
    await until(dock.rows)
    title = next(label.text() for label in dock.rows()[0].findChildren(QLabel) if label.text().startswith("<b>"))
    assert title.startswith("<b>my web-01</b> kvm-a → kvm-b ")
    assert title.endswith(">cold</span>")
    dock.close_down()
