"""What people write for a VM or a target, and what it means: connection/name, connection/id, or as printed."""

from __future__ import annotations

from collections.abc import Iterable

from app.connections import Connections
from app.inventory import Inventory
from backends.errors import BackendError
from backends.model import Kind, Object, Ref, Vm

TARGETS = frozenset({Kind.HOST, Kind.ZONE, Kind.CLUSTER, Kind.DATACENTER})


class Usage(BackendError):
    """What was asked for makes no sense as it stands; `candidates` are what it could have meant."""

    def __init__(self, message: str, *, cure: str = "", candidates: Iterable[str] = ()) -> None:
        super().__init__(message, cure=cure)
        self.candidates = list(candidates)


def find(text: str, inventory: Inventory, kinds: frozenset[Kind] | None = None, *, anywhere: bool = False) -> Ref:
    """The one object that `text` names. Raises Usage where there is none or more than one.

    An id wins over a name; a VM's own UUID counts as its id; of one name, a VM wins over what is no VM. With
    `anywhere` a bare name will do where it is the only one.
    """
    try:
        ref = Ref.parse(text)
        if ref in inventory:
            return ref
    except ValueError:
        pass
    connection, slash, rest = text.partition("/")
    if not slash and anywhere:
        return _anywhere(text, inventory)
    if not slash:
        raise Usage(f"{text!r} is no reference", cure="write connection/name or connection/id; see: causeway ls")
    items = [item for item in inventory.of(connection) if kinds is None or item.ref.kind in kinds]
    by_id = [item for item in items if item.ref.id == rest or (isinstance(item, Vm) and item.uuid == rest)]
    return _only(text, by_id or [item for item in items if item.name == rest])


def _anywhere(name: str, inventory: Inventory) -> Ref:
    """A VM by its name alone; else a connection's host or site, or what else has this name."""
    named = [item for item in inventory if item.name == name]
    if not any(item.ref.kind == Kind.VM for item in named):
        places = [item for item in inventory.of(name) if item.ref.kind in TARGETS and item.parent is None]
        named = places or named
    return _only(name, named)


def _only(text: str, found: list[Object]) -> Ref:
    """The one that was found; the one VM among others. Raises Usage."""
    found = [item for item in found if item.ref.kind == Kind.VM] or found
    if len(found) == 1:
        return found[0].ref
    if found:
        raise Usage(f"{text!r} is ambiguous", cure="use connection/id", candidates=[_candidate(item) for item in found])
    raise Usage(f"there is no {text!r}", cure="write connection/name or connection/id; see: causeway ls")


def find_vm(text: str, inventory: Inventory) -> Ref:
    return find(text, inventory, frozenset({Kind.VM}))


def find_target(text: str, inventory: Inventory, connections: Connections) -> Ref:
    """A place to move to: a connection by its name, or a host or zone as connection/name."""
    if "/" not in text:
        if connections.get(text) is None:
            names = [connection.name for connection in connections.all()]
            raise Usage(f"there is no connection {text!r}", candidates=names)
        return Ref(text, Kind.CONNECTION, text)
    if text.count("/") == 2 and text.split("/")[1] == Kind.CONNECTION:
        return find_target(text.split("/")[0], inventory, connections)
    return find(text, inventory, TARGETS)


def _candidate(item: Object) -> str:
    return f"{item.ref.connection}/{item.ref.id}  ({item.name}, {item.ref.kind})"
