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


def find(text: str, inventory: Inventory, kinds: frozenset[Kind] | None = None) -> Ref:
    """The one object that `text` names. Raises Usage where there is none or more than one.

    An id wins over a name; a VM's own UUID counts as its id.
    """
    try:
        ref = Ref.parse(text)
        if ref in inventory:
            return ref
    except ValueError:
        pass
    connection, slash, rest = text.partition("/")
    if not slash:
        raise Usage(f"{text!r} is no reference", cure="write connection/name or connection/id; see: causeway ls")
    items = [item for item in inventory.of(connection) if kinds is None or item.ref.kind in kinds]
    by_id = [item for item in items if item.ref.id == rest or (isinstance(item, Vm) and item.uuid == rest)]
    found = by_id or [item for item in items if item.name == rest]
    if len(found) == 1:
        return found[0].ref
    if found:
        raise Usage(f"{text!r} is ambiguous", cure="use connection/id", candidates=[_candidate(item) for item in found])
    raise Usage(f"there is no {text!r}", cure="see: causeway ls")


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
