"""How a console is, in words: its state, which console it is, and the line below it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from app.consoles import Console, ConsoleKind, LineSession, ScreenSession, SessionState
from widgets import format as fmt
from widgets.consoles.kinds import OUTSIDE, best

if TYPE_CHECKING:
    from collections.abc import Sequence

    from widgets.consoles.screen import ScreenView
    from widgets.consoles.settings import Settings
    from widgets.consoles.terminal import TerminalView

ROLES = {
    SessionState.LIVE: ("live", "ok"),
    SessionState.CONNECTING: ("connecting", "accent"),
    SessionState.RETRYING: ("reconnecting", "warn"),
    SessionState.GONE: ("off", "muted"),
    SessionState.AUTH_NEEDED: ("password needed", "warn"),
    SessionState.UNPROVEN: ("not safe", "warn"),
    SessionState.FAILED: ("failed", "bad"),
    SessionState.CLOSED: ("closed", "muted"),
}
LIGHTS = ((4, "Caps"), (2, "Num"), (1, "Scroll"))
MISSING = {ConsoleKind.VNC: "no screen", ConsoleKind.SERIAL: "no serial line"}
GAP_TOLD_S = 60
"""So long a connection that came back says for how long it was away."""
TICK_MS = 1000


class Shown(Protocol):
    """A console with what it shows: `Panel` has the meanings."""

    offers: Sequence[Console]
    console: Console | None
    session: ScreenSession | LineSession | None
    settings: Settings
    by_ssh: bool

    @property
    def screen_view(self) -> ScreenView | None: ...

    @property
    def terminal_view(self) -> TerminalView | None: ...

    @property
    def screen_session(self) -> ScreenSession | None: ...


def is_kept(panel: Shown) -> bool:
    """Whether it shows what the platform kept of the output, and no line."""
    return isinstance(panel.session, LineSession) and not panel.by_ssh and not panel.session.interactive


def wanted_kind(panel: Shown) -> ConsoleKind:
    return panel.console.kind if panel.console is not None else ConsoleKind.VNC


def other_console(panel: Shown) -> Console | None:
    """What to open instead, where the VM has no such console here as the one that is asked for, but another."""
    if panel.by_ssh or any(one.kind == wanted_kind(panel) for one in panel.offers):
        return None
    found = best(panel.offers)
    return found if found is not None and not found.hindrance else None


def state_of(panel: Shown) -> tuple[str, str]:
    """The state as word and colour."""
    if panel.session is None:
        outside = panel.console is not None and panel.console.kind in OUTSIDE
        return ("external viewer", "muted") if outside else ("" if panel.by_ssh else "connecting", "accent")
    state = panel.session.state
    if state == SessionState.LIVE and is_kept(panel):
        return "kept output", "muted"
    if state == SessionState.FAILED and other_console(panel) is not None:
        return MISSING.get(wanted_kind(panel), "not here"), "muted"
    return ROLES[state]


def facts_of(panel: Shown) -> tuple[list[str], int]:
    """The line below, and in how many milliseconds it is to be told anew (0: with the next news)."""
    view, session = panel.screen_view, panel.session
    words: list[str] = []
    again_ms = 0
    if view is not None and not view.guest_size().isEmpty():
        size = view.guest_size()
        words += [f"{size.width()} × {size.height()}", f"{view.place.factor * 100:.0f} %"]
        words += [name for bit, name in LIGHTS if view.lights & bit]
    elif panel.terminal_view is not None:
        columns, rows = panel.terminal_view.terminal.size
        words.append(f"{columns} × {rows} characters")
    security = panel.screen_session.security if panel.screen_session is not None else ""
    if security:
        words.append(security)
    if session is not None and session.state == SessionState.LIVE and is_kept(panel):
        words.append(f"asked {fmt.duration(int(session.live_s))} ago" if session.live_s >= 1 else "asked just now")
        again_ms = TICK_MS
    elif session is not None and session.gap_ms is not None and session.live_s < GAP_TOLD_S:
        words.append(f"came back after {fmt.duration(session.gap_ms / 1000)}")
        again_ms = int((GAP_TOLD_S - session.live_s) * 1000) + 1
    if session is not None and session.read_only:
        words.append("read-only connection")
    elif panel.settings.view_only:
        words.append("view only")
    return words, again_ms
