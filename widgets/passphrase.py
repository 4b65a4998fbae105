"""Asks for the passphrase of the vault of secrets, in the window, without stopping anything."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QLineEdit

from widgets.parts import label
from widgets.prompts import Prompt

if TYPE_CHECKING:
    from widgets.frame import Frame

LEAST = 8
"""Characters of a new passphrase: fewer are guessed too soon."""


class PassphrasePrompt(Prompt):
    """One passphrase; a new one is typed twice. `answer` gets it, or None when it is closed."""

    def __init__(self, window: Frame, answer: asyncio.Future[str | None], *, new: bool, wrong: bool) -> None:
        title = "Choose a passphrase" if new else "Passphrase of your secrets"
        super().__init__(title, window)
        self._answer, self._new = answer, new
        text = (
            "This machine has no keyring, so passwords and keys are kept in an encrypted file. The passphrase opens it "
            "once per start; nobody can restore it."
            if new
            else "It opens the file that holds the passwords and keys of your connections. Sites without any go on."
        )
        note = label(text, "muted", self)
        note.setWordWrap(True)
        self.body.addWidget(note)
        self.edit = self._field("Passphrase")
        self.again = self._field("Once more")
        self.again.setVisible(new)
        self._note = label("That was not the passphrase." if wrong else "", "warnText", self)
        self.body.addWidget(self._note)
        self.add_buttons("Use it" if new else "Open", self._accept)
        for edit in (self.edit, self.again):
            edit.textChanged.connect(self._judge)
        self.go.setEnabled(False)
        self.edit.setFocus()

    def _field(self, name: str) -> QLineEdit:
        edit = QLineEdit(self)
        edit.setEchoMode(QLineEdit.EchoMode.Password)
        edit.setPlaceholderText(name)
        edit.setAccessibleName(name)
        self.body.addWidget(edit)
        return edit

    def _judge(self) -> None:
        text = self.edit.text()
        short = self._new and len(text) < LEAST
        differ = self._new and not short and self.again.text() != text
        self._note.setText(f"At least {LEAST} characters." if short else "The two differ." if differ else "")
        self.go.setEnabled(bool(text) and not short and not differ)

    def _accept(self) -> None:
        if self.go.isEnabled():
            self._reply(self.edit.text())
            self.accept()

    def _reply(self, text: str | None) -> None:
        if not self._answer.done():
            self._answer.set_result(text)

    def done(self, result: int) -> None:
        self._reply(None)
        super().done(result)


class Asker:
    """What asks for the passphrase; whoever asks before there is a window waits for it."""

    def __init__(self) -> None:
        self._window: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._given = False

    def use(self, window: Frame) -> None:
        """From here on there is a window to ask in."""
        if not self._window.done():
            self._window.set_result(window)

    async def ask(self, new: bool) -> str | None:
        """The passphrase, None where the user does not want to. Asked again, the last one was wrong."""
        window = await asyncio.shield(self._window)
        answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        prompt = PassphrasePrompt(window, answer, new=new, wrong=self._given and not new)
        prompt.show()
        try:
            text = await answer
        except asyncio.CancelledError:
            prompt.reject()
            raise
        self._given = text is not None
        return text
