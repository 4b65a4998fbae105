"""What the notice over a console says, by the state of its session."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication

from app.consoles import Console, ConsoleKind, LineSession, SessionState
from app.consoles.trust import LOST
from backends.model import PowerAction, PowerState
from widgets import format as fmt
from widgets.consoles.kinds import OUTSIDE, SYMBOLS
from widgets.consoles.words import other_console
from widgets.reasons import POWER_WORDS, power_reason

if TYPE_CHECKING:
    from widgets.consoles.panel import Panel

START_FROM = {PowerState.SUSPENDED: PowerAction.RESTORE}
HAS = {
    ConsoleKind.VNC: "It has a screen.",
    ConsoleKind.SERIAL: "It has a serial line.",
    ConsoleKind.OUTPUT: "Its platform keeps what its console says.",
    ConsoleKind.SPICE: "It has a screen for a SPICE viewer.",
    ConsoleKind.RDP: "It has a screen for an RDP viewer.",
}
SHOW = {
    ConsoleKind.VNC: "Show its screen",
    ConsoleKind.SERIAL: "Open its serial line",
    ConsoleKind.OUTPUT: "Show its console output",
    ConsoleKind.SPICE: "Open SPICE viewer",
    ConsoleKind.RDP: "Open RDP viewer",
}


SOON_MS = 250
"""A connection that stands sooner than that needs no word."""


def show_notice(panel: Panel) -> None:
    """Say how the console is; nothing while it is live."""
    notice, session = panel.stage.notice, panel.session
    if session is None:
        if panel.console is not None and panel.console.kind in OUTSIDE:
            _show_outside(panel, panel.console)
        elif panel.by_ssh:
            text = "Left empty: as ~/.ssh/config has it, else your own name"
            notice.ask(f"Log in to {panel.name} by SSH as", text, user=True, password=False)
        else:
            _say_soon(panel, None)
        return
    status = session.status
    focus = panel.focusWidget()
    had_keyboard = focus is not None and notice.isAncestorOf(focus)
    match status.state:
        case SessionState.LIVE | SessionState.CLOSED:
            notice.hide()
            if had_keyboard:
                panel.take_keyboard()
        case SessionState.CONNECTING:
            _say_soon(panel, session)
        case SessionState.RETRYING:
            again = ("Try now", "refresh-cw", session.retry)
            why = fmt.sentences(status.text, status.cure)
            notice.say("Reconnecting", why, ("refresh-cw", "warn"), (again,))
        case SessionState.GONE:
            _show_off(panel, status.text, status.cure)
        case SessionState.AUTH_NEEDED:
            text = fmt.sentences(status.text, status.cure)
            asks_user = panel.by_ssh or "user" in status.text.lower()
            notice.ask(f"{panel.name} asks for a password", text, user=asks_user, focus=_near(panel))
        case SessionState.UNPROVEN:
            assert panel.screen_session is not None
            screen = panel.screen_session
            show_unproven(panel, status.text, status.cure, screen.host, screen.trust)
        case SessionState.FAILED:
            _show_failed(panel, status.text, status.cure)


def show_unproven(panel: Panel, text: str, cure: str, host: tuple[str, str], go_on: Callable[[], object]) -> None:
    """Ask whether a host is taken though nothing proves whose screen it is: `go_on` once, or remembered for it."""

    async def always() -> None:
        await panel.services.consoles.trust(host)
        go_on()

    name = host[1] or host[0]
    first = ("Connect once", "log-in", go_on)
    if text == LOST and panel.session is not None:
        first = ("Try again", "refresh-cw", panel.session.retry)
    kept = ("Always for this host", "shield", lambda: panel.window_.background.run(always(), f"trusting {name}"))
    title = f"Connect to {name} all the same?"
    panel.stage.notice.say(title, fmt.sentences(text, cure), ("shield-alert", "warn"), (first, kept))


def _near(panel: Panel) -> bool:
    """Whether a field may take the keyboard: the console was asked for just now, or has the keyboard already."""
    focus = QApplication.focusWidget()
    return panel.eager or (focus is not None and panel.isAncestorOf(focus))


def _say_soon(panel: Panel, session: object) -> None:
    """Say that it connects, if it still does in a moment."""

    def say() -> None:
        if panel.session is session and (panel.session is None or panel.session.state == SessionState.CONNECTING):
            panel.stage.notice.say(f"Connecting to {panel.name}")

    panel.stage.notice.hide()
    QTimer.singleShot(SOON_MS, panel, say)


def _show_off(panel: Panel, text: str, cure: str) -> None:
    ref = panel.ref
    vm = panel.services.inventory.vm(ref) if ref is not None else None
    action = START_FROM.get(vm.state, PowerAction.START) if vm is not None else PowerAction.START
    start: tuple[tuple[str, str, Callable[[], object]], ...] = ()
    if ref is not None and vm is not None and not power_reason(panel.services, [ref], action):
        words, symbol = POWER_WORDS[action]
        start = ((words, symbol, lambda: panel.window_.verbs.power([ref], action)),)
    panel.stage.notice.say(text, fmt.sentences(cure), ("power-off", "muted"), start)


def _show_failed(panel: Panel, text: str, cure: str) -> None:
    assert panel.session is not None
    other = other_console(panel)
    if other is not None:
        words = SHOW[other.kind]
        show = (words, SYMBOLS[other.kind], lambda: panel.choose_console(other))
        panel.stage.notice.say(text, HAS[other.kind], (SYMBOLS[other.kind], "muted"), (show,))
        return
    actions: list[tuple[str, str, Callable[[], object]]] = [("Try again", "refresh-cw", panel.session.retry)]
    if isinstance(panel.session, LineSession) and not panel.by_ssh:
        actions.append(("Take it over", "zap", panel.session.take_over))
    others = [one for one in panel.offers if one != panel.console and not one.hindrance]
    if others:
        actions.append((SHOW[others[0].kind], SYMBOLS[others[0].kind], lambda: panel.choose_console(others[0])))
    panel.stage.notice.say(text, fmt.sentences(cure), ("circle-x", "bad"), tuple(actions))


def _show_outside(panel: Panel, console: Console) -> None:
    words = console.kind.upper()
    panel.stage.notice.say(
        f"The screen of {panel.name} speaks {words}",
        fmt.sentences(console.hindrance or f"{words} opens in an external viewer", console.cure),
        ("external-link", "muted"),
        () if console.hindrance else ((f"Open {words} viewer", "external-link", panel.open_outside),),
    )
