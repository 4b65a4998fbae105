"""The plan dialog: asks in the background, shows everything, lets only what is allowed go."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget

from app.migration.plan import Mode
from backends.errors import Unreachable
from backends.model import Changed, Kind, Ref
from tests.widgets.standin import Services, ended, host_ref, until, vm_ref
from widgets import theme
from widgets.plan import PlanDialog
from widgets.plan.shown import FindingLine
from widgets.window import Window

WEB, DB = vm_ref("kvm-a", "web-01"), vm_ref("kvm-a", "db-01")


@pytest.fixture
async def window(qapp: QApplication) -> AsyncIterator[Window]:
    if theme.mode() != theme.Mode.LIGHT:
        theme.apply(qapp, theme.Mode.LIGHT)
    services = Services()
    made = Window(services)  # type: ignore[arg-type]
    yield made
    await ended(made)


def migrations(window: Window):  # type: ignore[no-untyped-def]
    return window.services.migrations


async def test_a_green_plan_shows_everything_and_enter_moves(window: Window) -> None:
    dialog = PlanDialog(window, [WEB], host_ref("kvm-b"))
    dialog.show()
    assert not dialog.go.isEnabled()
    await until(dialog.go.isEnabled)
    assert dialog.verdict.text() == "live, stops about 40 ms"
    assert dialog.windowTitle() == "Move web-01 to kvm-b"
    shown = [line.accessibleName() for line in dialog.findChildren(FindingLine)]
    assert shown[0].startswith("amber: memory crosses")
    assert dialog.form.mode.chosen() == Mode.LIVE
    assert dialog.form.networks["lan"].chosen() == "lan"
    QTest.keyClick(dialog, Qt.Key.Key_Return)
    assert [planned.plan.vm for planned in migrations(window).started] == [WEB]
    assert window.dock.pane == "tasks"


async def test_a_red_plan_cannot_go_and_says_why(window: Window) -> None:
    dialog = PlanDialog(window, [WEB], Ref("lab", Kind.HOST, "host-lab"))
    await until(lambda: dialog.choice.planned is not None)
    assert not dialog.go.isEnabled()
    assert dialog.go.toolTip() == "site is offline"
    dialog._start()
    assert migrations(window).started == []


async def test_what_is_chosen_is_planned_anew(window: Window) -> None:
    dialog = PlanDialog(window, [WEB], host_ref("kvm-b"))
    await until(dialog.go.isEnabled)
    dialog.form.networks["lan"].choose("dmz")
    dialog.form.mode.choose(Mode.COLD)
    dialog.form.boxes["tls"].setChecked(True)
    dialog._chosen()
    await until(lambda: len(migrations(window).asked) == 2)
    wish = migrations(window).asked[-1][2]
    assert wish["mapping"].networks == (("lan", "dmz"),)
    assert wish["mode"] == Mode.COLD
    assert wish["live"].tls
    await until(lambda: dialog.choice.asking is None)
    assert dialog.form.networks["lan"].chosen() == "dmz"


async def test_a_long_network_name_cuts_nothing_off(window: Window) -> None:
    inventory = window.services.inventory
    vm = inventory.vm(WEB)
    assert vm is not None
    nics = (replace(vm.nics[0], network="subnet-26ebaf61dc6644a91"),)
    inventory.apply(Changed((replace(vm, nics=nics),)))
    dialog = PlanDialog(window, [WEB], host_ref("kvm-b"))
    dialog.show()
    await until(dialog.go.isEnabled)
    await until(lambda: dialog._side.minimumWidth() > 0)
    dialog.resize(dialog.minimumSizeHint())
    QApplication.processEvents()
    room = dialog._side.viewport().width()
    shown = [part for part in dialog._side.widget().findChildren(QWidget) if part.isVisible()]
    cut = [part for part in shown if part.mapTo(dialog._side.widget(), part.rect().topRight()).x() >= room]
    box = dialog.form.networks["subnet-26ebaf61dc6644a91"]
    words = dialog.form._form.labelForField(box)
    assert words.width() >= 100 and words.geometry().right() < box.x(), "the name ends before its box"
    assert cut == []


async def test_enter_does_not_start_an_outdated_plan(window: Window) -> None:
    dialog = PlanDialog(window, [WEB], host_ref("kvm-b"))
    await until(dialog.go.isEnabled)
    dialog.form.mode.choose(Mode.COLD)
    dialog._chosen()
    dialog._start()
    assert migrations(window).started == []


async def test_without_a_target_it_lists_where_it_could_go(window: Window) -> None:
    dialog = PlanDialog(window, [WEB], None)
    dialog.show()
    assert dialog.verdict.text().startswith("Choose where web-01 goes")
    places = dialog.targets
    await until(lambda: len(places._verdicts) == places.rowCount())
    rows = {places.item(row, 0).text(): places.item(row, 1).text() for row in range(places.rowCount())}
    assert "kvm-a" not in rows, "it is there already"
    assert rows["kvm-b"] == "live, stops about 40 ms"
    lab = next(text for name, text in rows.items() if name.startswith("lab"))
    assert lab == "site is offline – reconnect it", "red ones say why, and the cure"
    assert places.item(places.currentRow(), 0).text() == "kvm-b", "the first green one"
    assert not dialog.go.isEnabled()
    await until(dialog.isActiveWindow)
    QTest.keyClick(places, Qt.Key.Key_Return)
    assert dialog.target() == host_ref("kvm-b")
    assert migrations(window).started == [], "Enter has chosen a place, and moved nothing"
    await until(dialog.go.isEnabled)
    assert migrations(window).asked[-1][1] == host_ref("kvm-b")
    dialog.to.choose(None)
    assert dialog._pages.currentWidget() is places


async def test_several_vms_on_one_page(window: Window) -> None:
    dialog = PlanDialog(window, [WEB, DB], host_ref("kvm-b"), copy=True)
    await until(lambda: all(choice.allowed for choice in dialog.choices))
    assert dialog.list.count() == 2
    assert dialog.go.accessibleName() == "Copy"
    dialog.go.click()
    assert {planned.plan.vm for planned in migrations(window).started} == {WEB, DB}
    assert all(planned.plan.copy for planned in migrations(window).started)


async def test_a_side_that_does_not_answer_is_said(window: Window) -> None:
    migrations(window).error = Unreachable("kvm-b does not answer", cure="reconnect it")
    dialog = PlanDialog(window, [WEB], host_ref("kvm-b"))
    await until(lambda: "kvm-b does not answer. Reconnect it." in dialog.verdict.text())
    assert not dialog.go.isEnabled()


async def test_closing_while_it_asks_ends_the_asking(window: Window) -> None:
    dialog = PlanDialog(window, [WEB], host_ref("kvm-b"))
    asking = dialog.choice.asking
    assert asking is not None
    dialog.reject()
    await until(asking.done)
    assert asking.cancelled()
