"""Search over everything that is known: a flat index of lower-cased strings, one column per key.

A query is words and `key:value`, `key>n`, `key<n`; all must match. `-` before a term turns it round, quotes keep
blanks together. A word that holds a colon but no known key (a MAC, an IPv6 address) is a word.
Words are looked for in what people see; ids and UUIDs, which they do not, only by six hexadecimal digits or more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from app.inventory import Delta, Inventory
from backends.model import Host, Kind, Object, PowerState, Ref, Sample, Vm

SEARCHED = frozenset(
    {Kind.VM, Kind.HOST, Kind.ZONE, Kind.CLUSTER, Kind.DATACENTER, Kind.TEMPLATE, Kind.IMAGE, Kind.NETWORK, Kind.POOL}
)
CONTAINERS = frozenset({Kind.HOST, Kind.ZONE, Kind.CLUSTER, Kind.DATACENTER})
TEXT_KEYS = ("name", "state", "site", "host", "group", "tag", "ip", "mac", "os", "uuid", "id", "kind")
NUMBER_KEYS = ("cpu", "mem", "vcpus")
GAP = "\x1f"
"""Stands between the parts of a text: no query can hold it, so no word matches over two parts."""

_TERM = re.compile(r'(-?)(?:([a-z]+)([:><]))?("[^"]*"?|\S*)')
_ID = re.compile(r"(?:[a-z]{1,4}-)?[0-9a-f]{6}[0-9a-f-]*")
"""The beginning of a UUID or of an instance id."""
_HEX = frozenset("abcdef")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$")
_UNITS = {"k": 2**10, "m": 2**20, "": 2**30, "g": 2**30, "t": 2**40}


@dataclass(frozen=True, slots=True)
class Term:
    """One condition. `key` is empty for a plain word; `operator` is `:`, `>` or `<`."""

    key: str
    operator: str
    value: str
    negated: bool = False


def parse(query: str) -> list[Term]:
    """A query's terms, lower-cased. Never fails: what is no condition is a word."""
    terms: list[Term] = []
    for match in _TERM.finditer(query.lower()):
        minus, key, operator, value = match.groups()
        known = TEXT_KEYS if operator == ":" else NUMBER_KEYS
        if key and key not in known:
            key, operator, value = "", "", f"{key}{operator}{value}"
        value = value.strip('"')
        if key or value:
            terms.append(Term(key or "", operator or ":", value, bool(minus)))
    return terms


def questionable(query: str, states: Iterable[str] = ()) -> str:
    """What of a query can find nothing as it is written: a sentence, empty where it is well.

    A window forgives it, as it may still be being typed; a command says it. `states` are known beside a VM's.
    """
    for match in _TERM.finditer(query.lower()):
        _, key, operator, value = match.groups()
        value = value.strip('"')
        if not key or set(key) <= _HEX or value.startswith("//"):
            continue
        if key not in TEXT_KEYS + NUMBER_KEYS:
            return f"there is no key {key!r}"
        if (key in TEXT_KEYS) != (operator == ":"):
            return f"{key}{operator} is not understood; write {key}{':' if key in TEXT_KEYS else '> or ' + key + '<'}"
        if key in NUMBER_KEYS and _number(Term(key, operator, value)) is None:
            return f"{key}{operator}{value} needs a number"
        for name, known in (("state", {*PowerState, *states}), ("kind", set(Kind))):
            if key == name and not any(value in text for text in known):
                return f"there is no {name} {value!r}; there are {', '.join(sorted(filter(None, known)))}"
    return ""


class Search:
    """The index. Fed by the inventory; every call is synchronous and quick.

    But for what plain words need, columns are made when a query first needs them; they are kept up to date from then
    on, one cell per change.
    """

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._slots: dict[Ref, int] = {}
        self._items: list[Object | None] = []
        self._free: list[int] = []
        # What plain words are looked for in is made while the objects come: the first key has not to wait for it.
        self._columns: dict[str, list[str]] = {"": []}
        self._text: dict[str, Callable[[Object], str]] = {
            "": self._everything,
            "name": lambda item: item.name.lower(),
            "state": lambda item: getattr(item, "state", "").lower(),
            "site": lambda item: item.ref.connection.lower(),
            "host": self._place,
            "group": lambda item: item.group.lower() if isinstance(item, Vm) else "",
            "tag": lambda item: _joined(f"{key}={value}" for key, value in item.tags) if isinstance(item, Vm) else "",
            "ip": lambda item: _joined(item.addresses) if isinstance(item, Vm) else "",
            "mac": lambda item: _joined(nic.mac for nic in item.nics) if isinstance(item, Vm) else "",
            "os": lambda item: item.os.lower() if isinstance(item, Vm) else "",
            "uuid": lambda item: getattr(item, "uuid", "").lower(),
            "id": lambda item: item.ref.id.lower(),
            GAP: lambda item: f"{GAP}{item.ref.id}{GAP}{getattr(item, 'uuid', '')}".lower(),
            "kind": lambda item: item.ref.kind.value,
        }
        self._above: tuple[Ref | None, str] = (None, "")
        self._put(inventory)
        self._stop = inventory.subscribe(self._on_delta)

    def close(self) -> None:
        """Follow the inventory no longer."""
        self._stop()

    def match(self, query: str) -> set[Ref] | None:
        """What the query matches; None where it asks for nothing, that is for everything."""
        terms = parse(query)
        if not terms:
            return None
        slots: Iterable[int] = range(len(self._items))
        whole = True
        for term in sorted(terms, key=lambda term: term.operator != ":"):
            slots = self._contain(term, slots, whole) if term.operator == ":" else self._compare(term, slots)
            whole = False
        found = [item.ref for slot in slots if (item := self._items[slot]) is not None]
        return set(self._slots) if len(found) == len(self._slots) else set(found)

    def questionable(self, query: str) -> str:
        """See `questionable`: with the states that are there."""
        return questionable(query, set(self._column("state")))

    def complete(self, text: str, limit: int = 12) -> list[str]:
        """What the last word of `text` could become, best first: whole queries."""
        head, _, last = text.rpartition(" ")
        head = f"{head} " if head else ""
        minus = "-" if last.startswith("-") else ""
        last = last.lower().removeprefix("-")
        key, colon, value = last.partition(":")
        if colon and key in TEXT_KEYS:
            cells = set(self._column(key))
            values = {part for cell in cells for part in cell.split(GAP) if part.startswith(value.strip('"'))}
            shown = (f'"{part}"' if " " in part else part for part in sorted(values - {""})[:limit])
            return [f"{head}{minus}{key}:{part}" for part in shown]
        keys = [f"{name}:" for name in TEXT_KEYS if name.startswith(last)]
        numbers = [f"{name}>" for name in NUMBER_KEYS if name.startswith(last)]
        return [f"{head}{minus}{name}" for name in keys + numbers][:limit]

    def _contain(self, term: Term, slots: Iterable[int], whole: bool) -> list[int]:
        cells, value = self._column(term.key), term.value
        if not term.key and _ID.fullmatch(value):
            ids, start = self._column(GAP), GAP + value
            return [slot for slot in slots if (value in cells[slot] or start in ids[slot]) != term.negated]
        if not value:
            return [slot for slot in slots if bool(cells[slot]) != term.negated]
        if term.negated:
            return [slot for slot in slots if value not in cells[slot]]
        if whole:
            return [slot for slot, cell in enumerate(cells) if value in cell]
        return [slot for slot in slots if value in cells[slot]]

    def _compare(self, term: Term, slots: Iterable[int]) -> list[int]:
        limit = _number(term)
        if limit is None:
            return list(slots)
        found = []
        above = (term.operator == ">") != term.negated
        for slot in slots:
            item = self._items[slot]
            value = None if item is None else self._value(term.key, item)
            if value is not None and (value > limit if above else value < limit):
                found.append(slot)
        return found

    def _value(self, key: str, item: Object) -> float | None:
        if key == "cpu":
            sample: Sample | None = self._inventory.sample(item.ref)
            return None if sample is None else sample.cpu_percent
        if isinstance(item, Vm):
            return item.memory_bytes if key == "mem" else item.vcpus
        if isinstance(item, Host):
            return item.memory_bytes if key == "mem" else item.cpus
        return None

    def _column(self, key: str) -> list[str]:
        column = self._columns.get(key)
        if column is None:
            self._above = (None, "")
            text = self._text[key]
            column = self._columns[key] = ["" if item is None else text(item) for item in self._items]
        return column

    def _on_delta(self, delta: Delta) -> None:
        for item in delta.removed:
            slot = self._slots.pop(item.ref, None)
            if slot is not None:
                self._items[slot] = None
                self._free.append(slot)
                for column in self._columns.values():
                    column[slot] = ""
        self._put(delta.added)
        self._put(delta.changed)

    def _put(self, items: Iterable[Object]) -> None:
        self._above = (None, "")
        columns = [(self._text[key], column) for key, column in self._columns.items()]
        for item in items:
            ref = item.ref
            if ref.kind not in SEARCHED:
                continue
            slot = self._slots.get(ref)
            known = None if slot is None else self._items[slot]
            if slot is None:
                slot = self._slots[ref] = self._take()
            self._items[slot] = item
            for text, column in columns:
                column[slot] = text(item)
            if ref.kind in CONTAINERS and (known is None or known.name != item.name):
                children = self._inventory.children(ref.connection, ref)
                self._put(child for child in children if child.ref in self._slots)

    def _take(self) -> int:
        if self._free:
            return self._free.pop()
        self._items.append(None)
        for column in self._columns.values():
            column.append("")
        return len(self._items) - 1

    def _place(self, item: Object) -> str:
        # Most stand below the same as the one before them.
        if item.parent is not self._above[0]:
            above = self._inventory.get(item.parent) if item.parent is not None else None
            self._above = item.parent, "" if above is None else above.name.lower()
        return self._above[1]

    def _everything(self, item: Object) -> str:
        """All that a plain word is looked for in."""
        if not isinstance(item, Vm):
            state = getattr(item, "state", "")
            return GAP.join((item.name, item.ref.connection, state, self._place(item))).lower()
        parts = (item.name, item.ref.connection, item.state, item.group, item.os, self._place(item), *item.addresses)
        if item.nics:
            parts += tuple(nic.mac for nic in item.nics)
        if item.tags:
            parts += tuple(f"{key}={value}" for key, value in item.tags)
        return GAP.join(parts).lower()


def _joined(parts: Iterable[str]) -> str:
    return GAP.join(parts).lower()


def _number(term: Term) -> float | None:
    """The number of a comparison: bytes for `mem` (a bare number means GiB); None while it is still being typed."""
    if term.key == "mem":
        size = _SIZE.match(term.value)
        return float(size[1]) * _UNITS[size[2]] if size else None
    try:
        return float(term.value.rstrip("%"))
    except ValueError:
        return None
