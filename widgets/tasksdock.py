"""The running and finished tasks, one row each: what, its stages, how it went, what can be done about it."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from PySide6.QtCore import QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QHideEvent, QPainter, QPainterPath, QPaintEvent, QShowEvent, QTextDocumentFragment
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QSizePolicy,
    QStackedLayout,
    QVBoxLayout,
    QWidget,
)

from app.tasks import ENDED, WAITING, Offer, Stage, StageState, Task, TaskState
from widgets import format as fmt
from widgets import theme
from widgets.parts import Elided, Sign, button, label, scrolled, set_words
from widgets.prompts import Confirm

if TYPE_CHECKING:
    from app.services import Services

SHOWN = 60
"""The newest that get a row; older ones are in the store."""
COALESCE_MS = 100
AGES_MS = 5000
"""How often the ages of what is done are shown anew, while they are seen."""
KIND_ICONS = {
    "move": "arrow-right-left",
    "undo": "undo-2",
    "power": "power",
    "delete": "trash-2",
    "rename": "pencil",
    "tag": "tag",
    "group": "folder",
    "redefine": "file-pen-line",
}
STAGE_ROLE = {
    StageState.DONE: ("ok", "ok_bg"),
    StageState.RUNNING: ("text", "pane2"),
    StageState.FAILED: ("bad", "bad_bg"),
    StageState.WAITING: ("muted", "pane2"),
    StageState.SKIPPED: ("muted", "pane"),
}
COPY_SHARE = 2.4
"""The copy takes most of the time and has most to say: its bar is this many times as wide."""


def stage_text(stage: Stage, at_rest: bool = False) -> str:
    """What stands on a stage's bar; `at_rest`: its task does not run."""
    progress = stage.progress
    if stage.state == StageState.RUNNING and progress.total_bytes:
        share = min(100, int(100 * progress.done_bytes / progress.total_bytes))
        if at_rest:
            return f"{stage.name} stopped at {share} %"
        words = [f"{stage.name} {share} %"]
        if progress.rate_bps:
            words.append(fmt.rate(progress.rate_bps))
            words.append(fmt.left((progress.total_bytes - progress.done_bytes) / progress.rate_bps))
        return " · ".join(words)
    if stage.state == StageState.RUNNING and progress.text:
        return f"{stage.name}: {progress.text}"
    if stage.state == StageState.FAILED:
        return f"{stage.name} failed"
    if stage.state == StageState.SKIPPED:
        return f"{stage.name}: not needed"
    if stage.state == StageState.DONE and stage.began and stage.ended and stage.name == "Copy":
        return f"{stage.name} {fmt.duration((stage.ended - stage.began).total_seconds())}"
    return stage.name


def result_text(task: Task) -> str:
    """How it went, or what is expected: stopped 38 ms (forecast 40 ms)."""
    forecast = task.downtime_forecast_s
    downtime = task.result.get("downtime_s")
    if task.state == TaskState.DONE and downtime == 0:
        return "done, nothing was stopped"
    if task.state == TaskState.DONE and isinstance(downtime, int | float):
        beside = f" (forecast {fmt.duration(forecast)})" if forecast is not None else ""
        return f"stopped {fmt.duration(float(downtime))}{beside}"
    if task.state == TaskState.DONE:
        return f"done {fmt.age(task.ended)}" if task.ended else "done"
    if task.state == TaskState.INTERRUPTED:
        return "interrupted"
    if task.state == TaskState.UNKNOWN:
        return "outcome unknown, nothing touched"
    if task.state in (TaskState.FAILED, TaskState.CANCELLED):
        return task.error or str(task.state)
    if task.state == TaskState.PAUSED:
        return "paused"
    if forecast is None:
        return ""
    return f"stop forecast {fmt.duration(forecast)}" if forecast else "nothing is stopped"


def undo(services: Services, task: Task, parent: QWidget) -> None:
    """Take a task back; where that loses something it is asked about first."""

    def start(_: bool) -> None:
        services.tasks.undo(task.id)

    if not task.undo_loses:
        start(False)
        return
    Confirm(f"Undo {task.title.replace(' -> ', ' → ')}?", (), f"{task.undo}.", "Undo", start, parent.window()).show()


class StageBars(QWidget):
    """The stages of a task side by side, the running one filled as far as it is."""

    def __init__(self, task: Task, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._stages: list[Stage] = []
        self._at_rest = False
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(20)
        self.show_task(task)

    def sizeHint(self) -> QSize:
        return QSize(420, 20)

    def show_task(self, task: Task) -> None:
        self._stages = list(task.stages) or [self._only(task)]
        self._at_rest = not task.active
        texts = [(stage_text(stage, self._at_rest), stage.state) for stage in self._stages]
        self.setAccessibleName("; ".join(f"{text} ({state})" for text, state in texts))
        self.setToolTip(fmt.tip("\n".join(f"{text} – {state}" for text, state in texts)))
        self.update()

    @staticmethod
    def _only(task: Task) -> Stage:
        state = {TaskState.DONE: StageState.DONE, TaskState.QUEUED: StageState.WAITING}.get(task.state)
        running = StageState.RUNNING if task.active else StageState.FAILED
        words = {TaskState.DONE: "Done", TaskState.QUEUED: "Waiting", TaskState.CANCELLED: "Cancelled"}
        return Stage(words.get(task.state, "Running" if task.active else "Task"), state or running)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        font = self.font()
        font.setPixelSize(11)
        painter.setFont(font)
        shares = [COPY_SHARE if stage.name == "Copy" and len(self._stages) > 1 else 1.0 for stage in self._stages]
        gap = 4.0
        unit = (self.width() - gap * (len(shares) - 1)) / sum(shares)
        x = 0.0
        for stage, share in zip(self._stages, shares, strict=True):
            self._bar(painter, QRectF(x, 0, unit * share, self.height()), stage)
            x += unit * share + gap

    def _bar(self, painter: QPainter, room: QRectF, stage: Stage) -> None:
        text_role, ground_role = STAGE_ROLE[stage.state]
        shape = QPainterPath()
        shape.addRoundedRect(room, 5, 5)
        painter.fillPath(shape, theme.colour(ground_role))
        if stage.state == StageState.RUNNING:
            total = stage.progress.total_bytes
            part = min(1.0, stage.progress.done_bytes / total) if total else 1.0
            painter.save()
            painter.setClipPath(shape)
            ground = theme.colour("warn_bg" if self._at_rest else "accent_bg")
            painter.fillRect(QRectF(room.x(), 0, room.width() * part, room.height()), ground)
            painter.restore()
        painter.setPen(theme.colour(text_role))
        text = painter.fontMetrics().elidedText(
            stage_text(stage, self._at_rest), Qt.TextElideMode.ElideRight, int(room.width()) - 8
        )
        painter.drawText(room, Qt.AlignmentFlag.AlignCenter, text)


class Title(QLabel):
    """Rich text while there is room for it, else plain text that ends in an ellipsis."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setTextFormat(Qt.TextFormat.RichText)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)

    def paintEvent(self, event: QPaintEvent) -> None:
        if self.sizeHint().width() <= self.width():
            super().paintEvent(event)
            return
        painter = QPainter(self)
        painter.setPen(self.palette().color(self.foregroundRole()))
        plain = QTextDocumentFragment.fromHtml(self.text()).toPlainText()
        text = self.fontMetrics().elidedText(plain, Qt.TextElideMode.ElideRight, self.width())
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignVCenter, text)


class TaskRow(QFrame):
    """One task. It shows what the task says; buttons go to Tasks."""

    log_opened = Signal()

    def __init__(self, services: Services, task: Task, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("taskRow")
        self._services, self._task = services, task
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(0)
        row = QHBoxLayout()
        row.setContentsMargins(16, 6, 16, 6)
        row.setSpacing(8)
        outer.addLayout(row)
        self._sign = Sign(KIND_ICONS.get(task.kind, "list-checks"), "text", self)
        row.addWidget(self._sign)
        self._title = Title(self)
        row.addWidget(self._title, 24)
        self._bars = StageBars(task, self)
        self._bars.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        row.addWidget(self._bars, 60)
        right = QWidget(self)
        right.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        row.addWidget(right, 36)
        row = QHBoxLayout(right)
        row.setContentsMargins(8, 0, 0, 0)
        row.setSpacing(8)
        self._result = Elided("", "muted", self)
        self._result.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        row.addWidget(self._result, 1)
        self._actions = {
            Offer.PAUSE: button("Pause", self._pause),
            Offer.CANCEL: button("Cancel", lambda: services.tasks.cancel(task.id)),
            Offer.RESUME: button("Resume", lambda: services.tasks.retry(task.id)),
            Offer.RETRY: button("Retry", lambda: services.tasks.retry(task.id), "rotate-cw"),
            Offer.UNDO: button("Undo", self._undo, "undo-2"),
        }
        for made in self._actions.values():
            row.addWidget(made)
        self.log_button = button("Log", self.toggle_log)
        self.log_button.setCheckable(True)
        row.addWidget(self.log_button)
        self._log = QPlainTextEdit(self)
        self._log.setReadOnly(True)
        self._log.setFixedHeight(132)
        self._log.setObjectName("log")
        self._log.setAccessibleName("Log of this task")
        self._log.hide()
        outer.addWidget(self._log)
        self.refresh()

    @property
    def task(self) -> Task:
        return self._task

    def offers(self) -> frozenset[Offer]:
        """The buttons that make sense now."""
        return self._services.tasks.offers(self._task)

    def refresh(self) -> None:
        task = self._task
        self._title.setText(self._words())
        self._title.setToolTip(fmt.tip(task.title))
        self._bars.show_task(task)
        bad = task.state == TaskState.FAILED
        self._result.setText(result_text(task))
        if (bad or task.state in WAITING) and task.cure:
            self._result.setToolTip(fmt.tip(f"{task.error}\n{task.cure}"))
        role = "bad" if bad else "warn" if task.state in WAITING else "text"
        self._sign.show_as(KIND_ICONS.get(task.kind, "list-checks"), role)
        self.setAccessibleName(f"{task.title}: {task.state}. {result_text(task)}")
        offers = self.offers()
        for name, made in self._actions.items():
            made.setVisible(name in offers)
        set_words(self._actions[Offer.UNDO], "Roll back" if task.state in WAITING else "Undo")
        self._actions[Offer.UNDO].setToolTip(fmt.tip(task.undo))
        set_words(self._actions[Offer.PAUSE], "Resume" if task.state == TaskState.PAUSED else "Pause")
        if self._log.isVisible():
            self._show_log()

    def show_age(self) -> None:
        """What is done was done a moment ago, later a minute ago."""
        if self._task.state == TaskState.DONE:
            self._result.setText(result_text(self._task))

    def toggle_log(self) -> None:
        self.log_button.setChecked(self._log.isHidden())
        self._log.setVisible(self._log.isHidden())
        if self._log.isVisible():
            self._show_log()
            self.log_opened.emit()

    def log_text(self) -> str:
        return self._log.toPlainText()

    def _show_log(self) -> None:
        lines = [f"{fmt.clock(when)}  {text}" for when, text in self._task.log]
        if self._task.error:
            lines.append(self._task.error)
        if self._task.cure:
            lines.append(f"→ {self._task.cure}")
        text = "\n".join(lines) or "nothing written yet"
        if text != self._log.toPlainText():
            self._log.setPlainText(text)
            self._log.verticalScrollBar().setValue(self._log.verticalScrollBar().maximum())

    def _undo(self) -> None:
        undo(self._services, self._task, self)

    def _pause(self) -> None:
        self._services.tasks.pause(self._task.id, self._task.state != TaskState.PAUSED)

    def _words(self) -> str:
        """The title with its VM in bold and its mode muted: **mail** kvm-b → kvm-a live."""
        before, arrow, to = self._task.title.partition(" -> ")
        if not arrow:
            return html.escape(self._task.title)
        name, _, place = before.rpartition(" ")
        mode = "copy" if self._task.kind == "copy" else str(self._task.result.get("mode", ""))
        tail = f" <span style='color:{theme.tokens().muted}'>{html.escape(mode)}</span>"
        return f"<b>{html.escape(name)}</b> {html.escape(place)} → {html.escape(to)}{tail}"


class TasksDock(QWidget):
    """All tasks, newest first. Changes are gathered for a moment, then drawn together."""

    counted = Signal(int)
    room_wanted = Signal()
    """A log was opened: it needs some height."""

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._rows: dict[str, TaskRow] = {}
        self._hidden: set[str] = set()
        self._dirty: set[str] = set()
        self.setAccessibleName("Tasks")
        inner = QWidget(self)
        self._list = QVBoxLayout(inner)
        self._list.setContentsMargins(0, 0, 0, 0)
        self._list.setSpacing(0)
        self.setMinimumHeight(1)
        self._list.addStretch(1)
        self._empty = label("Nothing runs. Moves, power changes and edits show here, with undo.", "empty", self)
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._stack = QStackedLayout(self)
        self._stack.addWidget(self._empty)
        self._stack.addWidget(scrolled(inner))
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(COALESCE_MS)
        self._timer.timeout.connect(self._flush)
        self._ages = QTimer(self, interval=AGES_MS)
        self._ages.timeout.connect(self.show_ages)
        self._unsubscribe = services.tasks.subscribe(self._changed)
        self._dirty.update(task.id for task in services.tasks.all()[:SHOWN])
        self._flush()

    def rows(self) -> list[TaskRow]:
        return sorted(self._rows.values(), key=lambda row: row.task.created, reverse=True)

    def busy(self) -> bool:
        """Whether one of them runs, or waits for somebody."""
        return any(row.task.active or row.task.state in WAITING for row in self._rows.values())

    def newest(self) -> str:
        """The newest one in a few words; empty where there is none."""
        task = next((row.task for row in self.rows()), None)
        return "" if task is None else f"{task.title.replace(' -> ', ' → ')}: {result_text(task) or task.state}"

    def clear_ended(self) -> None:
        """Take the finished ones off the list; those that can be undone stay."""
        for ident, row in list(self._rows.items()):
            if row.task.state in ENDED and Offer.UNDO not in row.offers():
                self._hidden.add(ident)
                self._drop(ident)
        self._count()

    def show_ages(self) -> None:
        for row in self._rows.values():
            row.show_age()

    def showEvent(self, event: QShowEvent) -> None:
        self.show_ages()
        self._ages.start()

    def hideEvent(self, event: QHideEvent) -> None:
        self._ages.stop()

    def close_down(self) -> None:
        self._timer.stop()
        self._ages.stop()
        self._unsubscribe()

    def _changed(self, task: Task) -> None:
        self._dirty.add(task.id)
        if not self._timer.isActive():
            self._timer.start()

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, set()
        fresh = []
        for ident in dirty:
            task = self._services.tasks.get(ident)
            if task is None or (ident in self._hidden and not task.active):
                continue
            if (row := self._rows.get(ident)) is not None:
                row.refresh()
            else:
                fresh.append(task)
        for task in sorted(fresh, key=lambda task: task.created):
            row = self._rows[task.id] = TaskRow(self._services, task, self)
            row.log_opened.connect(self.room_wanted)
            self._list.insertWidget(sum(other.task.created > task.created for other in self._rows.values()), row)
        for row in self.rows()[SHOWN:]:
            self._drop(row.task.id)
        self._count()

    def _drop(self, ident: str) -> None:
        row = self._rows.pop(ident)
        self._list.removeWidget(row)
        row.hide()
        row.deleteLater()

    def _count(self) -> None:
        self._stack.setCurrentIndex(1 if self._rows else 0)
        self.counted.emit(len(self._rows))
