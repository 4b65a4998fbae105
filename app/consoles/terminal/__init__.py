"""The terminal engine: a VT/xterm without a screen."""

from app.consoles.terminal.history import Row
from app.consoles.terminal.modes import Mode
from app.consoles.terminal.style import Style
from app.consoles.terminal.terminal import Terminal, View
from app.consoles.terminal.text import Place, Span

__all__ = ["Mode", "Place", "Row", "Span", "Style", "Terminal", "View"]
