"""The palette: a few letters find the right command, VMs and hosts too; what cannot run says why."""

from __future__ import annotations

from PySide6.QtWidgets import QApplication

from tests.widgets.standin import Services, ended, vm_ref
from widgets.palette import Entry, Palette, best, score
from widgets.prompts import Confirm
from widgets.window import Window


def entry(text: str) -> Entry:
    return Entry(text, "play", lambda: None)


def test_letters_in_order_find_words() -> None:
    names = ["Refresh everything", "Reconnect site", "Force off", "Shut down", "Show events"]
    found = [item.text for item in best("shd", map(entry, names))]
    assert found[0] == "Shut down"
    assert [item.text for item in best("recon", map(entry, names))] == ["Reconnect site"]
    assert best("xyz", map(entry, names)) == []


def test_word_starts_come_first() -> None:
    assert score("off", "Force off") > score("off", "Takeoff list")
    assert score("", "anything") > 0


def test_no_letters_keep_the_order() -> None:
    assert [item.text for item in best("", map(entry, ["b", "a"]))] == ["b", "a"]


async def test_commands_name_what_they_act_on(qapp: QApplication) -> None:
    window = Window(Services())  # type: ignore[arg-type]
    window.show()
    window.open_ref(vm_ref("kvm-a", "web-01"))
    palette = Palette(window)
    texts = {entry.text for entry in palette._commands}
    assert {"Shut down web-01", "Force off web-01", "Delete web-01…", "Start"} <= texts, "a running one is not started"
    shut = next(entry for entry in palette._commands if entry.text == "Shut down web-01")
    window.open_ref(vm_ref("kvm-a", "db-01"))
    shut.run()
    assert window.menu.refs is None
    palette.close()
    window.open_ref(vm_ref("kvm-a", "web-01"))
    assert any("web-01 on kvm-a was asked to shut down" in text for text in window.toasts.texts)
    window.commands["power.off"].run()
    asked = window.findChild(Confirm)
    assert isinstance(asked, Confirm) and asked.windowTitle() == "Force off web-01?"
    await ended(window)


async def test_what_finds_nothing_says_so(qapp: QApplication) -> None:
    window = Window(Services())  # type: ignore[arg-type]
    window.show()
    palette = Palette(window)
    palette.show()
    palette.edit.setText("zzqx")
    assert palette.nothing.isVisible() and "zzqx" in palette.nothing.text()
    palette.edit.setText("re")
    assert palette.list.isVisible() and palette.nothing.isHidden()
    palette.close()
    await ended(window)
