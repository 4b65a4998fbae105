"""What the command line is given: settings, secrets (from files, the environment, standard input), answers."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import typer


def pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """`key=value` texts as a dict. Raises BadParameter (exit 2) for anything else."""
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise typer.BadParameter("write key=value", param_hint=option)
        found[key] = value
    return found


def read_secrets(files: Sequence[str], variables: Sequence[str], stdin: str | None) -> dict[str, str]:
    """Secrets by name; one newline at the end does not belong to them. Raises BadParameter (exit 2), never quoting
    a value."""
    found: dict[str, str] = {}
    for name, path in pairs(files, "--secret-file").items():
        try:
            found[name] = _without_newline(Path(path).expanduser().read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not text"
            raise typer.BadParameter(f"{path} cannot be read: {why}", param_hint="--secret-file") from None
    for name, variable in pairs(variables, "--secret-env").items():
        if variable not in os.environ:
            raise typer.BadParameter(f"there is no variable {variable}", param_hint="--secret-env")
        found[name] = os.environ[variable]
    if stdin is not None:
        terminal = sys.stdin.isatty()
        found[stdin] = getpass.getpass(f"{stdin}: ") if terminal else _without_newline(sys.stdin.read())
    return found


def confirm(question: str) -> None:
    """Ask; anything but yes ends it with exit code 1, and without a terminal it is exit code 2."""
    if not sys.stdin.isatty():
        raise typer.BadParameter("there is no terminal to ask on; say --yes", param_hint="--yes")
    typer.confirm(question, abort=True)


async def ask_passphrase(new: bool) -> str | None:
    """Ask for the vault's passphrase on the terminal; a new one twice."""

    def asked() -> str | None:
        first = getpass.getpass("New passphrase for the vault of secrets: " if new else "Passphrase of the vault: ")
        if new and getpass.getpass("The same again: ") != first:
            return None
        return first or None

    return await asyncio.to_thread(asked)


def _without_newline(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")
