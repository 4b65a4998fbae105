"""The window as a whole: tabs that follow their VM, commands with reasons, state, messages, leaving."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel, QMenu

from app.migration.kept import Past
from app.migration.plan import Plan
from app.tasks import Task
from backends.errors import Denied
from backends.model import Changed, Kind, PowerAction, PowerState, Ref, Sample
from tests.widgets.standin import Services, beat, ended, host_ref, make_vm, move_task, show_tasks, until, vm_ref
from widgets import format as fmt
from widgets import theme
from widgets.details.host import HostPage
from widgets.details.site import SitePage
from widgets.details.vm import VmPage
from widgets.leaving import Leaving
from widgets.prompts import Confirm
from widgets.reasons import power_reason
from widgets.tree import words as tree_words
from widgets.window import Window

WEB = vm_ref("kvm-a", "web-01")


@pytest.fixture
async def window(qapp: QApplication) -> AsyncIterator[Window]:
    if theme.mode() != theme.Mode.LIGHT:
        theme.apply(qapp, theme.Mode.LIGHT)
    services = Services()
    made = Window(services)  # type: ignore[arg-type]
    made.show()
    yield made
    await ended(made)


async def test_every_kind_of_object_has_a_page(window: Window) -> None:
    for ref, kind in ((WEB, VmPage), (host_ref("kvm-a"), HostPage), (Ref("lab", Kind.CONNECTION, "lab"), SitePage)):
        window.open_ref(ref)
        assert isinstance(window.tabs.page(), kind)
    window.open_ref(WEB)
    assert window.tabs.count() == 4


async def test_a_preview_is_reused_and_an_opened_tab_stays(window: Window) -> None:
    window.tabs.open(WEB, stay=False)
    window.tabs.open(vm_ref("kvm-a", "db-01"), stay=False)
    assert [page.name for page in window.tabs.pages()] == ["Overview", "db-01"]
    window.open_ref(vm_ref("kvm-a", "db-01"))
    window.tabs.open(WEB, stay=False)
    assert [page.name for page in window.tabs.pages()] == ["Overview", "db-01", "web-01"]


async def test_selecting_in_the_tree_previews_without_taking_the_keyboard(window: Window) -> None:
    await until(lambda: window.tree.select(WEB))
    await until(lambda: window.tabs.page().name == "web-01")
    assert window.tabs.kept() == []


async def test_a_tab_follows_its_vm_to_another_host(window: Window) -> None:
    services = window.services
    window.open_ref(WEB)
    page = window.tabs.page()
    assert isinstance(page, VmPage)
    there = make_vm("kvm-b", "web-01")
    services.identity.moved(page.uid, WEB, there.ref)  # type: ignore[call-arg]
    services.inventory.apply(Changed((there,), (WEB,)))
    await until(lambda: page.ref == there.ref)
    assert window.tabs.page() is page
    assert window.tabs.count() == 2


async def test_meters_are_those_of_where_it_is_now(window: Window) -> None:
    services = window.services
    window.open_ref(WEB)
    page = window.tabs.page()
    assert isinstance(page, VmPage)
    memory = page.charts["memory"]
    beat(services, 1)  # type: ignore[arg-type]
    await until(lambda: memory.value.text())
    there = replace(make_vm("kvm-b", "web-01"), memory_bytes=512 << 20)
    services.identity.moved(page.uid, WEB, there.ref)  # type: ignore[call-arg]
    services.inventory.apply(Changed((there,), (WEB,)))
    await until(lambda: page.ref == there.ref)
    assert (len(page.ring), memory.value.text()) == (0, ""), "what was read over there is not current here"
    page.metered({there.ref: Sample(at=1e9, memory_used_bytes=32 << 20)})
    await until(lambda: memory.value.text())
    assert memory.value.text() == fmt.used_of(32 << 20, 512 << 20)


async def test_start_is_not_offered_while_a_move_has_the_vm_in_hand(window: Window) -> None:
    services = window.services
    services.inventory.apply(Changed((make_vm("kvm-a", "web-01", PowerState.OFF),)))
    window.open_ref(WEB)
    page = window.tabs.page()
    assert isinstance(page, VmPage)
    assert power_reason(services, [WEB], PowerAction.START) == ""
    held = asyncio.Event()

    async def copying(task: Task) -> None:
        await held.wait()

    move = services.tasks.start(move_task(WEB, host_ref("kvm-b"), "web-01", "cold"), copying)
    why = "it is being moved: web-01 kvm-a -> kvm-b"
    await until(lambda: page._power.toolTip() == why)
    assert not page._power.isEnabled()
    assert power_reason(services, [WEB], PowerAction.START) == why
    held.set()
    await services.tasks.wait(move)
    await until(page._power.isEnabled)


async def test_a_kept_original_is_marked_and_not_started(window: Window) -> None:
    services = window.services
    services.inventory.apply(Changed((make_vm("kvm-a", "web-01", PowerState.OFF),)))
    plan = Plan(id="m1", vm=WEB, to=host_ref("kvm-b"))
    past = Past(plan, {}, datetime(2030, 5, 4, 12, tzinfo=UTC), "task-7")
    services.migrations.originals[WEB] = past  # type: ignore[attr-defined]
    await until(lambda: window.tree.rows.row(WEB) is not None)
    node = window.tree.rows.forest.node(WEB)
    assert node is not None
    assert tree_words.said(window.tree.rows, node) == "web-01, virtual machine, off, kept original"
    tip = tree_words.tooltip(window.tree.rows, node)
    assert "kept original of web-01 kvm-a → kvm-b (task task-7), until 04 May" in tip
    assert power_reason(services, [WEB], PowerAction.START).endswith("kept for Undo: undo that move first")
    window.open_ref(WEB)
    page = window.tabs.page()
    assert isinstance(page, VmPage)
    assert page.banner.text().startswith("Kept original of web-01 kvm-a → kvm-b")
    assert not page._power.isEnabled()
    window.verbs.delete([WEB])
    asked = window.findChildren(Confirm)[-1]
    assert any("cannot be taken back" in label.text() for label in asked.findChildren(QLabel))


async def test_state_comes_back(window: Window, qapp: QApplication) -> None:
    window.open_ref(WEB)
    window.open_ref(host_ref("kvm-b"))
    window.show_dock("events")
    await window.save_state()
    other = Window(window.services)
    await other.load_state()
    assert [page.name for page in other.tabs.pages()] == ["Overview", "web-01", "kvm-b"]
    assert other.dock.pane == "events"
    other.restore({"tabs": ["vm:no such uid", "host:nonsense", 7], "columns": ["x"], "theme": "pink"})
    assert other.tabs.count() == 3
    await ended(other)


async def test_tabs_wait_for_what_the_store_still_has_to_tell(window: Window) -> None:
    window.open_ref(WEB)
    window.open_ref(host_ref("kvm-b"))
    await window.save_state()
    objects = list(window.services.inventory)
    window.services.inventory.forget("kvm-a")
    window.services.inventory.forget("kvm-b")
    other = Window(window.services)
    await other.load_state()
    assert other.tabs.count() == 1
    await other.save_state()
    window.services.inventory.restore(objects)
    other.filled()
    assert [page.name for page in other.tabs.pages()] == ["Overview", "web-01", "kvm-b"]
    await other.load_state()
    assert other.tabs.count() == 3, "what was waiting was kept when the state was saved"
    await ended(other)


async def test_commands_say_why_not(window: Window) -> None:
    window.run_command("vm.move")
    assert any("select a VM" in text for text in window.toasts.texts)
    window.open_ref(WEB)
    window.run_command("power.start")
    assert any("it is running" in text for text in window.toasts.texts)
    window.open_ref(vm_ref("lab", "lab-vm"))
    window.run_command("power.shutdown")
    assert any("lab is offline" in text for text in window.toasts.texts)


async def test_commands_have_unique_ids_and_shortcuts_and_their_icons_exist(window: Window) -> None:
    from widgets.icons import icon

    shortcuts = [command.shortcut for command in window.commands.values() if command.shortcut]
    assert len(shortcuts) == len(set(shortcuts))
    for command in window.commands.values():
        assert not icon(command.icon).isNull()


async def test_power_goes_to_the_actions(window: Window) -> None:
    window.open_ref(WEB)
    window.run_command("power.shutdown")
    assert window.services.actions.calls == [("power", (WEB,), PowerAction.SHUTDOWN)]  # type: ignore[attr-defined]


async def test_a_menu_is_for_the_objects_it_was_asked_for(window: Window) -> None:
    build = vm_ref("kvm-a", "build")
    window.open_ref(WEB)
    window.popup_menu(window.mapToGlobal(window.rect().center()), [build])
    menu = window.findChild(QMenu)
    assert menu is not None
    actions = {action.text(): action for action in menu.actions() if action.text()}
    assert "Start" in actions
    assert "Pause" not in actions
    actions["Start"].trigger()
    menu.close()
    await until(lambda: window.selection() == [WEB])
    assert window.services.actions.calls == [("power", (build,), PowerAction.START)]  # type: ignore[attr-defined]


async def test_charts_show_gaps_and_reasons(window: Window) -> None:
    window.open_ref(WEB)
    page = window.tabs.page()
    assert isinstance(page, VmPage)
    beat(window.services, 1)  # type: ignore[arg-type]
    await until(lambda: page.charts["cpu"].value.text().endswith("%"))
    window.services.inventory.apply(Changed((make_vm("kvm-a", "web-01", PowerState.OFF),)))
    await until(lambda: "the VM is off" in page.charts["cpu"].accessibleName())
    assert page.charts["cpu"].value.text() == ""


async def test_the_status_line_counts(window: Window) -> None:
    assert window.status.live.text() == "3 sites live"
    assert window.status.offline.text() == "1 offline"
    assert window.status.vms.text() == "32 VMs, 22 running"
    window.services.inventory.apply(Changed((make_vm("kvm-a", "web-01", PowerState.OFF),), (vm_ref("kvm-b", "mail"),)))
    window.status.refresh()
    assert window.status.vms.text() == "31 VMs, 20 running"


async def test_a_failed_task_is_told_once_with_its_cure(window: Window) -> None:
    async def work(task: Task) -> None:
        raise Denied("the hypervisor said no", cure="ask for the right")

    await window.services.tasks.wait(window.services.tasks.start(Task("power", "Start build"), work))
    found = [text for text in window.toasts.texts if "the hypervisor said no" in text]
    assert len(found) == 1
    assert "ask for the right" in found[0]
    await until(lambda: any("Start build" in line.text for line in window.alert_lines()))


async def test_an_error_in_the_background_becomes_a_message(window: Window) -> None:
    async def broken() -> None:
        raise Denied("no", object_name="web-01")

    window.background.run(broken(), "definition")
    await until(lambda: any("definition: web-01: no" in text for text in window.toasts.texts))
    assert any("definition" in event.text for event in window.services.events)


async def test_closing_with_tasks_running_asks(window: Window) -> None:
    ended = []
    window.quit = lambda: ended.append(True)
    show_tasks(window.services)  # type: ignore[arg-type]
    window.close()
    asked = window.findChild(Leaving)
    assert asked is not None
    assert not ended
    assert window.isVisible()
    asked.go.click()
    assert not window.isVisible()
    running = next(task for task in window.services.tasks.all() if task.active)
    running.state = running.state.DONE
    window.services.tasks.changed(running)
    assert ended


async def test_light_and_dark(window: Window) -> None:
    window.toggle_theme()
    assert theme.is_dark()
    assert theme.DARK.pane in window.styleSheet()
    window.toggle_theme()
    assert not theme.is_dark()


async def test_return_in_the_search_opens_what_was_found(window: Window) -> None:
    await until(lambda: window.tree.rows.rowCount() > 3)
    QTest.keyClicks(window.search.edit, "db")
    QTest.keyClick(window.search.edit, Qt.Key.Key_Down)
    assert window.tree.selected() == [vm_ref("kvm-a", "db-01")]
    assert window.tabs.kept() == []
    QTest.keyClick(window.search.edit, Qt.Key.Key_Return)
    assert window.tabs.page().name == "db-01"
    assert len(window.tabs.kept()) == 1


async def test_f6_goes_round(window: Window) -> None:
    window.open_ref(WEB)
    window.activateWindow()
    stops = []
    for _ in range(3):
        window.focus_tree()
        stops.append(QApplication.focusWidget())
    assert stops[0] is window.tree.view
    assert stops[2] is window.dock.buttons["tasks"]


async def test_forgetting_closes_the_tabs_and_offers_the_way_back(window: Window) -> None:
    window.open_ref(Ref("kvm-a", Kind.CONNECTION, "kvm-a"))
    window.forget_site("kvm-a")
    await until(lambda: any("kvm-a is forgotten" in text for text in window.toasts.texts))
    assert window.tabs.count() == 1


async def test_the_shown_tab_is_metered(window: Window) -> None:
    window.open_ref(vm_ref("kvm-b", "mail"))
    await until(lambda: "kvm-b" in window.services.connections.visible)  # type: ignore[attr-defined]


async def test_a_narrow_page_cuts_nothing_off(window: Window) -> None:
    window.resize(760, 480)
    window.panes.columns.setSizes([316, 444])
    window.open_ref(WEB)
    page = window.tabs.page()
    assert isinstance(page, VmPage)
    body = page.body.parentWidget()
    assert body is not None
    await until(lambda: body.width() <= page.width() and page.width() < 460, 10)
    assert page._more.mapTo(page, page._more.rect().topRight()).x() < page.width()
    assert page._console.accessibleName() == "Console of web-01"
