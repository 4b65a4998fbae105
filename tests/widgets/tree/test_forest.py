from __future__ import annotations

import random

from backends.model import Kind, Ref
from widgets.tree.forest import Forest
from widgets.tree.model import _common


def vm(name: str) -> Ref:
    return Ref("c", Kind.VM, name)


def small() -> Forest:
    forest = Forest()
    root = forest.root("section:local", "Local")
    host = forest.branch(Ref("c", Kind.CONNECTION, "c"), "c", root)
    for name in ("web-02", "db", "Web-01"):
        forest.leaf(vm(name), name, host)
    forest.branch(Ref("b", Kind.CONNECTION, "b"), "b", root)
    return forest


def shown(forest: Forest) -> list[str]:
    return [forest.names[node] for node in forest.rows()]


def node(forest: Forest, key: Ref | str) -> int:
    found = forest.node(key)
    assert found is not None
    return found


def test_rows_follow_names_and_open_nodes() -> None:
    forest = small()
    assert shown(forest) == ["Local", "b", "c"]
    forest.set_open(node(forest, Ref("c", Kind.CONNECTION, "c")), True)
    assert shown(forest) == ["Local", "b", "c", "db", "Web-01", "web-02"]


def test_sown_vms_are_in_order_whoever_looks_first() -> None:
    for look in ("rows", "search", "leaf", "sort"):
        forest = small()
        host = node(forest, Ref("c", Kind.CONNECTION, "c"))
        forest.set_open(host, True)
        forest.sow([vm("zeta"), vm("alpha")], ["zeta", "alpha"], host)
        if look == "search":
            forest.let_through({vm("zeta"), vm("alpha")})
            assert shown(forest) == ["Local", "c", "alpha", "zeta"]
            forest.let_through(None)
        elif look == "leaf":
            forest.leaf(vm("mid"), "mid", host)
            forest.remove(node(forest, vm("mid")))
        elif look == "sort":
            assert not forest.sort_some()
        assert shown(forest) == ["Local", "b", "c", "alpha", "db", "Web-01", "web-02", "zeta"]
        assert forest.count[forest.roots[0]] == 5


def test_counts_follow_adding_moving_removing() -> None:
    forest = small()
    c, b = node(forest, Ref("c", Kind.CONNECTION, "c")), node(forest, Ref("b", Kind.CONNECTION, "b"))
    assert [forest.count[n] for n in (forest.roots[0], c, b)] == [3, 3, 0]
    forest.move(node(forest, vm("db")), b)
    assert [forest.count[n] for n in (forest.roots[0], c, b)] == [3, 2, 1]
    forest.move(c, b)
    assert [forest.count[n] for n in (forest.roots[0], c, b)] == [3, 2, 3]
    forest.remove(c)
    assert [forest.count[n] for n in (forest.roots[0], b)] == [1, 1]
    assert forest.node(vm("Web-01")) is None


def test_a_search_opens_what_it_finds_and_closing_wins() -> None:
    forest = small()
    forest.let_through({vm("db")})
    assert shown(forest) == ["Local", "c", "db"]
    forest.set_open(node(forest, Ref("c", Kind.CONNECTION, "c")), False)
    assert shown(forest) == ["Local", "c"]
    forest.let_through(None)
    assert shown(forest) == ["Local", "b", "c"]


def test_a_key_below_two_groups_is_found_below_both() -> None:
    forest = Forest()
    root = forest.root("by:tag", "By tag")
    groups = [forest.branch(f"tag:{name}", name, root) for name in ("a", "b")]
    for group in groups:
        forest.leaf(vm("x"), "x", group)
    forest.let_through({vm("x")})
    assert shown(forest) == ["By tag", "a", "x", "b", "x"]
    forest.remove(forest.nodes(vm("x"))[0])
    assert len(forest.nodes(vm("x"))) == 1


def test_a_melted_row_is_left_out() -> None:
    forest = small()
    c = node(forest, Ref("c", Kind.CONNECTION, "c"))
    host = forest.branch(Ref("c", Kind.HOST, "h"), "h", c)
    forest.leaf(vm("in"), "in", host)
    forest.melted.add(host)
    forest.set_open(c, True)
    assert shown(forest) == ["Local", "b", "c", "in", "db", "Web-01", "web-02"]
    assert forest.depth(node(forest, vm("in"))) == 2


def test_many_random_changes_leave_order_and_counts_right() -> None:
    rng = random.Random(5)
    forest = Forest()
    root = forest.root("r", "r")
    hosts = [forest.branch(f"h{number}", f"h{number}", root) for number in range(4)]
    forest.open.update(hosts)
    known: dict[Ref, tuple[str, int]] = {}
    for step in range(2000):
        ref = vm(str(rng.randrange(150)))
        name, host = f"n{rng.randrange(40)}", rng.choice(hosts)
        if ref not in known:
            forest.leaf(ref, name, host)
            known[ref] = (name, host)
        elif step % 3 == 0:
            forest.remove(node(forest, ref))
            del known[ref]
        elif step % 3 == 1:
            forest.rename(node(forest, ref), name)
            known[ref] = (name, known[ref][1])
        else:
            forest.move(node(forest, ref), host)
            known[ref] = (known[ref][0], host)
    for host in hosts:
        names = [forest.names[leaf] for leaf in forest.leaves.get(host, [])]
        assert names == sorted(name for name, at in known.values() if at == host)
        assert forest.count[host] == len(names)
    assert forest.count[root] == len(known)


def test_common_beginning_is_exact() -> None:
    rng = random.Random(3)
    for _ in range(200):
        old = [rng.randrange(3) for _ in range(rng.randrange(9000))]
        new = list(old)
        if new and rng.random() < 0.9:
            at = rng.randrange(len(new))
            new[at] = 7
        else:
            at = len(new)
        assert _common(old, new) == at
