"""Shortcuts that say what they do, so that the sheet of keys can be made from them."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QWidget

PART = "part"
"""The property that names where a shortcut works."""


def bind(
    owner: QWidget,
    keys: str | QKeySequence.StandardKey,
    text: str,
    part: str,
    run: Callable[[], object],
    context: Qt.ShortcutContext = Qt.ShortcutContext.WindowShortcut,
) -> None:
    """Give a widget a shortcut that says what it does."""
    made = QShortcut(QKeySequence(keys), owner)
    made.setContext(context)
    made.setWhatsThis(text)
    made.setProperty(PART, part)
    made.activated.connect(lambda: run())
