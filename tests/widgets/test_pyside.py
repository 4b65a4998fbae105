"""Why PySide6 is pinned below 6.12: that version loses references to None and True until Python aborts."""

from __future__ import annotations

import sys

from PySide6.QtCore import QAbstractListModel, QModelIndex, QObject, Signal
from pytestqt.qtbot import QtBot

ROUNDS = 300
SLACK = 100


class Numbers(QAbstractListModel):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def rowCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008
        return self.count

    def data(self, index: QModelIndex, role: int = 0) -> object:
        return None

    def grow(self) -> None:
        self.beginInsertRows(QModelIndex(), self.count, self.count)
        self.count += 1
        self.endInsertRows()


class Bell(QObject):
    rung = Signal(bool)


def counts() -> dict[str, int]:
    return {"None": sys.getrefcount(None), "True": sys.getrefcount(True)}


def test_rows_and_signals_keep_the_references_of_none_and_true(qtbot: QtBot) -> None:
    model, bell, heard = Numbers(), Bell(), []
    bell.rung.connect(heard.append)
    bell.rung.connect(lambda _on: None)
    before = counts()
    for _ in range(ROUNDS):
        model.grow()
        bell.rung.emit(True)
    assert len(heard) == model.count == ROUNDS
    heard.clear()
    lost = {name: before[name] - now for name, now in counts().items()}
    assert all(abs(number) < SLACK for number in lost.values()), lost
