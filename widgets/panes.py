"""How the window's room is shared: tree beside tabs, the lower pane below; what folds, and how it was left."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QSplitter, QWidget

from widgets.dock import HEAD_PX, Dock

TREE_PX, SMALL_TREE_PX, SMALL_PX = 404, 270, 1200
"""The tree's width at first; in a window that is narrower than `SMALL_PX` it begins at its least."""
ROW_PX = 44
SHARE = 0.3
"""The most of the height that the lower pane takes by itself."""
UNBOUNDED = 16_777_215
"""Qt's word for no greatest height."""


class Panes(QSplitter):
    """Tree and tabs side by side above the lower pane. A height that was dragged by hand is kept."""

    resized = Signal()
    """A border was moved by hand, or something folded."""

    def __init__(self, tree: QWidget, right: QWidget, dock: Dock) -> None:
        super().__init__(Qt.Orientation.Vertical)
        self.columns = QSplitter(Qt.Orientation.Horizontal)
        self._tree, self._dock = tree, dock
        self._height = 0
        """Of the lower pane as it was dragged; 0: as high as what it shows."""
        for splitter in (self.columns, self):
            splitter.setHandleWidth(1)
            splitter.setChildrenCollapsible(False)
            splitter.splitterMoved.connect(lambda *_: self.resized.emit())
        self.columns.addWidget(tree)
        self.columns.addWidget(right)
        self.columns.setStretchFactor(1, 1)
        self.addWidget(self.columns)
        self.addWidget(dock)
        self.setStretchFactor(0, 1)
        self.splitterMoved.connect(lambda *_: self._dragged())
        dock.folding.connect(lambda _: self._folded())
        dock.asked.connect(self._fit)
        self._fit()

    def begin(self, width: int) -> None:
        """The tree's width in a new window that is `width` pixels wide."""
        tree = SMALL_TREE_PX if width < SMALL_PX else TREE_PX
        self.columns.setSizes([tree, width - tree])

    def turn_tree(self) -> None:
        """Fold the tree away, or bring it back."""
        self._tree.setVisible(self._tree.isHidden())
        self.resized.emit()

    def show_tree(self) -> None:
        self._tree.show()

    def give_dock(self, least: int) -> None:
        """Make the lower pane at least so high, in pixels; it stays so."""
        self._dock.unfold()
        self._dock.show()
        if self._dock.height() < least:
            self._height = min(least, round(self.height() * 0.6))
            self._fit()

    def state(self) -> dict[str, object]:
        return {
            "columns": self.columns.sizes(),
            "tree_shown": not self._tree.isHidden(),
            "dock_height": self._height,
            "dock_open": self._dock.by_hand and not self._dock.folded,
            "dock_shown": not self._dock.isHidden(),
            "dock": self._dock.pane,
        }

    def restore(self, state: dict[object, object]) -> None:
        """As `state` said; what does not fit is left out."""
        sizes, height = state.get("columns"), state.get("dock_height")
        if isinstance(sizes, list) and len(sizes) == 2 and all(isinstance(size, int) and size > 0 for size in sizes):
            self.columns.setSizes(sizes)
        if isinstance(height, int) and height >= 0:
            self._height = height
        self._tree.setVisible(state.get("tree_shown", True) is not False)
        self._dock.setVisible(state.get("dock_shown", True) is not False)
        if state.get("dock") in self._dock.buttons:
            self._dock.show_pane(str(state["dock"]))
        if state.get("dock_open") is True:
            self._dock.unfold()
        self._fit()

    def resizeEvent(self, event: object) -> None:
        super().resizeEvent(event)  # type: ignore[arg-type]
        self._fit()

    def _dragged(self) -> None:
        self._height = 0 if self._dock.folded else self._dock.height()

    def _folded(self) -> None:
        self._fit()
        self.resized.emit()

    def _fit(self) -> None:
        """Give the lower pane its height: the head's, the one it was dragged to, or that of what it shows."""
        least = HEAD_PX if self._dock.folded else HEAD_PX + ROW_PX
        self._dock.setMinimumHeight(least)
        self._dock.setMaximumHeight(HEAD_PX if self._dock.folded else UNBOUNDED)
        wanted = self._height or min(self._dock.wanted(), round(self.height() * SHARE))
        height = least if self._dock.folded else max(least, wanted)
        if height != self._dock.height() or self.columns.height() < self.height() - height - self.handleWidth():
            self.setSizes([max(self.height() - height, 0), height])
