"""What needs somebody, and what to do about it: go on, roll back, reconnect, sign in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QTimer, Signal
from PySide6.QtWidgets import QWidget

from app.tasks import WAITING, Offer, Task, TaskState
from backends.model import Kind, Level, Ref, now
from widgets.eventlog import COALESCE_MS, Line, LineView
from widgets.tasksdock import undo

if TYPE_CHECKING:
    from app.connections import Connection
    from app.services import Services

BROKEN = {TaskState.FAILED: "failed", TaskState.UNKNOWN: "outcome unknown", TaskState.INTERRUPTED: "interrupted"}
TROUBLE = ("retrying", "auth-needed", "failed")
RECONNECT, SIGN_IN, ROLL_BACK, AGAIN = "Reconnect", "Sign in…", "Roll back", "Plan anew…"
MOVES = ("move", "copy")
WORDS = {Offer.RESUME: "Resume", Offer.RETRY: "Retry", Offer.UNDO: "Undo"}


class Alerts(LineView):
    """What needs somebody: sites that are not well, tasks that ended badly or wait."""

    counted = Signal(int)
    sign_in_wanted = Signal(str)
    """To this connection."""
    move_wanted = Signal(list, object, bool)
    """The plan of what failed, anew: list[Ref], the Ref to go to, True: copy."""

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__("Alerts", "All is well: every site answers, no task failed.", parent)
        self._services = services
        self.acted.connect(self._do)
        self._seen: set[str] = set()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(COALESCE_MS)
        self._timer.timeout.connect(self.refresh)
        self._unsubscribe = (
            services.connections.subscribe(lambda connection: self._soon()),
            services.tasks.subscribe(lambda task: self._soon()),
        )
        self._soon()

    def close_down(self) -> None:
        self._timer.stop()
        for end in self._unsubscribe:
            end()

    def dismiss_ended(self) -> None:
        """Tasks that failed have been seen; what still waits for a decision stays."""
        self._seen = {task.id for task in self._services.tasks.all() if task.state == TaskState.FAILED}
        self.refresh()

    def lines(self) -> list[Line]:
        found = [line for item in self._services.connections.all() if (line := self._of_site(item))]
        found += [line for task in self._services.tasks.all() if (line := self._of_task(task))]
        return sorted(found, key=lambda line: line.when, reverse=True)

    def refresh(self) -> None:
        lines = self.lines()
        self.show_lines(lines)
        self.counted.emit(len(lines))

    def _soon(self) -> None:
        if not self._timer.isActive():
            self._timer.start()

    def _of_site(self, item: Connection) -> Line | None:
        state = str(item.state)
        if state not in TROUBLE:
            return None
        level = Level.AMBER if state == "retrying" else Level.RED
        error = item.error or "does not answer"
        text = error if error.startswith(f"{item.name}:") else f"{item.name}: {error}"
        actions = (SIGN_IN, RECONNECT) if state == "auth-needed" else (RECONNECT,)
        site = Ref(item.name, Kind.CONNECTION, item.name)
        return Line(item.since or now(), level, text, item.cure, site, item.name, actions)

    def _of_task(self, task: Task) -> Line | None:
        if task.state not in BROKEN or task.id in self._seen:
            return None
        level = Level.RED if task.state == TaskState.FAILED else Level.AMBER
        text = f"{task.title}: {task.error or BROKEN[task.state]}"
        offers = self._services.tasks.offers(task)
        actions = tuple(word for offer, word in WORDS.items() if offer in offers)
        if not actions and task.kind in MOVES and task.ref in self._services.inventory:
            actions = (AGAIN,)
        if task.state in WAITING:
            actions = tuple(ROLL_BACK if word == WORDS[Offer.UNDO] else word for word in actions)
        return Line(task.ended or task.created, level, text, task.cure, task.ref, task.id, actions)

    def _do(self, line: Line, word: str) -> None:
        """What the alert is about; each of them is safe to ask for again."""
        if word == RECONNECT:
            self._services.connections.retry(line.subject)
        elif word == SIGN_IN:
            self.sign_in_wanted.emit(line.subject)
        elif (task := self._services.tasks.get(line.subject)) is None:
            return
        elif word == AGAIN:
            self.move_wanted.emit([task.ref], task.target, task.kind == "copy")
        elif word in (WORDS[Offer.RESUME], WORDS[Offer.RETRY]):
            self._services.tasks.retry(task.id)
        else:
            undo(self._services, task, self)
