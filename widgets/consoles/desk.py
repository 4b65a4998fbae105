"""All consoles of the window: opens them, finds those that are open, carries them between tabs and windows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from PySide6.QtCore import QByteArray, QObject, Qt
from PySide6.QtGui import QCursor
from PySide6.QtWidgets import QApplication, QMenu

from app.consoles import Console
from backends.model import Kind, PowerState, Ref, Vm
from widgets.consoles.kinds import SYMBOLS
from widgets.consoles.page import MOST_TILES, ConsoleTab
from widgets.consoles.panel import Panel
from widgets.consoles.window import ConsoleWindow
from widgets.frame import Frame
from widgets.icons import icon

if TYPE_CHECKING:
    from app.inventory import Inventory
    from widgets.searchbox import SearchBox
    from widgets.tabs import Tabs
    from widgets.tree import Tree

OFFERED = 12
"""So many other VMs are offered as a tile."""


class Room(Frame, Protocol):
    """The window that the desk stands in: its consoles are among its tabs, and beside what it shows."""

    tabs: Tabs
    tree: Tree
    search: SearchBox

    def hold_preview(self) -> None:
        """What was opened just now stays in front."""

    def to_front(self) -> None:
        """Show it, wherever it was hidden."""


class Desk(QObject):
    """Knows every panel. A VM's console is opened once; asking again brings it to the front."""

    def __init__(self, window: Room) -> None:
        super().__init__(window)
        self._window = window
        self.windows: list[ConsoleWindow] = []

    def open(self, ref: Ref) -> Panel:
        """The console of a VM, in a tab of its own; the one that is open where there is one."""
        self._window.hold_preview()
        uid = self._window.services.identity.uid_of(ref)
        for holder, panel in self._all():
            if panel.uid == uid:
                self._show(holder)
                panel.take_keyboard()
                return panel
        panel = self._open_tab(uid)
        panel.eager = True
        return panel

    def open_beside_each_other(self, refs: Sequence[Ref]) -> None:
        """Up to four consoles as tiles of one tab."""
        first, *others = refs[:MOST_TILES]
        self.open(first)
        tab = self._window.tabs.currentWidget()
        for ref in others:
            uid = self._window.services.identity.uid_of(ref)
            if isinstance(tab, ConsoleTab) and all(panel.uid != uid for panel in tab.panels):
                self._put_beside(tab, uid)

    def shown(self) -> Panel | None:
        """The console of the tab in front, the one with the keyboard where there are several."""
        tab = self._window.tabs.currentWidget()
        if not isinstance(tab, ConsoleTab) or not tab.panels:
            return None
        focus = QApplication.focusWidget()
        return next((panel for panel in tab.panels if focus and panel.isAncestorOf(focus)), tab.panels[0])

    def wall(self, refs: Sequence[Ref]) -> None:
        """A wall of these VMs, and of those at the places among them; without any, of the search or of everything."""
        query = "" if refs else self._window.search.text().strip()
        self._show_wall(f"wall:{json.dumps([query, *map(str, refs)])}")

    def _show_wall(self, key: str) -> None:
        from widgets.consoles.wall import WallTab

        tabs, services = self._window.tabs, self._window.services
        for tab in tabs.pages():
            if tab.key == key:
                tabs.setCurrentWidget(tab)
                return
        query, *names = json.loads(key.partition(":")[2])
        if names:
            chosen = tuple(map(Ref.parse, names))
            title = _title(chosen, services.inventory)
            choice = lambda: _in_order(_below(chosen, services.inventory))  # noqa: E731
        else:
            everything = lambda: [vm.ref for vm in services.inventory if isinstance(vm, Vm)]  # noqa: E731
            found = lambda: sorted(services.search.match(query) or ()) if query else everything()  # noqa: E731
            title = f"Wall: {query}" if query else "Wall of everything"
            choice = lambda: _in_order([services.inventory.vm(ref) for ref in found()])  # noqa: E731
        tabs.add(WallTab(self._window, key, title, choice))

    def kept(self) -> list[str]:
        """The windows of their own, for the next start: `window:`, the VM and where it is."""
        lasting = (window for window in self.windows if not window.returns)
        return [f"window:{one.panel.uid} {bytes(one.saveGeometry().toBase64().data()).decode()}" for one in lasting]

    def restore(self, key: str) -> bool:
        """A tab, window or wall as it was kept: it connects when it is looked at. False for what is not known."""
        kind, _, rest = key.partition(":")
        if kind == "wall":
            with suppress(ValueError, TypeError):
                self._show_wall(key)
                return True
            return False
        uid, _, geometry = rest.partition(" ")
        ref = self._window.services.identity.ref_of(uid)
        if ref is None or ref not in self._window.services.inventory:
            return False
        if kind == "console":
            self._open_tab(uid)
            return True
        window = self._to_window(None, Panel(self._window, uid))
        window.setAttribute(Qt.WidgetAttribute.WA_ShowWithoutActivating)
        window.restoreGeometry(QByteArray.fromBase64(geometry.encode()))
        window.show()
        return True

    def close_down(self) -> None:
        """Close the windows; the tabs close with the tabs."""
        for window in tuple(self.windows):
            window.returns = False
            window.close()

    # Inside

    def _all(self) -> Iterator[tuple[ConsoleTab | ConsoleWindow, Panel]]:
        for window in self.windows:
            yield window, window.panel
        for tab in self._tabs():
            for panel in tab.panels:
                yield tab, panel

    def _tabs(self) -> list[ConsoleTab]:
        return [tab for tab in self._window.tabs.pages() if isinstance(tab, ConsoleTab)]

    def _show(self, holder: ConsoleTab | ConsoleWindow) -> None:
        if isinstance(holder, ConsoleTab):
            self._window.tabs.setCurrentWidget(holder)
        else:
            holder.raise_()
            holder.activateWindow()

    def _open_tab(self, uid: str) -> Panel:
        panel = Panel(self._window, uid)
        self._window.tabs.add(ConsoleTab(self._window, panel, self._on_wanted))
        return panel

    def _on_wanted(self, tab: ConsoleTab, panel: Panel, what: str) -> None:
        match what:
            case "full":
                self._to_window(tab, panel).full(returns=True)
            case "window":
                window = self._to_window(tab, panel)
                window.show()
                panel.take_keyboard()
                if not tab.panels:
                    tab.away = None
                    self._window.tabs.close_page(self._window.tabs.indexOf(tab))
            case "beside":
                self._ask_beside(tab, panel)
            case "close":
                tab.take(panel)
                panel.close_down()
                panel.deleteLater()

    def _to_window(self, tab: ConsoleTab | None, panel: Panel) -> ConsoleWindow:
        if tab is not None:
            tab.lend(panel)

        def ended(window: ConsoleWindow, back: bool) -> None:
            self.windows.remove(window)
            if not back:
                panel.close_down()
                return
            home = tab if tab in self._tabs() else None
            panel.setParent(None)
            if home is None:
                self._window.tabs.add(ConsoleTab(self._window, panel, self._on_wanted))
            else:
                home.add(panel)
                home.away = None
                self._window.tabs.setCurrentWidget(home)
            self._window.to_front()
            panel.take_keyboard()

        made = ConsoleWindow(panel, ended)
        self.windows.append(made)
        return made

    def _ask_beside(self, tab: ConsoleTab, panel: Panel) -> None:
        """Which console is to stand beside: another one of this VM, or one of another VM."""
        menu = QMenu(self._window)
        if len(tab.panels) >= MOST_TILES:
            menu.addAction(f"{MOST_TILES} consoles are side by side already").setEnabled(False)
        for console in panel.offers if len(tab.panels) < MOST_TILES else ():
            if not console.hindrance and all(one.console != console for one in tab.panels):
                text = f"{console.label} of {panel.name}"
                run = lambda console=console: self._put_beside(tab, panel.uid, console)  # noqa: E731
                menu.addAction(icon(SYMBOLS[console.kind], "muted"), text, run)
        menu.addSeparator()
        for vm in self._others(tab) if len(tab.panels) < MOST_TILES else ():
            uid = self._window.services.identity.uid_of(vm.ref)
            menu.addAction(icon("monitor", "muted"), vm.name, lambda uid=uid: self._put_beside(tab, uid))
        menu.popup(QCursor.pos())

    def _others(self, tab: ConsoleTab) -> list[Vm]:
        """VMs that are likely meant: those selected in the tree, those with open consoles, those of the same place."""
        services, here = self._window.services, tab.ref
        shown = {panel.uid for panel in tab.panels}
        refs = [ref for ref in self._window.tree.selected() if ref.kind == Kind.VM]
        refs += [panel.ref for _, panel in self._all() if panel.ref is not None]
        vm = services.inventory.vm(here)
        near = [one for one in services.inventory.of(here.connection, Kind.VM) if isinstance(one, Vm)]
        near.sort(key=lambda one: (vm is None or one.parent != vm.parent, one.state != "running", one.name))
        refs += [one.ref for one in near[: OFFERED + len(shown)]]
        found = [services.inventory.vm(ref) for ref in dict.fromkeys(refs)]
        return [one for one in found if one is not None and services.identity.uid_of(one.ref) not in shown][:OFFERED]

    def _put_beside(self, tab: ConsoleTab, uid: str, console: Console | None = None) -> None:
        """A tile more; a console of that VM that is open in a tab of its own comes over."""
        for other in self._tabs():
            if other is not tab and len(other.panels) == 1 and other.panels[0].uid == uid and console is None:
                panel = other.panels[0]
                other.take(panel)
                self._window.tabs.close_page(self._window.tabs.indexOf(other))
                tab.add(panel)
                return
        tab.add(Panel(self._window, uid, console))


def _title(refs: Sequence[Ref], inventory: Inventory) -> str:
    names = [item.name if (item := inventory.get(ref)) is not None else ref.id for ref in refs]
    return f"Wall: {', '.join(names[:3])}{' …' if len(names) > 3 else ''}"


def _below(refs: Sequence[Ref], inventory: Inventory) -> list[Vm | None]:
    """The VMs among `refs`, and those of the places and sites among them."""
    places = {ref for ref in refs if ref.kind not in (Kind.VM, Kind.CONNECTION)}
    sites = {ref.connection for ref in refs if ref.kind == Kind.CONNECTION}
    found = [inventory.vm(ref) for ref in refs if ref.kind == Kind.VM]
    if places or sites:
        vms = (item for item in inventory if isinstance(item, Vm))
        found += [vm for vm in vms if vm.parent in places or vm.ref.connection in sites]
    return found


def _in_order(vms: Iterable[Vm | None]) -> list[Ref]:
    """Those that have a picture first, in the order of their names; the others after them."""
    known = {vm.ref: vm for vm in vms if vm is not None}
    lit = (PowerState.RUNNING, PowerState.PAUSED, PowerState.MIGRATING)
    return [vm.ref for vm in sorted(known.values(), key=lambda vm: (vm.state not in lit, vm.name, vm.ref))]
