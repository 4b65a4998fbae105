"""An object's definition in its platform's own words: shown, copied, and edited with the difference shown first."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from PySide6.QtCore import QRegularExpression
from PySide6.QtGui import QGuiApplication, QSyntaxHighlighter, QTextCharFormat
from PySide6.QtWidgets import QHBoxLayout, QPlainTextEdit, QStackedWidget, QWidget

from backends.driver import Capability, Describes, Edits
from backends.errors import Unsupported
from backends.model import Ref
from widgets import format as fmt
from widgets import theme
from widgets.parts import Card, button, fit, label
from widgets.prompts import Prompt

if TYPE_CHECKING:
    from widgets.frame import Frame


def changes(old: str, new: str, name: str) -> list[str]:
    """The unified difference, without line ends; empty where there is none."""
    return list(difflib.unified_diff(old.splitlines(), new.splitlines(), name, f"{name}, edited", lineterm=""))


def code(read_only: bool, name: str) -> QPlainTextEdit:
    """A field for code: one width, no wrap."""
    made = QPlainTextEdit()
    made.setObjectName("code")
    made.setReadOnly(read_only)
    made.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
    made.setAccessibleName(name)
    made.setTabChangesFocus(read_only)
    return made


class DiffColours(QSyntaxHighlighter):
    """Green for what comes, red for what goes; the signs + and - stay."""

    def highlightBlock(self, text: str) -> None:
        role = {"+": "ok", "-": "bad", "@": "link"}.get(text[:1])
        if role is not None:
            style = QTextCharFormat()
            style.setForeground(theme.colour(role))
            if role != "link":
                style.setBackground(theme.colour(f"{role}_bg"))
            self.setFormat(0, len(text), style)


class XmlColours(QSyntaxHighlighter):
    """Names of elements and values of attributes stand out."""

    RULES = (
        (QRegularExpression(r"</?[\w:.-]+|/?>"), "link"),
        (QRegularExpression(r"'[^']*'|\"[^\"]*\""), "ok"),
        (QRegularExpression(r"<!--.*?-->"), "muted"),
    )

    def highlightBlock(self, text: str) -> None:
        for rule, role in self.RULES:
            style = QTextCharFormat()
            style.setForeground(theme.colour(role))
            found = rule.globalMatch(text)
            while found.hasNext():
                match = found.next()
                self.setFormat(match.capturedStart(), match.capturedLength(), style)


class DefinitionCard(Card):
    """The native description, fetched when the card is first shown."""

    def __init__(self, window: Frame, parent: QWidget | None = None) -> None:
        super().__init__("Definition", parent)
        self._window = window
        self._ref: Ref | None = None
        self._asked = False
        self._text = code(True, "Definition")
        self._text.setFixedHeight(160)
        self._text.setProperty("quiet", True)
        self._colours = XmlColours(self._text.document())
        theme.on_change(self._colours.rehighlight)
        self._note = label("", "muted", self)
        self._note.setWordWrap(True)
        self.body.addWidget(self._note)
        self.body.addWidget(self._text, 1)
        self.edit = button("Edit…", self._edit)
        self.copy = button("Copy", lambda: QGuiApplication.clipboard().setText(self._text.toPlainText()))
        row = QHBoxLayout()
        row.addWidget(self.copy)
        row.addWidget(self.edit)
        row.addStretch(1)
        self.body.addLayout(row)
        self._say("not fetched yet")

    def show_ref(self, ref: Ref) -> None:
        """Show this object's definition; fetched anew where it is another object than before."""
        site = self._window.services.connections.get(ref.connection)
        can = site.capabilities if site is not None else frozenset()
        self.edit.setEnabled(Capability.EDIT in can)
        self.edit.setToolTip("" if Capability.EDIT in can else f"{ref.connection} cannot be edited now")
        if ref != self._ref:
            self._ref, self._asked = ref, False
        if Capability.DESCRIBE not in can:
            if not self._text.toPlainText():
                self._say(f"{ref.connection} is offline, or has no description to give")
        elif not self._asked:
            self.fetch()

    def fetch(self) -> None:
        """Ask for it again."""
        if self._ref is not None:
            self._asked = True
            self._window.background.run(self._fetch(self._ref), "definition", lambda text, cure: self._say(text))

    def _say(self, text: str) -> None:
        self._note.setText(text)
        self._note.setVisible(bool(text))
        self._text.setVisible(not text)
        self.copy.setEnabled(not text)

    async def _fetch(self, ref: Ref) -> None:
        driver = self._window.services.connections.driver(ref.connection)
        if not isinstance(driver, Describes):
            raise Unsupported(f"{ref.connection} has no description to give")
        text = await driver.describe(ref)
        if ref == self._ref:
            self._text.setPlainText(text)
            self._say("")

    def _edit(self) -> None:
        if self._ref is not None:
            item = self._window.services.inventory.get(self._ref)
            DefinitionEditor(self._window, self._ref, item.name if item else self._ref.id).show()


class DefinitionEditor(Prompt):
    """Edit, look at the difference, apply. What cannot be applied comes back with its reason in the task."""

    def __init__(self, window: Frame, ref: Ref, name: str) -> None:
        super().__init__(f"Definition of {name}", window)
        fit(self, 820, 620)
        self._window, self._ref, self._name, self._old = window, ref, name, ""
        self.text = code(False, "Definition to edit")
        self.diff = code(True, "Difference")
        self._colours = (XmlColours(self.text.document()), DiffColours(self.diff.document()))
        self._pages = QStackedWidget(self)
        self._pages.addWidget(self.text)
        self._pages.addWidget(self.diff)
        self.body.addWidget(self._pages, 1)
        self._note = label("Fetching it…", "muted", self)
        self._note.setWordWrap(True)
        self.body.addWidget(self._note)
        self.back = button("Back to the text", self._back, "arrow-left")
        self.back.hide()
        self.add_buttons("Show changes", self._next)
        self.row.insertWidget(0, self.back)
        self.go.setEnabled(False)
        self.text.setEnabled(False)
        self.text.textChanged.connect(self._judge)
        window.background.run(
            self._fetch(), "definition", lambda text, cure: self._note.setText(fmt.sentences(text, cure))
        )

    async def _fetch(self) -> None:
        driver = self._window.services.connections.driver(self._ref.connection)
        if not isinstance(driver, Edits):
            raise Unsupported(f"{self._ref.connection} has no definition to edit")
        self._old = await driver.definition(self._ref)
        self.text.setPlainText(self._old)
        self.text.setEnabled(True)
        self.text.setFocus()
        self._judge()

    def _judge(self) -> None:
        same = self.text.toPlainText() == self._old
        self.go.setEnabled(not same)
        self._note.setText(
            "Nothing is changed yet. Passwords are shown as placeholders and stay as they are."
            if same
            else "Nothing is applied before you have seen the changes."
        )

    def _next(self) -> None:
        if self._pages.currentWidget() is self.diff:
            old, new = self._old, self.text.toPlainText()
            self._window.attempt(lambda: self._window.services.actions.redefine(self._ref, old, new))
            self.accept()
            return
        self.diff.setPlainText("\n".join(changes(self._old, self.text.toPlainText(), self._name)))
        self._pages.setCurrentWidget(self.diff)
        self.back.show()
        self.go.setText("Apply changes")
        self._note.setText("A running VM takes most changes at its next start. Esc leaves everything as it is.")

    def _back(self) -> None:
        self._pages.setCurrentWidget(self.text)
        self.back.hide()
        self.go.setText("Show changes")
        self._judge()
