"""Imports run downwards only: widgets -> app -> backends. Qt lives in widgets, SDKs in their backend's folder."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMPOSITION_ROOT = Path("app/__main__.py")
FORBIDDEN = {
    "backends": {"app", "widgets", "PySide6", "qasync", "sqlite3", "sqlite_utils", "pyqtgraph"},
    "app": {"widgets", "PySide6", "qasync", "pyqtgraph", "libvirt", "boto3", "botocore", "libcloud"},
    "widgets": {"libvirt", "boto3", "botocore", "libcloud", "sqlite3", "sqlite_utils"},
}
SDK_HOME = {
    "libvirt": "backends/libvirt",
    "boto3": "backends/ec2",
    "botocore": "backends/ec2",
    "libcloud": "backends/libcloud",
}
VISIBLE = {"model", "driver", "errors"}
"""What widgets may know of backends."""


def imports(path: Path) -> set[str]:
    """Every module name that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
    return names


def violations(path: Path) -> list[str]:
    relative = path.relative_to(ROOT)
    if relative == COMPOSITION_ROOT:
        return []
    found = []
    for name in imports(path):
        top = name.split(".")[0]
        if top in FORBIDDEN[relative.parts[0]]:
            found.append(f"{relative} imports {name}")
        home = SDK_HOME.get(top)
        if relative.parts[0] == "backends" and home and not relative.is_relative_to(home):
            found.append(f"{relative} imports {name}, which belongs to {home}")
        inner = name.split(".")[1:2]
        if relative.parts[0] == "widgets" and top == "backends" and inner and inner[0] not in VISIBLE:
            found.append(f"{relative} imports {name}: widgets know the model, never a driver")
    return found


@pytest.mark.parametrize("floor", sorted(FORBIDDEN))
def test_imports_run_downwards(floor: str) -> None:
    files = sorted((ROOT / floor).rglob("*.py"))
    assert files
    assert [line for path in files for line in violations(path)] == []


def test_the_rule_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    bad = tmp_path / "backends" / "x.py"
    bad.parent.mkdir()
    bad.write_text("def f():\n    from app import owner\n", encoding="utf-8")
    assert violations(bad) == ["backends/x.py imports app"]
