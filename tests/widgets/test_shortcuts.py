"""The sheet of keys: made from what is there, so that it lists every shortcut and none that does nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from tests.widgets.standin import Services, ended, until
from widgets.palette import Palette
from widgets.shortcuts import KeySheet, bound
from widgets.window import Window


@pytest.fixture
async def window(qapp: QApplication) -> AsyncIterator[Window]:
    made = Window(Services())  # type: ignore[arg-type]
    made.show()
    yield made
    await ended(made)


async def test_every_shortcut_and_key_of_the_tree_is_listed_once(window: Window) -> None:
    keys = bound(window)
    listed = {(key.part, key.key) for key in keys}
    for command in window.commands.values():
        if command.shortcut:
            assert (command.place, QKeySequence(command.shortcut).toString()) in listed, command.id
    assert {("Tree", "Return"), ("Tree", "Ctrl+X"), ("Tree", "Esc")} <= listed
    assert len(listed) == len(keys) > 30


async def test_f1_opens_it_and_typing_leaves_what_fits(window: Window) -> None:
    window.activateWindow()
    await until(window.isActiveWindow)
    QTest.keyClick(window.tree.view, Qt.Key.Key_F1)
    (sheet,) = window.findChildren(KeySheet)
    await until(sheet.isActiveWindow)
    QTest.keyClicks(sheet.edit, "close tab")
    assert sheet.texts() == ["Close tab: Ctrl+W"]
    QTest.keyClick(sheet.edit, Qt.Key.Key_F1)
    assert not sheet.isVisible()


@pytest.mark.parametrize("word", ["help", "keys", "shortcut", "keyboard"])
async def test_the_palette_finds_it(window: Window, word: str) -> None:
    palette = Palette(window)
    palette.show()
    palette.edit.setText(word)
    assert palette.entries.entry(0).text.startswith("Help")
    palette.close()
