"""Without a mouse and without sight: whatever takes the keyboard has a name, is reached by Tab, and shows its focus."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QAccessible
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QApplication, QPushButton, QScrollArea, QTabWidget, QWidget

from backends.model import Kind, Ref
from tests.widgets.standin import Services, ended, host_ref, until, vm_ref
from widgets import theme
from widgets.details.definition import DefinitionEditor
from widgets.plan import PlanDialog
from widgets.prompts import Confirm
from widgets.window import Window

WEB = vm_ref("kvm-a", "web-01")

SELF_NAMED = (QScrollArea, QTabWidget)
"""Containers that Qt lets take the keyboard only to scroll; what is inside has the names."""


@pytest.fixture
async def window(qapp: QApplication) -> AsyncIterator[Window]:
    theme.apply(qapp, theme.Mode.LIGHT)
    made = Window(Services())  # type: ignore[arg-type]
    made.show()
    yield made
    await ended(made)


def focusable(root: QWidget) -> Iterator[QWidget]:
    """What Tab can reach in this window."""
    for made in root.findChildren(QWidget):
        tab = made.focusPolicy().value & Qt.FocusPolicy.TabFocus.value
        own = made.window() is root and made.focusProxy() is None and not made.objectName().startswith("qt_")
        if tab and own and made.isVisibleTo(root):
            yield made


def spoken(made: QWidget) -> str:
    """What a screen reader says of it."""
    interface = QAccessible.queryAccessibleInterface(made)
    return interface.text(QAccessible.Text.Name).strip() if interface is not None else ""


def nameless(root: QWidget) -> list[str]:
    """The widgets below `root` that take the keyboard and have no name."""
    found = [made for made in focusable(root) if not isinstance(made, SELF_NAMED) and not spoken(made)]
    return [f"{type(made).__name__} {made.objectName()} in {type(made.parentWidget()).__name__}" for made in found]


def in_group(made: QWidget) -> bool:
    """One of several choices: Tab goes to the chosen one, arrows to the others."""
    return isinstance(made, QAbstractButton) and made.group() is not None and not made.isChecked()


async def test_a_nameless_button_would_be_found(window: Window) -> None:
    made = QPushButton(window)
    made.show()
    assert any("QPushButton" in line for line in nameless(window))


@pytest.mark.parametrize(
    "ref", [WEB, host_ref("kvm-a"), Ref("kvm-a", Kind.CONNECTION, "kvm-a")], ids=lambda ref: ref.kind
)
async def test_everything_in_the_window_has_a_name(window: Window, ref: Ref) -> None:
    window.open_ref(ref)
    for pane in ("tasks", "events", "alerts"):
        window.show_dock(pane)
        QApplication.processEvents()
        assert nameless(window) == []


async def test_everything_in_the_dialogs_has_a_name(window: Window) -> None:
    window.show_connect()
    window.show_welcome()
    window.verbs.delete([WEB])
    window.verbs.group([WEB])
    window.verbs.tag([WEB])
    window.verbs.rename(WEB)
    window.plan_move([WEB], host_ref("kvm-b"), False)
    DefinitionEditor(window, WEB, "web-01").show()
    dialogs = [made for made in QApplication.topLevelWidgets() if made.isVisible() and made is not window]
    plan = window.findChild(PlanDialog)
    assert isinstance(plan, PlanDialog)
    plan.form.fold.click()
    await until(lambda: plan.choice.planned is not None)
    assert len(dialogs) >= 7
    assert [line for dialog in dialogs for line in nameless(dialog)] == []


async def test_tab_goes_through_all_of_the_window_and_comes_back(window: Window) -> None:
    window.open_ref(WEB)
    window.tree.view.setFocus()
    QApplication.processEvents()
    wanted = {made for made in focusable(window) if made.isEnabled() and not isinstance(made, SELF_NAMED)}
    seen: set[QWidget] = set()
    for _ in range(3 * len(wanted)):
        focus = window.focusWidget()
        assert focus is not None
        seen.add(focus)
        QTest.keyClick(focus, Qt.Key.Key_Tab)
    left = [made for made in wanted - seen if not in_group(made)]
    assert [f"{type(made).__name__} {spoken(made)}" for made in left] == []


async def test_arrows_go_through_a_group_of_choices(window: Window) -> None:
    window.activateWindow()
    await until(window.isActiveWindow)
    for buttons in (list(window.tree.group_by.buttons.values()), list(window.dock.buttons.values())):
        buttons[0].setFocus()
        for button in buttons[1:]:
            QTest.keyClick(QApplication.focusWidget(), Qt.Key.Key_Right)
            assert QApplication.focusWidget() is button
            assert button.isChecked()


@pytest.mark.parametrize("mode", [theme.Mode.LIGHT, theme.Mode.DARK])
async def test_the_focus_is_seen(window: Window, qapp: QApplication, mode: theme.Mode) -> None:
    theme.apply(qapp, mode)
    window.open_ref(WEB)
    window.verbs.delete([WEB])
    dialog = window.findChild(Confirm)
    assert isinstance(dialog, Confirm)
    assert dialog.focusWidget() is dialog.cancel and dialog.cancel.isDefault(), "Enter deletes nothing"
    unseen = []
    for root in (window, dialog):
        root.activateWindow()
        await until(root.isActiveWindow)
        for made in [made for made in focusable(root) if made.isEnabled() and not isinstance(made, SELF_NAMED)]:
            pictures = []
            for take in (False, True):
                made.setFocus() if take else made.clearFocus()
                QApplication.processEvents()
                pictures.append(made.grab().toImage())
            if pictures[0] == pictures[1]:
                unseen.append(f"{type(made).__name__} {spoken(made)}")
    assert unseen == []
