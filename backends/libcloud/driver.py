"""A cloud through apache-libcloud: what its driver lists, and the power actions that it has.

libcloud's drivers keep the last answer on themselves and are synchronous: every thread of the pool has its own.
"""

from __future__ import annotations

import builtins
import contextlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from backends.consoles import Console, ConsoleKind, Door
from backends.driver import Capability, Settings
from backends.errors import AuthNeeded, BackendError, Denied, NotFound, Unreachable, Unsupported
from backends.libcloud import providers
from backends.libcloud import translate as t
from backends.libcloud.failures import translate
from backends.model import (
    Finding,
    Flavor,
    Kind,
    Level,
    Listing,
    Object,
    PowerAction,
    Ref,
    Scope,
    Section,
    Vm,
)
from backends.threads import Pool

T = TypeVar("T")
LISTS: Mapping[Kind, tuple[str, Callable[[str, Any], Object]]] = {
    Kind.VOLUME: ("list_volumes", t.volume),
    Kind.KEYPAIR: ("list_key_pairs", t.keypair),
    Kind.FLAVOR: ("list_sizes", t.flavor),
}


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
        self._sizes: dict[str, Flavor] | None = None

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
        kinds = [kind for kind, (method, _) in LISTS.items() if providers.lists(self._class, method)]
        return [Scope(frozenset((kind,))) for kind in (Kind.VM, *kinds)]

    async def list(self, scope: Scope) -> Listing:
        objects: builtins.list[Object] = []
        try:
            for kind in scope.kinds:
                objects += await self._list(kind)
        except AuthNeeded as error:
            # A token may be good for machines and not for volumes. Whether it has ended, the machines tell.
            told = error if Kind.VM in scope.kinds else Denied(error.message, cure="give the token this right too")
            return Listing(scope, tuple(objects), told)
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

    async def _list(self, kind: Kind) -> Sequence[Object]:
        if kind is Kind.VM:
            if self._sizes is None:
                await self._learn_sizes()
            return await self._call(self._vms, what="list_nodes")
        if kind not in LISTS:
            return []
        method, one = LISTS[kind]
        found = await self._call(
            lambda driver: [one(self.name, item) for item in getattr(driver, method)()], what=method
        )
        if kind is Kind.FLAVOR:
            flavors = [item for item in found if isinstance(item, Flavor)]
            self._sizes = {word: item for item in flavors for word in (item.name, item.ref.id)}
        return found

    def _vms(self, driver: Any) -> builtins.list[Vm]:
        nodes = (node for node in driver.list_nodes() if str(node.state) != "terminated")
        return [t.vm(self.name, node, self._sizes or {}) for node in nodes]

    async def _learn_sizes(self) -> None:
        """Many drivers name a node's size and no more. Those that cannot list their sizes are asked once."""
        self._sizes = {}
        if providers.lists(self._class, LISTS[Kind.FLAVOR][0]):
            with contextlib.suppress(BackendError):
                await self._list(Kind.FLAVOR)


def _node(driver: Any, ident: str) -> Any:
    for node in driver.list_nodes():
        if str(node.id) == ident and str(node.state) != "terminated":
            return node
    raise NotFound(f"there is no VM {ident}", object_name=ident)


def _safe(extra: Mapping[str, Any]) -> dict[str, Any]:
    """A node's extra fields, without those that are made to be secret."""
    hidden = ("password", "secret", "token", "userdata", "user_data", "adminpass", "private_key")
    return {k: "***" if any(word in k.lower() for word in hidden) else v for k, v in (extra or {}).items()}
