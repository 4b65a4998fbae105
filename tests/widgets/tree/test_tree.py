from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from PySide6.QtCore import QModelIndex, QPoint, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QAbstractItemModelTester
from PySide6.QtWidgets import QApplication, QLineEdit
from pytestqt.qtbot import QtBot

from backends.model import Changed, Host, Kind, PowerState, Ref, Sample, Vm
from tests.widgets.standin import Services, host_ref, make_vm, move_task, vm_ref
from widgets import theme
from widgets.tree import Grouping, Tree
from widgets.tree.drop import Holding
from widgets.tree.grouping import connection_ref

WEB = vm_ref("kvm-a", "web-01")
Role = Qt.ItemDataRole


class Asked:
    """Actions that only remember what they were asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def rename(self, ref: Ref, name: str) -> None:
        self.calls.append(("rename", ref, name))

    def set_group(self, refs: list[Ref], group: str) -> None:
        self.calls.append(("group", tuple(refs), group))

    def tag(self, refs: list[Ref], tags: dict[str, str]) -> None:
        self.calls.append(("tag", tuple(refs), tags))


class Page:
    """The tree as a user sees it: by names."""

    def __init__(self, qtbot: QtBot, services: Services) -> None:
        self.qtbot, self.services = qtbot, services
        self.asked = services.actions = Asked()
        self.tree = Tree(services)
        qtbot.addWidget(self.tree)
        self.tree.resize(404, 900)
        self.tree.show()
        self.view, self.rows = self.tree.view, self.tree.rows

    def names(self) -> list[str]:
        return [str(self.rows.index(row, 0).data()) for row in range(self.rows.rowCount())]

    def row(self, name: str) -> int:
        return self.names().index(name)

    def go(self, name: str) -> None:
        self.view.setCurrentIndex(self.rows.index(self.row(name), 0))

    def key(self, key: Qt.Key, modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
        self.qtbot.keyClick(self.view, key, modifier)

    def point(self, name: str, x: int = 120) -> QPoint:
        return QPoint(x, self.view.visualRect(self.rows.index(self.row(name), 0)).center().y())

    def spoken(self, name: str) -> str:
        return str(self.rows.index(self.row(name), 0).data(Role.AccessibleTextRole))

    def change(self, *objects: Vm | Host, removed: tuple[Ref, ...] = ()) -> None:
        """Let the inventory change, and the tree take it in."""
        with self.qtbot.waitSignal(self.rows.settled):
            self.services.inventory.apply(Changed(objects, removed))


@pytest.fixture
def page(qtbot: QtBot, qapp: QApplication) -> Iterator[Page]:
    theme.apply(qapp, "light")
    made = Page(qtbot, Services())
    yield made
    made.tree.close()


LOCAL = ["Local KVM", "kvm-a", "build", "db-01", "web-01", "web-02", "kvm-b", "cache-01", "mail", "old-crm"]


def test_three_sections_and_one_row_for_a_host_of_its_own(page: Page) -> None:
    assert page.names()[:10] == LOCAL
    assert "Add OpenStack, vSphere…" in page.names()
    assert page.names()[-1] == "aws-prod"
    assert page.spoken("kvm-a") == "kvm-a, connection, live"
    assert page.spoken("web-01") == "web-01, virtual machine, running"
    assert page.spoken("Local KVM").startswith("Local KVM, 3 hosts, 8 VMs")


def test_a_second_host_gives_the_connection_its_own_row(page: Page) -> None:
    other = Host(ref=Ref("kvm-a", Kind.HOST, "other"), name="other")
    page.change(other)
    assert page.names()[1:4] == ["kvm-a", "kvm-a", "other"]
    page.change(removed=(other.ref,))
    assert page.names()[:10] == LOCAL


def test_a_vm_that_another_connection_shows_too_says_so(page: Page) -> None:
    page.services.identity.twins[WEB] = (vm_ref("kvm-b", "mail"), vm_ref("gone", "web-01"))
    tips = {name: str(page.rows.index(page.row(name), 0).data(Role.ToolTipRole)) for name in ("web-01", "web-02")}
    assert "also in kvm-b" in tips["web-01"]
    assert "gone" not in tips["web-01"] and "also in" not in tips["web-02"]


def test_an_empty_section_offers_to_add_a_connection(qtbot: QtBot) -> None:
    page = Page(qtbot, Services(empty=True))
    asked: list[str] = []
    page.tree.add_requested.connect(asked.append)
    qtbot.mouseClick(page.view.viewport(), Qt.MouseButton.LeftButton, pos=page.point("Add a KVM host"))
    page.go("Add a cloud account")
    page.key(Qt.Key.Key_Return)
    qtbot.mouseClick(page.tree.group_by.add, Qt.MouseButton.LeftButton)
    assert asked == ["local", "public", ""]
    page.tree.close()


async def test_the_first_connection_of_a_section_takes_the_place_of_the_hint(qtbot: QtBot) -> None:
    page = Page(qtbot, Services(empty=True))
    assert page.names()[:2] == ["Local KVM", "Add a KVM host"]
    await page.services.connections.add("libvirt", "lab-9", {}, {})
    assert page.names()[:2] == ["Local KVM", "lab-9"]
    page.tree.close()


def test_the_model_is_sound(page: Page) -> None:
    page.rows.set_open(page.rows.rows[1], False)
    page.rows.set_open(page.rows.rows[2], False)
    assert page.rows.rowCount() <= 20
    tester = QAbstractItemModelTester(page.rows, QAbstractItemModelTester.FailureReportingMode.Fatal)
    assert page.rows.flags(QModelIndex()) == Qt.ItemFlag(0)
    page.rows.set_open(page.rows.rows[1], True)
    page.change(replace(page.services.inventory.vm(WEB), name="renamed"))
    assert tester.model() is page.rows


def test_a_change_is_taken_in_where_it_is(page: Page) -> None:
    page.tree.select(WEB)
    page.change(make_vm("kvm-a", "new-vm"), replace(page.services.inventory.vm(WEB), state=PowerState.PAUSED))
    assert "new-vm" in page.names()
    assert page.spoken("web-01") == "web-01, virtual machine, paused"
    assert page.tree.selected() == [WEB]
    page.change(removed=(vm_ref("kvm-a", "build"),))
    assert "build" not in page.names()
    assert page.tree.selected() == [WEB]


def test_the_selection_is_told_once_and_its_loss_too(page: Page) -> None:
    told: list[list[Ref]] = []
    page.tree.selection_changed.connect(told.append)
    page.tree.select(WEB)
    page.tree.set_query("web")
    page.tree.set_query("")
    page.change(make_vm("kvm-a", "aaa"), make_vm("kvm-b", "zzz"))
    assert told == [[WEB]]
    page.tree.set_query("mail")
    assert told == [[WEB], []]


@pytest.mark.parametrize("later", [False, True], ids=["at once", "gone first"])
def test_what_is_selected_goes_along_with_a_move(page: Page, later: bool) -> None:
    """Its neighbour is never selected instead, and the place it comes to opens."""
    page.key(Qt.Key.Key_Home)
    page.view.toggle(page.row("kvm-b"))
    page.go("web-01")
    told: list[list[Ref]] = []
    page.tree.selection_changed.connect(told.append)
    there = make_vm("kvm-b", "web-01")
    uid = page.services.identity.uid_of(WEB)
    if later:
        page.change(removed=(WEB,))
        assert page.tree.selected() == []
    page.services.identity.moved(uid, WEB, there.ref)
    page.change(there, removed=(WEB,))
    assert page.tree.selected() == [there.ref]
    assert page.view.currentIndex().row() == page.view.selected_rows()[0]
    assert told in ([], [[]]), "nobody has chosen anything"
    page.view.toggle(page.row("kvm-b"))
    assert page.tree.selected() == []


def test_a_kept_original_is_not_what_was_selected(page: Page) -> None:
    """It stands where the moved VM was: the selection leaves it all the same."""
    page.go("web-01")
    there = make_vm("aws-prod", "i-0f")
    page.change(there)
    page.services.identity.moved(page.services.identity.uid_of(WEB), WEB, there.ref)
    page.tree.follow()
    assert page.tree.selected() == [there.ref]
    page.go("web-01")
    page.tree.follow()
    assert page.tree.selected() == [WEB], "chosen by hand"


def test_only_visible_rows_are_announced(page: Page) -> None:
    heard: list[int] = []
    page.rows.dataChanged.connect(lambda first, last, _roles: heard.extend(range(first.row(), last.row() + 1)))
    page.change(replace(page.services.inventory.vm(WEB), state=PowerState.OFF))
    assert heard == [page.row("web-01")]
    heard.clear()
    shop = next(vm for vm in page.services.inventory.of("aws-prod", Kind.VM) if isinstance(vm, Vm))
    page.change(replace(shop, state=PowerState.CRASHED))
    assert heard == []


def test_left_right_and_enter(page: Page) -> None:
    opened: list[Ref] = []
    page.tree.opened.connect(opened.append)
    page.go("web-01")
    page.key(Qt.Key.Key_Return)
    page.key(Qt.Key.Key_Left)
    assert page.view.currentIndex().data() == "kvm-a"
    page.key(Qt.Key.Key_Left)
    assert "web-01" not in page.names()
    page.key(Qt.Key.Key_Right)
    page.key(Qt.Key.Key_Right)
    assert page.view.currentIndex().data() == "build"
    page.go("kvm-b")
    page.key(Qt.Key.Key_Return)
    assert opened == [WEB, host_ref("kvm-b")]


def test_typing_jumps(page: Page) -> None:
    page.go("kvm-a")
    page.qtbot.keyClicks(page.view, "cac")
    assert page.view.currentIndex().data() == "cache-01"


def test_a_click_on_the_chevron_closes(page: Page) -> None:
    page.qtbot.mouseClick(page.view.viewport(), Qt.MouseButton.LeftButton, pos=page.point("kvm-a", 14))
    assert page.names()[:3] == ["Local KVM", "kvm-a", "kvm-b"]


def test_rename_in_place_asks_and_waits_for_the_backend(page: Page) -> None:
    page.go("web-01")
    page.key(Qt.Key.Key_F2)
    editor = page.view.findChild(QLineEdit)
    assert editor is not None and editor.selectedText() == "web-01"
    page.qtbot.keyClicks(editor, "fro")
    page.rows.announce(None)
    page.qtbot.keyClicks(editor, "nt")
    page.qtbot.keyClick(editor, Qt.Key.Key_Return)
    page.qtbot.waitUntil(lambda: page.asked.calls == [("rename", WEB, "front")])
    assert "web-01" in page.names()


def test_several_are_selected_copied_and_deleted_together(page: Page) -> None:
    asked: list[list[Ref]] = []
    page.tree.delete_requested.connect(asked.append)
    page.go("web-01")
    page.key(Qt.Key.Key_Down, Qt.KeyboardModifier.ShiftModifier)
    page.key(Qt.Key.Key_Delete)
    page.tree.copy_names()
    assert asked == [[WEB, vm_ref("kvm-a", "web-02")]]
    assert QGuiApplication.clipboard().text() == "web-01\nweb-02"


def test_search_keeps_what_it_finds_and_the_way_there(page: Page) -> None:
    page.tree.set_query("shop-01")
    found = [name for name in page.names() if name not in ("Local KVM", "Private managers", "Public clouds")]
    assert found == ["aws-prod", "eu-west-1", "shop-01", "us-east-1", "shop-01"]
    page.tree.set_query("")
    assert page.names()[:10] == LOCAL


def test_running_only_and_close_all(page: Page) -> None:
    finds = page.services.search.match
    page.services.search.match = lambda query: {WEB} if query == "w state:running" else finds(query)  # type: ignore[method-assign]
    page.tree.set_query("w")
    page.tree.show_running_only(True)
    assert [name for name in page.names() if name.startswith(("web", "build"))] == ["web-01"]
    page.tree.show_running_only(False)
    assert "web-02" in page.names()
    page.tree.set_query("")
    page.tree.close_all()
    assert page.names()[:3] == ["Local KVM", "kvm-a", "kvm-b"]


def test_what_comes_during_a_search_is_found_too(page: Page) -> None:
    page.tree.set_query("web")
    page.change(make_vm("kvm-b", "web-09"), make_vm("kvm-b", "other"))
    assert "web-09" in page.names() and "other" not in page.names()


@pytest.mark.parametrize(
    ("grouping", "names"),
    [
        (Grouping.STATE, ["By state", "off", "paused", "running"]),
        (Grouping.GROUP, ["By group", "no group", "web"]),
        (Grouping.TAG, ["By tag", "no tag"]),
    ],
)
def test_group_by(page: Page, grouping: Grouping, names: list[str]) -> None:
    page.qtbot.mouseClick(page.tree.group_by.buttons[grouping], Qt.MouseButton.LeftButton)
    assert page.names() == names
    page.qtbot.mouseClick(page.tree.group_by.buttons[Grouping.PLACE], Qt.MouseButton.LeftButton)
    assert page.names()[:10] == LOCAL


def test_a_vm_changes_its_group_when_it_changes(page: Page) -> None:
    page.tree.set_grouping(Grouping.STATE)
    page.change(replace(page.services.inventory.vm(WEB), state=PowerState.CRASHED))
    assert page.names() == ["By state", "crashed", "off", "paused", "running"]
    page.change(replace(page.services.inventory.vm(WEB), state=PowerState.RUNNING))
    assert "crashed" not in page.names()


def test_state_is_restored(qtbot: QtBot, page: Page) -> None:
    page.rows.set_open(page.rows.rows[page.row("kvm-b")], False)
    page.rows.set_open(page.rows.rows[page.row("aws-prod")], True)
    page.tree.select(WEB)
    state = page.tree.state()
    other = Page(qtbot, Services())
    other.tree.restore(state)
    assert other.names() == page.names()
    assert other.tree.selected() == [WEB]
    other.tree.close()


def test_state_from_elsewhere_does_no_harm(page: Page) -> None:
    page.tree.restore({"grouping": "colour", "open": ["x", 3, "a/b/c"], "selected": ["?"], "scroll": "far"})
    assert page.names()[0] == "Local KVM"


def test_cut_and_paste_asks_for_a_move(page: Page) -> None:
    page.go("web-01")
    page.tree.cut()
    page.go("mail")
    with page.qtbot.waitSignal(page.tree.move_requested) as asked:
        page.tree.paste()
    assert asked.args == [[WEB], host_ref("kvm-b"), False]
    assert page.names()[:10] == LOCAL


def test_a_red_row_says_why(page: Page) -> None:
    page.go("web-01")
    page.tree.cut()
    page.go("lab")
    with page.qtbot.waitSignal(page.tree.refused) as refused:
        page.tree.paste()
    assert refused.args == [host_ref("lab"), "site is offline: reconnect it"]


def test_a_drop_never_moves_a_row_by_itself(page: Page) -> None:
    page.tree.select(WEB)
    page.view.hold([WEB])
    data = page.rows.mimeData([page.rows.index(page.row("web-01"), 0)])
    target = page.rows.index(page.row("kvm-b"), 0)
    with page.qtbot.waitSignal(page.tree.move_requested) as asked:
        assert page.rows.dropMimeData(data, Qt.DropAction.CopyAction, -1, -1, target) is False
    assert asked.args == [[WEB], host_ref("kvm-b"), True]
    page.view.let_go()
    assert page.names()[:10] == LOCAL


def test_held_vms_get_a_verdict_from_every_visible_row_but_their_own(page: Page) -> None:
    page.view.hold([WEB])
    holding = page.view.holding
    assert isinstance(holding, Holding)
    node = {name: page.rows.rows[page.row(name)] for name in ("kvm-a", "kvm-b", "lab", "aws-prod")}
    page.qtbot.waitUntil(lambda: holding.verdict(node["aws-prod"]) is not None)
    said = {name: verdict and verdict.colour for name in node if (verdict := holding.verdict(node[name])) or True}
    assert said == {"kvm-a": None, "kvm-b": "green", "lab": "red", "aws-prod": "amber"}
    page.rows.set_open(node["aws-prod"], True)
    assert holding.verdict(node["aws-prod"]) is None
    page.view.let_go()
    assert page.view.holding is None


def test_a_drop_on_a_group_sets_it(page: Page) -> None:
    shop = next(vm.ref for vm in page.services.inventory.of("aws-prod", Kind.VM))
    page.tree.set_grouping(Grouping.GROUP)
    page.tree.select(shop)
    page.tree.cut()
    page.go("web")
    page.tree.paste()
    assert page.asked.calls == [("group", (shop,), "web")]


def test_a_drop_on_a_tag_sets_it(page: Page) -> None:
    page.change(replace(page.services.inventory.vm(WEB), tags=(("env", "prod"),)))
    page.tree.set_grouping(Grouping.TAG)
    mail = vm_ref("kvm-b", "mail")
    page.tree.select(mail)
    page.tree.cut()
    page.go("env=prod")
    page.tree.paste()
    assert page.asked.calls == [("tag", (mail,), {"env": "prod"})]


def test_rings_are_kept_for_shown_vms_only(page: Page) -> None:
    shop = next(vm.ref for vm in page.services.inventory.of("aws-prod", Kind.VM))
    page.qtbot.waitUntil(lambda: page.view.live.ring(WEB) is not None)
    for value in range(40):
        page.services.inventory.metered({ref: Sample(at=0.0, cpu_percent=value) for ref in (WEB, shop)})
    assert list(page.view.live.ring(WEB) or ()) == list(range(10, 40))
    assert page.view.live.ring(shop) is None


def test_connections_hear_what_is_shown(page: Page) -> None:
    page.qtbot.waitUntil(lambda: page.services.connections.visible == {"kvm-a", "kvm-b", "lab", "aws-prod"})
    page.tree.set_query("web-01")
    page.qtbot.waitUntil(lambda: page.services.connections.visible == {"kvm-a"})


def test_a_moving_vm_shows_how_far_it_is(page: Page) -> None:
    task = move_task(WEB, host_ref("kvm-b"), "web-01")
    page.services.tasks.adopt(task)
    assert page.view.live.moving(WEB) == 0
    assert page.view.live.moving(vm_ref("kvm-b", "mail")) is None


def test_an_offline_site_says_since_when(page: Page) -> None:
    assert "offline, seen 4 min ago" in page.spoken("lab")
    connection = page.services.connections.get("lab")
    assert connection is not None
    connection.state = "ready"
    page.services.connections.tell(connection)
    assert "live" not in page.spoken("lab") and "offline" not in page.spoken("lab")


def test_a_forgotten_connection_goes_with_all_below_it(page: Page) -> None:
    connections = page.services.connections
    gone = connections.get("kvm-a")
    assert gone is not None
    connections._all.remove(gone)
    connections.tell(gone)
    page.services.inventory.forget("kvm-a")
    page.qtbot.waitUntil(lambda: "web-01" not in page.names())
    assert page.rows.forest.node(connection_ref("kvm-a")) is None


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_every_row_can_be_painted(page: Page, qapp: QApplication, mode: str) -> None:
    theme.apply(qapp, mode)
    page.rows.set_open(page.rows.rows[page.row("aws-prod")], True)
    page.view.hold([WEB])
    image = page.view.grab().toImage()
    colours = {image.pixelColor(x, y).name() for x in range(0, 404, 2) for y in range(0, 700, 2)}
    tokens = theme.tokens()
    assert {tokens.pane, tokens.ok_bg, tokens.pane2} <= colours
    page.view.let_go()
    theme.apply(qapp, "light")
