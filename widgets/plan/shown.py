"""What a plan says: its findings, its steps, its forecast."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QVBoxLayout, QWidget

from app.migration.plan import Mode, Path, Verdict
from backends.model import Finding, Level
from widgets import format as fmt
from widgets.parts import Card, Facts, Sign, clear, label

if TYPE_CHECKING:
    from app.migration import Planned

PATH_WORDS = {
    Path.NONE: "memory only: the storage is shared",
    Path.DIRECT: "from host to host",
    Path.WORKSTATION: "through this workstation",
    Path.INSIDE: "inside the cloud",
}
SIGNS = {
    Level.RED: ("circle-x", "bad"),
    Level.AMBER: ("circle-alert", "warn"),
    Level.INFO: ("info", "muted"),
}


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


class Findings(Card):
    """What stands against a move, the worst first."""

    def __init__(self) -> None:
        super().__init__("Findings")
        self._lines = QVBoxLayout()
        self.body.addLayout(self._lines)

    def fill(self, planned: Planned) -> None:
        clear(self._lines)
        order = list(Level)
        for finding in sorted(planned.verdict.findings, key=lambda finding: order.index(finding.level)):
            self._lines.addWidget(FindingLine(finding))
        if not planned.verdict.findings:
            self._lines.addWidget(label("nothing stands against it", "muted"))


class Steps(Card):
    """What will happen, numbered."""

    def __init__(self) -> None:
        super().__init__("What will happen")
        self._lines = QGridLayout()
        self._lines.setColumnStretch(1, 1)
        self._lines.setHorizontalSpacing(8)
        self.body.addLayout(self._lines)

    def fill(self, planned: Planned) -> None:
        clear(self._lines)
        for number, step in enumerate(planned.steps, 1):
            line = label(step, "", copy=True)
            line.setWordWrap(True)
            place = label(f"{number}.", "muted")
            self._lines.addWidget(place, number, 0, Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignRight)
            self._lines.addWidget(line, number, 1)


class ForecastCard(Card):
    """How long it takes, how long it stops, what crosses the wire, and what that is judged by."""

    def __init__(self) -> None:
        super().__init__("Forecast")
        self.facts = Facts(right=(1,))
        self.body.addWidget(self.facts)

    def fill(self, planned: Planned) -> None:
        plan, forecast = planned.plan, planned.plan.forecast
        rows = [
            ("Takes", _about(forecast.seconds)),
            ("Stops for", "nothing: it is off" if forecast.downtime_s == 0 else _about(forecast.downtime_s)),
            ("Sends", fmt.size(forecast.bytes)),
            ("Way", PATH_WORDS[plan.path]),
            ("Original", _original(planned)),
        ]
        if forecast.seconds is not None:
            rows.append(("Judged by", "earlier moves" if forecast.measured else "an estimate: the first this way"))
        self.facts.show_rows(rows)


def _about(seconds: float | None) -> str:
    return f"about {fmt.duration(seconds)}" if seconds else fmt.duration(seconds)


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
