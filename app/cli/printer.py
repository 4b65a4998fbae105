"""What a verb yields, for people (tables, a progress bar) or for programs (--json)."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

Row = dict[str, Any]
COLOURS = {"green": "green", "amber": "yellow", "red": "red", "info": "cyan"}

CONTROLS = frozenset({"Cc", "Cf", "Zl", "Zp"})
"""Categories of characters that move the cursor, colour, or turn the direction of writing."""


def size(value: float) -> str:
    """Bytes in the unit that people read."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            return f"{value:.0f} {unit}" if unit in ("B", "KiB") or value >= 10 else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError


def age(seconds: float) -> str:
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def harmless(text: str) -> str:
    """`text` without what a terminal would obey: a VM's name is written by whoever runs its host."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if char in "\n\t" or unicodedata.category(char) not in CONTROLS else "\ufffd" for char in text)


def _harmless(value: Any) -> Any:
    if isinstance(value, str):
        return harmless(value)
    if isinstance(value, dict):
        return {name: _harmless(item) for name, item in value.items()}
    return [_harmless(item) for item in value] if isinstance(value, list | tuple) else value


def failed(message: str, cure: str = "", candidates: Sequence[str] = ()) -> None:
    """What --json prints where there is no result."""
    row = {"ok": False, "error": message, "cure": cure, "candidates": list(candidates)}
    print(json.dumps(row, indent=2, ensure_ascii=False))  # noqa: T201


class Printer:
    """Takes a verb's dicts as they come. Results go to standard output, everything else to standard error.

    Parameters: `as_json` prints the result's data as JSON; `show` prints it for people.
    """

    def __init__(self, as_json: bool, show: Callable[[Console, Row], None] | None = None) -> None:
        self._json = as_json
        self._show = show
        self._progress: Progress | None = None
        self._bars: dict[tuple[str, str], TaskID] = {}
        self._out: Console | None = None

    def __call__(self, row: Row) -> None:
        kind = row["type"]
        if not self._json or kind != "result":
            row = _harmless(row)
        if kind == "progress":
            if not self._json and sys.stderr.isatty():
                self._advance(row)
        elif kind == "plan":
            if not self._json:
                show_plan(self._console(), row)
        elif kind == "result":
            self.close()
            self._result(row)
        elif kind in ("warning", "note", "error"):
            self.close()
            self._say(row)
            if kind == "error" and self._json:
                failed(row["message"], row["cure"], row["candidates"])

    def close(self) -> None:
        """End the progress bar."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _result(self, row: Row) -> None:
        if self._json:
            print(json.dumps(row["data"], indent=2, ensure_ascii=False))  # noqa: T201
            return
        if self._show is not None and row["data"] is not None:
            self._show(self._console(), row)
        if row["message"] and (not row["ok"] or self._show is None):
            self._say({"type": "note" if row["ok"] else "error", "message": row["message"], "cure": row["cure"]})

    def _say(self, row: Row) -> None:
        words = {"error": "error: ", "warning": "warning: "}.get(row["type"], "")
        print(f"{words}{row['message']}", file=sys.stderr)  # noqa: T201
        if row.get("cure"):
            print(f"  {row['cure']}", file=sys.stderr)  # noqa: T201
        for candidate in row.get("candidates", ()):
            print(f"  - {candidate}", file=sys.stderr)  # noqa: T201

    def _console(self) -> Console:
        if self._out is None:
            from rich.console import Console

            wide = None if sys.stdout.isatty() else 200
            self._out = Console(highlight=False, width=wide)
        return self._out

    def _advance(self, row: Row) -> None:
        if self._progress is None:
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(True), TransferSpeedColumn())
            self._progress = Progress(*columns, console=Console(stderr=True), transient=False)
            self._progress.start()
        for stage in row["stages"]:
            if stage["state"] == "waiting":
                continue
            key = (row["task"], stage["name"])
            if key not in self._bars:
                self._bars[key] = self._progress.add_task(stage["name"], total=None)
            total = stage["total_bytes"] or (1 if stage["state"] in ("done", "skipped") else None)
            done = total if stage["state"] == "done" and total else stage["done_bytes"]
            text = f"{stage['name']} {stage['text']}".strip()
            self._progress.update(self._bars[key], description=text, total=total, completed=done or 0)


class AskingPrinter(Printer):
    """Keeps what a verb asks for the terminal's user in `asked`; without a terminal it is an error like others."""

    def __init__(self, as_json: bool, asked: list[str]) -> None:
        super().__init__(as_json)
        self._asked = asked

    def __call__(self, row: Row) -> None:
        if row.get("asks") and sys.stdin.isatty():
            self._asked.append(harmless(row["asks"]))
        else:
            super().__call__(row)


def table(console: Console, columns: dict[str, list[str]], empty: str) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if not any(columns.values()):
        console.print(empty)
        return
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        made.add_column(name, overflow="fold")
    for cells in zip(*columns.values(), strict=True):
        made.add_row(*(Text(" ".join(cell.split("\n"))) for cell in cells))
    console.print(made)


def _seen(item: Row) -> str:
    if item["origin"] == "cache":
        return f"{age(item['age_s'])} ago"
    return age(item["age_s"]) if item["age_s"] >= 1 else "now"


def show_objects(console: Console, row: Row) -> None:
    items = row["data"]
    columns = {
        "NAME": [f"{item['connection']}/{item['name']}" for item in items],
        "KIND": [item["kind"] for item in items],
        "STATE": [item["state"] + (" (kept)" if item["kept"] else "") for item in items],
        "CPU": [str(item["vcpus"] or "") for item in items],
        "MEMORY": [size(item["memory_bytes"]) if item["memory_bytes"] else "" for item in items],
        "ADDRESSES": [" ".join(item["addresses"]) for item in items],
        "GROUP": [item["group"] for item in items],
        "SEEN": [_seen(item) for item in items],
    }
    table(console, columns, "nothing matches")


def show_connections(console: Console, row: Row) -> None:
    items = row["data"]
    columns = {
        "NAME": [item["name"] for item in items],
        "KIND": [item["kind"] for item in items],
        "STATE": [item["state"] + (" (read-only)" if item["read_only"] else "") for item in items],
        "URI": [item["uri"] for item in items],
        "": [item["error"] or (f"same host as {item['same_as']}" if item["same_as"] else "") for item in items],
    }
    table(console, columns, "no connections yet; add one: causeway connect KIND NAME --set key=value")


def show_tasks(console: Console, row: Row) -> None:
    items = row["data"]
    columns = {
        "TASK": [item["id"] for item in items],
        "WHAT": [item["title"] for item in items],
        "STATE": [item["state"] for item in items],
        "WHEN": [item["created"][:19].replace("T", " ") for item in items],
        "": ["; ".join(filter(None, [item["error"], *_offered(item)])) for item in items],
    }
    table(console, columns, "no tasks yet")


def _offered(item: Row) -> list[str]:
    """The verbs that do something about a task at rest."""
    ident, offers = item["id"], item["offers"]
    found = [f"go on: causeway retry {ident}"] if "resume" in offers else []
    found += [f"again: causeway retry {ident}"] if "retry" in offers else []
    if "undo" in offers:
        found.append(f"take back: causeway undo {ident}" if "resume" in offers else f"undo: {item['undo']}")
    return found


def show_fields(console: Console, row: Row) -> None:
    from rich.text import Text

    for name, value in row["data"].items():
        if name != "description" and value not in ("", [], {}, None):
            console.print(Text(f"{_label(name):>14}  {_readable(name, value)}"))
    if row["data"].get("description"):
        console.print(Text(row["data"]["description"]))


def _label(name: str) -> str:
    return name.removesuffix("_bytes").replace("_", " ")


def _readable(name: str, value: Any) -> str:
    """A field for people: sizes in their unit, lists and records in words."""
    if isinstance(value, dict):
        parts = ((key, _readable(key, part)) for key, part in value.items() if part not in ("", [], {}, None))
        return ", ".join(f"{_label(key)} {part}" for key, part in parts)
    if isinstance(value, list | tuple):
        apart = "; " if any(isinstance(part, dict | list | tuple) for part in value) else ", "
        return apart.join(_readable(name, part) for part in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return size(value) if name.endswith("_bytes") and isinstance(value, int | float) else str(value)


def show_plan(console: Console, row: Row) -> None:
    from rich.text import Text

    data = row["data"]
    console.print(Text(f"{data['verdict']}: {data['text']}", style=COLOURS.get(data["verdict"], "")))
    forecast = data["forecast"]
    facts = [f"mode {data['mode']}", f"path {data['path']}"]
    if forecast["seconds"] is not None:
        facts.append(f"about {age(forecast['seconds'])}")
    if forecast["downtime_s"] is not None:
        facts.append(f"stops about {forecast['downtime_s']:.2g} s")
    if forecast["bytes"] is not None:
        facts.append(size(forecast["bytes"]))
    words = "" if forecast["measured"] else " (an estimate: no move went this way yet)"
    console.print(Text(", ".join(facts) + words))
    show_findings(console, {"data": data})
    for number, step in enumerate(data["steps"], 1):
        console.print(Text(f"  {number}. {step}"))


def show_findings(console: Console, row: Row) -> None:
    from rich.text import Text

    for finding in row["data"].get("findings", ()):
        where = f" [{finding['field']}]" if finding["field"] else ""
        console.print(
            Text(f"  {finding['level']}{where}: {finding['message']}", style=COLOURS.get(finding["level"], ""))
        )
        if finding["cure"]:
            console.print(Text(f"      {finding['cure']}"))


def show_added(console: Console, row: Row) -> None:
    show_findings(console, row)
    if row["ok"]:
        console.print(row["message"], markup=False)


def show_move(console: Console, row: Row) -> None:
    data = row["data"]
    if not data["ok"]:
        return
    facts = [f"done in {data['seconds']:.1f} s"]
    if data["downtime_s"] is not None:
        facts.append(f"downtime {data['downtime_s'] * 1000:.0f} ms")
    if data["bytes_sent"] is not None:
        facts.append(f"{size(data['bytes_sent'])} sent")
    console.print(f"{', '.join(facts)}; now {data['target']} ({data['target_ref']}, task {data['task']})", markup=False)
