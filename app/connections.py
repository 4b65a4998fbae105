"""Saved connections: add, check, forget, switch; each kept alive by a link of its own, so none waits for another."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from app.events import Events
from app.form import as_finding, named, validate
from app.inventory import Inventory
from app.link import READING, Connection, ConnectionState, Link
from backends import registry
from backends.driver import Driver, Option, Settings, Sorts
from backends.errors import BackendError, Conflict, Invalid, NotFound, Unreachable, Unsupported
from backends.model import Changed, Finding, Host, Kind, Level, Listing, Object, Ref, Section, Vm

if TYPE_CHECKING:
    from app.audit import Audit
    from app.identity import Identity
    from app.secrets import Secrets
    from app.store import Store

__all__ = ["READING", "Connection", "ConnectionState", "Connections", "KindUse"]
log = logging.getLogger(__name__)

CHECK_S = 60.0
PORTION = 500
"""So many listed objects are taken in before the loop runs again: some milliseconds."""
PRODUCTION_COLOUR = "#c4314b"


@dataclass(frozen=True, slots=True)
class KindUse:
    """A connection kind for the dialog: `why` says why it cannot be used here, empty where it can."""

    info: registry.KindInfo
    why: str = ""

    @property
    def usable(self) -> bool:
        return not self.why


class Connections:
    """All saved connections. Lives on the loop; `open` starts them, `close` ends them within seconds."""

    def __init__(
        self,
        inventory: Inventory,
        store: Store,
        identity: Identity,
        secrets: Secrets,
        events: Events,
        audit: Audit | None = None,
    ) -> None:
        self._inventory = inventory
        self._store = store
        self._identity = identity
        self._secrets = secrets
        self._events = events
        self._audit = audit
        self._connections: dict[str, Connection] = {}
        self._links: dict[str, Link] = {}
        self._shown: set[str] = set()
        self._subscribers: list[Callable[[Connection], None]] = []
        self._running = False

    # What is there

    def all(self) -> list[Connection]:
        return list(self._connections.values())

    def get(self, name: str) -> Connection | None:
        return self._connections.get(name)

    def driver(self, name: str) -> Driver:
        """The connected driver. Raises NotFound for an unknown name, Unreachable while it is not ready."""
        connection = self._known(name)
        if connection.driver is None or connection.state != ConnectionState.READY:
            why = connection.error or connection.state.value
            raise Unreachable(f"{name} is not connected: {why}", object_name=name, cure=connection.cure)
        return connection.driver

    def subscribe(self, function: Callable[[Connection], None]) -> Callable[[], None]:
        """Call `function` when a connection was added, changed or forgotten (then `get` gives None)."""
        self._subscribers.append(function)
        return lambda: self._subscribers.remove(function)

    def kinds(self) -> list[KindUse]:
        """All connection kinds, each with the reason where it cannot be used here."""
        found = []
        for info in registry.kinds().values():
            try:
                registry.load(info.kind)
                found.append(KindUse(info))
            except Unsupported as error:
                found.append(KindUse(info, error.message))
        return found

    def options(self, kind: str) -> tuple[Option, ...]:
        """The settings of a kind. Raises Unsupported where it cannot be used here."""
        return registry.load(kind).options

    # Changing it

    async def load(self) -> None:
        """Read the saved connections; none is started."""
        for row in await self._store.connections():
            try:
                connection = _from_row(row)
            except (KeyError, TypeError, ValueError):
                self._events.add("A stored connection cannot be read and is left out", level=Level.AMBER)
                continue
            self._connections[connection.name] = connection

    def start(self) -> None:
        """Connect all of them, each for itself."""
        self._running = True
        for connection in self._connections.values():
            self._start(connection)

    async def close(self) -> None:
        """End all links; takes seconds at most, whatever the servers do."""
        self._running = False
        links, self._links = list(self._links.values()), {}
        if links:
            await asyncio.gather(*(link.close() for link in links), return_exceptions=True)

    async def check(
        self, kind: str, name: str, settings: Mapping[str, str], secrets: Mapping[str, str]
    ) -> list[Finding]:
        """Try a connection before it is saved, with a driver of its own. No finding is RED: it works."""
        try:
            driver_class = await _imported(kind)
        except Unsupported as error:
            return [replace(as_finding(error), field="kind")]
        found = named(name) + validate(driver_class.options, settings, secrets)
        if found:
            return found
        driver: Driver | None = None
        try:
            driver = driver_class(name, Settings(dict(settings), dict(secrets)))
            return await asyncio.wait_for(driver.check(), CHECK_S)
        except TimeoutError:
            return [as_finding(Unreachable(f"no answer within {CHECK_S:g} s", cure="check address and firewall"))]
        except BackendError as error:
            return [as_finding(error)]
        finally:
            if driver is not None:
                with contextlib.suppress(Exception):
                    await asyncio.wait_for(driver.close(), 3.0)

    async def add(
        self,
        kind: str,
        name: str,
        settings: Mapping[str, str],
        secrets: Mapping[str, str],
        *,
        read_only: bool = False,
        production: bool = False,
        local: bool = False,
    ) -> Connection:
        """Save a connection and start it. Raises Conflict for a taken name, Invalid for settings that cannot be.

        `local`: its secrets belong to a server that Causeway itself runs on this machine.
        """
        driver_class = await _imported(kind)
        if name in self._connections:
            raise Conflict(f"there is a connection {name!r} already", cure="choose another name", field="name")
        for finding in named(name) + validate(driver_class.options, settings, secrets):
            raise Invalid(finding.message, cure=finding.cure, field=finding.field)
        connection = Connection(
            name=name,
            kind=kind,
            section=driver_class.section_of(settings) if isinstance(driver_class, Sorts) else driver_class.section,
            title=driver_class.title,
            settings=dict(settings),
            read_only=read_only,
            production=production,
            colour=PRODUCTION_COLOUR if production else "",
        )
        # The name is taken from here on, also while the secrets are being written.
        self._connections[name] = connection
        try:
            for key, value in secrets.items():
                await self._secrets.put(name, key, value, local=local)
            await self._store.save_connection(_to_row(connection))
        except BaseException:
            del self._connections[name]
            if secrets:
                with contextlib.suppress(Exception):
                    await self._secrets.forget(name)
            raise
        self._report(connection)
        if self._running:
            self._start(connection)
        await self._record("connect", connection, "", kind)
        return connection

    async def sign_in(self, name: str, secrets: Mapping[str, str]) -> list[Finding]:
        """Try a connection with these secrets in place of the kept ones of the same names.

        Where no finding is RED they are kept and the connection is tried at once. Raises NotFound.
        """
        connection = self._known(name)
        known = await self._secrets.all(name)
        findings = await self.check(connection.kind, name, connection.settings, {**known, **secrets})
        if not any(finding.level == Level.RED for finding in findings):
            for key, value in secrets.items():
                await self._secrets.put(name, key, value)
            await self._record("sign in", connection, "", "")
            self.retry(name)
        return findings

    async def forget(self, name: str) -> None:
        """Drop a connection, its secrets and what is known of it. Nothing happens to its VMs. Raises NotFound."""
        connection = self._known(name)
        link = self._links.pop(name, None)
        if link is not None:
            await link.close()
        await self._store.delete_connection(name)
        await self._secrets.forget(name)
        self._connections.pop(name, None)
        self._inventory.forget(name)
        self._report(connection)
        await self._record("disconnect", connection, connection.kind, "")
        for other in self._connections.values():
            if other.same_as == name:
                other.same_as = ""
                self.refresh(other.name)
                self._report(other)

    async def set_read_only(self, name: str, value: bool) -> None:
        connection = self._known(name)
        await self._record("read-only", connection, str(connection.read_only), str(value))
        connection.read_only = value
        if name in self._links:
            self._links[name].regrant()
        await self._save(connection)

    async def set_production(self, name: str, value: bool) -> None:
        connection = self._known(name)
        await self._record("production", connection, str(connection.production), str(value))
        connection.production = value
        connection.colour = PRODUCTION_COLOUR if value else ""
        await self._save(connection)

    def retry(self, name: str) -> None:
        """Try to connect now, also after a refusal."""
        if name in self._links:
            self._links[name].retry()

    def refresh(self, name: str | None = None) -> None:
        """List one connection, or all, anew soon."""
        for link in self._links.values() if name is None else filter(None, [self._links.get(name)]):
            link.refresh()

    def touch(self, name: str) -> None:
        """A move has changed something there: list that anew now, where no event tells it."""
        if name in self._links:
            self._links[name].touch()

    async def reread(self, ref: Ref) -> None:
        """List anew the parts that hold an object, and come back when that is done. Errors stay in the link."""
        link = self._links.get(ref.connection)
        connection = self._connections.get(ref.connection)
        if link is None or connection is None or connection.driver is None:
            return
        scopes = [scope for scope in connection.driver.scopes() if ref.kind in scope.kinds]
        try:
            await link.list_scopes(scopes)
        except BackendError as error:
            log.debug("%s: reread: %s", ref.connection, error)

    def shown(self, names: Collection[str]) -> None:
        """Meters and slow polls run for these connections only."""
        self._shown = set(names)
        for name, link in self._links.items():
            link.show(name in self._shown)

    def watch_details(self, name: str) -> None:
        self.shown(self._shown | {name})

    def unwatch_details(self, name: str) -> None:
        self.shown(self._shown - {name})

    # What the links call

    def _start(self, connection: Connection) -> None:
        link = self._links[connection.name] = Link(
            connection,
            open_driver=self._open_driver,
            report=self._report,
            lost=self._on_lost,
            back=self._on_back,
            listed=self._on_listed,
            changed=self._on_changed,
            metered=self._inventory.metered,
            complete=self._on_complete,
        )
        link.show(connection.name in self._shown)

    async def _open_driver(self, connection: Connection) -> Driver:
        driver_class = await _imported(connection.kind)
        secrets = await self._secrets.all(connection.name)
        return driver_class(connection.name, Settings(dict(connection.settings), secrets))

    def _on_lost(self, connection: Connection, why: str) -> None:
        log.warning("%s: not connected: %s", connection.name, why)
        self._events.add(f"{connection.name}: {why}", level=Level.RED, ref=_ref(connection))

    def _on_back(self, connection: Connection) -> None:
        log.warning("%s: connected again", connection.name)
        self._events.add(f"{connection.name}: connected again", ref=_ref(connection))

    async def _on_listed(self, connection: Connection, listing: Listing, began: datetime) -> None:
        """A long listing is taken in by parts, so that the loop is never held for long."""
        if connection.same_as:
            return
        objects = listing.objects
        if len(objects) <= PORTION:
            dressed = replace(listing, objects=tuple(self._dress(item) for item in objects))
            self._inventory.listed(dressed, began, connection.name)
            return
        for start in range(0, len(objects), PORTION):
            part = [self._dress(item) for item in objects[start : start + PORTION]]
            self._inventory.listed_part(part, began)
            await asyncio.sleep(0)
        if listing.error is None:
            self._inventory.listed_end(listing, began, connection.name)

    def _on_changed(self, connection: Connection, changed: Changed) -> None:
        if not connection.same_as:
            self._inventory.apply(replace(changed, objects=tuple(self._dress(item) for item in changed.objects)))

    def _on_complete(self, connection: Connection) -> None:
        """A host that another connection shows already is not shown twice."""
        twin = None if connection.same_as else self._twin(connection)
        if twin is None:
            return
        connection.same_as = twin
        self._inventory.forget(connection.name)
        text = f"{connection.name} reaches the same host as {twin}; it is shown once, there"
        log.warning("%s", text)
        self._events.add(text, level=Level.AMBER, ref=_ref(connection))
        self._report(connection)

    def _dress(self, item: Object) -> Object:
        """A VM carries the group that hangs on its uid, on platforms that keep none."""
        if isinstance(item, Vm):
            group = self._identity.group_of(self._identity.seen(item))
            if group and group != item.group:
                return replace(item, group=group)
        return item

    def _twin(self, connection: Connection) -> str | None:
        """The connection that shows the same host with the same VMs.

        The same host alone is not enough: a user's session and the system's libvirt share the host, not the VMs.
        """
        hosts: dict[str, set[str]] = {}
        vms: dict[str, set[str]] = {}
        for item in self._inventory:
            if isinstance(item, Host) and item.uuid:
                hosts.setdefault(item.ref.connection, set()).add(item.uuid)
            elif isinstance(item, Vm) and item.uuid:
                vms.setdefault(item.ref.connection, set()).add(item.uuid)
        mine, my_vms = hosts.get(connection.name, set()), vms.get(connection.name, set())
        for name, theirs in hosts.items():
            other = self._connections.get(name)
            if other is None or other is connection or other.same_as or other.kind != connection.kind:
                continue
            their_vms = vms.get(name, set())
            if mine & theirs and (my_vms & their_vms or (not my_vms and not their_vms)):
                return name
        return None

    # Small things

    def _known(self, name: str) -> Connection:
        connection = self._connections.get(name)
        if connection is None:
            raise NotFound(f"there is no connection {name!r}", object_name=name, cure="see: causeway connections")
        return connection

    async def _record(self, what: str, connection: Connection, was: str, to: str) -> None:
        if self._audit is not None:
            await self._audit.record(what, _ref(connection), was, to, "ok")

    async def _save(self, connection: Connection) -> None:
        await self._store.save_connection(_to_row(connection))
        self._report(connection)

    def _report(self, connection: Connection) -> None:
        for function in tuple(self._subscribers):
            function(connection)


def _ref(connection: Connection) -> Ref:
    return Ref(connection.name, Kind.CONNECTION, connection.name)


def _to_row(connection: Connection) -> dict[str, object]:
    return {
        "name": connection.name,
        "kind": connection.kind,
        "section": connection.section.value,
        "title": connection.title,
        "settings": dict(connection.settings),
        "read_only": connection.read_only,
        "production": connection.production,
        "colour": connection.colour,
    }


def _from_row(row: Mapping[str, Any]) -> Connection:
    return Connection(
        name=row["name"],
        kind=row["kind"],
        section=Section(row.get("section", Section.LOCAL.value)),
        title=row.get("title", row["kind"]),
        settings=dict(row.get("settings") or {}),
        read_only=bool(row.get("read_only")),
        production=bool(row.get("production")),
        colour=row.get("colour", ""),
    )


async def _imported(kind: str) -> type[Driver]:
    """The driver of a kind; its library is imported beside the loop, where that can take a second."""
    return await asyncio.to_thread(registry.load, kind)
