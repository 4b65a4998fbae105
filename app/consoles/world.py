"""What sessions need of the program around them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from app.audit import Audit
    from app.connections import Connections
    from app.events import Events
    from app.identity import Identity
    from app.inventory import Inventory
    from app.store import Store
    from app.tasks import Tasks


class World(Protocol):
    """The services, as far as consoles know them."""

    home: Path
    audit: Audit
    connections: Connections
    events: Events
    identity: Identity
    inventory: Inventory
    store: Store
    tasks: Tasks
