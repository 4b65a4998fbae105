"""The bar above the window's content and the line below it."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget

from widgets import format as fmt
from widgets import theme
from widgets.frame import Frame
from widgets.parts import Pill, Sign, label, set_symbol, set_words

BEAT_S = 0.1
STATUS_MS = 1000
NARROW = 900


class LagMeter:
    """How late the loop is: the worst of the last seconds, in milliseconds, beyond the time it was to sleep."""

    def __init__(self) -> None:
        self._beats: list[float] = []

    async def run(self) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(BEAT_S)
            self._beats.append(max(0.0, (time.perf_counter() - began - BEAT_S) * 1000))
            del self._beats[:-20]

    @property
    def milliseconds(self) -> float:
        """The middle of the last two seconds, so that one hiccup is not shown for long."""
        ordered = sorted(self._beats)
        return ordered[len(ordered) // 2] if ordered else 0.0


class Switched(Frame, Protocol):
    """The window, with what the buttons of its bar switch and show."""

    def show_palette(self) -> None: ...

    def show_keys(self) -> None: ...

    def toggle_theme(self) -> None: ...


class TopBar(QWidget):
    """Name, search, commands, alerts, light or dark."""

    def __init__(self, window: Switched, search: QWidget) -> None:
        super().__init__(window)
        self.setObjectName("topbar")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFixedHeight(48)
        self._window = window
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 0, 12, 0)
        row.setSpacing(8)
        row.addWidget(Sign("waypoints", "text", self, 20))
        row.addWidget(label("Causeway", "brand", self))
        row.addSpacing(18)
        search.setMinimumWidth(220)
        search.setMaximumWidth(560)
        row.addWidget(search, 10)
        row.addStretch(6)
        self.commands = self._flat("Commands", "command", window.show_palette)
        self.commands.setToolTip("All commands")
        row.addWidget(self.commands)
        key = label("Ctrl K", "key", self)
        key.setFixedHeight(20)
        row.addWidget(key)
        row.addSpacing(8)
        self.alerts = self._flat("", "bell", lambda: window.show_dock("alerts"))
        row.addWidget(self.alerts)
        self.count = Pill("", "warn", self)
        self.count.hide()
        row.addWidget(self.count)
        self.help = self._flat("", "circle-question-mark", window.show_keys)
        self.help.setAccessibleName("Help: keys and shortcuts")
        self.help.setToolTip("Keys and shortcuts (F1)")
        row.addWidget(self.help)
        self.theme = self._flat("", "sun", window.toggle_theme)
        row.addWidget(self.theme)
        self.show_alerts(0)
        self.show_theme()
        theme.on_change(self.show_theme)

    def resizeEvent(self, event: object) -> None:
        """Where it is narrow the picture does for the word, and the search has the room."""
        set_words(self.commands, "" if self.width() < NARROW else "Commands")
        self.commands.setAccessibleName("Commands")

    def _flat(self, text: str, symbol: str, run: object) -> QPushButton:
        made = QPushButton(self)
        made.setObjectName("flat")
        set_symbol(made, symbol, "muted")
        if text:
            set_words(made, text)
        made.clicked.connect(lambda: run())  # type: ignore[operator]
        return made

    def show_alerts(self, number: int) -> None:
        self.count.setText(fmt.count(number))
        self.count.setVisible(number > 0)
        self.alerts.setAccessibleName(fmt.counted(number, "alert"))
        self.alerts.setToolTip(fmt.counted(number, "alert") if number else "No alerts")

    def show_theme(self) -> None:
        set_symbol(self.theme, "moon" if theme.is_dark() else "sun", "muted")
        name = "Dark theme is on: switch to light" if theme.is_dark() else "Light theme is on: switch to dark"
        self.theme.setAccessibleName(name)
        self.theme.setToolTip(name)


class StatusBar(QWidget):
    """6 sites live, 1 offline, 1,527 VMs, 1,204 running; changes per second and how quick the window is."""

    def __init__(self, window: Frame, lag: LagMeter) -> None:
        super().__init__(window)
        self.setObjectName("statusbar")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFixedHeight(26)
        self._window, self._lag = window, lag
        self._seen = (window.tally.changes, time.monotonic())
        row = QHBoxLayout(self)
        row.setContentsMargins(14, 0, 14, 0)
        row.setSpacing(20)
        left = QHBoxLayout()
        left.setSpacing(6)
        self._sign = Sign("circle-check", "muted", self, 14)
        left.addWidget(self._sign)
        self.live, self.offline, self.vms, self.rate, self.lag = (self._word() for _ in range(5))
        self.offline.setObjectName("warnText")
        left.addWidget(self.live)
        row.addLayout(left)
        for part in (self.offline, self.vms):
            row.addWidget(part)
        row.addStretch(1)
        row.addWidget(self.rate)
        row.addWidget(self.lag)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.refresh)
        self._timer.start(STATUS_MS)
        self.refresh()

    def _word(self) -> QLabel:
        return label("", "small", self)

    def refresh(self) -> None:
        sites = self._window.services.connections.all()
        live = sum(str(site.state) == "ready" for site in sites)
        away = sum(str(site.state) in ("retrying", "failed", "auth-needed") for site in sites)
        waiting = len(sites) - live - away
        tally = self._window.tally
        words = f"{fmt.counted(live, 'site')} live"
        self.live.setText(f"{words}, {waiting} connecting" if waiting else words if sites else "no sites yet")
        self.offline.setText(f"{away} offline")
        self.offline.setVisible(away > 0)
        self.vms.setText(f"{fmt.counted(tally.vms, 'VM')}, {fmt.count(tally.running)} running")
        changes, at = self._seen
        moment = time.monotonic()
        if moment - at >= 0.5:
            self._seen = (tally.changes, moment)
            rate = round((self._window.tally.changes - changes) / (moment - at))
            self.rate.setText(f"{fmt.counted(rate, 'change')}/s")
        self.lag.setText(f"UI {self._lag.milliseconds:.0f} ms")
