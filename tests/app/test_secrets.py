"""Secrets are readable with the right key only, and nowhere else to be found."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from app import redaction, vault
from app import secrets as module
from app.secrets import Keyring, Secrets, guard_logs, pipe_secrets, read_secrets, system_keyring
from backends.errors import AuthNeeded, Invalid

ROOT = Path(__file__).parents[2]
CANARY = "c4nary-Sw0rdfish/+ä"


class Ring:
    """A keyring in memory, as strict as Windows is."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        assert len(password.encode("utf-16-le")) <= 2560
        self.kept[service, username] = password


def with_ring(home: Path, ring: Keyring | None) -> Secrets:
    return Secrets(home, system=lambda: ring)


def alone(home: Path, **more: object) -> Secrets:
    return Secrets(home, system=lambda: None, **more)  # type: ignore[arg-type]


def everything(home: Path) -> bytes:
    return b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())


def modes(home: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    assert vault.SCRYPT_N == 2**16
    monkeypatch.setattr(vault, "SCRYPT_N", 2**10)


async def test_the_keyring_holds_a_key_and_the_vault_the_secrets(tmp_path: Path) -> None:
    ring = Ring()
    secrets = with_ring(tmp_path, ring)
    assert await secrets.get("kvm", "password") is None and await secrets.all("kvm") == {}
    assert ring.kept == {} and not secrets.locked
    long = CANARY + "x" * 20_000
    await secrets.put("kvm", "password", CANARY)
    await secrets.put("kvm", "key", long)
    await secrets.put("cloud", "password", "other-value")
    again = with_ring(tmp_path, ring)
    assert again.locked
    assert await again.all("kvm") == {"password": CANARY, "key": long}
    assert await again.get("kvm", "nothing") is None
    assert not again.locked
    await again.put("kvm", "password", "changed")
    await again.put("kvm", "key", "")
    assert await secrets.all("kvm") == {"password": "changed"}
    await secrets.forget("kvm")
    assert await again.all("kvm") == {}
    assert await again.get("cloud", "password") == "other-value"
    assert CANARY.encode() not in everything(tmp_path) and CANARY not in str(ring.kept)
    assert stat.S_IMODE((tmp_path / "vault.json").stat().st_mode) == 0o600


async def test_a_passphrase_is_asked_once_and_a_wrong_one_is_told(tmp_path: Path) -> None:
    asked: list[bool] = []

    async def prompt(new: bool) -> str | None:
        asked.append(new)
        return "correct horse"

    secrets = alone(tmp_path, prompt=prompt)
    await secrets.put("kvm", "password", CANARY)
    await secrets.put("kvm", "two", "second value")
    assert asked == [True]
    again = alone(tmp_path)
    with pytest.raises(AuthNeeded, match="not the passphrase"):
        await again.unlock("wrong horse")
    assert again.locked
    with pytest.raises(AuthNeeded, match="empty"):
        await again.unlock("")
    with pytest.raises(AuthNeeded, match="locked") as caught:
        await again.get("kvm", "password")
    assert "--vault-key-file" in caught.value.cure
    await again.unlock("correct horse")
    assert await again.get("kvm", "password") == CANARY
    third = alone(tmp_path, prompt=prompt)
    await asyncio.gather(*(third.get("kvm", "password") for _ in range(5)))
    assert asked == [True, False]
    again.lock()
    assert again.locked
    assert b"correct horse" not in everything(tmp_path)


async def test_nobody_to_ask_and_no_keyring_is_told_before_anything_is_written(tmp_path: Path) -> None:
    async def refuses(new: bool) -> str | None:
        return None

    for secrets in (alone(tmp_path), alone(tmp_path, prompt=refuses)):
        with pytest.raises(AuthNeeded, match="locked") as caught:
            await secrets.put("kvm", "password", CANARY)
        assert "--vault-key-file" in caught.value.cure and CANARY not in str(caught.value)
    assert everything(tmp_path) == b""


async def test_a_key_file_is_made_private_and_opens_without_asking(tmp_path: Path) -> None:
    home, key = tmp_path / "home", tmp_path / "vault.key"
    home.mkdir()
    secrets = alone(home, key_file=key)
    await secrets.put("kvm", "password", CANARY)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert await alone(home, key_file=key).get("kvm", "password") == CANARY
    good = key.read_bytes()
    key.write_bytes(os.urandom(32))
    with pytest.raises(AuthNeeded, match="not the key file"):
        await alone(home, key_file=key).get("kvm", "password")
    key.write_bytes(good)
    key.chmod(0o644)
    with pytest.raises(Invalid, match="read by others"):
        await alone(home, key_file=key).get("kvm", "password")
    key.chmod(0o600)
    key.write_bytes(b"short")
    with pytest.raises(Invalid, match="too short"):
        await alone(home, key_file=key).get("kvm", "password")
    key.unlink()
    with pytest.raises(AuthNeeded, match="is not there"):
        await alone(home, key_file=key).get("kvm", "password")
    assert not key.exists()


async def test_a_local_servers_secret_needs_nobody(tmp_path: Path) -> None:
    await alone(tmp_path).put("cloud", "secret_key", CANARY, local=True)
    secrets = alone(tmp_path)
    assert not secrets.locked
    assert await secrets.all("cloud") == {"secret_key": CANARY}
    assert CANARY.encode() not in everything(tmp_path)
    assert modes(tmp_path) == {0o600}
    await secrets.forget("cloud")
    assert await secrets.all("cloud") == {}


@pytest.mark.parametrize("what", ["connection", "name", "bit"])
async def test_an_entry_cannot_stand_in_for_another(tmp_path: Path, what: str) -> None:
    ring = Ring()
    await with_ring(tmp_path, ring).put("kvm", "password", CANARY)
    path = tmp_path / "vault.json"
    data = json.loads(path.read_text())
    entry = data["entries"][0]
    if what == "bit":
        entry[2] = entry[2][:20] + ("A" if entry[2][20] != "A" else "B") + entry[2][21:]
    else:
        entry[("connection", "name").index(what)] = "evil"
    path.write_text(json.dumps(data))
    with pytest.raises(AuthNeeded, match="changed or belongs elsewhere"):
        await with_ring(tmp_path, ring).all(entry[0])


async def test_a_damaged_vault_is_named_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "vault.json"
    path.write_text('{"version": 1, "lo')
    for doing in (alone(tmp_path).get("a", "b"), with_ring(tmp_path, Ring()).put("a", "b", "value")):
        with pytest.raises(Invalid, match="damaged"):
            await doing
    assert path.read_text() == '{"version": 1, "lo'


async def test_a_keyring_that_hangs_or_fails_is_as_good_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROBE_SECONDS", 0.2)
    release = threading.Event()

    def hangs() -> Keyring | None:
        release.wait(60)
        return None

    with pytest.raises(AuthNeeded, match="locked"):
        await Secrets(tmp_path, system=hangs).put("kvm", "password", CANARY)
    release.set()

    class Locked(Ring):
        def get_password(self, service: str, username: str) -> str | None:
            import keyring.errors

            raise keyring.errors.KeyringLocked("locked")

    with pytest.raises(AuthNeeded, match="locked"):
        await with_ring(tmp_path, Locked()).put("kvm", "password", CANARY)


def test_a_keyring_that_does_not_protect_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    import keyring
    import keyring.backends.fail
    import keyring.backends.null

    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")
    before = keyring.get_keyring()
    try:
        for backend in (keyring.backends.fail.Keyring(), keyring.backends.null.Keyring()):
            keyring.set_keyring(backend)
            assert system_keyring() is None
    finally:
        keyring.set_keyring(before)


READER = "import sys; from app.secrets import read_secrets; print(sorted(read_secrets(int(sys.argv[1])).items()))"


def test_a_child_gets_secrets_by_a_descriptor_only() -> None:
    descriptor = pipe_secrets({"source": {"password": CANARY}, "plain": "value"})
    command = [sys.executable, "-c", READER, str(descriptor)]
    assert CANARY not in str(command)
    done = subprocess.run(command, cwd=ROOT, pass_fds=(descriptor,), capture_output=True, text=True, check=True)
    os.close(descriptor)
    assert done.stdout.strip() == str([("plain", "value"), ("source", {"password": CANARY})])


def test_handing_over_has_limits() -> None:
    with pytest.raises(Invalid, match="too long"):
        pipe_secrets({"key": "x" * 100_000})
    with pytest.raises(Invalid, match="cannot be read"):
        read_secrets(987_654)


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_forms", set())
    monkeypatch.setattr(redaction, "_pattern", None)


@pytest.fixture
def guarded(forgetful: None) -> object:
    before = logging.getLogRecordFactory()
    guard_logs()
    guard_logs()
    yield
    logging.setLogRecordFactory(before)


async def test_what_passes_here_is_not_logged(
    tmp_path: Path, guarded: object, caplog: pytest.LogCaptureFixture
) -> None:
    secrets = with_ring(tmp_path, Ring())
    await secrets.put("kvm", "password", CANARY)
    log = logging.getLogger("somebody.else")
    log.error("cannot open kvm with %s", CANARY)
    log.error("%s %d", "broken")
    try:
        raise ValueError(f"bad password {CANARY!r}")
    except ValueError:
        log.exception("as {%s}", {"p": CANARY}, stack_info=True)
    assert "cannot open kvm with [secret]" in caplog.text
    assert "bad password '[secret]'" in caplog.text
    assert CANARY not in caplog.text and "Sw0rdfish" not in caplog.text
    assert CANARY not in repr(secrets)
