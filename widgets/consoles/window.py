"""A console in a window of its own, also full screen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QObject, QPoint, Qt, QTimer
from PySide6.QtGui import QCloseEvent, QKeySequence, QMouseEvent, QResizeEvent, QShortcut
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout, QWidget

from widgets import theme
from widgets.consoles.menus import keys_menu
from widgets.consoles.panel import Panel
from widgets.icons import icon
from widgets.parts import button, fit, label
from widgets.sheet import sheet

if TYPE_CHECKING:
    from widgets.consoles.screen import ScreenView

EDGE_PX = 2
"""The mouse so near to the upper edge brings the bar of a full screen."""
TELL_MS = 3000
STAY_MS = 700


class TopStrip(QFrame):
    """The small bar of a full screen: whose it is, and how to leave."""

    def __init__(self, parent: QWidget, leave: Callable[[], object], keys: Callable[[QWidget], object]) -> None:
        super().__init__(parent)
        self.setObjectName("topStrip")
        row = QHBoxLayout(self)
        row.setContentsMargins(14, 6, 8, 6)
        row.setSpacing(12)
        self.name = label("", "strong", self)
        row.addWidget(self.name)
        row.addWidget(label("F11 leaves full screen", "muted", self))
        self.keys = button("Send keys", lambda: keys(self.keys), "keyboard")
        self.leave = button("Leave", leave, "minimize")
        for made in (self.keys, self.leave):
            made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            row.addWidget(made)
        self._timer = QTimer(self, singleShot=True)
        self._timer.timeout.connect(self._go)
        self.hide()

    def come(self, milliseconds: int = STAY_MS) -> None:
        """Be seen, for so long after the mouse has left it."""
        self.centre()
        self.show()
        self.raise_()
        self._timer.start(milliseconds)

    def centre(self) -> None:
        self.adjustSize()
        self.move((self.parentWidget().width() - self.width()) // 2, 0)

    def _go(self) -> None:
        """Not while it has the keyboard."""
        if self.keys.hasFocus() or self.leave.hasFocus():
            self._timer.start(STAY_MS)
        else:
            self.hide()

    def enterEvent(self, event: QEvent) -> None:
        self._timer.stop()

    def leaveEvent(self, event: QEvent) -> None:
        self._timer.start(STAY_MS)


class ConsoleWindow(QWidget):
    """Holds one panel. `ended` is called when it gives the panel back (True) or is closed with it (False)."""

    def __init__(self, panel: Panel, ended: Callable[[ConsoleWindow, bool], None]) -> None:
        super().__init__()
        self.panel = panel
        self._ended = ended
        self._given = False
        self._grabbed = False
        self.returns = False
        """Whether leaving the full screen gives the panel back to where it came from."""
        self.setWindowIcon(icon("waypoints", "accent"))
        fit(self, 1024, 720)
        self.setMinimumSize(360, 260)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(panel)
        panel.show_held(window=True, tiled=False)
        panel.show()
        panel.wanted.connect(self._on_wanted)
        panel.changed.connect(self._show_name)
        self.strip = TopStrip(self, self.toggle_full, self._show_keys)
        self._filtered: QObject | None = None
        back = QShortcut(QKeySequence("Esc"), self.strip)
        back.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        back.activated.connect(panel.take_keyboard)
        close = QShortcut(QKeySequence("Ctrl+W"), self)
        close.activated.connect(self.close)
        theme.on_change(self._restyle)
        self._restyle()
        self._show_name()

    def toggle_full(self) -> None:
        """Full screen, or back."""
        if self.isFullScreen():
            if self.returns:
                self.give_back()
                return
            self.showNormal()
        else:
            self.showFullScreen()
        self._dress()

    def full(self, *, returns: bool) -> None:
        """Begin as a full screen; `returns`: leaving it gives the panel back."""
        self.returns = returns
        self.showFullScreen()
        self._dress()

    def give_back(self) -> None:
        """The panel goes back to its tab."""
        self._given = True
        self._release()
        self._ended(self, True)
        self.close()

    def closeEvent(self, event: QCloseEvent) -> None:
        if not self._given:
            self._given = True
            self._release()
            self._ended(self, self.returns)
        event.accept()
        self.deleteLater()

    def resizeEvent(self, event: QResizeEvent) -> None:
        self.strip.centre()

    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.WindowStateChange:
            self._dress()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if self.isFullScreen() and isinstance(event, QMouseEvent) and event.type() == QEvent.Type.MouseMove:
            at = self.mapFromGlobal(event.globalPosition().toPoint())
            if at.y() <= EDGE_PX:
                self.strip.come()
        return False

    def _dress(self) -> None:
        """A full screen is the picture and nothing else; there the desktop's keys go to the guest too."""
        full, view = self.isFullScreen(), self.panel.screen_view
        self.panel.show_full(full)
        if view is not None and full != self._grabbed:
            self._grabbed = full
            view.set_grabs(full)
        if view is not None and view is not self._filtered:
            view.installEventFilter(self)
            self._filtered = view
        self.panel.stage.setMouseTracking(full)
        self.panel.stage.installEventFilter(self)
        self.strip.keys.setVisible(view is not None)
        if full:
            self.strip.come(TELL_MS)
        else:
            self.strip.hide()
        self.panel.take_keyboard()

    def _release(self) -> None:
        view: ScreenView | None = self.panel.screen_view
        self.panel.stage.removeEventFilter(self)
        if view is not None:
            view.let_go()
            view.removeEventFilter(self)
            if self._grabbed:
                view.set_grabs(False)
        self.panel.wanted.disconnect(self._on_wanted)
        self.panel.changed.disconnect(self._show_name)
        self.panel.show_full(False)

    def _on_wanted(self, what: str) -> None:
        if what == "full":
            self.toggle_full()
        elif what == "window":
            self.give_back()
        elif what == "left":
            self.strip.come(TELL_MS)
            (self.strip.keys if self.strip.keys.isVisible() else self.strip.leave).setFocus()

    def _show_keys(self, below: QWidget) -> None:
        menu = keys_menu(self.panel)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.popup(below.mapToGlobal(QPoint(0, below.height() + 2)))

    def _show_name(self) -> None:
        self.setWindowTitle(f"{self.panel.name} – Causeway")
        self.strip.name.setText(self.panel.name)

    def _restyle(self) -> None:
        self.setStyleSheet(sheet(theme.tokens()))
