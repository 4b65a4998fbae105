"""A site that refuses to let us in: its secrets anew, tried before they are kept."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from PySide6.QtCore import QTimer

from backends.model import Level
from widgets import format as fmt
from widgets.connect import Field
from widgets.details.page import Banner
from widgets.parts import busy_bar, label
from widgets.prompts import Prompt

if TYPE_CHECKING:
    from backends.driver import Option
    from widgets.frame import Frame


class SignIn(Prompt):
    """What the site said, its secrets to type, and one button. Empty fields keep what is kept of them."""

    def __init__(self, window: Frame, name: str) -> None:
        super().__init__(f"Sign in to {name}", window)
        self.setMinimumWidth(480)
        self._window, self._connections, self._name = window, window.services.connections, name
        self.fields: dict[str, Field] = {}
        self._busy: asyncio.Task[None] | None = None
        site = self._connections.get(name)
        said = label(fmt.sentences(site.error, site.cure) if site is not None else "", "muted", self, copy=True)
        said.setWordWrap(True)
        self.body.addWidget(said)
        self.result = Banner(self)
        self.body.addWidget(self.result)
        self._progress = busy_bar(self)
        self.body.addWidget(self._progress)
        self.add_buttons("Sign in", self._run)
        self.go.setEnabled(False)
        if site is not None:
            window.background.run(self._load(site.kind), "sign in", self._complain)

    async def _load(self, kind: str) -> None:
        """The kind's secrets: its library is imported in a thread."""
        options: tuple[Option, ...] = await asyncio.to_thread(self._connections.options, kind)
        secret = [option for option in options if option.secret]
        for number, option in enumerate(secret):
            field = self.fields[option.name] = Field(option, lambda: self.result.say(""))
            self.body.insertWidget(2 + number, field)
        if secret:
            self.fields[secret[0].name].input.setFocus()
        else:
            self._say("Nothing is kept to sign in with: do what is said above, then try again.")
        self.go.setEnabled(True)
        self._make_room()

    def _run(self) -> None:
        if self._busy is None:
            self._set_busy(True)
            self._busy = self._window.background.run(self._work(), "sign in", self._complain)

    async def _work(self) -> None:
        typed = {name: field.value for name, field in self.fields.items() if field.value}
        try:
            findings = await self._connections.sign_in(self._name, typed)
        finally:
            self._busy = None
            self._set_busy(False)
        for name, field in self.fields.items():
            field.show_finding(next((finding for finding in findings if finding.field == name), None))
        red = [finding for finding in findings if finding.level == Level.RED]
        if not red:
            self.accept()
            return
        texts = [fmt.sentences(finding.message, finding.cure) for finding in red if finding.field not in self.fields]
        self._say("\n".join(texts) or "Look at the marked fields.", "bad")

    def _complain(self, text: str, cure: str) -> None:
        self._say(fmt.sentences(text, cure), "bad")

    def _say(self, text: str, role: str = "warn") -> None:
        self.result.say(text, role)
        self._make_room()

    def _make_room(self) -> None:
        """New lines count once they are shown."""
        QTimer.singleShot(0, self, self.adjustSize)

    def _set_busy(self, on: bool) -> None:
        self._progress.setVisible(on)
        self.go.setEnabled(not on)

    def done(self, result: int) -> None:
        if self._busy is not None:
            self._busy.cancel()
        super().done(result)
