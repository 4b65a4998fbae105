"""Closing while tasks run: wait for them, or go on without a window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.tasks import Task
from widgets import format as fmt
from widgets.parts import button
from widgets.prompts import Confirm

if TYPE_CHECKING:
    from widgets.frame import Frame


class Leaving(Confirm):
    """Two ways to leave: out of sight now and end when the tasks have ended, or stay."""

    def __init__(self, window: Frame, active: Sequence[Task]) -> None:
        super().__init__(
            f"{fmt.counted(len(active), 'task')} still running",
            [task.title for task in active],
            f"{'It is' if len(active) == 1 else 'They are'} not cancelled. Causeway goes on without a window and ends "
            "when nothing runs any more; starting it again brings the window back.",
            "Go on without a window",
            lambda _: self._hide(),
            window,
        )
        self._window = window
        self.go.setObjectName("primary")
        self._wait = button("Wait, then quit", self._stay)
        self.row.insertWidget(0, self._wait)

    def _hide(self) -> None:
        self._window.hide()
        self._quit_when_done()

    def _stay(self) -> None:
        self._window.toasts.tell("info", "Causeway quits when the tasks have ended")
        self._quit_when_done()
        self.accept()

    def _quit_when_done(self) -> None:
        tasks = self._window.services.tasks

        def changed(task: Task) -> None:
            if not any(other.active for other in tasks.all()):
                end()
                self._window.leave()

        end = tasks.subscribe(changed)
