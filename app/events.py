"""What happened, in order: the event log that window and command line show."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from backends.model import Level, Ref, now


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the log. `level` is INFO, AMBER (look at it) or RED (something failed)."""

    when: datetime
    level: Level
    text: str
    ref: Ref | None = None


class Events:
    """The newest `limit` events, oldest first. Use it on the loop only."""

    def __init__(self, limit: int = 2000) -> None:
        self._events: deque[Event] = deque(maxlen=limit)
        self._subscribers: list[Callable[[Event], None]] = []

    def __len__(self) -> int:
        return len(self._events)

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events)

    def add(self, text: str, *, level: Level = Level.INFO, ref: Ref | None = None) -> Event:
        event = Event(now(), level, text, ref)
        self._events.append(event)
        for function in tuple(self._subscribers):
            function(event)
        return event

    def subscribe(self, function: Callable[[Event], None]) -> Callable[[], None]:
        """Call `function` with every new event; the returned function ends that."""
        self._subscribers.append(function)
        return lambda: self._subscribers.remove(function)
