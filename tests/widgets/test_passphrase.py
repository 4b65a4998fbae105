"""The question for the vault's passphrase: in the window, answered once, never in the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication, QLineEdit

from app.secrets import Secrets
from backends.errors import AuthNeeded
from tests.widgets.standin import Services, ended, until
from widgets.passphrase import Asker, PassphrasePrompt
from widgets.window import Window


@pytest.fixture
async def window(qapp: QApplication) -> AsyncIterator[Window]:
    made = Window(Services())  # type: ignore[arg-type]
    yield made
    await ended(made)


async def shown(window: Window) -> PassphrasePrompt:
    await until(lambda: any(prompt.isVisible() for prompt in window.findChildren(PassphrasePrompt)))
    return next(prompt for prompt in window.findChildren(PassphrasePrompt) if prompt.isVisible())


async def test_a_new_passphrase_is_typed_twice_and_opens_the_vault_later(window: Window, tmp_path: Path) -> None:
    asker = Asker()
    secrets = Secrets(tmp_path, prompt=asker.ask, system=lambda: None)
    putting = asyncio.create_task(secrets.put("a", "password", "s3cret"))
    await asyncio.sleep(0)
    asker.use(window)
    prompt = await shown(window)
    assert prompt.edit.echoMode() == QLineEdit.EchoMode.Password
    prompt.edit.setText("short")
    assert not prompt.go.isEnabled()
    prompt.edit.setText("correct horse")
    prompt.again.setText("correct mule")
    assert not prompt.go.isEnabled()
    prompt.again.setText("correct horse")
    prompt.go.click()
    await putting
    secrets.lock()
    asking = asyncio.create_task(secrets.all("a"))
    prompt = await shown(window)
    assert not prompt.again.isVisible()
    assert await asyncio.wait_for(secrets.all("without any"), 30) == {}
    prompt.edit.setText("wrong one")
    prompt.go.click()
    prompt = await shown(window)
    assert "not the passphrase" in prompt._note.text()
    prompt.edit.setText("correct horse")
    prompt.go.click()
    assert await asking == {"password": "s3cret"}
    secrets.close()


async def test_who_closes_it_is_not_asked_again_at_once(window: Window, tmp_path: Path) -> None:
    asker = Asker()
    asker.use(window)
    secrets = Secrets(tmp_path, prompt=asker.ask, system=lambda: None)
    putting = asyncio.create_task(secrets.put("a", "password", "s3cret"))
    (await shown(window)).reject()
    with pytest.raises(AuthNeeded):
        await putting
    secrets.close()
