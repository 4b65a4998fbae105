"""The plan of a move: what will happen, what stands against it, what can be chosen. It blocks nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from PySide6.QtCore import QSize, Qt, QTimer
from PySide6.QtWidgets import (
    QDialog,
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QProgressBar,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from app.migration.plan import Mapping, Mode, Path, Verdict
from backends.model import Finding, Kind, Level, LiveOptions, Ref
from widgets import format as fmt
from widgets.background import words
from widgets.details.page import Banner
from widgets.icons import icon
from widgets.parts import Card, Check, Combo, Facts, Sign, button, clear, fit, label, scrolled, set_words

if TYPE_CHECKING:
    from app.migration import Planned
    from widgets.window import Window

REPLAN_MS = 250
PATH_WORDS = {
    Path.NONE: "memory only: the storage is shared",
    Path.DIRECT: "from host to host",
    Path.WORKSTATION: "through this workstation",
    Path.INSIDE: "inside the cloud",
}
MODE_WORDS = {Mode.LIVE: "live: runs on", Mode.WARM: "warm: a short stop", Mode.COLD: "cold: stopped meanwhile"}
SIGNS = {
    Level.RED: ("circle-x", "bad"),
    Level.AMBER: ("circle-alert", "warn"),
    Level.INFO: ("info", "muted"),
}
ROLES = {"green": "ok", "amber": "warn", "red": "bad"}
TARGETS = (Kind.HOST, Kind.ZONE)


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


class FindingLine(QWidget):
    """One finding: its sign, its words, its cure."""

    def __init__(self, finding: Finding) -> None:
        super().__init__()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 2, 0, 2)
        row.setSpacing(8)
        row.addWidget(Sign(*SIGNS[finding.level], self), 0, Qt.AlignmentFlag.AlignTop)
        column = QVBoxLayout()
        column.setSpacing(1)
        for text, name in ((finding.message, ""), (finding.cure, "muted")):
            if text:
                line = label(text, name, self, copy=True)
                line.setWordWrap(True)
                column.addWidget(line)
        row.addLayout(column, 1)
        self.setAccessibleName(f"{finding.level}: {finding.message}. {finding.cure}")


class PlanDialog(QDialog):
    """Plans anew whenever something is chosen; Move starts what may start."""

    def __init__(self, window: Window, refs: Sequence[Ref], to: Ref | None, *, copy: bool = False) -> None:
        super().__init__(window)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        fit(self, 900, 640)
        self._window, self._services = window, window.services
        self.choices = [Choice(ref) for ref in refs]
        self._filling = False
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
        self._busy = QProgressBar(self)
        self._busy.setRange(0, 0)
        self._busy.setFixedHeight(3)
        self._busy.setTextVisible(False)
        keep = self._busy.sizePolicy()
        keep.setRetainSizeWhenHidden(True)
        self._busy.setSizePolicy(keep)
        outer.addWidget(self._busy)
        middle = QHBoxLayout()
        middle.setSpacing(14)
        outer.addLayout(middle, 1)
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
        self._choices = scrolled(self._right())
        middle.addWidget(self._choices, 4)
        outer.addLayout(self._bottom())
        self._title()
        self._replan_all()

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
        self.to.fill([("choose a target", None), *self._targets(to)], to)
        self.to.currentIndexChanged.connect(lambda _: self._retarget())
        row.addWidget(self.to, 1)
        self.copy = Check("Copy: the original stays", self)
        self.copy.setChecked(copy)
        self.copy.toggled.connect(lambda _: self._retarget())
        row.addWidget(self.copy)
        return row

    def _targets(self, to: Ref | None) -> list[tuple[str, Ref]]:
        """Hosts and zones where the VMs could go, each with the quick verdict."""
        refs = [choice.ref for choice in self.choices]
        here = {vm.parent for ref in refs if (vm := self._services.inventory.vm(ref)) is not None}
        found = []
        for site in self._services.connections.all():
            places = [
                item.ref for item in self._services.inventory.children(site.name, None) if item.ref.kind in TARGETS
            ]
            for place in places or [Ref(site.name, Kind.CONNECTION, site.name)]:
                if place in here and len(here) == 1 and place != to:
                    continue
                verdict = self._services.migrations.quick(refs, place)
                found.append((f"{self._place(place)}   –   {verdict.text}", place))
        if to is not None and all(place != to for _, place in found):
            found.append((self._place(to), to))
        return found

    def _left(self) -> QWidget:
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(12)
        findings, steps = Card("Findings"), Card("What will happen")
        self._findings = QVBoxLayout()
        findings.body.addLayout(self._findings)
        self._steps = QGridLayout()
        self._steps.setColumnStretch(1, 1)
        self._steps.setHorizontalSpacing(8)
        steps.body.addLayout(self._steps)
        column.addWidget(findings)
        column.addWidget(steps)
        column.addStretch(1)
        return inner

    def _right(self) -> QWidget:
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(12)
        forecast, options = Card("Forecast"), Card("Choices")
        self.forecast = Facts(right=(1,))
        forecast.body.addWidget(self.forecast)
        self._form = QFormLayout()
        self._form.setHorizontalSpacing(12)
        self._form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        options.body.addLayout(self._form)
        self.name = QLineEdit()
        self.mode, self.storage, self.flavor = Combo("How"), Combo("Storage"), Combo("Flavor")
        self.networks: dict[str, Combo] = {}
        self.name.textEdited.connect(lambda _: self._chosen())
        self.name.setAccessibleName("Name")
        for combo in (self.mode, self.storage, self.flavor):
            combo.activated.connect(lambda _: self._chosen())
        for text, widget in (
            ("How", self.mode), ("Name", self.name), ("Storage", self.storage), ("Flavor", self.flavor)
        ):  # fmt: skip
            self._form.addRow(label(text, "muted"), widget)
        self.advanced_button = button("Advanced", self._toggle_advanced, "sliders-horizontal")
        self.advanced_button.setCheckable(True)
        options.body.addWidget(self.advanced_button, 0, Qt.AlignmentFlag.AlignLeft)
        self.advanced = self._advanced()
        options.body.addWidget(self.advanced)
        column.addWidget(forecast)
        column.addWidget(options)
        column.addStretch(1)
        return inner

    def _advanced(self) -> QWidget:
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(0, 4, 0, 0)
        self.boxes: dict[str, Check] = {}
        for name, text, tip in (
            ("tls", "Encrypt what crosses the network (TLS)", "needs certificates on both hosts"),
            ("peer_to_peer", "Let the hosts talk to each other", "peer-to-peer"),
            ("tunnelled", "Through libvirt's own connection", "tunnelled; implies peer-to-peer"),
            ("post_copy", "Switch first, fetch memory after", "post-copy: surely ends, but a loss then stops the VM"),
            ("auto_converge", "Slow the guest down if it never ends", "auto-converge"),
        ):
            box = Check(text, inner)
            box.setToolTip(tip)
            box.clicked.connect(lambda _: self._chosen())
            column.addWidget(box)
            self.boxes[name] = box
        form = QFormLayout()
        self.parallel, self.bandwidth = QSpinBox(), QSpinBox()
        self.parallel.setRange(0, 16)
        self.parallel.setSpecialValueText("one")
        self.bandwidth.setRange(0, 100_000)
        self.bandwidth.setSuffix(" MB/s")
        self.bandwidth.setSpecialValueText("no limit")
        for text, spin in (("Connections at once", self.parallel), ("Bandwidth", self.bandwidth)):
            spin.setAccessibleName(text)
            spin.valueChanged.connect(lambda _: self._chosen())
            form.addRow(label(text, "muted"), spin)
        column.addLayout(form)
        inner.hide()
        return inner

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

    def _toggle_advanced(self) -> None:
        self.advanced.setVisible(self.advanced_button.isChecked())
        QTimer.singleShot(0, self, lambda: self._choices.ensureWidgetVisible(self.bandwidth))

    # Planning

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
        if self._filling:
            return
        choice = self.choice
        mode = self.mode.chosen()
        choice.mode = mode if isinstance(mode, Mode) else None
        pairs = tuple((name, str(combo.chosen())) for name, combo in self.networks.items() if combo.chosen())
        choice.mapping = Mapping(
            networks=pairs,
            storage=str(self.storage.chosen() or ""),
            flavor=str(self.flavor.chosen() or ""),
            name=self.name.text().strip(),
        )
        choice.live = replace(
            choice.live,
            **{name: box.isChecked() for name, box in self.boxes.items()},
            parallel=self.parallel.value(),
            bandwidth_bps=self.bandwidth.value() * 1_000_000,
        )
        self._timer.start()

    def _start(self) -> None:
        ready = [choice.planned for choice in self.choices if choice.allowed and choice.planned is not None]
        if not ready or self._timer.isActive():
            return
        for planned in ready:
            self._window.attempt(lambda planned=planned: self._services.migrations.start(planned))
        self._window.show_dock("tasks")
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
            item.setToolTip(choice.reason or (choice.planned.verdict.text if choice.planned else ""))
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
        self._judge()

    def _judge(self) -> None:
        """What the button says and whether it may be pressed."""
        allowed = sum(choice.allowed for choice in self.choices)
        verb = "Copy" if self.copy.isChecked() else "Move"
        few = 0 < allowed < len(self.choices)
        set_words(self.go, f"{verb} {allowed} of {len(self.choices)}" if few else verb)
        self.go.setEnabled(allowed > 0)
        reasons = [choice.reason for choice in self.choices if choice.reason]
        # With one VM the line above says it already.
        self._why.setText(reasons[0] if reasons and (self.target() is None or len(self.choices) > 1) else "")
        self.go.setToolTip(reasons[0] if reasons and not allowed else "")

    def _fill(self, planned: Planned) -> None:
        clear(self._findings)
        order = list(Level)
        for finding in sorted(planned.verdict.findings, key=lambda finding: order.index(finding.level)):
            self._findings.addWidget(FindingLine(finding))
        if not planned.verdict.findings:
            self._findings.addWidget(label("nothing stands against it", "muted"))
        clear(self._steps)
        for number, step in enumerate(planned.steps, 1):
            line = label(step, "", copy=True)
            line.setWordWrap(True)
            place = label(f"{number}.", "muted")
            self._steps.addWidget(place, number, 0, Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignRight)
            self._steps.addWidget(line, number, 1)
        plan, forecast = planned.plan, planned.plan.forecast
        self.forecast.show_rows(
            [
                ("Takes", fmt.duration(forecast.seconds)),
                ("Stops for", fmt.duration(forecast.downtime_s)),
                ("Sends", fmt.size(forecast.bytes)),
                ("Way", PATH_WORDS[plan.path]),
                ("Original", _original(planned)),
            ]
        )
        self._fill_choices(planned)

    def _fill_choices(self, planned: Planned) -> None:
        self._filling = True
        try:
            plan, facts, mapping = planned.plan, planned.target, self.choice.mapping
            self.mode.fill([(MODE_WORDS[mode], mode) for mode in Mode], plan.mode)
            if not self.name.hasFocus():
                self.name.setText(mapping.name or self._name(plan.vm))
            pools = [
                (f"{pool.name}, {fmt.size(pool.free_bytes)} free" if pool.size_bytes else pool.name, pool.name)
                for pool in facts.pools
            ]
            self.storage.fill([("as it fits", ""), *pools], mapping.storage)
            flavors = [
                (f"{flavor.name}, {flavor.vcpus} vCPU, {fmt.size(flavor.memory_bytes)}", flavor.name)
                for flavor in facts.flavors
            ]
            self.flavor.fill([("the smallest that fits", ""), *flavors], mapping.flavor)
            live = plan.mode == Mode.LIVE
            self.advanced_button.setVisible(live)
            self.advanced.setVisible(live and self.advanced_button.isChecked())
            self._form.setRowVisible(self.storage, bool(pools))
            self._form.setRowVisible(self.flavor, bool(flavors))
            self._fill_networks(planned)
        finally:
            self._filling = False

    def _fill_networks(self, planned: Planned) -> None:
        wanted = sorted({nic.network for nic in planned.source.nics if nic.network})
        known = [(network.name, network.name) for network in planned.target.networks]
        for name in set(self.networks) - set(wanted):
            self._form.removeRow(self.networks.pop(name))
        chosen = dict(self.choice.mapping.networks)
        for name in wanted if known else ():
            if name not in self.networks:
                combo = self.networks[name] = Combo(f"Network for {name}")
                combo.activated.connect(lambda _: self._chosen())
                self._form.addRow(label(f"Network {name}", "muted"), combo)
            same = name if any(name == data for _, data in known) else ""
            self.networks[name].fill([("as it fits", ""), *known], chosen.get(name) or same)

    def _name(self, ref: Ref) -> str:
        item = self._services.inventory.get(ref)
        return item.name if item is not None else ref.id

    def _place(self, ref: Ref) -> str:
        name = self._name(ref)
        return name if name == ref.connection else f"{ref.connection} / {name}"


def verdict_text(verdict: Verdict) -> str:
    """What is said across the plan; an amber one names what to look at first."""
    if verdict.colour != "amber":
        return verdict.text
    amber = [finding.message for finding in verdict.findings if finding.level == Level.AMBER]
    more = f" (and {len(amber) - 1} more)" if len(amber) > 1 else ""
    return f"{verdict.text}. Look first: {amber[0].rstrip('.')}{more}" if amber else verdict.text


def _original(planned: Planned) -> str:
    """What becomes of the VM where it is now."""
    plan = planned.plan
    if plan.copy:
        return "stays as it is"
    return "goes with it" if plan.mode == Mode.LIVE else f"kept for undo, {plan.keep_source_days} days"
