"""The connection dialog: made from the options, checked before it saves, findings at their fields."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from PySide6.QtWidgets import QApplication, QLineEdit

from app.discover import Found
from backends.model import Finding, Level
from tests.widgets.standin import Services, ended, until
from widgets import theme
from widgets.connect import ConnectDialog
from widgets.firstrun import FirstRun, Offer, playground_command
from widgets.window import Window

FOUND = Found(kind="ec2", name="work", title="AWS profile work", origin="~/.aws/config", settings={"mode": "profile"})


@pytest.fixture
async def window(qapp: QApplication, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Window]:
    async def found() -> list[Found]:
        return [FOUND]

    monkeypatch.setattr("app.discover.discover", found)
    if theme.mode() != theme.Mode.LIGHT:
        theme.apply(qapp, theme.Mode.LIGHT)
    services = Services()
    made = Window(services)  # type: ignore[arg-type]
    yield made
    await ended(made)


async def opened(window: Window, **given: object) -> ConnectDialog:
    dialog = ConnectDialog(window, **given)  # type: ignore[arg-type]
    dialog.show()
    await until(lambda: dialog.fields)
    return dialog


async def test_the_form_comes_from_the_options(window: Window) -> None:
    dialog = await opened(window)
    assert list(dialog.fields) == ["uri", "password", "keyfile", "tls"]
    password = dialog.fields["password"].input
    assert isinstance(password, QLineEdit)
    assert password.echoMode() == QLineEdit.EchoMode.Password
    assert not dialog.fields["keyfile"].isVisibleTo(dialog)
    assert not dialog.kind.model().item(2).isEnabled()


async def test_red_findings_stand_at_their_fields_and_stop_the_save(window: Window) -> None:
    connections = window.services.connections
    connections.findings = [  # type: ignore[attr-defined]
        Finding(level=Level.RED, code="auth", message="the password is wrong", cure="type it again", field="password"),
        Finding(level=Level.RED, code="file", message="there is no such file", field="keyfile"),
    ]
    dialog = await opened(window)
    dialog.fields["uri"].set_value("qemu+ssh://root@kvm-c/system")
    dialog.go.click()
    await until(lambda: "wrong" in dialog.fields["password"].note())
    assert dialog.fields["password"].note() == "the password is wrong. Type it again."
    assert dialog.fields["keyfile"].isVisibleTo(dialog)
    assert connections.added == []  # type: ignore[attr-defined]
    assert dialog.isVisible()


async def test_save_keeps_secrets_apart(window: Window) -> None:
    dialog = await opened(window, name="kvm-c")
    dialog.fields["uri"].set_value("qemu+ssh://root@kvm-c/system")
    dialog.fields["password"].set_value(" s3cret ")
    dialog.read_only.setChecked(True)
    dialog.go.click()
    added = window.services.connections.added  # type: ignore[attr-defined]
    await until(lambda: added)
    assert added == [("libvirt", "kvm-c", {"uri": "qemu+ssh://root@kvm-c/system"}, {"password": " s3cret "})]
    site = window.services.connections.get("kvm-c")
    assert site is not None
    assert site.read_only


async def test_check_alone_saves_nothing(window: Window) -> None:
    dialog = await opened(window)
    dialog.check.click()
    await until(lambda: dialog.result.text() == "It works.")
    assert window.services.connections.added == []  # type: ignore[attr-defined]
    dialog.fields["uri"].set_value("x")
    dialog._touched()
    assert dialog.result.text() == ""


async def test_what_was_found_fills_the_form(window: Window) -> None:
    dialog = await opened(window)
    dialog._take(FOUND)
    assert dialog.kind.chosen() == "ec2"
    assert dialog.name.text() == "work"
    assert dialog.fields["mode"].value == "profile"


async def test_the_first_run_offers_what_was_found(window: Window) -> None:
    welcome = FirstRun(window)
    welcome.show()
    await until(lambda: any("AWS profile work" in offer.go.accessibleName() for offer in welcome.findChildren(Offer)))
    demo = next(offer for offer in welcome.findChildren(Offer) if "demo" in offer.go.accessibleName())
    demo.go.click()
    added = window.services.connections.added  # type: ignore[attr-defined]
    await until(lambda: added)
    assert added[0][:2] == ("demo", "demo")


async def test_the_playground_command_is_complete(window: Window) -> None:
    command = playground_command(window.services.home)
    assert command.startswith("sudo ")
    assert command.endswith(f"--home {window.services.home} playground up")
