"""What stands below what, as whole numbers: quick enough for 100,000 VMs, and free of Qt.

A node is a number; everything known of it sits at that place of parallel lists. `branches` are a node's children
that may have children themselves, `leaves` its VMs. Both are sorted when they are first walked over.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress, repeat

from backends.model import Ref

Key = Ref | str
"""A Ref for what the inventory or a connection knows, a word for sections, groups and hints."""
NOBODY = -1


class Forest:
    """The nodes, their order, how many VMs are below each, which are open, and which a search lets through."""

    def __init__(self) -> None:
        self.keys: list[Key | None] = []
        self.names: list[str] = []
        self.parent: list[int] = []
        self.count: list[int] = []
        self.branches: dict[int, list[int]] = {}
        self.leaves: dict[int, list[int]] = {}
        self.roots: list[int] = []
        self.root_rows: list[int] = []
        """Where the roots are in what `rows` gave last."""
        self.open: set[int] = set()
        self.melted: set[int] = set()
        """Nodes whose own row is left out: the only host of a connection."""
        self._index: dict[Key, int] = {}
        self._also: dict[Key, list[int]] = {}
        self._free: list[int] = []
        self._passed: bytearray | None = None
        self._shut: set[int] = set()
        self._unsorted: set[int] = set()
        """Nodes whose leaves are not in order yet."""

    def __len__(self) -> int:
        return len(self.keys) - len(self._free)

    def node(self, key: Key) -> int | None:
        """The (first) node of a key."""
        return self._index.get(key)

    def nodes(self, key: Key) -> list[int]:
        """All nodes of a key: a VM with several tags stands below each of them."""
        first = self._index.get(key)
        return [] if first is None else [first, *self._also.get(key, ())]

    def root(self, key: str, name: str) -> int:
        """Add a root after the others."""
        made = self._take(key, name, NOBODY)
        self.roots.append(made)
        return made

    def branch(self, key: Key, name: str, parent: int) -> int:
        """Add a node that may have children."""
        made = self._take(key, name, parent)
        self._insert(self.branches.setdefault(parent, []), made)
        return made

    def leaf(self, key: Key, name: str, parent: int) -> int:
        """Add a VM."""
        made = self._take(key, name, parent)
        leaves = self.leaves.setdefault(parent, [])
        if parent in self._unsorted:
            leaves.append(made)
        else:
            self._insert(leaves, made)
        self._add(parent, 1)
        return made

    def sow(self, keys: Sequence[Key], names: Sequence[str], parent: int) -> None:
        """Add many VMs at once, of which none is there yet. They are sorted later, see `sort_some`."""
        made = range(len(self.keys), len(self.keys) + len(keys))
        self.keys += keys
        self.names += names
        self.parent += repeat(parent, len(made))
        self.count += repeat(0, len(made))
        self._index.update(zip(keys, made, strict=True))
        self.leaves.setdefault(parent, []).extend(made)
        self._unsorted.add(parent)
        self._add(parent, len(made))

    def sort_some(self) -> bool:
        """Sort the leaves of one node that was sown. False where none is left to do."""
        if self._unsorted:
            self._sorted(next(iter(self._unsorted)))
        return bool(self._unsorted)

    def remove(self, node: int) -> None:
        """Take a node out, with all that is below it."""
        for child in [*self.branches.get(node, ()), *self.leaves.get(node, ())]:
            self.remove(child)
        parent, key = self.parent[node], self.keys[node]
        assert key is not None
        if node in self.roots:
            self.roots.remove(node)
        else:
            is_leaf = self._detach(node, parent)
            self._add(parent, -1 if is_leaf else 0)
        others = self.nodes(key)
        others.remove(node)
        self._index.pop(key)
        self._also.pop(key, None)
        if others:
            self._index[key] = others[0]
            if others[1:]:
                self._also[key] = others[1:]
        self.branches.pop(node, None)
        self.leaves.pop(node, None)
        for known in (self.open, self.melted, self._shut, self._unsorted):
            known.discard(node)
        self.keys[node] = None
        self.names[node] = ""
        self._free.append(node)

    def rename(self, node: int, name: str) -> None:
        parent = self.parent[node]
        leaf = self._detach(node, parent)
        self.names[node] = name
        self._insert((self.leaves if leaf else self.branches)[parent], node)

    def move(self, node: int, parent: int) -> None:
        """Hang a node, with all that is below it, somewhere else."""
        below = self.count[node]
        leaf = self._detach(node, self.parent[node])
        self._add(self.parent[node], -1 if leaf else -below)
        self.parent[node] = parent
        self._insert((self.leaves if leaf else self.branches).setdefault(parent, []), node)
        self._add(parent, 1 if leaf else below)

    def ancestors(self, node: int) -> Iterator[int]:
        node = self.parent[node]
        while node != NOBODY:
            yield node
            node = self.parent[node]

    def depth(self, node: int) -> int:
        """How far a row is indented: roots 0, melted nodes do not count."""
        return sum(above not in self.melted for above in self.ancestors(node))

    def has_children(self, node: int) -> bool:
        return bool(self.branches.get(node) or self.leaves.get(node))

    def is_open(self, node: int) -> bool:
        """Whether the children show. A search opens everything it found, until the user closes it."""
        if self._passed is not None:
            return node not in self._shut
        return node in self.open

    def set_open(self, node: int, opened: bool) -> None:
        known, want = (self.open, opened) if self._passed is None else (self._shut, not opened)
        if want:
            known.add(node)
        else:
            known.discard(node)

    @property
    def filtered(self) -> bool:
        return self._passed is not None

    def let_through(self, keys: Iterable[Key] | None) -> None:
        """Show only these and what they stand below; None shows everything again."""
        self._shut.clear()
        if keys is None:
            self._passed = None
            return
        self._passed = passed = bytearray(len(self.keys))
        nodes = [node for node in map(self._index.get, keys) if node is not None]
        for node in nodes:
            passed[node] = 1
        for key, others in self._also.items():
            if passed[self._index[key]]:
                nodes += others
                for node in others:
                    passed[node] = 1
        above = set(map(self.parent.__getitem__, nodes)) - {NOBODY}
        while above:
            for node in above:
                passed[node] = 1
            above = {self.parent[node] for node in above} - {NOBODY}

    def passes(self, node: int) -> bool:
        return self._passed is None or (node < len(self._passed) and bool(self._passed[node]))

    def rows(self) -> list[int]:
        """The visible nodes from top to bottom."""
        out: list[int] = []
        passed = self._passed
        if passed is not None and len(passed) < len(self.keys):
            passed.extend(bytes(len(self.keys) - len(passed)))
        self.root_rows = []
        for root in self.roots:
            self.root_rows.append(len(out))
            out.append(root)
            self._walk(root, out)
        return out

    def _walk(self, node: int, out: list[int]) -> None:
        passed = self._passed
        for child in self.branches.get(node, ()):
            if passed is not None and not passed[child]:
                continue
            if child in self.melted:
                self._walk(child, out)
                continue
            out.append(child)
            if self.is_open(child):
                self._walk(child, out)
        if passed is None:
            out += self._sorted(node)
        elif leaves := self.leaves.get(node):
            found = compress(leaves, map(passed.__getitem__, leaves))
            # Of many that were just sown a search shows few: only those are sorted for it.
            out += sorted(found, key=self._order) if node in self._unsorted else found

    def _take(self, key: Key, name: str, parent: int) -> int:
        if self._free:
            node = self._free.pop()
            self.keys[node], self.names[node], self.parent[node], self.count[node] = key, name, parent, 0
        else:
            node = len(self.keys)
            self.keys.append(key)
            self.names.append(name)
            self.parent.append(parent)
            self.count.append(0)
        if key in self._index:
            self._also.setdefault(key, []).append(node)
        else:
            self._index[key] = node
        if self._passed is not None and node < len(self._passed):
            self._passed[node] = 0
        return node

    def _sorted(self, node: int) -> list[int]:
        """A node's leaves, in order."""
        leaves = self.leaves.get(node, [])
        if node in self._unsorted:
            self._unsorted.discard(node)
            # Twice, as one sort by name and number makes a tuple for each.
            leaves.sort()
            leaves.sort(key=lambda leaf: self.names[leaf].casefold())
        return leaves

    def _detach(self, node: int, parent: int) -> bool:
        """Take a node out of its parent's children. True for a leaf."""
        self._sorted(parent)
        for leaf, table in ((True, self.leaves), (False, self.branches)):
            children = table.get(parent)
            if not children:
                continue
            at = bisect_left(children, self._order(node), key=self._order)
            if at < len(children) and children[at] == node:
                del children[at]
                return leaf
        raise KeyError(node)

    def _insert(self, children: list[int], node: int) -> None:
        if children and self._order(children[-1]) > self._order(node):
            insort(children, node, key=self._order)
        else:
            children.append(node)

    def _order(self, node: int) -> tuple[str, int]:
        return self.names[node].casefold(), node

    def _add(self, node: int, vms: int) -> None:
        while vms and node != NOBODY:
            self.count[node] += vms
            node = self.parent[node]
