"""A site: whether it answers and why not, what it may be used for, what it can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.inventory import Delta
from backends.driver import Capability
from backends.model import Host, PowerState, Vm, Zone, now
from widgets import format as fmt
from widgets.details.page import CardRow, Page, site_ref
from widgets.details.table import VmTable
from widgets.parts import Card, Check, Facts, button, label

if TYPE_CHECKING:
    from app.connections import Connection
    from widgets.frame import Frame

ROLE = {"ready": "ok", "connecting": "accent", "retrying": "warn", "auth-needed": "bad", "failed": "bad"}
ABLE = {
    Capability.OFF: "force off",
    Capability.SAVE: "save to disk",
    Capability.SHUTDOWN: "shut down",
    Capability.METER: "live meters",
    Capability.MOVE_LIVE: "move live",
    Capability.EXPORT: "send disks",
    Capability.IMPORT: "take in VMs",
    Capability.DESCRIBE: "show the definition",
    Capability.EDIT: "edit the definition",
    Capability.AUTOSTART: "start with the host",
    Capability.WATCH: "tell changes by event",
    Capability.STORAGE: "list storage",
}
"""Capabilities in words, where their own name does not say it."""
WORD = {"ready": "live", "retrying": "offline", "auth-needed": "sign-in needed"}
DIRECT_SHOWN = 500


class SitePage(Page):
    """The details of one connection."""

    def __init__(self, window: Frame, name: str) -> None:
        super().__init__(window, f"site:{name}", site_ref(name), "network")
        self._site = name
        self._retry = button("Reconnect", lambda: self.services.connections.retry(name), "plug-zap")
        self._forget = button("Forget…", lambda: window.verbs.forget(name), "trash-2")
        self.head.addWidget(self._retry)
        self.head.addWidget(self._forget)
        use, state, can = Card("Use"), Card("Connection"), Card("What it can do")
        self.read_only = Check("Read-only: nothing can be changed here")
        self.production = Check("Production: stopping and deleting ask for the name")
        self.read_only.clicked.connect(lambda: window.verbs.toggle_read_only(name))
        self.production.clicked.connect(lambda: window.verbs.toggle_production(name))
        use.body.addWidget(self.read_only)
        use.body.addWidget(self.production)
        use.body.addStretch(1)
        self._facts_table = Facts()
        state.body.addWidget(self._facts_table)
        state.body.addStretch(1)
        self._can = label("", "", can)
        self._can.setWordWrap(True)
        self._cannot = label("", "muted", can)
        self._cannot.setWordWrap(True)
        can.body.addWidget(self._can)
        can.body.addWidget(self._cannot)
        can.body.addStretch(1)
        self.body.addWidget(CardRow([(state, 10), (use, 8), (can, 8)]))
        places = Card("Hosts and zones")
        self._places = Facts(("Name", "What", "Running", "VMs"), right=(2, 3))
        places.body.addWidget(self._places)
        self.body.addWidget(places)
        self._direct = Card("Virtual machines")
        self.vms = VmTable(window)
        self._direct.body.addWidget(self.vms)
        self.body.addWidget(self._direct)
        self.body.addStretch(1)
        self.refresh()

    def concerns(self, delta: Delta) -> bool:
        parts = (delta.added, delta.changed, delta.removed)
        return any(item.ref.connection == self._site for part in parts for item in part)

    def refresh(self) -> None:
        site = self.services.connections.get(self._site)
        if site is None:
            self.state.show_as("forgotten", "muted")
            self.banner.say(f"{self._site} has been forgotten.")
            return
        self.show_name(site.name)
        word = str(site.state)
        self.state.show_as(WORD.get(word, word), ROLE.get(word, "muted"))
        marks = ("production" if site.production else "", "read-only" if site.read_only else "")
        self.show_pills([mark for mark in marks if mark])
        self.pills[0].show_as(self.pills[0].text(), "bad" if site.production else "muted")
        count = self.window_.tally.site(site.name)
        running = f"{fmt.count(count.running)} running"
        self.show_facts([site.title, fmt.counted(count.vms, "VM"), running, site.uri])
        self._show_trouble(site)
        self.read_only.setChecked(site.read_only)
        self.production.setChecked(site.production)
        self._facts_table.show_rows(self._facts_rows(site))
        can = [ABLE.get(item, str(item)) for item in Capability if item in site.capabilities]
        missing = [ABLE.get(item, str(item)) for item in Capability if item not in site.capabilities]
        self._can.setText(", ".join(can) or "nothing while it is not connected")
        self._cannot.setText(f"not: {', '.join(missing)}" if can and missing else "")
        self._show_places()

    def _show_trouble(self, site: Connection) -> None:
        word = str(site.state)
        if word in ("ready", "connecting", "idle"):
            same = (
                f"It reaches the same host as {site.same_as}, which shows it." if getattr(site, "same_as", "") else ""
            )
            self.banner.say(same)
            return
        text = site.error or "it does not answer"
        if site.next_try is not None:
            seconds = max(0.0, (site.next_try - now()).total_seconds())
            text += f". Next try in {fmt.duration(round(seconds))}" if seconds >= 1 else ". Trying again"
        self.banner.say(fmt.sentences(text, site.cure), "bad" if ROLE.get(word) == "bad" else "warn")

    def _facts_rows(self, site: Connection) -> list[tuple[str, ...]]:
        rows = [("Kind", site.title), ("Address", site.uri), ("State since", fmt.age(site.since))]
        rows.append(("Last answer", fmt.age(site.last_seen)))
        names = {option.name: option.label for option in site.driver.options} if site.driver is not None else {}
        rows += [(names.get(key, key), value) for key, value in sorted(site.settings.items()) if value != site.uri]
        return [(name, value) for name, value in rows if value]

    def _show_places(self) -> None:
        top = self.services.inventory.children(self._site, None)
        rows: list[tuple[str, ...]] = []
        for item in top:
            if isinstance(item, Host | Zone):
                below = self.services.inventory.children(self._site, item.ref)
                vms = [vm for vm in below if isinstance(vm, Vm)]
                running = sum(vm.state == PowerState.RUNNING for vm in vms)
                rows.append((item.name, str(item.ref.kind), fmt.count(running), fmt.count(len(vms))))
        self._places.show_rows(rows, "no hosts or zones known yet")
        direct = [item for item in top if isinstance(item, Vm)]
        self._direct.setVisible(bool(direct))
        self.vms.show_vms(direct[:DIRECT_SHOWN])
