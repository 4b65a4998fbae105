from __future__ import annotations

from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from widgets.searchbox import Chip, SearchBox


class Words:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def complete(self, text: str) -> list[str]:
        self.asked.append(text)
        return [word for word in ("state:", "state:running", "site:kvm-a") if word.startswith(text)]


def box(qtbot: QtBot) -> tuple[SearchBox, Words, list[str]]:
    words, said = Words(), []
    made = SearchBox(words)
    qtbot.addWidget(made)
    made.changed.connect(said.append)
    made.resize(400, 32)
    made.show()
    return made, words, said


def chips(made: SearchBox) -> list[str]:
    return [chip.term for chip in made.findChildren(Chip) if not chip.isHidden()]


def test_a_finished_term_becomes_a_chip(qtbot: QtBot) -> None:
    made, _, said = box(qtbot)
    qtbot.keyClicks(made.edit, "state:off web")
    assert chips(made) == ["state:off"]
    assert made.edit.text() == "web"
    assert said[-1] == made.text() == "state:off web"
    assert "state:of" in said


def test_a_mac_address_stays_text(qtbot: QtBot) -> None:
    made, _, _ = box(qtbot)
    qtbot.keyClicks(made.edit, "52:54:00:7a:11:0c ")
    assert chips(made) == []
    assert made.text() == "52:54:00:7a:11:0c"


def test_backspace_takes_the_last_chip_back(qtbot: QtBot) -> None:
    made, _, said = box(qtbot)
    made.set_text("group:web state:running cpu>50")
    assert chips(made) == ["group:web", "state:running"]
    made.edit.setCursorPosition(0)
    qtbot.keyClick(made.edit, Qt.Key.Key_Backspace)
    assert chips(made) == ["group:web"]
    assert made.edit.text() == "state:running cpu>50"
    assert said == ["group:web state:running cpu>50"]


def test_a_click_takes_a_chip_back(qtbot: QtBot) -> None:
    made, _, _ = box(qtbot)
    made.set_text("group:web state:running")
    first = next(chip for chip in made.findChildren(Chip) if chip.term == "group:web")
    qtbot.mouseClick(first, Qt.MouseButton.LeftButton)
    assert chips(made) == ["state:running"]
    assert made.edit.text() == "group:web"


def test_escape_empties_it(qtbot: QtBot) -> None:
    made, _, said = box(qtbot)
    made.set_text("state:off web")
    qtbot.keyClick(made.edit, Qt.Key.Key_Escape)
    assert said[-1] == "" and chips(made) == []


def test_offers_come_from_the_search(qtbot: QtBot) -> None:
    made, words, said = box(qtbot)
    qtbot.keyClicks(made.edit, "st")
    popup = made._completer.popup()
    assert words.asked == ["s", "st"]
    assert popup.isVisible()
    popup.setCurrentIndex(popup.model().index(1, 0))
    qtbot.keyClick(popup, Qt.Key.Key_Return)
    assert chips(made) == ["state:running"]
    assert said[-1] == "state:running"
