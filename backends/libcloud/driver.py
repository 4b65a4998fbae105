"""A cloud through apache-libcloud: what its driver lists, and the power actions that it has.

libcloud's drivers keep the last answer on themselves and are synchronous: every thread of the pool has its own.
"""

from __future__ import annotations

import builtins
import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from backends.consoles import Console, ConsoleKind, Door
from backends.driver import Capability, Settings
from backends.errors import AuthNeeded, BackendError, Denied, NotFound, Unreachable, Unsupported
from backends.libcloud import providers
from backends.libcloud.failures import translate
from backends.model import (
    Finding,
    Flavor,
    KeyPair,
    Kind,
    Level,
    Listing,
    Object,
    PowerAction,
    PowerState,
    Ref,
    Scope,
    Section,
    Vm,
    Volume,
)
from backends.threads import Pool

T = TypeVar("T")
MIB = 1024**2
GIB = 1024**3
STATES = {
    "running": PowerState.RUNNING,
    "normal": PowerState.RUNNING,
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
LISTS = {Kind.VOLUME: "list_volumes", Kind.KEYPAIR: "list_key_pairs", Kind.FLAVOR: "list_sizes"}


class Driver:
    """One account with one provider."""

    kind: ClassVar[str] = "libcloud"
    title: ClassVar[str] = "Other clouds and managers (libcloud)"
    section: ClassVar[Section] = Section.PUBLIC
    options = providers.Options()

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self._settings = settings
        self._pool = Pool(f"libcloud {name}", size=3, deadline=90.0)
        self._mine = threading.local()
        self._class: type = object
        self._capabilities: frozenset[Capability] = frozenset()
        self._sizes: dict[str, Flavor] = {}

    @staticmethod
    def section_of(values: Mapping[str, str]) -> Section:
        """Private managers are reached by the same library as the clouds."""
        return Section.PRIVATE if values.get("provider") in providers.PRIVATE else Section.PUBLIC

    @property
    def uri(self) -> str:
        place = self._settings["host"] or self._settings["region"]
        return f"libcloud+{self._settings['provider']}://{place}"

    def implemented(self) -> frozenset[Capability]:
        """What any provider may have."""
        powers = {Capability(action.value) for action in providers.METHODS}
        return frozenset(powers | {Capability.DESCRIBE, Capability.DELETE, Capability.RENAME, Capability.SERIAL})

    def capabilities(self) -> frozenset[Capability]:
        return self._capabilities

    async def check(self) -> list[Finding]:
        """Try the settings: what is wrong, by field."""
        try:
            await self._call(lambda driver: driver.list_nodes(), what="list_nodes")
        except BackendError as error:
            code = {AuthNeeded: "auth", Unreachable: "unreachable", Denied: "denied"}.get(type(error), "invalid")
            return [Finding(level=Level.RED, code=code, message=error.message, cure=error.cure, field=error.field)]
        return []

    async def connect(self) -> None:
        def look(driver: Any) -> type:
            driver.list_nodes()
            return type(driver)

        self._class = await self._call(look, what="list_nodes")
        self._capabilities = providers.capabilities(self._class, self._settings["provider"])

    def scopes(self) -> Sequence[Scope]:
        kinds = [kind for kind, method in LISTS.items() if providers.overrides(self._class, method)]
        return [Scope(frozenset((kind,))) for kind in (Kind.VM, *kinds)]

    async def list(self, scope: Scope) -> Listing:
        objects: builtins.list[Object] = []
        try:
            for kind in scope.kinds:
                objects += await self._list(kind)
        except BackendError as error:
            return Listing(scope, tuple(objects), error)
        return Listing(scope, tuple(objects))

    async def close(self) -> None:
        self._pool.close()

    async def power(self, ref: Ref, action: PowerAction) -> None:
        def work(driver: Any) -> None:
            node = _node(driver, ref.id)
            name = providers.method(type(driver), self._settings["provider"], action)
            if not name:
                raise Unsupported(f"this provider has no {action}", object_name=ref.id)
            getattr(driver, name)(node)

        await self._call(work, changes=True, what=action.value)

    async def delete(self, ref: Ref, *, disks: bool) -> None:
        """Destroy a node. What becomes of its disks is the provider's rule, so that it must be asked for with them."""

        def work(driver: Any) -> None:
            node = _node(driver, ref.id)
            if not disks:
                raise Unsupported(
                    "the provider may delete the disks with the VM", object_name=ref.id, cure="delete it with its disks"
                )
            driver.destroy_node(node)

        await self._call(work, changes=True, what="destroy_node")

    async def rename(self, ref: Ref, name: str) -> None:
        def work(driver: Any) -> None:
            if not providers.overrides(type(driver), "ex_rename_node"):
                raise Unsupported("this provider cannot rename", object_name=ref.id)
            driver.ex_rename_node(_node(driver, ref.id), name)

        await self._call(work, changes=True, what="ex_rename_node")

    async def consoles(self, vm: Ref) -> Sequence[Console]:
        await self._call(lambda driver: _node(driver, vm.id).id, what="list_nodes")
        return (Console(vm, ConsoleKind.OUTPUT, "Console output"),) if providers.output_method(self._class) else ()

    async def open_console(self, console: Console, *, force: bool = False) -> Door:
        def work(driver: Any) -> str:
            node = _node(driver, console.vm.id)
            name = providers.output_method(type(driver))
            if console.kind is not ConsoleKind.OUTPUT or not name:
                raise NotFound(f"this provider gives no {console.kind} console", object_name=console.vm.id)
            told = getattr(driver, name)(node)
            return str((told.get("output") if isinstance(told, Mapping) else told) or "")

        return Door(console=console, text=await self._call(work, what="console output"))

    async def describe(self, ref: Ref) -> str:
        def work(driver: Any) -> str:
            node = _node(driver, ref.id)
            told = {"id": node.id, "name": node.name, "state": str(node.state), "extra": _safe(node.extra)}
            return json.dumps(told, indent=2, default=str, sort_keys=True)

        return await self._call(work, what="list_nodes")

    async def _call(self, function: Callable[[Any], T], *, changes: bool = False, what: str = "") -> T:
        """Run a function on this thread's own libcloud driver."""

        def work() -> T:
            try:
                if not hasattr(self._mine, "driver"):
                    self._mine.driver = providers.make(self._settings)
                return function(self._mine.driver)
            except Exception as error:
                ours = translate(error, self._settings.secrets.values(), changes=changes)
                if isinstance(ours, AuthNeeded):
                    # It may hold a token that has ended; the next call signs in anew.
                    vars(self._mine).pop("driver", None)
                if ours is error:
                    raise
                # The cause's text may hold a key.
                raise ours from None

        return await self._pool.call(work, changes=changes, what=f"{self.name}: {what}")

    async def _list(self, kind: Kind) -> Iterable[Object]:
        if kind is Kind.VM:
            nodes = await self._call(lambda driver: builtins.list(driver.list_nodes()), what="list_nodes")
            return [self._vm(node) for node in nodes if str(node.state) != "terminated"]
        if kind not in LISTS:
            return []
        method = LISTS[kind]
        items = await self._call(lambda driver: builtins.list(getattr(driver, method)()), what=method)
        if kind is Kind.FLAVOR:
            self._sizes = {item.id: self._flavor(item) for item in items}
            return self._sizes.values()
        return [self._volume(item) if kind is Kind.VOLUME else self._keypair(item) for item in items]

    def _vm(self, node: Any) -> Vm:
        extra = node.extra or {}
        size = self._flavor(node.size) if node.size else self._sizes.get(str(extra.get("instance_type", "")))
        state = str(node.state)
        return Vm(
            ref=Ref(self.name, Kind.VM, str(node.id)),
            name=node.name or str(node.id),
            state=STATES.get(state, PowerState.UNKNOWN),
            native_state=str(extra.get("status") or state),
            vcpus=size.vcpus if size else 0,
            memory_bytes=size.memory_bytes if size else 0,
            addresses=tuple(str(each) for each in (*(node.public_ips or ()), *(node.private_ips or ())) if each),
            tags=_tags(extra),
            flavor=str(extra.get("instance_type") or (size.name if size else "")),
            zone=str(extra.get("availability") or extra.get("zone") or extra.get("location") or ""),
            created=node.created_at if node.created_at and node.created_at.tzinfo else None,
            detailed=True,
        )

    def _flavor(self, size: Any) -> Flavor:
        extra = size.extra or {}
        cpus = extra.get("vcpu") or extra.get("vcpus") or extra.get("cpu") or getattr(size, "vcpus", 0) or 0
        return Flavor(
            ref=Ref(self.name, Kind.FLAVOR, str(size.id)),
            name=size.name or str(size.id),
            vcpus=int(float(cpus)) if str(cpus).replace(".", "", 1).isdigit() else 0,
            memory_bytes=int(size.ram or 0) * MIB,
            disk_bytes=int(size.disk or 0) * GIB if str(size.disk or 0).isdigit() else 0,
            price_per_hour=float(size.price) if isinstance(size.price, int | float) else None,
        )

    def _volume(self, volume: Any) -> Volume:
        return Volume(
            ref=Ref(self.name, Kind.VOLUME, str(volume.id)),
            name=volume.name or str(volume.id),
            size_bytes=int(volume.size or 0) * GIB,
            state=str(volume.state or ""),
        )

    def _keypair(self, pair: Any) -> KeyPair:
        return KeyPair(
            ref=Ref(self.name, Kind.KEYPAIR, pair.name), name=pair.name, fingerprint=str(pair.fingerprint or "")
        )


def _node(driver: Any, ident: str) -> Any:
    for node in driver.list_nodes():
        if str(node.id) == ident and str(node.state) != "terminated":
            return node
    raise NotFound(f"there is no VM {ident}", object_name=ident)


def _tags(extra: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    raw = extra.get("tags") or extra.get("metadata") or {}
    if isinstance(raw, Mapping):
        return tuple(sorted((str(k), str(v)) for k, v in raw.items() if k != "Name" and isinstance(v, str | int)))
    return ()


def _safe(extra: Mapping[str, Any]) -> dict[str, Any]:
    """A node's extra fields, without those that are made to be secret."""
    hidden = ("password", "secret", "token", "userdata", "user_data", "adminpass", "private_key")
    return {k: "***" if any(word in k.lower() for word in hidden) else v for k, v in (extra or {}).items()}
