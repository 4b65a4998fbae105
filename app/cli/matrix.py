"""What each kind of connection can do, of what its driver implements: the published table."""

from __future__ import annotations

import json

from backends import registry
from backends.driver import Capability, Settings
from backends.errors import Unsupported


def matrix() -> dict[str, dict[str, bool]]:
    """Kind -> capability -> implemented. A kind that cannot be used here is left out."""
    found: dict[str, dict[str, bool]] = {}
    for kind in registry.kinds():
        try:
            have = registry.load(kind)("", Settings({})).implemented()
        except Unsupported:
            continue
        found[kind] = {capability.value: capability in have for capability in Capability}
    return found


def as_markdown(table: dict[str, dict[str, bool]]) -> str:
    lines = [f"| | {' | '.join(table)} |", f"|---|{'---|' * len(table)}"]
    lines += [
        f"| {capability.value} | {' | '.join('yes' if table[kind][capability.value] else '' for kind in table)} |"
        for capability in Capability
    ]
    return "\n".join(lines)


def show_matrix(*, as_json: bool, markdown: bool) -> None:
    table = matrix()
    if as_json:
        print(json.dumps(table, indent=2))  # noqa: T201
    elif markdown:
        print(as_markdown(table))  # noqa: T201
    else:
        from rich.console import Console

        from app.cli.printer import table as show

        columns = {"": [capability.value for capability in Capability]}
        columns |= {kind: ["yes" if can else "" for can in row.values()] for kind, row in table.items()}
        show(Console(), columns, "no kinds")
