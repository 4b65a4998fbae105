"""Where a console stands: tab, tiles, a window of its own, full screen; and what stays in front."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QColor
from PySide6.QtTest import QTest

from app.consoles import SessionState
from backends.model import PowerState
from tests.app.consoles.conftest import vms
from tests.widgets.consoles.conftest import opened, running, typed
from tests.widgets.standin import until
from widgets.consoles.page import ConsoleTab
from widgets.window import Window


async def test_to_a_window_and_back_with_the_same_session(window: Window) -> None:
    panel, view = await opened(window, running(window.services))
    session, tabs = panel.session, window.tabs.count()
    panel.wanted.emit("window")
    (own,) = window.consoles.windows
    assert window.tabs.count() == tabs - 1
    assert own.isVisible()
    assert view.isVisible()
    assert panel.name in own.windowTitle()
    assert window.consoles.open(panel.ref) is panel  # type: ignore[arg-type]
    panel.wanted.emit("window")
    assert window.consoles.windows == []
    assert window.tabs.count() == tabs
    assert panel.session is session
    assert session is not None
    assert session.state == SessionState.LIVE
    QTest.keyClicks(view, "ok")
    assert panel.ref is not None
    await until(lambda: typed(window, panel.ref)[-1] == "ok", 10)  # type: ignore[arg-type]


async def test_a_closed_window_hangs_up(window: Window) -> None:
    panel, _view = await opened(window, running(window.services))
    session = panel.session
    assert session is not None
    panel.wanted.emit("window")
    window.consoles.windows[0].close()
    await until(lambda: session.state == SessionState.CLOSED, 10)
    assert window.consoles.windows == []


async def test_full_screen_says_how_to_leave_and_comes_back_to_its_tab(window: Window) -> None:
    panel, view = await opened(window, running(window.services))
    tab = window.tabs.currentWidget()
    QTest.keyClick(view, Qt.Key.Key_F11)
    (own,) = window.consoles.windows
    assert own.isFullScreen()
    assert own.strip.isVisible()
    assert panel.bar.isHidden()
    assert view.grabs
    assert view.grab().toImage().pixelColor(1, view.height() // 2) == QColor("black")
    assert window.tabs.currentWidget() is tab
    QTest.keyClick(view, Qt.Key.Key_F11)
    assert window.consoles.windows == []
    assert window.tabs.currentWidget() is tab
    assert tab.isAncestorOf(view)
    assert not panel.bar.isHidden()
    assert not view.grabs


async def test_tiles_side_by_side_and_one_closed_again(window: Window) -> None:
    refs = [vm.ref for vm in vms(window.services) if vm.state == PowerState.RUNNING][:5]
    window.verbs.console(refs)
    tab = window.tabs.currentWidget()
    assert isinstance(tab, ConsoleTab)
    assert len(tab.panels) == 4
    assert {panel.ref for panel in tab.panels} == set(refs[:4])
    gone = tab.panels[1]
    gone.wanted.emit("close")
    assert len(tab.panels) == 3
    assert gone not in tab.panels


async def test_tabs_come_back_and_connect_when_they_are_looked_at(window: Window) -> None:
    ref = running(window.services)
    await opened(window, ref)
    kept = window.tabs.kept()
    assert kept[-1].startswith("console:")
    window.close_tab(window.tabs.currentIndex())
    window.tabs.restore(kept)
    tab = window.tabs.currentWidget()
    assert isinstance(tab, ConsoleTab)
    await until(lambda: tab.panels[0].screen_view is not None and tab.panels[0].screen_view.live, 20)
    assert not tab.panels[0].screen_view.hasFocus(), "it does not take the keyboard by itself"  # type: ignore[union-attr]


async def test_one_click_on_the_row_below_the_mouse(window: Window) -> None:
    ref = running(window.services)
    view = window.tree.view
    await until(lambda: window.tree.select(ref), 10)
    row = view.rows.row(ref)
    assert row is not None
    place = view.visualRect(view.rows.index(row, 0))
    at = QPoint(view.viewport().width() - 18, place.center().y())
    QTest.mouseMove(view.viewport(), QPoint(60, place.center().y()))
    QTest.mouseMove(view.viewport(), at)
    await until(lambda: view.hovered == row, 5)
    assert "console" in view.viewport().toolTip()
    QTest.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=at)
    tab = window.tabs.currentWidget()
    assert isinstance(tab, ConsoleTab)
    assert tab.ref == ref


async def test_a_console_opened_right_after_a_selection_stays_in_front(window: Window) -> None:
    ref = running(window.services)
    await until(lambda: window.tree.select(ref), 10)
    assert window._preview_timer.isActive()
    panel, _view = await opened(window, ref)
    assert not window._preview_timer.isActive()
    tab = window.tabs.currentWidget()
    assert isinstance(tab, ConsoleTab)
    assert panel in tab.panels


async def test_a_vm_that_is_pressed_to_be_dragged_leaves_the_console_in_front(
    window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    refs = [vm.ref for vm in vms(window.services) if vm.state == PowerState.RUNNING]
    await opened(window, refs[0])
    window.hold_preview()
    view = window.tree.view
    await until(lambda: window.tree.select(refs[1]), 10)
    row, index = view.rows.row(refs[1]), view.currentIndex()
    assert row is not None
    view.clearSelection()
    window.hold_preview()
    at = view.visualRect(index).center()
    QTest.mousePress(view.viewport(), Qt.MouseButton.LeftButton, pos=at)
    assert window.tree.selected() == [refs[1]]
    assert not window._preview_timer.isActive()
    QTest.mouseRelease(view.viewport(), Qt.MouseButton.LeftButton, pos=at)
    assert window._preview_timer.isActive(), "a click shows its details"
    view.clearSelection()
    window.hold_preview()
    monkeypatch.setattr(view, "hold", lambda refs: SimpleNamespace(exec=lambda *actions: None))
    QTest.mousePress(view.viewport(), Qt.MouseButton.LeftButton, pos=at)
    view.startDrag(Qt.DropAction.MoveAction)
    assert not window._preview_timer.isActive()
    QTest.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=at)
    assert window._preview_timer.isActive(), "also a click on what was dragged before"


async def test_the_end_of_the_program_ends_a_full_screen_too(window: Window) -> None:
    panel, view = await opened(window, running(window.services))
    QTest.keyClick(view, Qt.Key.Key_F11)
    assert len(window.consoles.windows) == 1
    session = panel.session
    assert session is not None
    window.consoles.close_down()
    assert window.consoles.windows == []
    await until(lambda: session.state == SessionState.CLOSED, 10)
