"""What services report, handed to the tabs: gathered for a moment, and drawn only where it is looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from PySide6.QtCore import QObject, QTimer

from app.inventory import Delta
from app.tasks import Task, TaskState
from backends.model import Ref, Sample
from widgets.frame import Frame
from widgets.tab import Tab

if TYPE_CHECKING:
    from app.connections import Connection
    from widgets.bars import StatusBar
    from widgets.tabs import Tabs
    from widgets.tree import Tree

GATHER_MS = 50


class Informed(Frame, Protocol):
    """The window, with the parts that news are brought to."""

    tabs: Tabs
    tree: Tree
    status: StatusBar


class News(QObject):
    """Follows the services until `close`."""

    def __init__(self, window: Informed) -> None:
        super().__init__(window)
        self._window, self._services = window, window.services
        self._dirty: set[Tab] = set()
        self._moved = False
        """A VM may live elsewhere by now."""
        self._told: dict[str, TaskState] = {task.id: task.state for task in self._services.tasks.all()}
        self._timer = QTimer(self, singleShot=True, interval=GATHER_MS)
        self._timer.timeout.connect(self._flush)
        self._stops: list[Callable[[], None]] = [
            self._services.inventory.subscribe(self._on_delta),
            self._services.inventory.subscribe_meters(self._on_meters),
            self._services.tasks.subscribe(self._on_task),
            self._services.connections.subscribe(self._on_site),
        ]

    def close(self) -> None:
        """Follow no longer."""
        self._timer.stop()
        for stop in self._stops:
            stop()
        self._stops = []

    def _on_delta(self, delta: Delta) -> None:
        for page in self._window.tabs.pages():
            if page.concerns(delta):
                self._soon(page)
        if delta.added or delta.removed:
            self._follow_soon()

    def _on_meters(self, samples: dict[Ref, Sample]) -> None:
        for page in self._window.tabs.pages():
            page.metered(samples)

    def _on_task(self, task: Task) -> None:
        before, self._told[task.id] = self._told.get(task.id), task.state
        for page in self._window.tabs.pages():
            page.task_changed(task)
        if before == task.state:
            return
        self._follow_soon()
        if task.state == TaskState.FAILED:
            self._window.toasts.tell("red", f"{task.title}: {task.error}", task.cure)
        elif task.state in (TaskState.UNKNOWN, TaskState.INTERRUPTED):
            self._window.toasts.tell("amber", f"{task.title}: {task.error or task.state}", task.cure)

    def _on_site(self, site: Connection) -> None:
        for page in self._window.tabs.pages():
            if page.key == "overview" or page.ref.connection == site.name:
                self._soon(page)
        self._window.status.refresh()

    def _follow_soon(self) -> None:
        self._moved = True
        self._dirty.update(page for page in self._window.tabs.pages() if page.uid)
        self._start()

    def _soon(self, page: Tab) -> None:
        self._dirty.add(page)
        self._start()

    def _start(self) -> None:
        if not self._timer.isActive():
            self._timer.start()

    def _flush(self) -> None:
        """Redraw the page that is shown; the others are drawn when they come to the front. Tabs follow their VM."""
        dirty, self._dirty = self._dirty, set()
        if self._moved:
            self._moved = False
            self._window.tree.follow()
        tabs = self._window.tabs
        pages = tabs.pages()
        for page in dirty:
            if page not in pages:
                continue
            if page.uid:
                self._follow(page)
            if page is tabs.currentWidget():
                page.refresh()

    def _follow(self, page: Tab) -> None:
        here = self._services.identity.ref_of(page.uid)
        if here is not None and here in self._services.inventory:
            page.follow(here)
