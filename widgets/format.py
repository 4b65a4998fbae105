"""Units that people read: 8 GiB, 84 MB/s, 3 d 4 h, 4 min ago. Pure functions; None is a dash."""

from __future__ import annotations

import html
from datetime import datetime

from backends.model import now

NOTHING = "–"
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_DECIMAL = ("B/s", "kB/s", "MB/s", "GB/s", "TB/s")
MINUTE, HOUR, DAY = 60, 3600, 86400


def _scaled(value: float, step: int, units: tuple[str, ...]) -> str:
    index = 0
    while abs(value) >= step and index < len(units) - 1:
        value /= step
        index += 1
    if round(value, 1) >= step and index < len(units) - 1:
        value, index = value / step, index + 1
    return f"{trimmed(value) if index else f'{value:.0f}'} {units[index]}"


def trimmed(value: float) -> str:
    """One decimal below 100 where it says something: 5.2, 8, 63.5, 128."""
    text = f"{value:.1f}" if abs(value) < 99.95 else f"{value:.0f}"
    return text.removesuffix(".0")


def size(value: float | None) -> str:
    """Bytes in binary units: 8 GiB."""
    return NOTHING if value is None else _scaled(value, 1024, _BINARY)


def used_of(used: float | None, total: float) -> str:
    """5.2 of 8 GiB: both in the unit of the total."""
    if used is None:
        return NOTHING
    whole = size(total)
    unit = whole.rsplit(" ", 1)[-1]
    return f"{trimmed(used / 1024 ** _BINARY.index(unit))} of {whole}"


def rate(value: float | None) -> str:
    """Bytes per second in decimal units: 84 MB/s."""
    return NOTHING if value is None else _scaled(value, 1000, _DECIMAL)


def percent(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.0f} %"


def count(value: int) -> str:
    """A whole number with its thousands set apart: 1,527."""
    return f"{value:,}"


def counted(value: int, noun: str) -> str:
    """1 VM, 1,527 VMs."""
    if value == 1:
        return f"1 {noun}"
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count(value)} {plural}"


def duration(seconds: float | None) -> str:
    """A length of time, two units at most: 38 ms, 4.1 s, 2 min, 3 d 4 h."""
    if seconds is None:
        return NOTHING
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{trimmed(seconds)} s"
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < 10 * MINUTE and whole % MINUTE:
        return f"{whole // MINUTE} min {whole % MINUTE} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min"
    if whole < DAY:
        return _two(whole, HOUR, "h", MINUTE, "min")
    return _two(whole, DAY, "d", HOUR, "h")


def _two(whole: int, big: int, big_unit: str, small: int, small_unit: str) -> str:
    rest = whole % big // small
    return f"{whole // big} {big_unit}" + (f" {rest} {small_unit}" if rest else "")


def left(seconds: float | None) -> str:
    """Rough on purpose, so that it does not jump: under 10 s, 40 s, 2 min, 1 h 5 min left."""
    if seconds is None:
        return ""
    if seconds < 10:
        return "a few seconds left"
    if seconds < MINUTE:
        return f"{round(seconds / 5) * 5} s left"
    if seconds < HOUR:
        return f"{round(seconds / MINUTE)} min left"
    return f"{duration(round(seconds / MINUTE) * MINUTE)} left"


def sentences(*parts: str) -> str:
    """What happened, and what to do: each a sentence of its own. Empty parts are left out."""
    whole = [part.strip() for part in parts if part.strip()]
    ended = [part if part[-1] in ".!?…" else f"{part}." for part in whole]
    return " ".join(part if not number else part[0].upper() + part[1:] for number, part in enumerate(ended))


def age(when: datetime | None, at: datetime | None = None) -> str:
    """How long ago: now, 12 s ago, 4 min ago, 3 d ago. One unit."""
    if when is None:
        return "never"
    seconds = ((at or now()) - when).total_seconds()
    if seconds < 2:
        return "now"
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= unit:
            return f"{int(seconds // unit)} {name} ago"
    return f"{int(seconds)} s ago"


def clock(when: datetime) -> str:
    """The local time of day of today's moments, with the day before it for older ones."""
    local = when.astimezone()
    same_day = local.date() == now().astimezone().date()
    return local.strftime("%H:%M:%S" if same_day else "%d %b %H:%M")


def tip(text: str) -> str:
    """A tooltip that shows `text` as it is: Qt reads what looks like HTML as such, and names are written by others."""
    return f"<p style='white-space:pre-wrap'>{html.escape(text)}</p>" if "<" in text else text
