"""What people write for an object or a target, and what it means: the same words in every verb."""

from __future__ import annotations

from collections.abc import Iterable

from app.connections import Connections
from app.inventory import Inventory
from backends.errors import BackendError
from backends.model import Kind, Object, Ref, Vm

CURE = "write connection/name, connection/id, or a name that only one has; see: causeway ls"
TARGETS = frozenset({Kind.HOST, Kind.ZONE, Kind.CLUSTER, Kind.DATACENTER})


class Usage(BackendError):
    """What was asked for makes no sense as it stands; `candidates` are what it could have meant."""

    def __init__(self, message: str, *, cure: str = "", candidates: Iterable[str] = ()) -> None:
        super().__init__(message, cure=cure)
        self.candidates = list(candidates)


def sites_of(*texts: str) -> set[str] | None:
    """The connections that these references name; None (any of them) where one is a bare name."""
    return {text.partition("/")[0] for text in texts} if all("/" in text for text in texts) else None


def find(text: str, inventory: Inventory, kinds: frozenset[Kind] | None = None) -> Ref:
    """The one object that `text` names: connection/name, connection/id, or a bare name or id that only one has.

    An id wins over a name; a VM's own UUID counts as its id; of one name, a VM wins over what is no VM. Where it may be
    any kind, a connection's name is its host's or site's. Raises Usage where there is none or more than one.
    """
    try:
        ref = Ref.parse(text)
        if ref in inventory:
            return ref
    except ValueError:
        pass
    connection, slash, rest = text.partition("/")
    name, around = (rest, inventory.of(connection)) if slash else (text, inventory)
    items = [item for item in around if kinds is None or item.ref.kind in kinds]
    found = [item for item in items if item.ref.id == name or (isinstance(item, Vm) and item.uuid == name)]
    found = found or [item for item in items if item.name == name]
    if not slash and kinds is None and not any(item.ref.kind == Kind.VM for item in found):
        places = [item for item in inventory.of(name) if item.ref.kind in TARGETS and item.parent is None]
        found = places or found
    return _only(text, found)


def _only(text: str, found: list[Object]) -> Ref:
    """The one that was found; the one VM among others. Raises Usage."""
    found = [item for item in found if item.ref.kind == Kind.VM] or found
    if len(found) == 1:
        return found[0].ref
    if found:
        raise Usage(f"{text!r} is ambiguous", cure="use connection/id", candidates=[_candidate(item) for item in found])
    raise Usage(f"there is no {text!r}", cure=CURE)


def find_vm(text: str, inventory: Inventory) -> Ref:
    return find(text, inventory, frozenset({Kind.VM}))


def find_target(text: str, inventory: Inventory, connections: Connections) -> Ref:
    """A place to move to: a connection by its name, or a host or zone as any object is named."""
    if text.count("/") == 2 and text.split("/")[1] == Kind.CONNECTION:
        text = text.split("/")[0]
    if "/" not in text and connections.get(text) is not None:
        return Ref(text, Kind.CONNECTION, text)
    try:
        return find(text, inventory, TARGETS)
    except Usage as error:
        if "/" in text or error.candidates:
            raise
        names = [connection.name for connection in connections.all()]
        raise Usage(f"there is no connection, host or zone {text!r}", candidates=names) from None


def _candidate(item: Object) -> str:
    return f"{item.ref.connection}/{item.ref.id}  ({item.name}, {item.ref.kind})"
