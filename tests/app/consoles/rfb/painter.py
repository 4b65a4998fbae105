"""A program on an X screen that paints, moves its window and uses the clipboard, as its standard input says."""

from __future__ import annotations

import json
import sys
import threading

from PySide6.QtCore import QObject, QRect, Qt, Signal
from PySide6.QtGui import QColor, QLinearGradient, QPainter, QPaintEvent
from PySide6.QtWidgets import QApplication, QWidget


class Canvas(QWidget):
    """Lines of text, or a slope of colours, over and over different."""

    def __init__(self, smooth: bool) -> None:
        super().__init__()
        self.setWindowFlags(Qt.WindowType.X11BypassWindowManagerHint | Qt.WindowType.FramelessWindowHint)
        self.smooth = smooth
        self.number = 0

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        if self.smooth:
            slope = QLinearGradient(0, 0, self.width(), self.height())
            slope.setColorAt(0, QColor.fromHsv(self.number * 37 % 360, 200, 250))
            slope.setColorAt(1, QColor.fromHsv((self.number * 37 + 150) % 360, 250, 90))
            painter.fillRect(self.rect(), slope)
            return
        painter.fillRect(self.rect(), QColor("white"))
        for line in range(self.height() // 20):
            painter.setPen(QColor.fromHsv(line * 40 % 360, 255, 180))
            painter.drawText(
                QRect(4, line * 20, self.width(), 20), 0, f"{self.number} {line} " + "causeway " * (self.width() // 60)
            )


class Lines(QObject):
    came = Signal(str)


class Painter:
    def __init__(self, application: QApplication) -> None:
        self.application = application
        self.back, self.front = Canvas(smooth=True), Canvas(smooth=False)
        screen = application.primaryScreen().geometry()
        self.back.setGeometry(screen)
        self.front.setGeometry(30, 40, 250, 160)
        self.back.show()
        self.front.show()

    def obey(self, line: str) -> None:
        verb, *rest = json.loads(line)
        answer = getattr(self, verb)(*rest)
        self.application.processEvents()
        print(json.dumps(answer), flush=True)

    def hello(self) -> str:
        return "hello"

    def paint(self, number: int) -> str:
        self.back.number = self.front.number = number
        self.back.repaint()
        self.front.repaint()
        return ""

    def write(self, number: int) -> str:
        """New text in the window in front; nothing behind it changes."""
        self.front.number = number
        self.front.repaint()
        return ""

    def enlarge(self, width: int, height: int) -> str:
        self.front.resize(width, height)
        return ""

    def move(self, x: int, y: int) -> str:
        self.front.move(x, y)
        return ""

    def cursor(self) -> str:
        self.back.setCursor(Qt.CursorShape.CrossCursor)
        return ""

    def copy(self, text: str) -> str:
        self.application.clipboard().setText(text)
        return ""

    def paste(self) -> str:
        return self.application.clipboard().text()

    def size(self) -> str:
        geometry = self.application.primaryScreen().geometry()
        return f"{geometry.width()}x{geometry.height()}"

    def grab(self, path: str) -> str:
        self.application.primaryScreen().grabWindow(0).toImage().save(path, "PPM")
        return ""


def main() -> None:
    application = QApplication(sys.argv)
    painter, lines = Painter(application), Lines()
    lines.came.connect(painter.obey)

    def listen() -> None:
        for line in sys.stdin:
            lines.came.emit(line)

    threading.Thread(target=listen, daemon=True).start()
    application.exec()


if __name__ == "__main__":
    main()
