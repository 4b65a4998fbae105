"""Live charts of an object's meters. pyqtgraph is imported when the first one is shown, beside the UI thread."""

from __future__ import annotations

import asyncio
import importlib
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import QEvent, QObject, QPointF, Qt
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QBoxLayout, QLabel, QWidget

from backends.model import Sample
from widgets import format as fmt
from widgets import theme
from widgets.background import Background
from widgets.parts import Card, label

LENGTH = 600
"""Samples kept per opened object: 20 minutes at one per 2 s."""
GAP_S = 7.0
"""Longer without a sample than this, and the line is broken."""
SPAN_S = 20 * 60
HEIGHT = 148
STACKED_PX = 216
"""A narrower card has its value below its title."""
MADE_AT_ONCE = 16
"""Classes of Qt between two breaths of the loop."""
_pyqtgraph: ModuleType | None = None


class Ring:
    """The newest samples of one object. A gap is kept as a sample without values."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=LENGTH)

    def __len__(self) -> int:
        return len(self._samples)

    def add(self, sample: Sample) -> None:
        last = self._samples[-1] if self._samples else None
        if last is not None and sample.at <= last.at:
            return
        if last is not None and sample.at - last.at > GAP_S:
            self._samples.append(Sample(at=(last.at + sample.at) / 2))
        self._samples.append(sample)

    @property
    def last(self) -> Sample | None:
        return self._samples[-1] if self._samples else None

    def times(self) -> list[float]:
        return [sample.at for sample in self._samples]

    def column(self, read: Callable[[Sample], float | None]) -> list[float]:
        """One value per sample, NaN where there is none."""
        return [math.nan if (value := read(sample)) is None else value for sample in self._samples]


@dataclass(frozen=True, slots=True)
class Series:
    """One line: its name, its colour, how it reads a sample."""

    name: str
    role: str
    read: Callable[[Sample], float | None]


def total(*values: float | None) -> float | None:
    """The sum of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


async def load_pyqtgraph() -> ModuleType:
    """Import it in a thread, once.

    It walks through all of Qt's classes. PySide makes each of them when it is first asked for, and two threads at that
    crash: so they are made here, a few at a time.
    """
    global _pyqtgraph
    if _pyqtgraph is None:
        for library in (QtCore, QtGui, QtWidgets):
            for number, name in enumerate(dir(library)):
                getattr(library, name)
                if number % MADE_AT_ONCE == 0:
                    await asyncio.sleep(0)
        module = await asyncio.to_thread(importlib.import_module, "pyqtgraph")
        module.setConfigOptions(antialias=True)
        _pyqtgraph = module
    return _pyqtgraph


class Chart(Card):
    """A card with lines over the last 20 minutes, the newest value at its head, any other under the mouse.

    Parameters: `top` is the fixed upper end (0: as high as the data), `words` turns values into text.
    """

    def __init__(
        self,
        title: str,
        series: Sequence[Series],
        words: Callable[[float], str],
        background: Background,
        *,
        top: float = 0.0,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(title, parent)
        self.setFixedHeight(HEIGHT)
        self._name, self._series, self._words, self.top = title, tuple(series), words, top
        self._ring: Ring | None = None
        self._reason = ""
        self._plot: Any = None
        self._curves: list[Any] = []
        self._grid: list[Any] = []
        self._hover: Any = None
        self._note: QLabel = label("", "muted", self)
        self._note.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._note.setWordWrap(True)
        self.body.addWidget(self._note, 1)
        theme.on_change(self._restyle)
        background.run(self._build(), "charts")

    def show_ring(self, ring: Ring | None, reason: str, top: float | None = None) -> None:
        """Draw `ring`; where it is None or empty, say `reason`."""
        self._ring, self._reason = ring, reason
        if top is not None:
            self.top = top
        self._draw()

    def newest(self) -> float | None:
        last = self._ring.last if self._ring is not None else None
        return None if last is None else total(*(series.read(last) for series in self._series))

    async def _build(self) -> None:
        pyqtgraph = await load_pyqtgraph()
        plot = self._plot = pyqtgraph.PlotWidget(self)
        plot.setMenuEnabled(False)
        plot.setMouseEnabled(False, False)
        plot.hideButtons()
        plot.hideAxis("left")
        plot.hideAxis("bottom")
        plot.getPlotItem().setContentsMargins(0, 0, 0, 0)
        plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        plot.setMouseTracking(True)
        plot.setMinimumSize(40, 40)
        plot.viewport().installEventFilter(self)
        self._grid = [pyqtgraph.InfiniteLine(angle=0) for _ in range(3)]
        self._hover = pyqtgraph.InfiniteLine(angle=90)
        self._hover.hide()
        for line in (*self._grid, self._hover):
            plot.addItem(line, ignoreBounds=True)
        self._curves = [plot.plot(connect="finite", fillLevel=0.0) for _ in self._series]
        self.body.addWidget(plot, 1)
        self._restyle()
        self._draw()

    def _restyle(self) -> None:
        if self._plot is None or _pyqtgraph is None:
            return
        self._plot.setBackground(theme.colour("pane"))
        for line in self._grid:
            line.setPen(theme.colour("line"))
        self._hover.setPen(theme.colour("muted"))
        for curve, series in zip(self._curves, self._series, strict=True):
            colour = theme.colour(series.role)
            ground = QColor(colour)
            ground.setAlpha(34)
            curve.setPen(_pyqtgraph.mkPen(colour, width=1.4))
            curve.setBrush(ground)

    def _draw(self) -> None:
        ring = self._ring
        empty = ring is None or not len(ring)
        self._note.setText(self._reason)
        self._note.setVisible(empty or self._plot is None)
        if self._plot is not None:
            self._plot.setVisible(not empty)
        newest = self.newest()
        self.value.setText("" if newest is None else self._words(newest))
        spoken = f"{self._words(newest)} now" if newest is not None else self._reason
        self.setAccessibleName(f"{self._name}: {spoken}")
        if self._plot is None or empty or ring is None:
            return
        times = ring.times()
        top = self.top
        for curve, series in zip(self._curves, self._series, strict=True):
            values = ring.column(series.read)
            curve.setData(times, values)
            if not self.top:
                top = max([top, *(value for value in values if not math.isnan(value))])
        top = top * (1.0 if self.top else 1.15) or 1.0
        span = max(120.0, min(SPAN_S, times[-1] - times[0]))
        self._plot.setXRange(times[-1] - span, times[-1], padding=0)
        self._plot.setYRange(0, top, padding=0.02)
        for number, line in enumerate(self._grid, 1):
            line.setValue(top * number / 4)

    @property
    def _stacked(self) -> bool:
        return self.width() < STACKED_PX

    def resizeEvent(self, event: object) -> None:
        way = QBoxLayout.Direction.TopToBottom if self._stacked else QBoxLayout.Direction.LeftToRight
        self.head.setDirection(way)
        self.head.setSpacing(0 if self._stacked else 6)
        short = ", ".join(series.name for series in self._series)
        self.title.setText((short if self._stacked else self._name).upper())

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.MouseMove:
            self._point(event.position())  # type: ignore[attr-defined]
        elif event.type() == QEvent.Type.Leave and self._hover is not None:
            self._hover.hide()
            self._draw()
        return False

    def _point(self, at: QPointF) -> None:
        """Show the values under the mouse instead of the newest."""
        ring = self._ring
        if ring is None or not len(ring):
            return
        x = self._plot.getPlotItem().vb.mapSceneToView(self._plot.mapToScene(at.toPoint())).x()
        times = ring.times()
        index = min(range(len(times)), key=lambda number: abs(times[number] - x))
        self._hover.setValue(times[index])
        self._hover.show()
        words = []
        for series in self._series:
            value = ring.column(series.read)[index]
            text = "no value" if math.isnan(value) else self._words(value)
            words.append(f"{series.name} {text}" if len(self._series) > 1 and not self._stacked else text)
        if self._stacked:
            self.value.setText(", ".join(words))
            return
        self.value.setText(f"{', '.join(words)}, {fmt.duration(max(0.0, time.time() - times[index]))} ago")


def meter_charts(background: Background, memory_bytes: int) -> dict[str, Chart]:
    """The three charts of a VM or host: CPU, memory (of as much as its `top` says), disk and network."""
    charts: dict[str, Chart] = {
        "cpu": Chart(
            "CPU", [Series("CPU", "accent", lambda sample: sample.cpu_percent)], fmt.percent, background, top=100.0
        ),
        "memory": Chart(
            "Memory",
            [Series("memory", "accent", lambda sample: sample.memory_used_bytes)],
            lambda value: fmt.used_of(value, top) if (top := int(charts["memory"].top)) else fmt.size(value),
            background,
            top=float(memory_bytes),
        ),
        "io": Chart(
            "Disk and network",
            [
                Series("disk", "accent", lambda sample: total(sample.disk_read_bps, sample.disk_write_bps)),
                Series("net", "ok", lambda sample: total(sample.net_rx_bps, sample.net_tx_bps)),
            ],
            fmt.rate,
            background,
        ),
    }
    charts["io"].setToolTip("blue: disk, green: network")
    return charts
