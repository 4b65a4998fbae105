"""The tab of consoles: one, or up to four side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout

from app.inventory import Delta
from backends.model import Kind, Ref
from widgets.consoles.panel import Panel
from widgets.parts import label
from widgets.tab import Tab

if TYPE_CHECKING:
    from widgets.frame import Frame

MOST_TILES = 4
AWAY = "This console is in a window of its own."


class ConsoleTab(Tab):
    """Follows the VM of its first console; the tiles beside it follow theirs."""

    def __init__(self, window: Frame, panel: Panel, wanted: Callable[[ConsoleTab, Panel, str], None]) -> None:
        uid = panel.uid
        ref = panel.ref or Ref("", Kind.VM, uid)
        super().__init__(window, f"console:{uid}", ref, "square-terminal", uid)
        self._wanted = wanted
        self.panels: list[Panel] = []
        self.away: Panel | None = None
        """The only panel, while it is in a window; it comes back."""
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(1)
        self._note = label("", "empty", self)
        self._note.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._note.hide()
        self.add(panel)

    def add(self, panel: Panel) -> None:
        """One more tile."""
        self.panels.append(panel)
        panel.wanted.connect(lambda what: self._wanted(self, panel, what))
        self._lay()

    def take(self, panel: Panel) -> None:
        """A tile goes elsewhere; it is not closed."""
        self.panels.remove(panel)
        panel.wanted.disconnect()
        panel.setParent(None)
        self._lay()

    def lend(self, panel: Panel) -> None:
        """The tile is shown in a window for a while."""
        self.take(panel)
        self.away = panel if not self.panels else None
        self._note.setText(AWAY)
        self._lay()

    def refresh(self) -> None:
        for panel in self.panels:
            panel.refresh()
        self._show_names()

    def chosen(self) -> None:
        if self.panels:
            self.panels[0].take_keyboard()

    def concerns(self, delta: Delta) -> bool:
        refs = {panel.ref for panel in self.panels}
        return any(item.ref in refs for part in (delta.added, delta.changed, delta.removed) for item in part)

    def close_down(self) -> None:
        for panel in self.panels:
            panel.close_down()

    def _lay(self) -> None:
        for panel in self.panels:
            self._grid.removeWidget(panel)
        self._grid.removeWidget(self._note)
        wide = 1 if len(self.panels) == 1 else 2
        for number, panel in enumerate(self.panels):
            alone = number == len(self.panels) - 1 and number % wide == 0
            self._grid.addWidget(panel, number // wide, number % wide, 1, wide if alone else 1)
            panel.show_held(window=False, tiled=len(self.panels) > 1)
            panel.show()
        for column in range(2):
            self._grid.setColumnStretch(column, 1 if column < wide else 0)
        self._note.setVisible(not self.panels)
        if not self.panels:
            self._grid.addWidget(self._note, 0, 0)
        self._show_names()

    def _show_names(self) -> None:
        names = [panel.name for panel in self.panels or ([self.away] if self.away else [])]
        self.show_name(f"Console {', '.join(names)}")
