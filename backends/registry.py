"""Which kinds of connection exist: ours by name, others by the entry-point group `causeway.backends`.

A driver's module is imported when its kind is first used; one that cannot be imported is a greyed kind that says
why, not a failed start.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from backends.driver import CONTRACT, Driver
from backends.errors import Unsupported
from backends.model import Section

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "causeway.backends"


@dataclass(frozen=True, slots=True)
class KindInfo:
    """A connection kind before its module is imported."""

    kind: str
    title: str
    section: Section
    module: str
    contract: int = CONTRACT
    sections: frozenset[Section] = frozenset()
    """Those that it serves beside its own (see driver.Sorts)."""


BUILT_IN = (
    KindInfo("libvirt", "KVM / libvirt", Section.LOCAL, "backends.libvirt"),
    KindInfo("ec2", "Amazon EC2 or compatible", Section.PUBLIC, "backends.ec2"),
    KindInfo(
        "libcloud",
        "Other clouds and managers (libcloud)",
        Section.PUBLIC,
        "backends.libcloud",
        sections=frozenset({Section.PRIVATE}),
    ),
    KindInfo("demo", "Demo (in memory)", Section.LOCAL, "backends.demo"),
)


def _plugin(point: EntryPoint) -> KindInfo:
    """A plug-in's entry point is named `kind@contract`, so that its version is known before its import."""
    kind, _, contract = point.name.partition("@")
    return KindInfo(kind, kind, Section.PRIVATE, point.value, int(contract) if contract.isdigit() else 0)


@cache
def kinds() -> dict[str, KindInfo]:
    """All known kinds by name, built-in first."""
    from importlib.metadata import entry_points

    found = {info.kind: info for info in BUILT_IN}
    for point in entry_points(group=GROUP):
        found.setdefault(point.name.partition("@")[0], _plugin(point))
    return found


def load(kind: str) -> type[Driver]:
    """The Driver class of a kind. Raises Unsupported with the reason where it cannot be had."""
    # A mover, one for every disk, does without the look at all that is installed.
    info = next((info for info in BUILT_IN if info.kind == kind), None) or kinds().get(kind)
    if info is None:
        raise Unsupported(f"there is no connection kind {kind!r}", cure=f"one of {', '.join(kinds())}")
    if info.contract != CONTRACT:
        raise Unsupported(f"{kind}: written for contract {info.contract}, this is {CONTRACT}", cure="update it")
    module, _, attribute = info.module.partition(":")
    try:
        driver: type[Driver] = getattr(importlib.import_module(module), attribute or "Driver")
    except Exception as error:
        raise Unsupported(f"{info.title} is not usable here: {error}", cure="install what it names") from error
    return driver
