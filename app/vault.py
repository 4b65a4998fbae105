"""One file of sealed secrets, and the key files that open one."""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

from app.paths import write_private
from backends.errors import AuthNeeded, Invalid

SCRYPT_N = 2**16
LOCKED_CURE = (
    "Unlock the system's keyring, give the passphrase in the window, or name a key file with --vault-key-file "
    "(it is made if it does not exist)"
)


class Vault:
    """One file of sealed entries. Blocking; one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._key: bytes | None = None

    @property
    def locked(self) -> bool:
        return self._key is None

    def lock(self) -> None:
        self._key = None

    def exists(self) -> bool:
        return self._path.exists()

    def locks(self) -> dict[str, dict[str, str]]:
        """What the vault opens with: keyring, key-file, passphrase."""
        return dict(self._read()["locks"])

    def account(self) -> str:
        """Under which name the keyring holds this vault's key: one per data folder."""
        return str(self._path.parent.resolve())

    def names(self, connection: str) -> list[str]:
        return [name for owner, name, _ in self._read()["entries"] if owner == connection]

    def all(self, connection: str) -> dict[str, str]:
        return {
            name: _unseal(self._opened(), sealed, _bound(owner, name)).decode()
            for owner, name, sealed in self._read()["entries"]
            if owner == connection
        }

    def put(self, connection: str, name: str, value: str) -> None:
        data = self._read()
        data["entries"] = [entry for entry in data["entries"] if entry[:2] != [connection, name]]
        if value:
            data["entries"].append([connection, name, _seal(self._opened(), value.encode(), _bound(connection, name))])
        self._write(data)

    def forget(self, connection: str) -> None:
        data = self._read()
        kept = [entry for entry in data["entries"] if entry[0] != connection]
        if len(kept) != len(data["entries"]):
            self._write({**data, "entries": kept})

    def open(self, lock: str, secret: bytes) -> None:
        """Get the data key with the secret of a lock; a new vault gets its data key and that lock.

        Raises AuthNeeded where the secret is wrong or the vault has no such lock.
        """
        data = self._read()
        if not data["locks"]:
            self._key = os.urandom(32)
            salt = os.urandom(16)
            sealed = _seal(_stretch(lock, secret, salt), self._key, lock.encode())
            self._write({**data, "locks": {lock: {"salt": base64.b64encode(salt).decode(), "key": sealed}}})
            return
        found = data["locks"].get(lock)
        if found is None:
            raise AuthNeeded(f"The vault of secrets has no {lock}", cure=LOCKED_CURE, field="vault")
        try:
            self._key = _unseal(_stretch(lock, secret, base64.b64decode(found["salt"])), found["key"], lock.encode())
        except AuthNeeded:
            what = {"passphrase": "passphrase", "key-file": "key file", "keyring": "key in the keyring"}[lock]
            raise AuthNeeded(
                f"This is not the {what} of the vault",
                cure=f"Give the {what} that the vault was made with",
                field="vault",
            ) from None

    def _opened(self) -> bytes:
        if self._key is None:
            raise AuthNeeded("The vault of secrets is locked", cure=LOCKED_CURE, field="vault")
        return self._key

    def _read(self) -> dict[str, Any]:
        try:
            data = json.loads(self._path.read_text(encoding="utf-8"))
            if data["version"] != 1 or not isinstance(data["locks"], dict) or not isinstance(data["entries"], list):
                raise ValueError
        except FileNotFoundError:
            return {"version": 1, "locks": {}, "entries": []}
        except (ValueError, KeyError, TypeError):
            raise Invalid(
                f"The vault {self._path} is damaged or of a newer version",
                cure="Put back a copy of it, or move it away and enter the secrets again",
                field="vault",
            ) from None
        return data  # type: ignore[no-any-return]

    def _write(self, data: dict[str, Any]) -> None:
        write_private(self._path, json.dumps(data, indent=1).encode())


def _bound(connection: str, name: str) -> bytes:
    """What an entry is bound to, so that none can stand in for another."""
    return json.dumps([connection, name]).encode()


def _stretch(lock: str, secret: bytes, salt: bytes) -> bytes:
    if lock == "passphrase":
        from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

        return Scrypt(salt=salt, length=32, n=SCRYPT_N, r=8, p=1).derive(secret)
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), 32, salt, b"causeway vault").derive(secret)


def _seal(key: bytes, value: bytes, bound: bytes) -> str:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(12)
    return base64.b64encode(nonce + AESGCM(key).encrypt(nonce, value, bound)).decode()


def _unseal(key: bytes, sealed: str, bound: bytes) -> bytes:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        raw = base64.b64decode(sealed)
        return AESGCM(key).decrypt(raw[:12], raw[12:], bound)
    except (InvalidTag, ValueError):
        raise AuthNeeded(
            "A secret in the vault was changed or belongs elsewhere",
            cure="Enter the connection's secrets again",
            field="vault",
        ) from None


def key_of(path: Path, make: bool) -> bytes:
    """A key file's content. Made, random and private, where there is none and `make`.

    Raises Invalid for one that others can read or that is too short to be a key, AuthNeeded for none.
    """
    try:
        if make and not path.exists():
            write_private(path, base64.b64encode(os.urandom(32)) + b"\n")
        key = path.read_bytes().strip()
        open_to_others = sys.platform != "win32" and path.stat().st_mode & 0o077
    except FileNotFoundError:
        raise AuthNeeded(
            f"The vault's key file {path} is not there", cure="Put it back, or name the right one", field="vault"
        ) from None
    except OSError as error:
        raise Invalid(f"The vault's key file {path} cannot be used: {error.strerror}", field="vault") from None
    if open_to_others:
        raise Invalid(f"The vault's key file {path} can be read by others", cure=f"chmod 600 {path}", field="vault")
    if len(key) < 16:
        raise Invalid(
            f"The vault's key file {path} is too short to be a key",
            cure="Use at least 32 random bytes, or name a file that does not exist and it is made",
            field="vault",
        )
    return key
