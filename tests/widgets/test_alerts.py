"""Alerts: each offers what it is about, and does it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from app.tasks import Task, TaskState
from backends.model import Finding, Level
from tests.widgets.standin import Services, ended, host_ref, move_task, until, vm_ref
from widgets.eventlog import Line
from widgets.plan import PlanDialog
from widgets.prompts import Confirm
from widgets.signin import SignIn
from widgets.window import Window


@pytest.fixture
async def window(qapp: QApplication) -> AsyncIterator[Window]:
    made = Window(Services())  # type: ignore[arg-type]
    made.resize(760, 600)
    made.show()
    yield made
    await ended(made)


def line_of(window: Window, text: str) -> tuple[int, Line]:
    window.dock.alerts.refresh()
    lines = window.dock.alerts.model
    return next((row, lines.line(row)) for row in range(lines.rowCount()) if text in lines.line(row).text)


async def click(window: Window, text: str, word: str) -> None:
    """A real click on a word at the right of a line."""
    window.show_dock("alerts")
    row, line = line_of(window, text)
    table = window.dock.alerts._table
    place = table.visualRect(table.model().index(row, 2 + line.actions.index(word)))
    assert place.width() > 20 and table.viewport().rect().contains(place.center())
    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place.center())
    QApplication.processEvents()


async def test_an_interrupted_move_is_resumed_or_rolled_back(window: Window) -> None:
    ran: list[str] = []

    async def work(task: Task) -> None:
        ran.append("went on")

    async def back(task: Task) -> None:
        ran.append("went back")

    tasks = window.services.tasks
    for name in ("web-01", "db-01"):
        task = move_task(vm_ref("kvm-a", name), host_ref("kvm-b"), name)
        task.state, task.undo, task.undo_loses = TaskState.INTERRUPTED, "Brings it back", name == "db-01"
        tasks.adopt(task, work, back)
    assert line_of(window, "web-01")[1].actions == ("Resume", "Roll back")
    await click(window, "web-01", "Resume")
    await until(lambda: ran == ["went on"])
    await click(window, "db-01", "Roll back")
    (asked,) = window.findChildren(Confirm)
    assert ran == ["went on"], "it asks first where something is lost"
    asked.go.click()
    await until(lambda: ran == ["went on", "went back"])


async def test_a_move_that_cannot_go_on_is_planned_anew(window: Window) -> None:
    task = move_task(vm_ref("kvm-a", "web-01"), host_ref("kvm-b"), "web-01")
    task.state, task.error = TaskState.FAILED, "the move was interrupted"
    window.services.tasks.adopt(task)
    await click(window, "web-01", "Plan anew…")
    (dialog,) = window.findChildren(PlanDialog)
    assert dialog.target() == host_ref("kvm-b")


async def test_a_lost_site_is_reconnected(window: Window) -> None:
    site = window.services.connections.get("lab")
    assert site is not None
    await click(window, "lab", "Reconnect")
    assert ("retry", "lab") in window.services.connections.calls  # type: ignore[attr-defined]


async def test_signing_in_asks_for_the_secrets_and_tries_them_first(window: Window) -> None:
    connections = window.services.connections
    site = connections.get("kvm-a")
    assert site is not None
    site.state, site.error = "auth-needed", "the password is wrong"  # type: ignore[assignment]
    await click(window, "kvm-a", "Sign in…")
    (dialog,) = window.findChildren(SignIn)
    await until(lambda: "password" in dialog.fields and dialog.go.isEnabled())
    assert list(dialog.fields) == ["password"], "only what is secret"
    dialog.fields["password"].set_value("s3cret")
    connections.findings = [Finding(level=Level.RED, code="auth", message="still wrong", field="password")]  # type: ignore[attr-defined]
    dialog.go.click()
    await until(lambda: "still wrong" in dialog.fields["password"].note())
    assert dialog.isVisible()
    connections.findings = []  # type: ignore[attr-defined]
    dialog.go.click()
    await until(lambda: not dialog.isVisible())
    assert connections.calls.count(("sign in", "kvm-a", {"password": "s3cret"})) == 2  # type: ignore[attr-defined]
