"""The kinds of consoles as the window shows them, and which of them one click opens."""

from __future__ import annotations

from collections.abc import Sequence

from app.consoles import Console, ConsoleKind

SYMBOLS = {
    ConsoleKind.VNC: "monitor",
    ConsoleKind.SERIAL: "square-terminal",
    ConsoleKind.OUTPUT: "scroll-text",
    ConsoleKind.SPICE: "external-link",
    ConsoleKind.RDP: "external-link",
}
OUTSIDE = (ConsoleKind.SPICE, ConsoleKind.RDP)


def best(offers: Sequence[Console]) -> Console | None:
    """What one click opens: the first that can be opened, else the first; one that opens here before one that
    does not."""
    order = sorted(offers, key=lambda one: (bool(one.hindrance), one.kind in OUTSIDE))
    return order[0] if order else None
