"""The trail says who did what, never a secret, and never stops the doing."""

from __future__ import annotations

from pathlib import Path

import pytest

from app import redaction
from app.audit import Audit, current_user
from app.store import Store
from backends.errors import Unreachable
from backends.model import Kind, Ref

REF = Ref("kvm", Kind.VM, "1")


async def test_lines_newest_first_about_one_or_all(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    audit = Audit(store)
    await audit.record("shutdown", REF, "running", "off", "ok")
    await audit.record("rename", Ref("kvm", Kind.VM, "2"), "a", "b", "Conflict: taken", who="ann")
    assert [(line["who"], line["what"]) for line in await audit.trail()] == [
        ("ann", "rename"),
        (current_user(), "shutdown"),
    ]
    (line,) = await audit.trail(ref=REF)
    assert (line["from"], line["to"], line["result"]) == ("running", "off", "ok")
    await store.close()


async def test_a_secret_does_not_get_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_forms", set())
    monkeypatch.setattr(redaction, "_pattern", None)
    redaction.remember("hunter22")
    store = await Store.open(tmp_path)
    await Audit(store, "ann").record("edit", REF, "passwd='hunter22'", "hunter22", "refused hunter22")
    assert "hunter22" not in str(await store.audit_trail(10))
    await store.close()


async def test_a_store_that_fails_is_logged_and_does_not_raise(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = await Store.open(tmp_path)

    async def full(*line: object) -> None:
        raise Unreachable("disk full")

    store.audit = full  # type: ignore[method-assign]
    await Audit(store, "ann").record("start", REF, "off", "running", "ok")
    assert "disk full" in caplog.text and "kvm/vm/1" in caplog.text
    await store.close()
