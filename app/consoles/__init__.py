"""Consoles without a screen: protocol engines, and sessions that follow a VM wherever it goes."""

from app.consoles.consoles import Consoles
from app.consoles.follow import Session
from app.consoles.line import LineSession
from app.consoles.news import SessionEvent, SessionState, Status, What
from app.consoles.session import ScreenSession
from backends.consoles import Console, ConsoleKind

__all__ = [
    "Console",
    "ConsoleKind",
    "Consoles",
    "LineSession",
    "ScreenSession",
    "Session",
    "SessionEvent",
    "SessionState",
    "Status",
    "What",
]
