"""What pages, dialogs and consoles may ask of the window that they are in. They know this, the window knows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from PySide6.QtCore import QPoint

from backends.model import Level, PowerAction, Ref

if TYPE_CHECKING:
    from app.services import Services
    from widgets.background import Background
    from widgets.eventlog import Line
    from widgets.tally import Tally
    from widgets.toast import Toasts


class Deeds(Protocol):
    """What is done to objects; it asks first where it must."""

    def power(self, refs: Sequence[Ref], action: PowerAction) -> None: ...

    def move(self, refs: Sequence[Ref]) -> None: ...

    def console(self, refs: Sequence[Ref]) -> None: ...

    def toggle_read_only(self, name: str) -> None: ...

    def toggle_production(self, name: str) -> None: ...

    def forget(self, name: str) -> None: ...


class Frame(Protocol):
    """The window, seen from inside. It is a widget, too: dialogs stand over it."""

    services: Services
    background: Background
    toasts: Toasts
    tally: Tally

    @property
    def verbs(self) -> Deeds: ...

    def open_ref(self, ref: Ref) -> None:
        """Open an object in a tab that stays."""

    def popup_menu(self, at: QPoint, refs: Sequence[Ref]) -> None:
        """The menu of these objects at a point of the screen."""

    def plan_move(self, refs: Sequence[Ref], to: Ref | None, copy: bool) -> None:
        """Show the plan of a move; without a target it asks for one."""

    def show_consoles(self, refs: Sequence[Ref]) -> None:
        """One console in its tab; several side by side."""

    def show_wall(self, refs: Sequence[Ref]) -> None:
        """Thumbnails of these screens; of none: of what is searched for."""

    def restore_console(self, key: str) -> bool:
        """Open a console, a window of one or a wall that was kept. False where it cannot be."""

    def show_connect(
        self, section: str = "", kind: str = "", name: str = "", settings: dict[str, str] | None = None
    ) -> None:
        """The dialog that adds a connection, filled with what is known."""

    def show_dock(self, pane: str, by_hand: bool = True) -> None:
        """Bring up a pane of the lower part."""

    def forget_site(self, name: str) -> None:
        """Drop a connection, and offer to take it back."""

    def attempt(self, begin: Callable[[], object]) -> None:
        """Run what starts a task; a refusal becomes a message."""

    def complain(self, text: str, cure: str = "", level: Level = Level.RED, ref: Ref | None = None) -> None:
        """A passive message, kept in the event log."""

    def events_about(self, ref: Ref) -> list[Line]:
        """The events of one object, newest first."""

    def alert_lines(self) -> list[Line]:
        """What needs somebody."""

    def leave(self) -> None:
        """Close without asking again."""
