"""One small live picture of a screen, for the wall."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import QSize
from PySide6.QtGui import QImage

from app.consoles import SessionEvent, SessionState, What
from widgets.consoles.picture import Picture

if TYPE_CHECKING:
    from app.consoles import ScreenSession

WORDS = {
    SessionState.AUTH_NEEDED: "asks for a password: click to give it",
    SessionState.UNPROVEN: "not safe on its way: click to decide",
    SessionState.RETRYING: "reconnecting",
    SessionState.CLOSED: "closed",
}


class Thumb:
    """A paused session: it is asked for one update at a time, and its picture is made small when it has changed."""

    def __init__(self, session: ScreenSession, room: QSize, ratio: float, changed: Callable[[], None]) -> None:
        self.session = session
        self.image = QImage()
        self.seen_at = 0.0
        self._room, self._ratio = room, ratio
        self._picture: Picture | None = None
        self._drawn = -1
        self._changed = changed
        session.pause(True)
        self._stop = session.subscribe(self._on_event)

    @property
    def live(self) -> bool:
        return self.session.state == SessionState.LIVE

    @property
    def trouble(self) -> str:
        """Why it shows nothing or something old; empty where all is well or not known yet."""
        state = self.session.state
        if state in (SessionState.FAILED, SessionState.GONE):
            return self.session.status.text
        return WORDS.get(state, "")

    def fit(self, room: QSize) -> None:
        """Another size, in pixels of the device."""
        self._room, self._drawn = room, -1

    def step(self) -> bool:
        """Ask for what is new, and take what came. True where there is something to paint."""
        frame = self.session.framebuffer
        if frame is None:
            return False
        self.session.refresh(incremental=True)
        if self._picture is None or self._picture.framebuffer is not frame:
            self._picture, self._drawn = Picture(frame), -1
        if frame.serial == self._drawn or frame.width == 0:
            return False
        self._drawn = frame.serial
        self.image = self._picture.copy(self._room)
        self.image.setDevicePixelRatio(self._ratio)
        return True

    def stop(self) -> None:
        self._stop()

    def _on_event(self, event: SessionEvent) -> None:
        if event.what == What.STATUS:
            self._changed()
