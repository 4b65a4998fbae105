"""libcloud's objects as Causeway's. Its drivers agree on little: what is not of the promised kind is left out."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from backends.model import Flavor, KeyPair, Kind, PowerState, Ref, Vm, Volume

MIB = 1024**2
GIB = 1024**3
STATES = {
    "running": PowerState.RUNNING,
    "normal": PowerState.RUNNING,
    "reconfiguring": PowerState.RUNNING,
    "starting": PowerState.STARTING,
    "pending": PowerState.STARTING,
    "rebooting": PowerState.STARTING,
    "stopping": PowerState.STOPPING,
    "stopped": PowerState.OFF,
    "suspended": PowerState.SUSPENDED,
    "paused": PowerState.PAUSED,
    "error": PowerState.CRASHED,
    "migrating": PowerState.MIGRATING,
}
UNIQUE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|i-[0-9a-f]{17}", re.IGNORECASE)
"""Ids that no two machines of the world share: UUIDs, and EC2's."""
OURS = "causeway:"
GROUP = "causeway:group"
SIZES = ("instance_type", "flavorId", "size_id", "machineType", "serviceofferingid", "PLANID")
"""What drivers that do not name a node's size itself call it."""
CPUS = ("vcpus", "vcpu", "vcpu_count", "cpus", "guestCpus", "core_number", "cpu_number")
"""A node's `cpu` may be in MHz, a size's is a count."""
PLACES = ("availability", "availability_zone", "zone", "location", "datacenter")


def vm(connection: str, node: Any, sizes: Mapping[str, Flavor]) -> Vm:
    """A node; `sizes` are the provider's flavors by id and by name."""
    extra = node.extra or {}
    size = _size(connection, node, sizes)
    named = str(node.size) if isinstance(node.size, str) else str(extra.get("instance_type") or "")
    state, tags = str(node.state), _tags(extra)
    native = _text(extra.get("status")) or state
    made = node.created_at
    return Vm(
        ref=Ref(connection, Kind.VM, str(node.id)),
        name=str(node.name or node.id),
        state=STATES.get(state) or STATES.get(native.lower(), PowerState.UNKNOWN),
        native_state=native,
        uuid=str(node.id) if UNIQUE.fullmatch(str(node.id)) else "",
        vcpus=(size.vcpus if size else 0) or _cpus(extra) or _cpus(extra.get("specs")),
        memory_bytes=size.memory_bytes if size else 0,
        addresses=_addresses((*(node.public_ips or ()), *(node.private_ips or ()))),
        tags=tuple((key, value) for key, value in tags if key != "Name" and not key.startswith(OURS)),
        group=dict(tags).get(GROUP, ""),
        flavor=named or (size.name if size else ""),
        zone=next(filter(None, (_text(extra.get(name)) for name in PLACES)), ""),
        created=made if isinstance(made, datetime) and made.tzinfo else None,
        detailed=True,
    )


def flavor(connection: str, size: Any) -> Flavor:
    price, extra = size.price, size.extra or {}
    own = getattr(size, "vcpus", None) or getattr(size, "cpu", None) or extra.get("cpu")
    return Flavor(
        ref=Ref(connection, Kind.FLAVOR, str(size.id)),
        name=str(size.name or size.id),
        vcpus=_cpus(extra) or int(_number(own)),
        memory_bytes=int(_number(size.ram) * MIB),
        disk_bytes=int(_number(size.disk) * GIB),
        price_per_hour=float(price) if isinstance(price, int | float) else None,
    )


def volume(connection: str, item: Any) -> Volume:
    return Volume(
        ref=Ref(connection, Kind.VOLUME, str(item.id)),
        name=str(item.name or item.id),
        size_bytes=int(_number(item.size) * GIB),
        state=_text(getattr(item, "state", None)),
    )


def keypair(connection: str, pair: Any) -> KeyPair:
    fingerprint = _text(getattr(pair, "fingerprint", None))
    return KeyPair(ref=Ref(connection, Kind.KEYPAIR, str(pair.name)), name=str(pair.name), fingerprint=fingerprint)


def _size(connection: str, node: Any, sizes: Mapping[str, Flavor]) -> Flavor | None:
    """A node's size: told whole, or by an id or a name that the provider's own list explains."""
    if node.size is not None and hasattr(node.size, "ram"):
        told = flavor(connection, node.size)
        return sizes.get(told.ref.id, told) if not told.memory_bytes else told
    extra = node.extra or {}
    words = (node.size, *(extra.get(name) for name in SIZES))
    for word in (str(word).rpartition("/")[2] for word in words if isinstance(word, str | int)):
        if word in sizes:
            return sizes[word]
    return None


def _addresses(told: Iterable[Any]) -> tuple[str, ...]:
    words = (each if isinstance(each, str) else getattr(each, "address", None) for each in told)
    return tuple(dict.fromkeys(word for word in words if word))


def _cpus(extra: Any) -> int:
    if not isinstance(extra, Mapping):
        return 0
    return int(next(filter(None, (_number(extra.get(name)) for name in CPUS)), 0))


def _number(value: Any) -> float:
    """A number that may have come as a string; 0 for what is none."""
    try:
        found = float(value) if isinstance(value, str | int | float) else 0.0
    except ValueError:
        return 0.0
    return found if math.isfinite(found) and found > 0 else 0.0


def _text(value: Any) -> str:
    """A word, or the name of the object that was given for it; no object's own description."""
    if isinstance(value, str | int):
        return str(value)
    name = getattr(value, "name", None) or getattr(value, "id", None)
    return str(name) if isinstance(name, str | int) else ""


def _tags(extra: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Tags with values, or words alone."""
    raw = extra.get("tags") or extra.get("metadata") or {}
    if isinstance(raw, Mapping):
        return tuple(sorted((str(key), str(value)) for key, value in raw.items() if isinstance(value, str | int)))
    return tuple(sorted((word, "") for word in raw if isinstance(word, str))) if isinstance(raw, list) else ()
