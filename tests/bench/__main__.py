"""`./dev bench`: every figure that the product promises, as a table and as bench.json: medians, ratios in one run."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

BENCHES = ("start", "tree", "domains", "copy", "cloud", "live", "rfb", "screens", "terminal")


def run(name: str) -> list[dict[str, object]]:
    """One bench in a process of its own; a failure is a row that says so."""
    command = [sys.executable, "-m", f"tests.bench.bench_{name}", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return [{"name": name, "value": None, "unit": "", "goal": "", "ok": False, "note": f"failed: {last}"}]
    rows = json.loads(done.stdout)
    assert isinstance(rows, list)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench")
    parser.add_argument("names", nargs="*", default=list(BENCHES), help=f"of {', '.join(BENCHES)}")
    parser.add_argument("--json", type=Path, default=Path("bench.json"))
    arguments = parser.parse_args()
    rows: list[dict[str, object]] = []
    for name in arguments.names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows += run(name)
    arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    width = max(len(str(row["name"])) for row in rows)
    for row in rows:
        value = "-" if row["value"] is None else f"{row['value']:.4g}"
        mark = "ok  " if row["ok"] else "MISS"
        print(f"{mark} {row['name']!s:<{width}} {value:>10} {row['unit']!s:<6} goal {row['goal']!s:<12} {row['note']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
