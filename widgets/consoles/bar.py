"""The strip above a console: whose it is, which one, and what can be done with it."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QPoint, QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QMenu, QToolButton, QWidget

from widgets import format as fmt
from widgets.icons import pixmap
from widgets.parts import Elided, Pill, set_symbol, tool

HEIGHT = 38
FREE = 190
"""Pixels that name and state keep; buttons for which there is no room go into the menu."""
BUTTON = 30
ARROW = 14


class Which(QToolButton):
    """Opens a menu, and looks so."""

    def sizeHint(self) -> QSize:
        return super().sizeHint() + QSize(ARROW + 4, 0)

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        arrow = pixmap("chevron-down", "muted", ARROW, self.devicePixelRatioF())
        QPainter(self).drawPixmap(self.width() - ARROW - 6, (self.height() - ARROW) // 2, arrow)


class Bar(QWidget):
    """Name, which console, state; and buttons, the first ones longest in sight. None of them takes the keyboard from
    the console when it is clicked; Tab reaches them."""

    def __init__(self, parent: QWidget, more: Callable[[], QMenu]) -> None:
        super().__init__(parent)
        self.setObjectName("consoleBar")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFixedHeight(HEIGHT)
        self._line = QHBoxLayout(self)
        self._line.setContentsMargins(10, 0, 6, 0)
        self._line.setSpacing(4)
        self.name = Elided("", "strong", self)
        self._line.addWidget(self.name, 1)
        self.which = Which(self)
        self.which.setObjectName("which")
        self.which.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.which.setAccessibleName("Which console")
        self.which.setToolTip("Which console of this VM")
        self.which.setIconSize(QSize(16, 16))
        self.which.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._line.addWidget(self.which)
        self._line.addSpacing(4)
        self.state = Pill("", "muted", self)
        self._line.addWidget(self.state)
        self._line.addStretch(0)
        self._buttons: list[QToolButton] = []
        self._offered: dict[QToolButton, bool] = {}
        self._more = self._made("ellipsis", "More for this console", lambda: self.popup(more(), self._more))
        self._line.addWidget(self._more)

    def add(self, symbol: str, name: str, run: Callable[[], object]) -> QToolButton:
        """A button; `name` is what screen readers and the tip say."""
        made = self._made(symbol, name, run)
        self._buttons.append(made)
        self._offered[made] = True
        self._line.insertWidget(self._line.count() - 1, made)
        return made

    def offer(self, button: QToolButton, on: bool) -> None:
        """Whether a button makes sense for what is shown now."""
        self._offered[button] = on
        self._fit()

    def say(self, state: str, role: str, name: str) -> None:
        """Whose console it is and how it is."""
        self.state.show_as(state, role)
        self.name.setText(name)
        self.name.setMaximumWidth(self.name.sizeHint().width() + 8)

    def popup(self, menu: QMenu, below: QWidget) -> None:
        """Show a menu under one of the buttons."""
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        right = below.mapToGlobal(QPoint(below.width(), below.height() + 2))
        menu.popup(right - QPoint(menu.sizeHint().width(), 0))

    def resizeEvent(self, event: QResizeEvent) -> None:
        self._fit()

    def _fit(self) -> None:
        room = (self.width() - FREE - BUTTON) // BUTTON
        offered = [button for button in self._buttons if self._offered[button]]
        for button in self._buttons:
            button.setVisible(button in offered[: max(0, room)])

    def _made(self, symbol: str, name: str, run: Callable[[], object]) -> QToolButton:
        made = tool(symbol, name, run)
        made.setToolTip(fmt.tip(name))
        made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        return made


def toggle(button: QToolButton, symbol: str, name: str, *, on: bool = False) -> None:
    """Another picture and name for a button; lit while it is on."""
    set_symbol(button, symbol, "link" if on else "muted")
    button.setAccessibleName(name)
    button.setToolTip(fmt.tip(name))
