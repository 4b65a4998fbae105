"""From nothing to a window on a running loop, and back."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

import qasync
from PySide6.QtWidgets import QApplication

from backends.errors import Invalid
from backends.model import Level
from widgets import theme
from widgets.passphrase import Asker
from widgets.window import STATE, Window

if TYPE_CHECKING:
    from app.secrets import Prompt
    from app.services import Services

    Opening = Callable[[Prompt], Awaitable[Services]]
    Going = Callable[[Services], Awaitable[None]]

log = logging.getLogger(__name__)

SETTLE_S = 12.0
"""How long a screenshot waits for every site to have answered or failed."""
DRAWN_S = 1.5
"""And then for the last rows and charts to be drawn."""


def run(open_services: Opening, go: Going, screenshot: Path | None) -> int:
    """Make the application, the loop, the services and the window; end them in reverse order. Returns the exit code.

    `open_services` gives what the window needs to be shown; `go` connects everything once the window is filled; with
    `screenshot` it saves a picture and ends.
    """
    existing = QApplication.instance()
    app = existing if isinstance(existing, QApplication) else QApplication(sys.argv[:1])
    app.setApplicationName("Causeway")
    app.setDesktopFileName("causeway")
    app.setQuitOnLastWindowClosed(False)
    theme.apply(app)
    loop = qasync.QEventLoop(app)
    asyncio.set_event_loop(loop)
    quitting = asyncio.Event()
    app.aboutToQuit.connect(quitting.set)
    with loop:
        code: int = loop.run_until_complete(_live(open_services, go, screenshot, quitting, loop))
    return code


async def _live(
    open_services: Opening,
    go: Going,
    screenshot: Path | None,
    quitting: asyncio.Event,
    loop: asyncio.AbstractEventLoop,
) -> int:
    asker = Asker()
    services = await open_services(asker.ask)
    try:
        _use_theme(await services.store.setting(STATE))
        window = Window(services)
        catch_all(window, loop)
        window.quit = quitting.set
        _on_signals(window)
        await window.load_state()
        window.show()
        asker.use(window)
        services.on_front = window.to_front
        services.on_picture = partial(save_picture, window)
        services.on_console = window.consoles.open
        try:
            await services.fill()
            await window.tree.taken_in()
            await go(services)
            window.filled()
            if screenshot is not None:
                await settled(services)
                save_picture(window, screenshot)
                return 0
            await quitting.wait()
            return 0
        finally:
            services.on_front = services.on_picture = services.on_console = None
            await window.close_down()
            window.hide()
    finally:
        await services.close()


def _use_theme(state: object) -> None:
    """The theme of the last time, before the first paint."""
    app = QApplication.instance()
    if isinstance(state, dict) and state.get("theme") in set(theme.Mode) and isinstance(app, QApplication):
        theme.apply(app, theme.Mode(str(state["theme"])))


def save_picture(window: Window, path: Path) -> None:
    """Write what the window shows. Raises Invalid where the file cannot be written."""
    if not window.grab().save(str(path)):
        cure = "name a file that ends in .png, in a folder that is there and can be written to"
        raise Invalid(f"the picture {path} cannot be written", cure=cure)


async def settled(services: Services) -> None:
    """Until every site has been listed once or has failed, with a deadline."""

    def waiting() -> bool:
        return any(
            str(site.state) in ("idle", "connecting") or (str(site.state) == "ready" and not site.listed)
            for site in services.connections.all()
        )

    answered = asyncio.Event()
    end = services.connections.subscribe(lambda site: None if waiting() else answered.set())
    try:
        if waiting():
            await asyncio.wait_for(answered.wait(), SETTLE_S)
    except TimeoutError:
        log.warning("not every site has answered within %g s", SETTLE_S)
    finally:
        end()
    await asyncio.sleep(DRAWN_S)


def catch_all(window: Window, loop: asyncio.AbstractEventLoop) -> None:
    """What nobody caught goes to the log, and a message says so: an error is never silent, never a traceback."""

    def tell(error: BaseException | None, where: str) -> None:
        log.error("unexpected error in %s", where, exc_info=error)
        text = f"Something unexpected failed in {where}: {error or 'unknown'}"
        loop.call_soon_threadsafe(window.complain, text, "go on; the log has the details", Level.AMBER)

    def on_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        tell(error, "the window")

    def on_loop(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        tell(context.get("exception"), str(context.get("message", "the loop")))

    def on_thread(arguments: threading.ExceptHookArgs) -> None:
        tell(arguments.exc_value, "a thread")

    sys.excepthook = on_error
    sys.unraisablehook = lambda arguments: tell(arguments.exc_value, "a clean-up")
    threading.excepthook = on_thread
    loop.set_exception_handler(on_loop)


def _on_signals(window: Window) -> None:
    """Ctrl+C in the terminal and a polite kill end it in order; tasks are journaled."""

    def leave(number: int, frame: FrameType | None) -> None:
        window.leave()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
