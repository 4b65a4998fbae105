"""A console in the window: one click, every state with what helps, settings, text as keys, what is told and asked."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QApplication, QComboBox, QLineEdit, QPushButton

from app.consoles import Console, ConsoleKind, LineSession, SessionState
from backends.demo.consoles import ASKED
from backends.model import Kind, LiveOptions, PowerAction, PowerState, Ref
from tests.app.consoles.conftest import driver, vms
from tests.widgets.consoles.conftest import opened, running, typed
from tests.widgets.standin import until
from widgets.consoles import words
from widgets.consoles.page import ConsoleTab
from widgets.consoles.panel import setting_of
from widgets.consoles.scaling import Scale
from widgets.consoles.settings import Settings, settings_from
from widgets.details.vm import VmPage
from widgets.window import Window


async def test_one_click_in_the_details_opens_the_console(window: Window) -> None:
    ref = running(window.services)
    window.open_ref(ref)
    page = window.tabs.page()
    assert isinstance(page, VmPage)
    button = next(one for one in page.findChildren(QPushButton) if one.accessibleName() == f"Console of {page.name}")
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    tab = window.tabs.currentWidget()
    assert isinstance(tab, ConsoleTab)
    await until(lambda: tab.panels[0].screen_view is not None and tab.panels[0].screen_view.hasFocus(), 20)
    assert tab.name == f"Console {page.name}"
    QApplication.processEvents()
    window.consoles.open(ref)
    assert sum(isinstance(one, ConsoleTab) for one in window.tabs.pages()) == 1


async def test_a_console_chosen_before_the_first_one_came_is_the_one(
    window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = running(window.services)
    consoles, made = window.services.consoles, []
    line = consoles.line
    monkeypatch.setattr(consoles, "line", lambda *words: made.append(words) or line(*words))
    panel = window.consoles.open(ref)
    (serial,) = [one for one in await window.services.consoles.offers(ref) if one.kind == ConsoleKind.SERIAL]
    panel.choose_console(serial)
    await until(lambda: isinstance(panel.session, LineSession) and panel.session.state == SessionState.LIVE, 20)
    await until(lambda: panel.offers, 20)
    assert len(made) == 1, "it was opened, hung up and opened again"
    for _ in range(2):
        panel.choose_console(serial)
    await until(lambda: len(made) == 3 and panel.session is not None, 20)
    await until(lambda: len(consoles._sessions) == 1, 20)
    assert (panel.console, panel.terminal_view is not None) == (serial, True)


async def test_the_command_is_in_menu_and_palette_and_says_why_not(window: Window) -> None:
    command = window.commands["vm.console"]
    assert (command.menu, command.shortcut) == ("vm", "Ctrl+O")
    assert command.why_not() == "select a VM"
    window.open_ref(running(window.services))
    assert command.why_not() == ""


async def test_a_password_is_asked_in_place_and_again_when_it_is_wrong(window: Window) -> None:
    ref = running(window.services, "ldap-")
    panel = window.consoles.open(ref)
    notice = panel.stage.notice
    await until(lambda: notice.asks, 20)
    assert "password" in panel.bar.state.text()
    QTest.keyClicks(notice.password, "wrong")
    QTest.keyClick(notice.password, Qt.Key.Key_Return)
    await until(lambda: notice.asks and "wrong" in notice.accessibleName(), 20)
    QTest.keyClicks(notice.password, ASKED)
    QTest.keyClick(notice.password, Qt.Key.Key_Return)
    await until(lambda: panel.screen_view is not None and panel.screen_view.live, 20)
    assert notice.isHidden()
    assert notice.password.text() == ""
    await until(lambda: panel.screen_view is not None and panel.screen_view.hasFocus(), 5)
    assert "VNC password" in _line(panel)


def _line(panel: object) -> str:
    return str(panel._facts.text())  # type: ignore[attr-defined]


async def test_what_is_off_says_so_and_starts(window: Window) -> None:
    off = next(vm for vm in vms(window.services) if vm.state == PowerState.OFF)
    panel = window.consoles.open(off.ref)
    notice = panel.stage.notice
    await until(lambda: "off" in notice.accessibleName(), 20)
    start = notice.buttons[0]
    assert start.accessibleName() == "Start"
    start.click()
    await until(lambda: panel.screen_view is not None and panel.screen_view.live, 20)
    assert notice.isHidden()


async def test_it_stays_open_over_a_move_and_says_how_long_it_was_away(window: Window) -> None:
    services = window.services
    ref = running(services)
    panel, _view = await opened(window, ref)
    tab = window.tabs.currentWidget()
    target = services.connections.driver("b")
    assert target is not None
    to = next(item.ref for item in services.inventory.of("b", Kind.HOST))
    planned = await services.migrations.plan(ref, to, live=LiveOptions())
    await services.tasks.wait(services.migrations.start(planned))
    await until(lambda: panel.ref is not None and panel.ref.connection == "b", 20)
    await until(lambda: panel.session is not None and panel.session.gap_ms is not None, 20)
    assert panel.session is not None
    assert panel.session.state == SessionState.LIVE
    assert window.tabs.currentWidget() is tab
    await until(lambda: "came back after" in _line(panel), 5)


async def test_a_reboot_is_told_and_passes(window: Window) -> None:
    ref = running(window.services)
    panel, view = await opened(window, ref)
    window.services.actions.power([ref], PowerAction.OFF)
    await until(lambda: panel.stage.notice.isVisible(), 20)
    assert not view.takes_input
    assert not view.picture().isNull(), "the last picture stays in sight"
    window.services.actions.power([ref], PowerAction.START)
    await until(lambda: view.live and panel.stage.notice.isHidden(), 20)


async def test_settings_stay_with_the_vm(window: Window) -> None:
    ref = running(window.services)
    panel, view = await opened(window, ref)
    panel.toggle_side()
    assert view.isVisible()
    panel.side.scales[Scale.REAL].click()
    panel.side.view_only.click()
    panel.side.layout_.setCurrentIndex(2)
    panel.side.layout_.activated.emit(2)
    assert (view.scale, view.view_only, view.takes_input) == (Scale.REAL, True, False)
    wanted = Settings(scale=Scale.REAL, view_only=True, layout="de")
    for _ in range(1000):
        if settings_from(await window.services.store.setting(setting_of(panel.uid))) == wanted:
            break
        await asyncio.sleep(0.01)
    window.close_tab(window.tabs.currentIndex())
    _, again = await opened(window, ref)
    assert (again.scale, again.view_only) == (Scale.REAL, True)


def test_settings_that_are_not_ours_are_left_out() -> None:
    assert settings_from({"scale": "huge", "view_only": "yes", "layout": 7, "more": 1}) == Settings()
    assert settings_from([]) == Settings()
    full = Settings(scale=Scale.GUEST, view_only=True, clipboard=False, layout="fr")
    assert settings_from(full.plain()) == full


async def test_the_clipboard_is_typed_as_keys(window: Window) -> None:
    ref = running(window.services)
    panel, view = await opened(window, ref)
    view.clipboard.set_on(False)
    QGuiApplication.clipboard().setText("Ab/1")
    panel.typing.begin()
    assert panel.typing.isVisible()
    await until(lambda: typed(window, ref)[-1].replace("<ffe1>", "") == "Ab/1", 10)
    await until(lambda: panel.typing.isHidden(), 10)


async def test_typing_can_be_stopped(window: Window) -> None:
    ref = running(window.services)
    panel, view = await opened(window, ref)
    view.clipboard.set_on(False)
    QGuiApplication.clipboard().setText("x" * 5000)
    panel.typing.begin()
    await until(lambda: "x" in typed(window, ref)[-1], 10)
    panel.typing.cancel.click()
    assert panel.typing.isHidden()
    assert "x" * 5000 not in "".join(typed(window, ref))


async def test_what_the_guests_keyboard_cannot_make_is_named_first(window: Window) -> None:
    ref = running(window.services)
    panel, view = await opened(window, ref)
    view.clipboard.set_on(False)
    QGuiApplication.clipboard().setText("a\x07b")
    panel.typing.begin()
    assert "No key" in panel.typing.words.text()
    assert typed(window, ref) == [""]
    panel.typing.go.click()
    await until(lambda: typed(window, ref)[-1] == "ab", 10)


async def test_several_lines_are_asked_about_once(window: Window) -> None:
    ref = running(window.services)
    panel, view = await opened(window, ref)
    view.clipboard.set_on(False)
    QGuiApplication.clipboard().setText("one\ntwo")
    panel.typing.begin()
    assert "2 lines" in panel.typing.words.text()
    assert panel.typing.go.accessibleName() == "Type them"
    assert typed(window, ref) == [""]
    panel.typing.go.click()
    await until(lambda: typed(window, ref)[-2:] == ["one", "two"], 10)


async def test_where_there_is_no_such_console_the_other_one_is_offered(
    window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = running(window.services, "cache-")
    board = driver(window.services, ref.connection)._switchboard
    all_offers = board.offers
    monkeypatch.setattr(board, "offers", lambda vm: [one for one in all_offers(vm) if one.kind != ConsoleKind.VNC])
    panel = window.consoles.open(ref)
    await until(lambda: panel.bar.state.text() == "kept output", 20)
    panel.choose_console(Console(ref, ConsoleKind.VNC, "Screen", "0"))
    notice = panel.stage.notice
    await until(lambda: notice.buttons[0].accessibleName() == "Show its console output", 20)
    assert "no screen" in notice.accessibleName()
    assert panel.bar.state.text() == "no screen"
    assert not notice.buttons[1].isVisible(), "to try again is of no use"
    notice.buttons[0].click()
    await until(lambda: panel.bar.state.text() == "kept output", 20)


async def test_kept_output_says_so_with_its_age_and_is_asked_for_again(window: Window) -> None:
    panel, _view = await opened(window, running(window.services, "cache-"))
    assert not panel._ask.isVisible()
    panel.choose_console(next(one for one in panel.offers if one.kind == ConsoleKind.OUTPUT))
    await until(lambda: panel.bar.state.text() == "kept output", 20)
    await until(lambda: "asked 1 s ago" in _line(panel), 10)
    panel._ask.click()
    await until(lambda: "asked just now" in _line(panel), 10)


async def test_settings_of_a_screen_are_not_shown_beside_a_terminal(window: Window) -> None:
    panel, _view = await opened(window, running(window.services))
    panel.toggle_side()
    assert panel.side.isVisible()
    panel.choose_console(next(one for one in panel.offers if one.kind == ConsoleKind.SERIAL))
    await until(lambda: panel.session is not None and panel.session.state == SessionState.LIVE, 20)
    assert panel.side.isHidden()
    assert "characters" in _line(panel)


async def test_a_break_is_told_for_a_while(window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    panel, _view = await opened(window, running(window.services))
    assert panel.session is not None
    panel.session.gap_ms = 239.0
    panel.refresh()
    assert "came back after 239 ms" in _line(panel)
    monkeypatch.setattr(words, "GAP_TOLD_S", 0)
    panel.refresh()
    assert "came back" not in _line(panel)


async def test_a_screenshot_is_the_guests_own_pixels(window: Window, tmp_path: Path) -> None:
    panel, view = await opened(window, running(window.services))
    panel.shots.copy()
    assert QGuiApplication.clipboard().image().size() == view.guest_size()
    panel.shots._save(view.picture(), tmp_path / "no such folder" / "x.png")
    await until(lambda: any("cannot be written" in text for text in window.toasts.texts), 10)
    panel.shots._save(view.picture(), tmp_path / "x.png")
    await until(lambda: (tmp_path / "x.png").exists(), 10)


async def test_another_console_of_the_vm_takes_its_place(window: Window) -> None:
    panel, _view = await opened(window, running(window.services))
    serial = next(one for one in panel.offers if one.kind == ConsoleKind.SERIAL)
    panel.choose_console(serial)
    await until(lambda: isinstance(panel.session, LineSession) and panel.session.state == SessionState.LIVE, 20)
    assert panel.screen_view is None
    assert serial.label in panel.bar.which.text()


async def test_an_external_viewer_that_is_missing_is_said(window: Window) -> None:
    panel, _view = await opened(window, running(window.services))
    spice = replace(panel.offers[0], kind=ConsoleKind.SPICE, label="SPICE", hindrance="no SPICE viewer is installed",
                    cure="install virt-viewer")  # fmt: skip
    panel.console = spice
    await panel._open()
    assert "no SPICE viewer is installed" in panel.stage.notice.accessibleName()
    assert "virt-viewer" in panel.stage.notice.accessibleName()


async def test_everything_has_a_name(window: Window) -> None:
    panel, _view = await opened(window, running(window.services))
    panel.toggle_side()
    for kind in (QAbstractButton, QComboBox, QLineEdit):
        for one in panel.findChildren(kind):
            if one.isVisibleTo(panel):
                assert one.accessibleName() or (isinstance(one, QAbstractButton) and one.text()), one


async def test_ssh_asks_who_logs_in_and_remembers_it(window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    panel, _view = await opened(window, running(window.services))
    asked: list[str] = []

    def shell(ref: Ref, user: str = "", port: int | None = None) -> LineSession:
        asked.append(user)
        return window.services.consoles.line(ref)

    monkeypatch.setattr(window.services.consoles, "shell", shell)
    panel.choose_ssh()
    notice = panel.stage.notice
    assert notice.asks
    assert notice.user.hasFocus()
    assert not notice.password.isVisible()
    QTest.keyClicks(notice.user, "anna")
    QTest.keyClick(notice.user, Qt.Key.Key_Return)
    await until(lambda: panel.session is not None and panel.session.state == SessionState.LIVE, 20)
    assert asked == ["anna"]
    assert panel.settings.user == "anna"
    assert "SSH" in panel.bar.which.text()
    panel.choose_ssh()
    assert notice.user.text() == "anna"


async def test_a_password_that_is_asked_for_elsewhere_takes_no_keyboard(window: Window) -> None:
    ref = running(window.services, "ldap-")
    window.consoles.restore(f"console:{window.services.identity.uid_of(ref)}")
    tab = window.tabs.currentWidget()
    assert isinstance(tab, ConsoleTab)
    window.focus_search()
    await until(lambda: tab.panels[0].stage.notice.asks, 20)
    assert window.search.edit.hasFocus()


async def test_a_line_that_somebody_holds_is_told_and_can_be_taken_over(window: Window) -> None:
    ref = running(window.services)
    other = window.services.consoles.line(ref)
    await other.open()
    await other.live()
    panel, _view = await opened(window, ref)
    panel.choose_console(next(one for one in panel.offers if one.kind == ConsoleKind.SERIAL))
    notice = panel.stage.notice
    await until(lambda: notice.isVisible() and "take it over" in notice.accessibleName(), 20)
    take = next(one for one in notice.buttons if one.accessibleName() == "Take it over")
    assert take.isVisible()
    take.click()
    await until(lambda: panel.session is not None and panel.session.state == SessionState.LIVE, 20)
    await other.close()


async def test_the_palette_has_what_the_buttons_have(window: Window) -> None:
    full, delete = window.commands["console.full"], window.commands["console.del"]
    assert full.why_not() == "no console is in front"
    ref = running(window.services)
    panel, _view = await opened(window, ref)
    assert full.why_not() == ""
    delete.run()
    await until(lambda: typed(window, ref)[-1] == "<ffff>", 10)
    full.run()
    (own,) = window.consoles.windows
    assert own.isFullScreen()
    panel._leave()
    assert own.focusWidget() is own.strip.keys, "the way out of a full screen by the keyboard"
    own.activateWindow()
    await until(lambda: own.strip.keys.hasFocus(), 5)
    QTest.keyClick(own.strip.keys, Qt.Key.Key_Escape)
    await until(lambda: own.focusWidget() is panel.screen_view, 5)
