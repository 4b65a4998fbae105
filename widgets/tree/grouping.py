"""Fills a Forest from inventory and connections: by place, group, tag or state, and keeps it true."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from app.inventory import CONTAINERS, Inventory
from backends.model import Kind, Object, Ref, Section, Vm
from widgets.tree.forest import Forest, Key

PLACES = CONTAINERS | {Kind.VM}
SECTION_TITLES = {
    Section.LOCAL: "Local KVM",
    Section.PRIVATE: "Private managers",
    Section.PUBLIC: "Public clouds",
}
HINTS = {
    Section.LOCAL: "Add a KVM host",
    Section.PRIVATE: "Add OpenStack, vSphere…",
    Section.PUBLIC: "Add a cloud account",
}
FEW = 8
"""So many new VMs below one place are put where they belong at once; more are sorted when they are needed."""
UNNAMED = {"group": "no group", "tag": "no tag"}


class Grouping(StrEnum):
    PLACE = "place"
    GROUP = "group"
    TAG = "tag"
    STATE = "state"


def section_key(section: Section) -> str:
    return f"section:{section}"


def hint_key(section: Section) -> str:
    return f"hint:{section}"


def connection_ref(name: str) -> Ref:
    return Ref(name, Kind.CONNECTION, name)


class Planting:
    """Puts connections and objects into a forest, one at a time, in the order of one grouping."""

    def __init__(self, forest: Forest, grouping: Grouping, inventory: Inventory, connections: Any) -> None:
        self.forest = forest
        self.grouping = grouping
        self._inventory = inventory
        self._connections = connections
        if grouping == Grouping.PLACE:
            for section in Section:
                forest.open.add(forest.root(section_key(section), SECTION_TITLES[section]))
                self.hint(section)
            for connection in connections.all():
                self.connection(connection)
        else:
            forest.open.add(forest.root(f"by:{grouping}", f"By {grouping}"))

    def renew(self, refs: Iterable[Ref]) -> bool:
        """Bring objects' nodes to what the inventory says now. True when the visible rows may be others now."""
        moved = False
        fresh: dict[int, list[Vm]] = {}
        parent, above = None, None
        for ref in refs:
            item = self._inventory.get(ref)
            if item is None:
                moved |= self.drop(ref)
            elif not isinstance(item, Vm) or self.grouping != Grouping.PLACE or self.forest.node(ref) is not None:
                moved |= self.put(item)
            else:
                if item.parent is not parent or above is None:
                    parent, above = item.parent, self._above(item)
                if above is not None:
                    fresh.setdefault(above, []).append(item)
        for above, vms in fresh.items():
            if len(vms) < FEW:
                for vm in vms:
                    self.forest.leaf(vm.ref, vm.name, above)
            else:
                self.forest.sow([vm.ref for vm in vms], [vm.name for vm in vms], above)
        return moved or bool(fresh)

    def connection(self, connection: Any) -> bool:
        """A connection that came, changed or went. True when it is new, and its objects have to be planted."""
        if self.grouping != Grouping.PLACE:
            return False
        ref = connection_ref(connection.name)
        node = self.forest.node(ref)
        section = self.forest.node(section_key(connection.section))
        assert section is not None
        gone = self._connections.get(connection.name) is None
        if gone and node is not None:
            self.forest.remove(node)
        elif node is None and not gone:
            made = self.forest.branch(ref, connection.name, section)
            if connection.section == Section.LOCAL:
                self.forest.open.add(made)
        elif node is not None and self.forest.parent[node] != section:
            self.forest.move(node, section)
        for each in Section:
            self.hint(each)
        return node is None and not gone

    def hint(self, section: Section) -> None:
        """An empty section says how to fill it."""
        root = self.forest.node(section_key(section))
        hint = self.forest.node(hint_key(section))
        assert root is not None
        others = [node for node in self.forest.branches.get(root, ()) if node != hint]
        if others and hint is not None:
            self.forest.remove(hint)
        elif not others and hint is None:
            self.forest.branch(hint_key(section), HINTS[section], root)

    def put(self, item: Object) -> bool:
        """Plant an object or bring it to where it belongs now. True when something but its look changed."""
        if item.ref.kind not in PLACES:
            return False
        if self.grouping != Grouping.PLACE:
            return isinstance(item, Vm) and self._put_grouped(item)
        node = self.forest.node(item.ref)
        above = self._above(item)
        if above is None:
            return False
        if node is None:
            if item.ref.kind == Kind.VM:
                self.forest.leaf(item.ref, item.name, above)
            else:
                self.forest.branch(item.ref, item.name, above)
                self._melt(item.ref.connection)
            return True
        changed = False
        if self.forest.parent[node] != above:
            self.forest.move(node, above)
            self._melt(item.ref.connection)
            changed = True
        if self.forest.names[node] != item.name:
            self.forest.rename(node, item.name)
            changed = True
        return changed

    def drop(self, ref: Ref) -> bool:
        """Take an object out. What stood below it hangs on the connection until the inventory says otherwise."""
        nodes = self.forest.nodes(ref)
        for node in nodes:
            above = self.forest.node(connection_ref(ref.connection))
            if above is not None:
                for child in [*self.forest.branches.get(node, ()), *self.forest.leaves.get(node, ())]:
                    self.forest.move(child, above)
            parent = self.forest.parent[node]
            self.forest.remove(node)
            if self.grouping != Grouping.PLACE:
                self._tidy(parent)
        if nodes and ref.kind in CONTAINERS:
            self._melt(ref.connection)
        return bool(nodes)

    def _above(self, item: Object) -> int | None:
        """The node that an object belongs below; its parent is planted first where it was not yet."""
        if item.parent is not None:
            node = self.forest.node(item.parent)
            if node is not None:
                return node
            parent = self._inventory.get(item.parent)
            if parent is not None and parent.ref.kind in CONTAINERS and self.put(parent):
                return self.forest.node(item.parent)
        return self.forest.node(connection_ref(item.ref.connection))

    def _melt(self, name: str) -> None:
        """A KVM connection and its only host are one row; a second host gives each its own."""
        connection = self.forest.node(connection_ref(name))
        known = self._connections.get(name)
        if connection is None or known is None:
            return
        branches = self.forest.branches.get(connection, ())
        if len(branches) > 2:
            return  # Each got its own row when the second came.
        only = len(branches) == 1 and known.section == Section.LOCAL
        for node in branches:
            key = self.forest.keys[node]
            if only and isinstance(key, Ref) and key.kind == Kind.HOST:
                self.forest.melted.add(node)
            else:
                self.forest.melted.discard(node)

    def _put_grouped(self, vm: Vm) -> bool:
        wanted = self._groups(vm)
        nodes = self.forest.nodes(vm.ref)
        there = {self.forest.names[self.forest.parent[node]]: node for node in nodes}
        changed = False
        for name, node in there.items():
            if name not in wanted:
                parent = self.forest.parent[node]
                self.forest.remove(node)
                self._tidy(parent)
                changed = True
            elif self.forest.names[node] != vm.name:
                self.forest.rename(node, vm.name)
                changed = True
        for name in wanted:
            if name not in there:
                self.forest.leaf(vm.ref, vm.name, self._group(name))
                changed = True
        return changed

    def _groups(self, vm: Vm) -> Iterable[str]:
        if self.grouping == Grouping.STATE:
            return (vm.state.value,)
        if self.grouping == Grouping.GROUP:
            return (vm.group or UNNAMED["group"],)
        return tuple(dict.fromkeys(f"{key}={value}" if value else key for key, value in vm.tags)) or (UNNAMED["tag"],)

    def _group(self, name: str) -> int:
        key: Key = f"{self.grouping}:{name}"
        node = self.forest.node(key)
        return self.forest.branch(key, name, self.forest.roots[0]) if node is None else node

    def _tidy(self, group: int) -> None:
        """A group without VMs goes."""
        if not self.forest.leaves.get(group) and group not in self.forest.roots:
            self.forest.remove(group)
