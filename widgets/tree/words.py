"""What a row says in words: at its right edge, in its tooltip, to a screen reader."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from backends.driver import Capability
from backends.model import Host, Kind, Object, Origin, PowerState, Ref, Section, Vm, now
from widgets import format as fmt
from widgets.tree.grouping import Grouping, Planting, connection_ref

if TYPE_CHECKING:
    from app.inventory import Inventory
    from app.migration.plan import Verdict
    from widgets.tree.forest import Forest

STATES = {
    PowerState.RUNNING: ("play", "ok"),
    PowerState.PAUSED: ("pause", "warn"),
    PowerState.SUSPENDED: ("moon", "warn"),
    PowerState.OFF: ("square", "muted"),
    PowerState.CRASHED: ("triangle-alert", "bad"),
    PowerState.UNKNOWN: ("circle-question-mark", "muted"),
    PowerState.STARTING: ("loader-circle", "ok"),
    PowerState.STOPPING: ("loader-circle", "warn"),
    PowerState.MIGRATING: ("arrow-right-left", "link"),
}
"""State -> icon and colour: a shape of its own for each."""
PLACE_ICONS = {
    Kind.DATACENTER: "building-2",
    Kind.CLUSTER: "boxes",
    Kind.HOST: "server",
    Kind.ZONE: "map-pin",
}
CONNECTION_ICONS = {Section.LOCAL: "server", Section.PRIVATE: "layers", Section.PUBLIC: "cloud-cog"}
KIND_ICONS = {"ovirt": "cloud", "vsphere": "database", "demo": "boxes"}
SITES = {Section.LOCAL: "host", Section.PRIVATE: "site", Section.PUBLIC: "account"}
VERDICTS = {"green": ("ok", "circle-check"), "amber": ("warn", "circle-alert"), "red": ("bad", "circle-x")}
LOST = ("retrying", "failed", "auth-needed", "auth_needed")


class Known(Protocol):
    """The tree's rows, as far as words tell of them: `Rows` has the meanings."""

    services: Any
    inventory: Inventory
    forest: Forest
    planting: Planting

    def item(self, node: int) -> Object | None: ...

    def place(self, node: int) -> Ref | None: ...


@dataclass(frozen=True, slots=True)
class Side:
    """The right edge of a row. `load` is 0 to 1, None where there is no bar."""

    text: str = ""
    role: str = "muted"
    icon: str = ""
    load: float | None = None


def verdict_look(verdict: Verdict) -> tuple[str, str]:
    """Colour role and icon of a verdict."""
    return VERDICTS[verdict.colour]


def offline(connection: Any) -> bool:
    """Whether what is known of a connection may no longer be true."""
    return connection is None or connection.state != "ready"


def connection_side(rows: Known, node: int, connection: Any) -> Side:
    """live, 2 s, connecting, offline, seen 4 min ago, sign in again."""
    state = str(connection.state)
    if state == "ready":
        place = rows.place(node)
        load = load_of(rows, place) if place is not None and place.kind == Kind.HOST else None
        if Capability.WATCH in connection.capabilities:
            return Side("live", load=load)
        seen = connection.last_seen
        return Side("" if seen is None else fmt.age(seen).removesuffix(" ago"), load=load)
    if state in LOST:
        if state.startswith("auth"):
            return Side("sign in again", "warn", "key-round")
        seen = connection.last_seen
        return Side("offline" if seen is None else f"offline, seen {fmt.age(seen)}", "warn", "unplug")
    return Side("connecting…" if state == "connecting" else "not connected")


def load_of(rows: Known, ref: Ref) -> float | None:
    """A host's processors, 0 to 1."""
    sample = rows.inventory.sample(ref)
    if sample is None or sample.cpu_percent is None:
        return None
    return min(max(sample.cpu_percent / 100, 0.0), 1.0)


def section_side(rows: Known, node: int, section: Section) -> Side:
    """2 hosts, 7 VMs."""
    sites = [child for child in rows.forest.branches.get(node, ()) if isinstance(rows.forest.keys[child], Ref)]
    if not sites:
        return Side()
    count = len(sites) if section != Section.LOCAL else sum(_hosts(rows, site) for site in sites)
    return Side(f"{fmt.counted(count, SITES[section])}, {vms(rows.forest.count[node])}")


def _hosts(rows: Known, connection: int) -> int:
    """How many hosts a connection has; one that has not answered yet counts as one."""
    keys = (rows.forest.keys[child] for child in rows.forest.branches.get(connection, ()))
    return sum(isinstance(key, Ref) and key.kind == Kind.HOST for key in keys) or 1


def vms(count: int) -> str:
    return fmt.counted(count, "VM")


def side(rows: Known, node: int) -> Side:
    """The right edge of any row but a VM's."""
    key = rows.forest.keys[node]
    if isinstance(key, str):
        if key.startswith("section:"):
            return section_side(rows, node, Section(key.partition(":")[2]))
        return Side(vms(rows.forest.count[node])) if not key.startswith("hint:") else Side()
    if key is None:
        return Side()
    if key.kind == Kind.CONNECTION:
        connection = rows.services.connections.get(key.connection)
        return Side() if connection is None else connection_side(rows, node, connection)
    return Side(vms(rows.forest.count[node]), load=load_of(rows, key) if key.kind == Kind.HOST else None)


def icon_of(rows: Known, node: int) -> str:
    """The icon of any row but a VM's."""
    key = rows.forest.keys[node]
    if isinstance(key, str):
        kind, _, name = key.partition(":")
        if kind == "state":
            return STATES[PowerState(name)][0]
        return {"group": "folder", "tag": "tag", "hint": "plus"}.get(kind, "layers")
    if key is None:
        return ""
    if key.kind == Kind.CONNECTION:
        connection = rows.services.connections.get(key.connection)
        if connection is None:
            return "unplug"
        return KIND_ICONS.get(connection.kind) or CONNECTION_ICONS[connection.section]
    return PLACE_ICONS.get(key.kind, "boxes")


def tooltip(rows: Known, node: int) -> str:
    """Details of a row, one fact a line."""
    key = rows.forest.keys[node]
    if not isinstance(key, Ref):
        return ""
    if key.kind == Kind.CONNECTION:
        return _connection_tip(rows, node, rows.services.connections.get(key.connection))
    item = rows.inventory.get(key)
    if item is None:
        return ""
    lines = [item.name, *_facts(item)]
    if isinstance(item, Vm) and rows.planting.grouping != Grouping.PLACE:
        lines.append(f"on {where(rows, item)}")
    if isinstance(item, Vm) and (also := rows.services.identity.also(item, rows.inventory)):
        lines.append(f"also in {', '.join(also)}")
    if (past := rows.services.migrations.original(key)) is not None:
        lines.append(past.words.replace(" -> ", " → "))
    if item.origin == Origin.CACHE or offline(rows.services.connections.get(key.connection)):
        lines.append(f"last seen {fmt.age(item.seen)}")
    return "\n".join(lines)


def where(rows: Known, vm: Vm) -> str:
    """The place of a VM: kvm-a, or aws-prod / eu-west-1."""
    parent = rows.inventory.get(vm.parent) if vm.parent is not None else None
    if parent is None or rows.forest.node(parent.ref) in rows.forest.melted or parent.name == vm.ref.connection:
        return vm.ref.connection
    return f"{vm.ref.connection} / {parent.name}"


def said(rows: Known, node: int) -> str:
    """A row for a screen reader: name, what it is, state. Its role, level and whether it is open are told beside it."""
    key, forest = rows.forest.keys[node], rows.forest
    parts = [forest.names[node]]
    item = rows.item(node)
    if isinstance(item, Vm):
        parts.append(f"virtual machine, {item.state}")
        if rows.services.migrations.original(item.ref) is not None:
            parts.append("kept original")
    elif isinstance(key, Ref):
        parts += [str(key.kind), side(rows, node).text]
    else:
        parts.append(side(rows, node).text)
    return ", ".join(part for part in parts if part)


def _facts(item: Object) -> list[str]:
    if isinstance(item, Vm):
        state = item.state.value
        if item.state == PowerState.RUNNING and item.started is not None:
            state += f", up {fmt.duration((now() - item.started).total_seconds())}"
        facts = [state]
        if item.vcpus:
            facts.append(f"{item.vcpus} vCPU, {fmt.size(item.memory_bytes)}")
        facts += [item.os, ", ".join(item.addresses)]
        facts += [
            f"group {item.group}" if item.group else "",
            ", ".join(k if not v else f"{k}={v}" for k, v in item.tags),
        ]
        return [fact for fact in facts if fact]
    if isinstance(item, Host):
        size = f"{item.cpus} CPUs, {fmt.size(item.memory_bytes)}" if item.cpus else ""
        return [fact for fact in (size, item.hypervisor, "in maintenance" if item.maintenance else "") if fact]
    return []


def _connection_tip(rows: Known, node: int, connection: Any) -> str:
    if connection is None:
        return ""
    marks = [mark for mark, on in (("production", connection.production), ("read-only", connection.read_only)) if on]
    item = rows.item(node) or _only_host(rows, connection.name)
    lines = [
        ", ".join([connection.name, *marks]),
        connection.uri,
        connection_side(rows, node, connection).text,
        vms(rows.forest.count[node]),
        *(_facts(item) if item is not None else ()),
        connection.error if offline(connection) else "",
        connection.cure if offline(connection) else "",
    ]
    return "\n".join(line for line in lines if line)


def _only_host(rows: Known, name: str) -> Object | None:
    node = rows.forest.node(connection_ref(name))
    place = rows.place(node) if node is not None else None
    return None if place is None else rows.inventory.get(place)
