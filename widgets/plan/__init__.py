"""The plan of a move: what will happen, what stands against it, what can be chosen. It blocks nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from PySide6.QtCore import QSize, Qt, QTimer
from PySide6.QtWidgets import (
    QDialog,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from app.migration.plan import Mapping, Mode
from app.migration.plan import Path as Path
from app.migration.plan import Verdict as Verdict
from backends.model import Finding as Finding
from backends.model import Level, LiveOptions, Ref
from widgets import format as fmt
from widgets.background import words
from widgets.details.page import Banner
from widgets.icons import icon
from widgets.parts import Card, Check, Combo, busy_bar, button, fit, label, scrolled, set_words
from widgets.plan.choices import Choices
from widgets.plan.shown import Findings, ForecastCard, Steps, verdict_text
from widgets.plan.targets import Targets, place_name, places

if TYPE_CHECKING:
    from app.migration import Planned
    from widgets.frame import Frame

REPLAN_MS = 250
ROLES = {"green": "ok", "amber": "warn", "red": "bad"}


@dataclass(slots=True)
class Choice:
    """What was chosen for one VM, what the plan says to it, and why it could not be made."""

    ref: Ref
    mode: Mode | None = None
    mapping: Mapping = field(default_factory=Mapping)
    live: LiveOptions = field(default_factory=LiveOptions)
    planned: Planned | None = None
    error: str = ""
    asking: asyncio.Task[None] | None = None

    @property
    def allowed(self) -> bool:
        return self.planned is not None and self.planned.verdict.allowed and self.asking is None

    @property
    def reason(self) -> str:
        """Why it cannot go; empty if it can."""
        if self.asking is not None:
            return "looking at both sides…"
        if self.planned is None:
            return self.error or "choose a target"
        red = [finding.message for finding in self.planned.verdict.findings if finding.level == Level.RED]
        return red[0] if red else "" if self.planned.verdict.allowed else self.planned.verdict.text


class PlanDialog(QDialog):
    """Plans anew whenever something is chosen; Move starts what may start."""

    def __init__(self, window: Frame, refs: Sequence[Ref], to: Ref | None, *, copy: bool = False) -> None:
        super().__init__(window)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        fit(self, 900, 640)
        self._window, self._services = window, window.services
        self.choices = [Choice(ref) for ref in refs]
        self._timer = QTimer(self, singleShot=True, interval=REPLAN_MS)
        self._timer.timeout.connect(self._replan_current)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(20, 16, 20, 14)
        outer.setSpacing(12)
        self._heading = label("", "heading", self)
        outer.addWidget(self._heading)
        outer.addLayout(self._target_row(to, copy))
        self.verdict = Banner(self)
        outer.addWidget(self.verdict)
        self._busy = busy_bar(self)
        outer.addWidget(self._busy)
        plan = QWidget(self)
        middle = QHBoxLayout(plan)
        middle.setContentsMargins(0, 0, 0, 0)
        middle.setSpacing(14)
        self._pages = QStackedWidget(self)
        for page in (self.targets, plan):
            self._pages.addWidget(page)
        outer.addWidget(self._pages, 1)
        self.list = QListWidget(self)
        self.list.setAccessibleName("VMs to move")
        self.list.setFixedWidth(190)
        self.list.setIconSize(QSize(16, 16))
        self.list.setVisible(len(refs) > 1)
        for choice in self.choices:
            self.list.addItem(QListWidgetItem(self._name(choice.ref)))
        self.list.setCurrentRow(0)
        self.list.currentRowChanged.connect(lambda _: self._show())
        middle.addWidget(self.list)
        middle.addWidget(scrolled(self._left()), 5)
        self._side = scrolled(self._right())
        middle.addWidget(self._side, 4)
        outer.addLayout(self._bottom())
        self._title()
        self._replan_all()
        (self.targets if to is None else self.to).setFocus()

    @property
    def choice(self) -> Choice:
        return self.choices[max(0, self.list.currentRow())]

    def target(self) -> Ref | None:
        chosen = self.to.chosen()
        return chosen if isinstance(chosen, Ref) else None

    # Layout

    def _target_row(self, to: Ref | None, copy: bool) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(10)
        row.addWidget(label("To", "muted", self))
        self.to = Combo("Target", self)
        self.to.setMinimumWidth(260)
        refs = [choice.ref for choice in self.choices]
        found = places(self._services, refs, to)
        self.targets = Targets(self._services, refs, found, self)
        self.targets.chosen.connect(self._take)
        self.to.fill([("choose a target", None), *found], to)
        self.to.currentIndexChanged.connect(lambda _: self._retarget())
        row.addWidget(self.to, 1)
        self.copy = Check("Copy: the original stays", self)
        self.copy.setChecked(copy)
        self.copy.toggled.connect(lambda _: self._retarget())
        row.addWidget(self.copy)
        return row

    def _left(self) -> QWidget:
        self.findings, self.steps = Findings(), Steps()
        return _column(self.findings, self.steps)

    def _right(self) -> QWidget:
        self.forecast, self.form = ForecastCard(), Choices()
        self.form.changed.connect(self._chosen)
        self.form.folded_out.connect(lambda last: self._side.ensureWidgetVisible(last))
        return _column(self.forecast, self.form)

    def _bottom(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self._why: QLabel = label("", "muted", self)
        self._why.setWordWrap(True)
        row.addWidget(self._why, 1)
        row.addWidget(button("Cancel", self.reject))
        self.go = button("Move", self._start, "arrow-right-left")
        self.go.setDefault(True)
        row.addWidget(self.go)
        return row

    # Planning

    def _take(self, place: Ref) -> None:
        """A place was chosen from the list."""
        self.to.choose(place)
        self.to.setFocus()

    def _retarget(self) -> None:
        """Another target, or copy instead of move: what was mapped does not fit any more."""
        for choice in self.choices:
            choice.mapping, choice.mode, choice.planned = Mapping(), None, None
        self._title()
        self._replan_all()

    def _replan_all(self) -> None:
        for choice in self.choices:
            self._ask(choice)
        self._show()

    def _replan_current(self) -> None:
        self._ask(self.choice)
        self._show()

    def _ask(self, choice: Choice) -> None:
        if choice.asking is not None:
            choice.asking.cancel()
            choice.asking = None
        to = self.target()
        choice.error = ""
        if to is None:
            choice.planned = None
            return
        choice.asking = self._window.background.run(self._plan(choice, to), "plan")

    async def _plan(self, choice: Choice, to: Ref) -> None:
        asking = asyncio.current_task()
        try:
            planned = await self._services.migrations.plan(
                choice.ref, to, mode=choice.mode, copy=self.copy.isChecked(), mapping=choice.mapping, live=choice.live
            )
        except Exception as error:
            planned = None
            text, cure = words(f"{self._name(choice.ref)} cannot be planned", error)
            choice.error = fmt.sentences(text, cure)
        if choice.asking is asking:
            choice.planned, choice.asking = planned, None
            self._show()

    def _chosen(self) -> None:
        """Something was chosen by hand: take it in and plan anew soon."""
        choice = self.choice
        choice.mode, choice.mapping = self.form.chosen_mode(), self.form.mapping()
        choice.live = self.form.live(choice.live)
        self._timer.start()

    def _start(self) -> None:
        ready = [choice.planned for choice in self.choices if choice.allowed and choice.planned is not None]
        if not ready or self._timer.isActive():
            return
        for planned in ready:
            self._window.attempt(lambda planned=planned: self._services.migrations.start(planned))
        self._window.show_dock("tasks", by_hand=False)
        self.accept()

    def done(self, result: int) -> None:
        self._timer.stop()
        for choice in self.choices:
            if choice.asking is not None:
                choice.asking.cancel()
                choice.asking = None
        super().done(result)

    # Showing

    def _title(self) -> None:
        names = [self._name(choice.ref) for choice in self.choices]
        verb = "Copy" if self.copy.isChecked() else "Move"
        what = names[0] if len(names) == 1 else fmt.counted(len(names), "VM")
        to = self.target()
        text = f"{verb} {what} to {self._place(to)}" if to is not None else f"{verb} {what}"
        self.setWindowTitle(text)
        self._heading.setText(text)

    def _show(self) -> None:
        for row, choice in enumerate(self.choices):
            colour = choice.planned.verdict.colour if choice.planned is not None else "red" if choice.error else ""
            symbol = {"green": "circle-check", "amber": "circle-alert", "red": "circle-x"}.get(colour, "clock")
            item = self.list.item(row)
            item.setIcon(icon(symbol, ROLES.get(colour, "muted")))
            item.setToolTip(fmt.tip(choice.reason or (choice.planned.verdict.text if choice.planned else "")))
        choice = self.choice
        asking = choice.asking is not None
        self._busy.setVisible(asking)
        if choice.error:
            self.verdict.say(choice.error, "bad")
        elif choice.planned is not None:
            self.verdict.say(verdict_text(choice.planned.verdict), ROLES[choice.planned.verdict.colour])
            self._fill(choice.planned)
        elif not asking:
            self.verdict.say("")
        self._show_page()
        self._judge()

    def _show_page(self) -> None:
        """Without a target the places to choose from, else the plan."""
        choosing = self.target() is None
        if choosing:
            self.targets.judge(self.copy.isChecked())
            self.verdict.say(self._ask_for_target(), "ask")
        self._pages.setCurrentIndex(0 if choosing else 1)

    def _ask_for_target(self) -> str:
        names = [self._name(choice.ref) for choice in self.choices]
        what = names[0] if len(names) == 1 else f"the {fmt.counted(len(names), 'VM')}"
        if not self.targets.rowCount():
            return f"There is no other place for {what}: add a connection first (Ctrl+N)."
        verb = "the copy goes" if self.copy.isChecked() else f"{what} goes" if len(names) == 1 else f"{what} go"
        return f"Choose where {verb}: arrow keys and Enter, or a click. Nothing is touched before you press Move."

    def _judge(self) -> None:
        """What the button says and whether it may be pressed."""
        allowed = sum(choice.allowed for choice in self.choices)
        verb = "Copy" if self.copy.isChecked() else "Move"
        few = 0 < allowed < len(self.choices)
        set_words(self.go, f"{verb} {allowed} of {len(self.choices)}" if few else verb)
        self.go.setEnabled(allowed > 0)
        reasons = [choice.reason for choice in self.choices if choice.reason]
        # With one VM, and without a target, the line above says it already.
        told = self.target() is None or len(self.choices) == 1
        self._why.setText(reasons[0] if reasons and not told else "")
        self.go.setToolTip(fmt.tip(reasons[0]) if reasons and not allowed else "")

    def _fill(self, planned: Planned) -> None:
        for card in (self.findings, self.steps, self.forecast):
            card.fill(planned)
        self.form.fill(planned, self._name(planned.plan.vm), self.choice.mapping, self.choice.live)
        # New lines count once they are shown.
        QTimer.singleShot(0, self, self._make_room)

    def _make_room(self) -> None:
        """The right side scrolls up and down only: what is wider than its room would be cut off."""
        bar = self._side.verticalScrollBar().sizeHint().width()
        self._side.setMinimumWidth(self._side.widget().minimumSizeHint().width() + bar)

    def _name(self, ref: Ref) -> str:
        item = self._services.inventory.get(ref)
        return item.name if item is not None else ref.id

    def _place(self, ref: Ref) -> str:
        return place_name(self._services, ref)


def _column(*cards: Card) -> QWidget:
    inner = QWidget()
    column = QVBoxLayout(inner)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(12)
    for card in cards:
        column.addWidget(card)
    column.addStretch(1)
    return inner
