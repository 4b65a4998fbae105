"""The connection dialog: made from the kind's options, tried before it is saved, findings at their fields."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QStandardItemModel
from PySide6.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QVBoxLayout,
    QWidget,
)

from backends.driver import Option
from backends.model import Finding, Level
from widgets import format as fmt
from widgets.background import words
from widgets.details.page import Banner
from widgets.parts import Check, Combo, busy_bar, button, clear, fit, label, scrolled, tool
from widgets.prompts import Prompt

if TYPE_CHECKING:
    from app.connections import KindUse
    from app.discover import Found
    from widgets.frame import Frame


class Field(QWidget):
    """One option: its label, its input, its help, and what the check found there."""

    def __init__(self, option: Option, changed: Callable[[], None]) -> None:
        super().__init__()
        self.option = option
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 2, 0, 6)
        column.setSpacing(3)
        self._read: Callable[[], str]
        self._write: Callable[[str], None]
        self.input = self._input(changed)
        self.input.setAccessibleName(option.label)
        self.input.setAccessibleDescription(option.help)
        self._write(option.default)
        if option.kind != "bool":
            column.addWidget(label(option.label + ("" if option.required else ", optional"), "small", self))
        row = QHBoxLayout()
        row.addWidget(self.input, 1)
        if option.kind == "path":
            row.addWidget(tool("folder", f"Choose {option.label}", self._browse))
        column.addLayout(row)
        self._note: QLabel = label(option.help, "small", self)
        self._note.setWordWrap(True)
        self._note.setVisible(bool(option.help))
        column.addWidget(self._note)

    @property
    def value(self) -> str:
        return self._read()

    def set_value(self, text: str) -> None:
        self._write(text)

    def note(self) -> str:
        return self._note.text()

    def show_finding(self, finding: Finding | None) -> None:
        """Put a finding below the input; None brings the help back."""
        text = self.option.help
        if finding is not None:
            text = fmt.sentences(finding.message, finding.cure)
        level = finding.level if finding is not None else Level.INFO
        self._note.setObjectName({Level.RED: "badText", Level.AMBER: "warnText"}.get(level, "small"))
        self._note.setText(text)
        self._note.setVisible(bool(text))
        self.input.setProperty("bad", level == Level.RED)
        for widget in (self._note, self.input):
            widget.style().unpolish(widget)
            widget.style().polish(widget)

    def _input(self, changed: Callable[[], None]) -> QWidget:
        option = self.option
        if option.kind == "bool":
            box = Check(option.label, self)
            box.toggled.connect(lambda _: changed())
            self._read = lambda: "true" if box.isChecked() else "false"
            self._write = lambda text: box.setChecked(text.lower() in ("1", "true", "yes", "on"))
            return box
        if option.choices:
            combo = Combo(option.label, self)
            unchosen = (
                [] if option.default or "" in option.choices else [("choose…" if option.required else "none", "")]
            )
            combo.fill([*unchosen, *((choice, choice) for choice in option.choices)])
            combo.activated.connect(lambda _: changed())
            self._read, self._write = lambda: str(combo.chosen() or ""), combo.choose
            return combo
        if option.kind == "lines":
            text = QPlainTextEdit(self)
            text.setFixedHeight(58)
            text.setTabChangesFocus(True)
            text.textChanged.connect(changed)
            self._read, self._write = lambda: text.toPlainText().strip(), text.setPlainText
            return text
        edit = QLineEdit(self)
        edit.textEdited.connect(lambda _: changed())
        if option.secret:
            edit.setEchoMode(QLineEdit.EchoMode.Password)
        self._read, self._write = lambda: edit.text() if option.secret else edit.text().strip(), edit.setText
        return edit

    def _browse(self) -> None:
        dialog = QFileDialog(self, f"Choose {self.option.label}")
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(self.set_value)
        dialog.open()


class ConnectDialog(Prompt):
    """Choose a kind, fill the form, Check, Save. Save checks first; what is red is not saved."""

    def __init__(
        self,
        window: Frame,
        *,
        section: str = "",
        kind: str = "",
        name: str = "",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__("Add a connection", window)
        fit(self, 560, 600)
        self._window, self._connections = window, window.services.connections
        self._section, self._wanted, self._given = section, kind, dict(settings or {})
        self.fields: dict[str, Field] = {}
        self._options: dict[str, tuple[Option, ...]] = {}
        self._busy: asyncio.Task[None] | None = None
        self._named = bool(name)
        top = QHBoxLayout()
        self.kind, self.name = Combo("Kind", self), QLineEdit(name, self)
        self.name.setAccessibleName("Name")
        self.name.setPlaceholderText("a short name, for example kvm-a")
        self.name.textEdited.connect(lambda _: self._touched())
        for text, widget, share in (("Kind", self.kind, 3), ("Name", self.name, 2)):
            column = QVBoxLayout()
            column.setSpacing(3)
            column.addWidget(label(text, "small", self))
            column.addWidget(widget)
            top.addLayout(column, share)
        self.body.addLayout(top)
        self._found = QVBoxLayout()
        self._found.setSpacing(4)
        self.body.addLayout(self._found)
        inner = QWidget()
        self._column = QVBoxLayout(inner)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._form, self._more = QVBoxLayout(), QWidget()
        self._advanced = QVBoxLayout(self._more)
        self._advanced.setContentsMargins(0, 0, 0, 0)
        self.fold = button("Advanced", self._toggle, "sliders-horizontal")
        self.fold.setCheckable(True)
        self._column.addLayout(self._form)
        self._column.addWidget(self.fold, 0, Qt.AlignmentFlag.AlignLeft)
        self._column.addWidget(self._more)
        self._column.addStretch(1)
        self._more.hide()
        area = self._area = scrolled(inner)
        area.setObjectName("plain")
        inner.setObjectName("plain")
        self.body.addWidget(area, 1)
        self.read_only = Check("Read-only: look, change nothing", self)
        self.production = Check("Production: marked in red, stopping and deleting ask for the name", self)
        self.body.addWidget(self.read_only)
        self.body.addWidget(self.production)
        self.result = Banner(self)
        self.body.addWidget(self.result)
        self._progress = busy_bar(self)
        self.body.addWidget(self._progress)
        self.add_buttons("Save", lambda: self._run(save=True))
        row = self.body.itemAt(self.body.count() - 1).layout()
        self.check = button("Check", lambda: self._run(save=False))
        assert isinstance(row, QHBoxLayout)
        row.insertWidget(0, self.check)
        self.kind.activated.connect(lambda _: self._choose())
        window.background.run(self._load(), "connection kinds", self._complain)

    def values(self) -> tuple[dict[str, str], dict[str, str]]:
        """Settings and secrets as they stand in the form; empty ones are left out."""
        settings, secrets = {}, {}
        for name, field in self.fields.items():
            if field.value and not (field.value == field.option.default and not field.option.required):
                (secrets if field.option.secret else settings)[name] = field.value
        return settings, secrets

    async def _load(self) -> None:
        """The kinds and their options: asked in a thread, because it imports their libraries."""
        kinds, self._options = await asyncio.to_thread(self._read_kinds)
        self.kind.fill([(use.info.title + (" (not usable here)" if use.why else ""), use.info.kind) for use in kinds])
        for row, use in enumerate(kinds):
            self._grey(row, use)
        wanted = next((row for row, use in enumerate(kinds) if use.info.kind == self._wanted), -1)
        serving = [row for row, use in enumerate(kinds) if self._section in _sections(use) and not use.why]
        fits = serving[0] if serving else 0
        self.kind.setCurrentIndex(wanted if wanted >= 0 else fits)
        self._choose()
        if not self._given:
            self._offer(await discovered(self._window))

    def _read_kinds(self) -> tuple[list[KindUse], dict[str, tuple[Option, ...]]]:
        kinds = self._connections.kinds()
        return kinds, {use.info.kind: self._connections.options(use.info.kind) for use in kinds if not use.why}

    def _grey(self, row: int, use: KindUse) -> None:
        """A kind that cannot be used here stays in the list and says why."""
        model = self.kind.model()
        if use.why and isinstance(model, QStandardItemModel):
            model.item(row).setEnabled(False)
            model.item(row).setToolTip(fmt.tip(use.why))

    def _offer(self, found: list[Found]) -> None:
        """What was found on this machine, to be taken with one press."""
        fits = [item for item in found if self._connections.get(item.name) is None][:3]
        if fits:
            self._found.addWidget(label("Found on this machine", "small", self))
        for item in fits:
            made = button(f"{item.title} – {item.origin}", lambda item=item: self._take(item), "sparkles")
            self._found.addWidget(made)

    def _take(self, found: Found) -> None:
        self._given = dict(found.settings)
        self.kind.choose(found.kind)
        self.name.setText(found.name)
        self._choose()

    def _choose(self) -> None:
        """Another kind: another form."""
        kind = self.kind.chosen()
        if kind is None:
            return
        clear(self._form)
        clear(self._advanced)
        self.fields = {}
        for option in self._options.get(str(kind), ()):
            field = self.fields[option.name] = Field(option, self._touched)
            (self._advanced if option.advanced else self._form).addWidget(field)
            if option.name in self._given:
                field.set_value(self._given[option.name])
        self.fold.setVisible(any(field.option.advanced for field in self.fields.values()))
        self.result.say("")
        if not self.name.text():
            self.name.setText(self._free_name(str(kind)))

    def _free_name(self, kind: str) -> str:
        names = {site.name for site in self._connections.all()}
        return next(
            name for number in range(1, 1000) if (name := kind if number == 1 else f"{kind}-{number}") not in names
        )

    def _toggle(self) -> None:
        self._more.setVisible(self.fold.isChecked())

    def _touched(self) -> None:
        """What was found does not hold for what is changed."""
        self.result.say("")
        for field in self.fields.values():
            field.show_finding(None)

    def _run(self, *, save: bool) -> None:
        if self._busy is not None or self.kind.chosen() is None:
            return
        self._set_busy(True)
        self._busy = self._window.background.run(self._work(save=save), "check", self._complain)

    async def _work(self, *, save: bool) -> None:
        kind, name = str(self.kind.chosen()), self.name.text().strip()
        settings, secrets = self.values()
        try:
            findings = await self._connections.check(kind, name, settings, secrets)
            self.show_findings(findings)
            if save and not any(finding.level == Level.RED for finding in findings):
                await self._connections.add(
                    kind,
                    name,
                    settings,
                    secrets,
                    read_only=self.read_only.isChecked(),
                    production=self.production.isChecked(),
                )
                self.accept()
        finally:
            self._busy = None
            self._set_busy(False)

    def show_findings(self, findings: list[Finding]) -> None:
        """Each at its field; those without one in the line below."""
        rest: list[Finding] = []
        by_field: dict[str, Finding] = {}
        for finding in findings:
            if finding.field in self.fields:
                by_field.setdefault(finding.field, finding)
            else:
                rest.append(finding)
        for name, field in self.fields.items():
            field.show_finding(by_field.get(name))
            if name in by_field and field.option.advanced:
                self.fold.setChecked(True)
                self._more.show()
        red = [finding for finding in findings if finding.level == Level.RED]
        if marked := next((self.fields[item.field] for item in red if item.field in self.fields), None):
            QTimer.singleShot(0, self, lambda: self._area.ensureWidgetVisible(marked))
        text = "\n".join(fmt.sentences(finding.message, finding.cure) for finding in rest)
        if not red:
            self.result.say(text or "It works.", "ok" if not rest else "warn")
        else:
            self.result.say(text or "Look at the marked fields.", "bad")

    def _complain(self, text: str, cure: str) -> None:
        self.result.say(fmt.sentences(text, cure), "bad")

    def _set_busy(self, on: bool) -> None:
        self._progress.setVisible(on)
        self.go.setEnabled(not on)
        self.check.setEnabled(not on)
        self.check.setText("Checking…" if on else "Check")

    def done(self, result: int) -> None:
        if self._busy is not None:
            self._busy.cancel()
        super().done(result)


def _sections(use: KindUse) -> tuple[str, ...]:
    """The sections of the tree that a kind's connections may stand in."""
    return (str(use.info.section), *map(str, use.info.sections))


async def discovered(window: Frame) -> list[Found]:
    """What could be connected from this machine. Nothing where looking fails: it is only an offer."""
    from app.discover import discover

    try:
        return await discover()
    except OSError as error:
        window.complain(*words("looking for connections on this machine", error), level=Level.INFO)
        return []
