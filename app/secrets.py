"""Secrets of connections: sealed in a vault file whose key is in the system's keyring, a key file or a passphrase.

    value --AES-GCM(data key; bound to connection and name)--> vault.json
    data key --AES-GCM--> vault.json, once per lock:  keyring: a random key there
                                                      key file: its content
                                                      passphrase: scrypt, once per unlock

The keyring holds only a key because Windows allows 2,560 bytes an entry. What belongs to a server on this
machine that was made by Causeway itself (the playground) goes into a second vault whose key file lies beside it:
its other end keeps the same secret in a file of the same folder, so nothing is given away.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from app.redaction import Redaction, guard_logs, redact, remember
from app.vault import LOCKED_CURE, Vault, key_of
from backends.errors import AuthNeeded, Invalid, Unreachable
from backends.threads import Pool

__all__ = ["Redaction", "Secrets", "guard_logs", "pipe_secrets", "read_secrets", "redact", "remember"]

SERVICE = "causeway"
PROBE_SECONDS = 5.0
"""A keyring that has not said by then whether it is there is treated as not there."""
ANSWER_SECONDS = 90.0
"""A locked keyring asks its user first; without an answer by then the vault stays locked."""
Prompt = Callable[[bool], Awaitable[str | None]]
"""Asks for the vault's passphrase; True: a new one is chosen. None: the user does not want to."""
REAL_KEYRINGS = ("SecretService", "libsecret", "kwallet", "Windows", "macOS")


class Keyring(Protocol):
    """What is used of the keyring package's backends."""

    def get_password(self, service: str, username: str) -> str | None: ...
    def set_password(self, service: str, username: str, password: str) -> None: ...


def system_keyring() -> Keyring | None:
    """The system's own keyring, None where there is none that protects. Blocking, may ask the user."""
    if sys.platform not in ("win32", "darwin"):
        bus = os.environ.get("DBUS_SESSION_BUS_ADDRESS") or os.environ.get("XDG_RUNTIME_DIR")
        if not bus:
            return None
    import keyring
    import keyring.backends.chainer
    import keyring.errors

    found: Any = keyring.get_keyring()
    members = found.backends if isinstance(found, keyring.backends.chainer.ChainerBackend) else [found]
    for backend in members:
        # Any other backend (keyrings.alt, null, fail) keeps secrets readable, or none at all.
        if type(backend).__module__ in tuple(f"keyring.backends.{name}" for name in REAL_KEYRINGS):
            return backend  # type: ignore[no-any-return]
    return None


class Secrets:
    """The secrets of all connections. Values are known to the log's redaction from the moment they pass here.

    Parameters: `home` the data folder; `key_file` opens the vault without anyone asked (made 0600 at the first
    secret if it is not there); `prompt` asks for the passphrase, None where nobody can be asked; `system` finds
    the keyring.
    """

    def __init__(
        self,
        home: Path,
        *,
        key_file: Path | None = None,
        prompt: Prompt | None = None,
        system: Callable[[], Keyring | None] = system_keyring,
    ) -> None:
        self._vault = Vault(home / "vault.json")
        self._local = Vault(home / "local-vault.json")
        self._local_key = home / "local-vault.key"
        self._key_file = key_file
        self._prompt = prompt
        self._system = system
        self._pool = Pool("keyring", size=1, deadline=ANSWER_SECONDS)
        self._busy = asyncio.Lock()

    def __repr__(self) -> str:
        return f"Secrets(locked={self.locked})"

    @property
    def locked(self) -> bool:
        """Whether there are secrets that cannot be read yet."""
        return self._vault.locked and self._vault.exists()

    async def get(self, connection: str, name: str) -> str | None:
        """A secret, None where there is none. Raises AuthNeeded where the vault stays locked."""
        return (await self.all(connection)).get(name)

    async def all(self, connection: str) -> dict[str, str]:
        """All secrets of a connection by name. Raises AuthNeeded where the vault stays locked."""
        # A connection without secrets does not wait while somebody is asked for the passphrase.
        if not (self._local.names(connection) or self._vault.names(connection)):
            return {}
        async with self._busy:
            found: dict[str, str] = {}
            if self._local.names(connection):
                await self._open_local()
                found.update(self._local.all(connection))
            if self._vault.names(connection):
                await self._open()
                found.update(self._vault.all(connection))
        for value in found.values():
            remember(value)
        return found

    async def put(self, connection: str, name: str, value: str, *, local: bool = False) -> None:
        """Keep a secret; an empty value removes it. Raises AuthNeeded where the vault stays locked.

        `local`: the secret of a server that Causeway itself runs on this machine; kept without asking anyone.
        """
        remember(value)
        async with self._busy:
            vault = self._local if local else self._vault
            if value:
                await (self._open_local() if local else self._open())
            await asyncio.to_thread(vault.put, connection, name, value)

    async def forget(self, connection: str) -> None:
        """Remove all secrets of a connection. Needs no key."""
        async with self._busy:
            for vault in (self._vault, self._local):
                await asyncio.to_thread(vault.forget, connection)

    async def unlock(self, passphrase: str) -> None:
        """Open the vault with a passphrase, or choose it for a new vault. Raises AuthNeeded if it is wrong."""
        remember(passphrase)
        async with self._busy:
            await self._unlock(passphrase)

    def lock(self) -> None:
        """Forget the key; the next use unlocks again."""
        self._vault.lock()

    def close(self) -> None:
        self.lock()
        self._local.lock()
        self._pool.close()

    async def _unlock(self, passphrase: str) -> None:
        if not passphrase:
            raise AuthNeeded("The vault's passphrase is empty", cure=LOCKED_CURE, field="passphrase")
        await asyncio.to_thread(self._vault.open, "passphrase", passphrase.encode())

    async def _open(self) -> None:
        """Open the vault by what it was locked with; a new one by the best there is."""
        vault = self._vault
        if not vault.locked:
            return
        locks = vault.locks()
        if self._key_file is not None and (not locks or "key-file" in locks):
            key = await asyncio.to_thread(key_of, self._key_file, not locks)
            await asyncio.to_thread(vault.open, "key-file", key)
            return
        if (not locks or "keyring" in locks) and await self._open_by_keyring(new=not locks):
            return
        if (not locks or "passphrase" in locks) and self._prompt is not None:
            for last in (False, False, True):
                passphrase = await self._prompt(not locks)
                if passphrase is None:
                    break
                remember(passphrase)
                try:
                    return await self._unlock(passphrase)
                except AuthNeeded:
                    if last or not locks:
                        raise
        how = f"It opens with: {', '.join(sorted(locks))}" if locks else "There is no system keyring to keep its key in"
        raise AuthNeeded(f"The vault of secrets is locked. {how}", cure=LOCKED_CURE, field="vault")

    async def _open_by_keyring(self, *, new: bool) -> bool:
        account = self._vault.account()
        try:
            keyring = await self._pool.call(self._system, deadline=PROBE_SECONDS, what="the system keyring")
            if keyring is None:
                return False
            kept = await self._pool.call(lambda: keyring.get_password(SERVICE, account), what="the system keyring")
            if kept is None:
                if not new:
                    return False
                kept = base64.b64encode(os.urandom(32)).decode()
                fresh = kept
                await self._pool.call(lambda: keyring.set_password(SERVICE, account, fresh), what="the system keyring")
        except Unreachable:
            return False
        except Exception as error:
            # Each keyring has errors of its own; all of them mean that it does not open now.
            if type(error).__module__.split(".")[0] in ("backends", "builtins"):
                raise
            return False
        await asyncio.to_thread(self._vault.open, "keyring", kept.encode())
        return True

    async def _open_local(self) -> None:
        if self._local.locked:
            key = await asyncio.to_thread(key_of, self._local_key, True)
            await asyncio.to_thread(self._local.open, "key-file", key)


def pipe_secrets(values: Mapping[str, Any]) -> int:
    """A file descriptor from which a child reads `values` with read_secrets: pass it as `pass_fds=(fd,)`, tell
    the child its number, and close it here once the child runs.

    `values` are JSON, texts or dicts of texts. On Windows the descriptor is inheritable: start the child with
    `close_fds=False`. Raises Invalid for more than fits into a pipe: the write must not wait for a reader.
    """
    data = json.dumps(values).encode()
    if len(data) > 60_000:
        raise Invalid("The secrets are too long to hand to a child process")
    reader, writer = os.pipe()
    try:
        os.write(writer, data)
        os.set_inheritable(reader, sys.platform == "win32")
    except OSError:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    return reader


def read_secrets(descriptor: int) -> dict[str, Any]:
    """What pipe_secrets was given; closes the descriptor and makes the values known to the redaction.

    Raises Invalid where there is none to read.
    """
    try:
        with os.fdopen(descriptor, "rb") as file:
            values = json.loads(file.read() or b"{}")
    except (OSError, ValueError):
        raise Invalid("The secrets that should have been handed over cannot be read") from None
    if not isinstance(values, dict):
        raise Invalid("The secrets that should have been handed over cannot be read")
    for value in values.values():
        for text in value.values() if isinstance(value, dict) else [value]:
            remember(str(text))
    return values
