"""How a session is, and what it tells: plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class SessionState(StrEnum):
    CONNECTING = "connecting"
    LIVE = "live"
    GONE = "gone"
    RETRYING = "retrying"
    AUTH_NEEDED = "auth-needed"
    UNPROVEN = "unproven"
    FAILED = "failed"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Status:
    """How a session is. `text` says why in one sentence and `cure` what helps, both for people."""

    state: SessionState
    text: str = ""
    cure: str = ""


class What(StrEnum):
    """What a SessionEvent tells."""

    STATUS = "status"
    RESIZED = "resized"
    DAMAGED = "damaged"
    CURSOR = "cursor"
    BELL = "bell"
    CLIPBOARD = "clipboard"
    LEDS = "leds"
    NAME = "name"


@dataclass(frozen=True, slots=True, eq=False)
class SessionEvent:
    """One piece of news, delivered on the loop that the session was opened on.

    `rects` (x, y, width, height) of DAMAGED, several updates put together; `pixels` (numpy, BGRA; None: no shape) and
    `hot` of CURSOR; `text` of CLIPBOARD and NAME; `leds` of LEDS.
    """

    what: What
    rects: Sequence[tuple[int, int, int, int]] = ()
    pixels: object = None
    hot: tuple[int, int] = (0, 0)
    text: str = ""
    leds: int = 0
