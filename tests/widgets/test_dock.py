"""The lower pane: it takes room while something runs, and is its head alone otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from app.tasks import Task
from tests.widgets.standin import Services, ended, host_ref, move_task, until, vm_ref
from widgets.dock import HEAD_PX
from widgets.window import Window


@pytest.fixture
async def window(qapp: QApplication) -> AsyncIterator[Window]:
    made = Window(Services())  # type: ignore[arg-type]
    made.resize(760, 600)
    made.show()
    yield made
    await ended(made)


async def test_it_unfolds_while_a_task_runs_and_folds_up_after_it(window: Window) -> None:
    dock, end = window.dock, asyncio.Event()
    await until(lambda: dock.height() == HEAD_PX)

    async def work(task: Task) -> None:
        await end.wait()

    window.services.tasks.start(move_task(vm_ref("kvm-a", "web-01"), host_ref("kvm-b"), "web-01"), work)
    await until(lambda: HEAD_PX + 30 < dock.height() <= window.height() * 0.3)
    dock._quiet.setInterval(1)
    end.set()
    await until(lambda: dock.height() == HEAD_PX)
    await until(lambda: window.panes.columns.height() + HEAD_PX >= window.panes.height() - 1)
    assert dock._newest.text().startswith("web-01 kvm-a → kvm-b: done")


async def test_what_was_unfolded_by_hand_stays_and_comes_back(window: Window) -> None:
    dock = window.dock
    QTest.mouseClick(dock.buttons["events"], Qt.MouseButton.LeftButton)
    await until(lambda: dock.height() > HEAD_PX and dock.pane == "events")
    dock._quiet.setInterval(1)
    window.services.tasks.start(Task("power", "Start web-01"), lambda task: asyncio.sleep(0))
    await until(lambda: not window.services.tasks.all()[0].active and len(dock.tasks.rows()) == 1)
    await asyncio.sleep(0.05)
    assert not dock.folded and not dock._quiet.isActive()
    dock.by_hand = False
    dock.tasks.counted.emit(1)
    assert dock._quiet.isActive()
    window.show_dock("events")
    assert not dock._quiet.isActive(), "from now on it was unfolded by hand"
    kept = window.state()
    QTest.mouseClick(dock.buttons["events"], Qt.MouseButton.LeftButton)
    await until(lambda: dock.height() == HEAD_PX)
    window.restore(kept)
    assert not dock.folded and dock.pane == "events"


async def test_the_tree_folds_away_and_f6_brings_it_back(window: Window) -> None:
    window.run_command("view.sidebar")
    assert window.tree.isHidden() and window.state()["tree_shown"] is False
    window.focus_tree()
    assert not window.tree.isHidden()
