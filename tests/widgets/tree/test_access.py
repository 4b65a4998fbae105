"""A screen reader meets a tree: roles, levels, what is open, what is chosen, and where the keyboard is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import shiboken6
from PySide6.QtCore import Qt
from PySide6.QtGui import QAccessible, QAccessibleInterface
from pytestqt.qtbot import QtBot

from tests.widgets.standin import Services
from tests.widgets.tree.test_tree import LOCAL, Page, page
from widgets.tree import access

__all__ = ["page"]
Name = QAccessible.Text.Name


def tree(page: Page) -> QAccessibleInterface:
    found = QAccessible.queryAccessibleInterface(page.tree.view)
    assert found is not None
    return found


def row(page: Page, start: str) -> QAccessibleInterface:
    face = tree(page)
    return next(
        child
        for number in range(face.childCount())
        if (child := face.child(number)) is not None and child.text(Name).startswith(start)
    )


@pytest.fixture
def told(page: Page, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[QAccessible.Event, str]]]:
    """What a screen reader that is there is told: the kind of the event, and whom it is about."""
    events: list[tuple[QAccessible.Event, str]] = []

    def tell(event: object) -> None:
        face = event.accessibleInterface()  # type: ignore[attr-defined]
        events.append((event.type(), face.text(Name).split(",")[0]))  # type: ignore[attr-defined]

    monkeypatch.setattr(access.QAccessible, "updateAccessibility", tell)
    monkeypatch.setattr(access.QAccessible, "isActive", lambda: True)
    yield events


def test_the_rows_are_the_items_of_a_tree(page: Page) -> None:
    face = tree(page)
    assert face.role() == QAccessible.Role.Tree
    assert face.text(Name) == "Virtual machines"
    children = [face.child(number) for number in range(face.childCount())]
    assert [child.text(Name).split(",")[0] for child in children if child is not None][:10] == LOCAL
    assert {child.role() for child in children if child is not None} == {QAccessible.Role.TreeItem}
    assert [face.indexOfChild(child) for child in children if child is not None] == list(range(len(children)))
    assert face.child(len(children)) is None
    web = row(page, "web-01")
    assert web.text(Name) == "web-01, virtual machine, running"
    assert web.parent().role() == QAccessible.Role.Tree


def test_a_row_has_its_level_and_is_open_or_closed(page: Page) -> None:
    host, web = row(page, "kvm-a"), row(page, "web-01")
    assert row(page, "Local KVM").text(QAccessible.Text.Description) == "level 1"
    assert (host.text(QAccessible.Text.Description), web.text(QAccessible.Text.Description)) == ("level 2", "level 3")
    if access.LEVEL is not None:
        assert web.attributesInterface().attributeValue(access.LEVEL) == 3
    state = host.state()
    assert (state.expandable, state.expanded, state.collapsed) == (True, True, False)
    assert not web.state().expandable
    host.actionInterface().doAction(host.actionInterface().toggleAction())
    state = row(page, "kvm-a").state()
    assert (state.expandable, state.expanded, state.collapsed) == (True, False, True)


def test_what_is_chosen_and_where_the_keyboard_is(page: Page) -> None:
    page.view.setFocus()
    web = row(page, "web-01")
    web.actionInterface().doAction(web.actionInterface().setFocusAction())
    assert page.view.currentIndex().row() == page.row("web-01")
    chosen = tree(page).selectionInterface()
    assert [item.text(Name).split(",")[0] for item in chosen.selectedItems()] == ["web-01"]
    assert web.state().selected and web.state().selectable
    assert chosen.select(row(page, "db-01")) and chosen.selectedItemCount() == 2
    assert chosen.unselect(row(page, "web-01")) and not row(page, "web-01").state().selected
    place = web.rect().center()
    assert tree(page).childAt(place.x(), place.y()).text(Name).startswith("web-01")


def test_moving_opening_and_choosing_are_told(
    page: Page, told: list[tuple[QAccessible.Event, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page.view, "hasFocus", lambda: True)
    page.go("kvm-a")
    assert (QAccessible.Event.Focus, "kvm-a") in told
    assert (QAccessible.Event.SelectionAdd, "kvm-a") in told
    told.clear()
    page.key(Qt.Key.Key_Left)
    assert (QAccessible.Event.StateChanged, "kvm-a") in told
    told.clear()
    page.key(Qt.Key.Key_Down)
    assert (QAccessible.Event.Focus, "kvm-b") in told
    assert (QAccessible.Event.SelectionRemove, "kvm-a") in told


def test_one_that_is_there_from_the_start_is_answered_while_the_tree_is_made(qtbot: QtBot) -> None:
    QAccessible.setActive(True)
    try:
        early = Page(qtbot, Services())
        early.go("web-01")
        early.rows.close_all()
        assert tree(early).childCount() == early.rows.rowCount()
        early.tree.close()
    finally:
        QAccessible.setActive(False)


def test_rows_that_went_are_not_told_of(page: Page) -> None:
    gone = row(page, "web-01")
    page.rows.close_all()
    assert tree(page).childCount() == page.rows.rowCount()
    assert not shiboken6.isValid(gone)
    assert row(page, "kvm-b").state().collapsed
