"""The first start: this machine's KVM, what was found, a connection by hand, the demo, the playground."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout, QWidget

from widgets import format as fmt
from widgets.connect import discovered
from widgets.details.page import Banner
from widgets.parts import Sign, button, fit, label
from widgets.prompts import Prompt

if TYPE_CHECKING:
    from app.discover import Found
    from widgets.frame import Frame

FOUND_SHOWN = 4
DEMO_VMS = "40"


class Offer(QFrame):
    """One way to begin: what it is, what it does, its button."""

    def __init__(
        self, symbol: str, title: str, text: str, action: str, run: Callable[[], None], parent: QWidget
    ) -> None:
        super().__init__(parent)
        self.setObjectName("card")
        row = QHBoxLayout(self)
        row.setContentsMargins(14, 10, 14, 10)
        row.setSpacing(12)
        row.addWidget(Sign(symbol, "link", self, 20))
        column = QVBoxLayout()
        column.setSpacing(1)
        column.addWidget(label(title, "strong", self))
        note = label(text, "muted", self, copy=True)
        note.setWordWrap(True)
        column.addWidget(note)
        row.addLayout(column, 1)
        self.go = button(action, run)
        self.go.setAccessibleName(f"{action}: {title}")
        row.addWidget(self.go)


class FirstRun(Prompt):
    """Offers; each does what it says at once, none blocks another."""

    def __init__(self, window: Frame) -> None:
        super().__init__("Welcome to Causeway", window)
        fit(self, 640, 400)
        self._window = window
        self.body.addWidget(label("Every VM, wherever it runs, in one tree. Begin with what you have:", "muted", self))
        self._found = QVBoxLayout()
        self._found.setSpacing(8)
        self.body.addLayout(self._found)
        self._looking = label("Looking for KVM, ssh hosts and cloud accounts on this machine…", "muted", self)
        self._found.addWidget(self._looking)
        for offer in (
            Offer("plus", "Add a connection", "KVM here or by SSH, EC2, other clouds", "Add…", self._connect, self),
            Offer(
                "sparkles", "Open the demo", "An invented site in memory, to try everything", "Open", self._demo, self
            ),
            self._playground_offer(),
        ):
            self.body.addWidget(offer)
        self.progress = Banner(self)
        self.body.addWidget(self.progress)
        self.body.addStretch(1)
        row = QHBoxLayout()
        row.addStretch(1)
        row.addWidget(button("Close", self.reject))
        self.body.addLayout(row)
        window.background.run(self._look(), "looking for connections")

    async def _look(self) -> None:
        found = [
            item for item in await discovered(self._window) if self._window.services.connections.get(item.name) is None
        ]
        self._looking.setText("" if found else "Nothing was found on this machine by itself.")
        self._looking.setVisible(not found)
        for item in found[:FOUND_SHOWN]:
            self._found.addWidget(
                Offer("server", item.title, item.origin, "Connect", lambda item=item: self._take(item), self)
            )

    def _take(self, item: Found) -> None:
        self._window.show_connect(kind=item.kind, name=item.name, settings=dict(item.settings))
        self.accept()

    def _connect(self) -> None:
        self._window.show_connect()
        self.accept()

    def _demo(self) -> None:
        connections = self._window.services.connections

        async def add() -> None:
            if connections.get("demo") is None:
                await connections.add("demo", "demo", {"vms": DEMO_VMS}, {})
            self.accept()

        self._window.background.run(add(), "demo", self._failed)

    def _playground_offer(self) -> Offer:
        text = "Two real KVM hosts and a cloud endpoint, made on this machine, open to nobody else"
        if can_make_playground():
            return Offer("boxes", "Open the playground", text, "Make it", self._playground, self)
        command = playground_command(self._window.services.home)
        self._command = command
        return Offer(
            "boxes", "Open the playground", f"{text}. It needs root:\n{command}", "Copy command", self._copy, self
        )

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self._command)
        self._window.toasts.tell("info", "Copied the command", "run it in a terminal, then come back")

    def _playground(self) -> None:
        from app import playground

        loop_say = self._say_soon()

        async def make() -> None:
            self.progress.say("Making the playground…", "ok")
            state = await playground.up(self._window.services.home, loop_say)
            for seed in state.connections:
                if self._window.services.connections.get(seed.name) is None:
                    await self._window.services.connections.add(
                        seed.kind, seed.name, dict(seed.settings), dict(seed.secrets)
                    )
            self.accept()

        self._window.background.run(make(), "playground", self._failed)

    def _say_soon(self) -> Callable[[str], None]:
        """Lines of progress come from another thread."""
        loop = asyncio.get_running_loop()

        def say(line: str) -> None:
            loop.call_soon_threadsafe(self.progress.say, line, "ok")

        return say

    def _failed(self, text: str, cure: str) -> None:
        self.progress.say(fmt.sentences(text, cure), "bad")


def can_make_playground() -> bool:
    return sys.platform == "linux" and os.geteuid() == 0


def playground_command(home: Path) -> str:
    """What to type to make the playground of this data folder as root."""
    program = Path(sys.argv[0]).resolve() if Path(sys.argv[0]).name == "causeway" else None
    start = [str(program)] if program else [sys.executable, "-m", "app"]
    return shlex.join(["sudo", *start, "--home", str(home), "playground", "up"])
