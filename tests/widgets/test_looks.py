"""What an eye would see at once, kept: nothing beyond the screen, nothing invisible, nothing said twice."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QApplication, QDialog, QLabel, QWidget

from app.migration.plan import Verdict
from app.tasks import TaskState
from backends.model import Finding, Level
from tests.widgets.standin import Services, ended, host_ref, move_task, until, vm_ref
from widgets import format as fmt
from widgets import theme
from widgets.details.vm import VmPage
from widgets.parts import FRAME, Check, Facts
from widgets.plan.shown import verdict_text
from widgets.toast import Toast
from widgets.window import Window

WEB = vm_ref("kvm-a", "web-01")


@pytest.fixture
async def window(qapp: QApplication) -> AsyncIterator[Window]:
    theme.apply(qapp, theme.Mode.LIGHT)
    made = Window(Services())  # type: ignore[arg-type]
    made.show()
    yield made
    await ended(made)


def colours(image: QImage) -> set[str]:
    return {image.pixelColor(x, y).name() for x in range(image.width()) for y in range(image.height())}


async def test_window_and_dialogs_leave_room_for_their_frames(window: Window) -> None:
    window.show_connect()
    window.show_welcome()
    window.plan_move([WEB], host_ref("kvm-b"), False)
    room = window.screen().availableSize() - FRAME
    for made in (window, *window.findChildren(QDialog)):
        assert made.width() <= max(room.width(), made.minimumSizeHint().width())
        assert made.height() <= max(room.height(), made.minimumSizeHint().height())


@pytest.mark.parametrize("mode", [theme.Mode.LIGHT, theme.Mode.DARK])
async def test_an_empty_box_has_an_edge(qapp: QApplication, window: Window, mode: theme.Mode) -> None:
    theme.apply(qapp, mode)
    box = Check("", window)
    box.resize(box.sizeHint())
    assert theme.tokens().muted in colours(box.grab().toImage())


async def test_the_tab_bar_has_the_ground_of_its_pane(qapp: QApplication, window: Window) -> None:
    window.open_ref(WEB)
    window.focus_search()
    QApplication.processEvents()
    bar = window.tabs.grab().toImage()
    assert bar.pixelColor(bar.width() - 4, 10).name() == theme.tokens().pane


async def test_messages_leave_the_lower_pane_free(window: Window) -> None:
    window.toasts.tell("info", "Copied 10.0.0.5", "and more", ("Undo", lambda: None))
    toast = window.findChild(Toast)
    assert toast is not None
    assert toast.geometry().bottom() < window.dock.mapTo(window, window.dock.rect().topLeft()).y()
    assert toast.height() < 110


async def test_the_end_of_a_task_is_told_once(window: Window) -> None:
    window.open_ref(WEB)
    task = move_task(WEB, host_ref("kvm-b"), "web-01")
    task.uid, task.state, task.title = window.services.identity.uid_of(WEB), TaskState.DONE, "web-01 kvm-a -> kvm-b"
    window.services.tasks.adopt(task)
    window.services.events.add(f"{task.title}: done", ref=WEB)
    page = window.tabs.page()
    assert isinstance(page, VmPage)

    def told() -> int:
        page.refresh()
        return sum(line.text() == f"{task.title}: done" for line in page.news.findChildren(QLabel) if line.isVisible())

    await until(lambda: told() == 1)


def test_an_amber_plan_says_what_to_look_at() -> None:
    amber = [Finding(level=Level.AMBER, code=code, message=f"{code} differs.") for code in ("cpu", "name")]
    verdict = Verdict("amber", "live, stops about 40 ms", tuple(amber))
    assert verdict_text(verdict) == "live, stops about 40 ms. Look first: cpu differs (and 1 more)"
    assert verdict_text(Verdict("green", "live", ())) == "live"


def test_sentences_end_once_and_begin_with_a_capital() -> None:
    assert fmt.sentences("no key", "sign in again") == "no key. Sign in again."
    assert fmt.sentences("Nothing found.", "") == "Nothing found."


def test_a_table_is_as_high_as_its_rows(qapp: QApplication) -> None:
    table = Facts()
    table.show_rows([("one", "1")])
    low = table.sizeHint().height()
    table.show_rows([("one", "1"), ("two", "2"), ("three", "3")])
    table.show_rows([("one", "2")])
    assert table.sizeHint().height() == low


async def test_an_empty_search_says_so(window: Window) -> None:
    def view() -> str:
        QWidget.repaint(window.tree.view.viewport())
        return window.tree.view.nothing

    window.search.set_text("no-such-thing")
    await until(lambda: "no-such-thing" in view())
    window.search.set_text("")
    await until(lambda: not view())
