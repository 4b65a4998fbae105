"""Where a console's picture or terminal stands, with the notice in front of it."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QSize, Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget

from widgets.consoles.notice import Notice
from widgets.consoles.screen import ScreenView

ROOM = 24
"""Pixels that stay around the notice."""


class Stage(QFrame):
    """One view at a time, all over it. Its edge says whether the view has the keyboard."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("stage")
        self._line = QVBoxLayout(self)
        self._line.setContentsMargins(0, 0, 0, 0)
        self._outer: QWidget | None = None
        self._full = False
        self.view: QWidget | None = None
        self.notice = Notice(self)
        self.notice.installEventFilter(self)

    def show_full(self, on: bool) -> None:
        """Without its edge, and black around the picture: there is nothing else on the screen."""
        self._mark("full", on)
        self._full = on
        if isinstance(self.view, ScreenView):
            self.view.set_dark(on)

    def show_view(self, view: QWidget | None) -> None:
        """Put this in the place of what was there; that is deleted."""
        if self._outer is not None:
            self._line.removeWidget(self._outer)
            self._outer.hide()
            self._outer.deleteLater()
        self.view = self._outer = view
        if isinstance(view, ScreenView):
            view.set_dark(self._full)
            area = QScrollArea(self)
            area.setWidgetResizable(True)
            area.setFrameShape(QFrame.Shape.NoFrame)
            area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            area.setWidget(view)
            self._outer = area
        if self._outer is not None:
            self._line.addWidget(self._outer)
            self._outer.show()
        if view is not None:
            view.installEventFilter(self)
            self.setFocusProxy(view)
        self.notice.raise_()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() in (QEvent.Type.FocusIn, QEvent.Type.FocusOut) and watched is self.view:
            self._mark("lit", event.type() == QEvent.Type.FocusIn)
        elif watched is self.notice and event.type() in (QEvent.Type.Resize, QEvent.Type.Show):
            self._centre()
        return False

    def resizeEvent(self, event: QResizeEvent) -> None:
        self._centre()

    def _mark(self, name: str, on: bool) -> None:
        self.setProperty(name, on)
        self.style().unpolish(self)
        self.style().polish(self)

    def _centre(self) -> None:
        """The notice in the middle, no wider than there is room."""
        if self.notice.isHidden():
            return
        width = min(self.notice.maximumWidth(), self.width() - 2 * ROOM)
        height = self.notice.heightForWidth(width)
        size = QSize(width, height if height > 0 else self.notice.sizeHint().height())
        if self.notice.size() != size:
            self.notice.resize(size)
        self.notice.move((self.width() - size.width()) // 2, max(ROOM // 2, (self.height() - size.height()) // 2))
