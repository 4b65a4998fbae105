"""The composition root: arguments in; a window, or a verb, out."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
import warnings
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from backends.errors import BackendError, Unsupported

if TYPE_CHECKING:
    from app.secrets import Prompt
    from app.services import Services

DEMO_VMS = "12"
ANYWHERE = ("--home", "--vault-key-file")
WAIT_S = 20.0
"""How long a window waits for a verb that has the data folder."""


def main(arguments: list[str] | None = None) -> int:
    """Run Causeway. Returns the exit code: 0 done, 1 failed, 2 not understood or ambiguous."""
    if not sys.warnoptions:
        # Warnings are for developers: libraries warn of what they could import, which helps no admin.
        warnings.simplefilter("ignore")
    words = arranged(sys.argv[1:] if arguments is None else arguments)
    try:
        if not words or (len(words) == 2 and words[0] == "--home"):
            # The parser takes a fifth of the time that the window needs.
            from app.paths import home

            return start_window(home(words[-1] if words else None), None, None, None)
        from app.cli import main as cli

        return cli.run(words, start_window)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BackendError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        if error.cure:
            print(f"  {error.cure}", file=sys.stderr)  # noqa: T201
        if "--json" in words:
            from app.cli.printer import failed

            failed(error.message, error.cure)
        return 1


def arranged(arguments: list[str]) -> list[str]:
    """The arguments as the parser wants them: the data folder may be named after the verb too, and `--demo` may
    stand without a number."""
    first: list[str] = []
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word in ANYWHERE:
            first += [word, *([value] if (value := next(words, None)) is not None else [])]
        elif word.startswith(tuple(f"{option}=" for option in ANYWHERE)):
            first.append(word)
        else:
            rest.append(word)
    if "--demo" in rest:
        after = rest.index("--demo") + 1
        if after == len(rest) or not rest[after].isdigit():
            rest.insert(after, DEMO_VMS)
    return first + rest


def start_window(home: Path, screenshot: Path | None, demo: int | None, vault_key_file: Path | None) -> int:
    """Open the window, or bring the one that is open to the front."""
    from app.owner import Owner

    # Until the window is filled nearly all that is made stays, and the collector would walk it again and again.
    gc.disable()
    deadline = time.monotonic() + WAIT_S
    while (owner := Owner.acquire(home)) is None:
        answer = asyncio.run(_ask_the_open_one(home, screenshot and screenshot.absolute()))
        if answer is not None:
            return answer
        if time.monotonic() > deadline:
            print("error: a running verb has the data folder; wait for it to end", file=sys.stderr)  # noqa: T201
            return 1
        time.sleep(0.2)

    async def open_services(prompt: Prompt) -> Services:
        from app.services import Services

        return await Services.begin(home, vault_key_file=vault_key_file, prompt=prompt, opening=opening)

    async def go(services: Services) -> None:
        from app.cli.channel import Desk

        await services.identify()
        gc.freeze()
        gc.enable()
        services.go()
        await owner.serve(Desk(services).handle)
        if demo is not None and services.connections.get("demo") is None:
            await services.connections.add("demo", "demo", {"vms": str(demo)}, {})

    try:
        _choose_screen(screenshot)
        from app.store import Store

        # It is read through once, beside the imports of the window.
        opening = Store.begin(home)
        # By name: the window's modules are not held to the strict types of the floors below.
        code: int = import_module("widgets.start").run(open_services, go, screenshot)
        return code
    finally:
        owner.release()


def _choose_screen(screenshot: Path | None) -> None:
    """Without a display Qt aborts: a picture needs none, and a window says so. Raises Unsupported."""
    screen = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    if not sys.platform.startswith("linux") or any(os.environ.get(name) for name in screen):
        return
    if screenshot is None:
        cure = "run it in a desktop session, or use a verb: causeway --help"
        raise Unsupported("there is no display to open the window on", cure=cure)
    os.environ["QT_QPA_PLATFORM"] = "offscreen"


async def _ask_the_open_one(home: Path, screenshot: Path | None) -> int | None:
    """Let the window of another process come to the front, or write a picture of itself.

    Returns the exit code; None where no window answers (yet).
    """
    from app.owner import NoOwner, ask

    if screenshot is None:
        request = {"verb": "raise", "args": {}}
        done = "raised the window that is open"
    else:
        request = {"verb": "picture", "args": {"path": str(screenshot)}}
        done = f"{screenshot} shows the window that is open"
    try:
        async for row in ask(home, request):
            if row["type"] == "result" and row["ok"]:
                print(done, file=sys.stderr)  # noqa: T201
                return 0
            if row["type"] == "error":
                raise BackendError(row["message"], cure=row["cure"])
    except NoOwner:
        pass
    return None


if __name__ == "__main__":
    sys.exit(main())
