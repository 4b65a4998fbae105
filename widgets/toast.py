"""Passive messages at the bottom right: what failed, why, what to do next. They never take the keyboard."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QEvent, QObject, Qt, QTimer, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from widgets.parts import Sign, tool

ICONS = {"red": ("circle-x", "bad"), "amber": ("circle-alert", "warn"), "info": ("circle-check", "ok")}
SECONDS = {"red": 20, "amber": 12, "info": 6}
WIDTH = 400
MARGIN = 16
MOST = 4


class Toast(QFrame):
    """One message, with an optional action."""

    ended = Signal()

    def __init__(
        self, level: str, text: str, cure: str, action: tuple[str, Callable[[], None]] | None, parent: QWidget
    ) -> None:
        super().__init__(parent)
        self.setObjectName("toast")
        self.setProperty("level", level)
        self.setFixedWidth(WIDTH)
        self.setAccessibleName(f"{text}. {cure}" if cure else text)
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 10, 8, 10)
        row.setSpacing(10)
        row.addWidget(Sign(*ICONS[level], self), 0, Qt.AlignmentFlag.AlignTop)
        lines = QVBoxLayout()
        lines.setSpacing(2)
        row.addLayout(lines, 1)
        for line, name in ((text, "toastText"), (cure, "muted")):
            if line:
                label = QLabel(line, self)
                label.setObjectName(name)
                label.setWordWrap(True)
                label.setTextFormat(Qt.TextFormat.PlainText)
                label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
                lines.addWidget(label)
        if action is not None:
            button = QPushButton(action[0], self)
            button.clicked.connect(action[1])
            button.clicked.connect(self.dismiss)
            lines.addWidget(button, 0, Qt.AlignmentFlag.AlignLeft)
        close = tool("x", "Dismiss this message", self.dismiss)
        close.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        row.addWidget(close, 0, Qt.AlignmentFlag.AlignTop)
        QTimer.singleShot(SECONDS[level] * 1000, self, self.dismiss)

    def dismiss(self) -> None:
        """Go away."""
        self.ended.emit()
        self.hide()
        self.deleteLater()


class Toasts(QObject):
    """Stacks the messages at the window's right side; the lowest stands on `floor()`, in pixels from the top."""

    def __init__(self, window: QWidget, floor: Callable[[], int]) -> None:
        super().__init__(window)
        self._window = window
        self._floor = floor
        self._shown: list[Toast] = []
        window.installEventFilter(self)

    def tell(self, level: str, text: str, cure: str = "", action: tuple[str, Callable[[], None]] | None = None) -> None:
        """Show one message; the same text is not shown twice at a time."""
        if any(toast.accessibleName().startswith(text) for toast in self._shown):
            return
        toast = Toast(level, text, cure, action, self._window)
        toast.ended.connect(lambda: self._gone(toast))
        self._shown.append(toast)
        for old in self._shown[:-MOST]:
            old.dismiss()
        toast.show()
        toast.raise_()
        self._place()

    @property
    def texts(self) -> list[str]:
        return [toast.accessibleName() for toast in self._shown]

    def _gone(self, toast: Toast) -> None:
        if toast in self._shown:
            self._shown.remove(toast)
            self._place()

    def _place(self) -> None:
        y = self._floor() - MARGIN
        for toast in reversed(self._shown):
            height = toast.heightForWidth(WIDTH)
            toast.setGeometry(self._window.width() - WIDTH - MARGIN, y - height, WIDTH, height)
            y -= height + 8

    def stand_on(self, pane: QWidget) -> None:
        """What `floor()` is the top of: the messages follow it, and cover nothing that it has to offer."""
        pane.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() in (QEvent.Type.Resize, QEvent.Type.Move, QEvent.Type.Show, QEvent.Type.Hide):
            self._place()
        return False
