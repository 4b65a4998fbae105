"""Units that people read."""

from __future__ import annotations

from datetime import timedelta

import pytest
from PySide6.QtGui import QTextDocument
from pytestqt.qtbot import QtBot

from backends.model import now
from widgets import format as fmt
from widgets.parts import Elided


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0 B"),
        (1023, "1023 B"),
        (8 * 1024**3, "8 GiB"),
        (1536 * 1024**2, "1.5 GiB"),
        (1024**3 - 1, "1 GiB"),
        (200 * 1024**3, "200 GiB"),
        (3 * 1024**5, "3 PiB"),
    ],
)
def test_size(value: int | None, text: str) -> None:
    assert fmt.size(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.038, "38 ms"),
        (4.1, "4.1 s"),
        (40, "40 s"),
        (60, "1 min"),
        (95, "1 min 35 s"),
        (125 * 60, "2 h 5 min"),
        (76 * 3600, "3 d 4 h"),
        (86400, "1 d"),
        (0.9999, "1 s"),
    ],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert fmt.duration(seconds) == text


def test_rates_counts_and_shares() -> None:
    assert fmt.rate(84e6) == "84 MB/s"
    assert fmt.rate(999_960) == "1 MB/s"
    assert fmt.count(1527) == "1,527"
    assert (fmt.counted(1, "VM"), fmt.counted(1527, "VM"), fmt.counted(2, "entry")) == (
        "1 VM",
        "1,527 VMs",
        "2 entries",
    )
    assert fmt.used_of(5.2 * 1024**3, 8 * 1024**3) == "5.2 of 8 GiB"
    assert fmt.percent(46.6) == "47 %"


def test_time_left_is_rough() -> None:
    assert fmt.left(None) == ""
    assert fmt.left(3) == "a few seconds left"
    assert fmt.left(41) == "40 s left"
    assert fmt.left(130) == "2 min left"
    assert fmt.left(3900) == "1 h 5 min left"


def test_age_has_one_unit() -> None:
    at = now()
    ages = [fmt.age(at - timedelta(seconds=seconds), at) for seconds in (0, 12, 240, 7300, 3 * 86400)]
    assert ages == ["now", "12 s ago", "4 min ago", "2 h ago", "3 d ago"]
    assert fmt.age(None) == "never"


def test_a_tooltip_never_runs_the_html_of_a_name(qtbot: QtBot) -> None:
    name = "<img src='file:///etc/hostname'><b>web</b> & co\nsecond line"
    shown = QTextDocument()
    shown.setHtml(fmt.tip(name))
    assert shown.toPlainText() == name
    assert "<img" not in fmt.tip(name)
    assert fmt.tip("web & co") == "web & co"
    elided = Elided()
    qtbot.addWidget(elided)
    elided.setText(name)
    assert elided.toolTip() == fmt.tip(name)
