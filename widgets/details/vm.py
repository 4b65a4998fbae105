"""A VM: what it is, how it does, what can be done with it. The tab hangs on the uid and follows a move."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QHBoxLayout

from app.inventory import Delta
from app.tasks import Task
from backends.driver import Capability
from backends.model import Kind, PowerAction, PowerState, Ref, Sample, Vm, Volume, now
from widgets import format as fmt
from widgets.details.charts import Ring, meter_charts
from widgets.details.definition import DefinitionCard
from widgets.details.page import NARROW, TIGHT, CardRow, Page, freshness
from widgets.parts import STATE_ROLE, Card, Facts, button, set_symbol
from widgets.reasons import POWER_WORDS, power_reason, site_reason

if TYPE_CHECKING:
    from widgets.frame import Frame

NO_METRICS = {
    PowerState.OFF: "no metrics: the VM is off",
    PowerState.PAUSED: "no metrics: the VM is paused",
    PowerState.SUSPENDED: "no metrics: the VM is suspended to disk",
    PowerState.CRASHED: "no metrics: the VM has crashed",
}
NEWS_SHOWN = 8
UUID_LENGTH = 36


class VmPage(Page):
    """The details of one VM."""

    def __init__(self, window: Frame, uid: str, ref: Ref) -> None:
        super().__init__(window, f"vm:{uid}", ref, "monitor", uid)
        vm = self.services.inventory.vm(ref)
        self._buttons()
        self.charts = meter_charts(window.background, vm.memory_bytes if vm is not None else 0)
        row = QHBoxLayout()
        row.setSpacing(14)
        for chart in self.charts.values():
            row.addWidget(chart, 1)
        self.body.addLayout(row)
        self.devices = Facts(("Device", "Where", "Size", "Used"), right=(2, 3))
        self.identity = Facts()
        self.definition = DefinitionCard(window)
        self.news = Facts()
        disks, facts, news = Card("Disks and network"), Card("Facts"), Card("Events and tasks")
        for card, table in ((disks, self.devices), (facts, self.identity), (news, self.news)):
            card.body.addWidget(table)
        facts.body.addLayout(self._copy_row())
        for card in (disks, facts):
            card.body.addStretch(1)
        self.body.addWidget(CardRow([(disks, 10), (facts, 9)]))
        self.body.addWidget(news)
        self.body.addWidget(self.definition)
        self.body.addStretch(1)
        self._begin_ring()
        # The next click may be on the console: what is not Qt in it is imported meanwhile.
        window.background.run(asyncio.to_thread(importlib.import_module, "app.consoles.rfb"), "consoles")
        self.refresh()

    def _begin_ring(self) -> None:
        """Meters of where it is now: those of another place are of another machine."""
        self.ring = Ring()
        if (sample := self.services.inventory.sample(self.ref)) is not None:
            self.ring.add(sample)

    def follow(self, ref: Ref) -> None:
        if ref != self.ref:
            self.ref = ref
            self._begin_ring()
            self.refresh()

    def concerns(self, delta: Delta) -> bool:
        return any(item.ref == self.ref for part in (delta.added, delta.changed, delta.removed) for item in part)

    def refresh(self) -> None:
        vm = self.services.inventory.vm(self.ref)
        if vm is None:
            self.state.show_as("gone", "bad")
            self.banner.say(f"{self.name or self.ref.id} is no longer on {self.ref.connection}.")
            for made in (self._console, self._power, self._move):
                made.setEnabled(False)
            return
        self.show_name(vm.name)
        self.state.show_as(str(vm.state), STATE_ROLE.get(vm.state, "muted"))
        self.show_pills([word for word in (f"group {vm.group}" if vm.group else "", vm.os, *_tag_words(vm)) if word])
        self.show_facts(self._place(vm))
        self._judge_buttons(vm)
        self._trouble(vm)
        self.devices.show_rows(self._device_rows(vm), "no disks and no network known yet")
        self.identity.show_rows(_identity_rows(vm, self.services.identity.also(vm, self.services.inventory)))
        for name, made in self._copies.items():
            made.setEnabled(bool(vm.addresses) or name == "UUID")
        self._draw()
        self._show_news()
        self.definition.show_ref(self.ref)

    def metered(self, samples: dict[Ref, Sample]) -> None:
        if (sample := samples.get(self.ref)) is not None:
            self.ring.add(sample)
            if self.isVisible():
                self._draw()

    def task_changed(self, task: Task) -> None:
        if task.uid == self.uid or self.ref in (task.ref, task.target):
            self._show_news()
            if (vm := self.services.inventory.vm(self.ref)) is not None:
                self._judge_buttons(vm)

    def _buttons(self) -> None:
        self._move = button("Move…", lambda: self.window_.verbs.move([self.ref]), "arrow-right-left")
        self._console = button("Console", lambda: self.window_.verbs.console([self.ref]), "square-terminal")
        self._power = button("Start", self._press_power, "play")
        self._more = button("", self._menu, "ellipsis", "More actions")
        self._more.setAccessibleName("More actions")
        self._more.setFixedWidth(42)
        for made in (self._console, self._move, self._power, self._more):
            self.head.addWidget(made)
        self._action = PowerAction.START

    def resizeEvent(self, event: object) -> None:
        """Where it is narrow, pictures do for words."""
        super().resizeEvent(event)
        self._fit_words()

    def _fit_words(self) -> None:
        for made, text in ((self._console, "Console"), (self._move, "Move…")):
            made.setText("" if self.width() < NARROW else f" {text}")
        self._power.setText("" if self.width() < TIGHT else f" {POWER_WORDS[self._action][0]}")

    def _judge_buttons(self, vm: Vm) -> None:
        self._action = {
            PowerState.RUNNING: PowerAction.SHUTDOWN,
            PowerState.MIGRATING: PowerAction.SHUTDOWN,
            PowerState.PAUSED: PowerAction.RESUME,
            PowerState.SUSPENDED: PowerAction.RESTORE,
        }.get(vm.state, PowerAction.START)
        text, symbol = POWER_WORDS[self._action]
        set_symbol(self._power, symbol)
        reason = power_reason(self.services, [self.ref], self._action)
        self._power.setEnabled(not reason)
        self._power.setToolTip(reason or text)
        self._fit_words()
        self._power.setAccessibleName(f"{text} {vm.name}")
        self._console.setEnabled(True)
        self._console.setToolTip(f"Console of {vm.name} (Ctrl+O)")
        self._console.setAccessibleName(f"Console of {vm.name}")
        reason = site_reason(self.services, [self.ref])
        self._move.setEnabled(not reason)
        self._move.setToolTip(reason or "Move… (Ctrl+M)")

    def _press_power(self) -> None:
        self.window_.verbs.power([self.ref], self._action)

    def _menu(self) -> None:
        self.window_.popup_menu(self._more.mapToGlobal(QPoint(0, self._more.height() + 2)), [self.ref])

    def _copy_row(self) -> QHBoxLayout:
        def address() -> str:
            vm = self.services.inventory.vm(self.ref)
            return vm.addresses[0] if vm is not None and vm.addresses else ""

        def uuid() -> str:
            vm = self.services.inventory.vm(self.ref)
            return (vm.uuid or vm.ref.id) if vm is not None else ""

        row = QHBoxLayout()
        row.setSpacing(6)
        self._copies = {}
        for text, read in (("IP", address), ("UUID", uuid), ("ssh", lambda: f"ssh {address()}")):
            made = button(
                text, lambda read=read: QGuiApplication.clipboard().setText(read()), "copy", f"Copy the {text}"
            )
            made.setAccessibleName(f"Copy {text}")
            self._copies[text] = made
            row.addWidget(made)
        row.addStretch(1)
        return row

    def _place(self, vm: Vm) -> list[str]:
        host = self.services.inventory.get(vm.parent) if vm.parent is not None else None
        place = host.name if host is not None else vm.ref.connection
        words = [place if place == vm.ref.connection else f"{vm.ref.connection} / {place}"]
        if vm.vcpus:
            words.append(f"{vm.vcpus} vCPU · {fmt.size(vm.memory_bytes)}")
        if vm.state == PowerState.RUNNING and vm.started is not None:
            words.append(f"up {fmt.duration((now() - vm.started).total_seconds())}")
        if vm.addresses:
            words.append(vm.addresses[0])
        return [*words, freshness(self.window_, vm)]

    def _trouble(self, vm: Vm) -> None:
        site = self.services.connections.get(vm.ref.connection)
        if site is not None and str(site.state) != "ready":
            why = site.error or str(site.state)
            self.banner.say(f"{site.name} does not answer: {why}. These are the last known values. {site.cure}")
        elif (past := self.services.migrations.original(vm.ref)) is not None:
            words = past.words[:1].upper() + past.words[1:].replace(" -> ", " → ")
            self.banner.say(
                f"{words}. Undo that task to bring it back; it is not started beside the one that moved.", "ask"
            )
        elif vm.manager:
            self.banner.say(f"{vm.manager} owns this VM: change it there, or it may take the change back.")
        else:
            self.banner.say("")

    def _device_rows(self, vm: Vm) -> list[tuple[str, ...]]:
        volumes = self._volumes(vm)
        rows: list[tuple[str, ...]] = []
        for disk in vm.disks:
            where = ", ".join(
                word
                for word in (f"pool {disk.pool}" if disk.pool else disk.source.rsplit("/", 1)[-1], disk.format)
                if word
            )
            device = f"{disk.target} ({disk.bus})" if disk.bus else disk.target
            volume = volumes.get(disk.source)
            size = disk.size_bytes or (volume.size_bytes if volume is not None else None)
            used = volume.allocated_bytes if volume is not None else None
            rows.append((device, where or disk.device, fmt.size(size), fmt.size(used)))
        for number, nic in enumerate(vm.nics):
            address = vm.addresses[number] if number < len(vm.addresses) else ""
            rows.append((f"net{number}", ", ".join(word for word in (nic.network, nic.mac) if word), "", address))
        return rows

    def _volumes(self, vm: Vm) -> dict[str, Volume]:
        """The volumes of the disks by their path or id, where they are known."""
        sources = {disk.source for disk in vm.disks}
        known = (item for item in self.services.inventory.of(vm.ref.connection, Kind.VOLUME))
        volumes = [item for item in known if isinstance(item, Volume)]
        return {key: item for item in volumes for key in (item.path, item.ref.id) if key in sources}

    def _draw(self) -> None:
        vm = self.services.inventory.vm(self.ref)
        if vm is None:
            return
        site = self.services.connections.get(vm.ref.connection)
        if site is None or str(site.state) != "ready":
            reason = f"no metrics: {vm.ref.connection} is offline"
        elif Capability.METER not in site.capabilities:
            reason = f"no metrics: {vm.ref.connection} has none"
        else:
            reason = NO_METRICS.get(vm.state, "waiting for the first reading")
        off = vm.state in NO_METRICS
        ring = None if off else self.ring
        self.charts["cpu"].show_ring(ring, reason)
        self.charts["memory"].show_ring(ring, reason, float(vm.memory_bytes))
        self.charts["io"].show_ring(ring, reason)

    def _show_news(self) -> None:
        lines = [(line.when, line.text) for line in self.window_.events_about(self.ref)]
        told = {text for _, text in lines}
        for task in self.services.tasks.all():
            # The end of a task is an event too, unless it was before this start.
            text = f"{task.title}: {task.error or task.state}"
            if (task.uid == self.uid or self.ref in (task.ref, task.target)) and text not in told:
                lines.append((task.ended or task.created, text))
        lines.sort(reverse=True)
        self.news.show_rows(
            [(fmt.clock(when), text) for when, text in lines[:NEWS_SHOWN]], "nothing has happened to it since the start"
        )


def _tag_words(vm: Vm) -> list[str]:
    return [f"{key}={value}" if value else key for key, value in vm.tags[:1]]


def _identity_rows(vm: Vm, also: Iterable[str]) -> list[tuple[str, ...]]:
    pairs = (
        ("Also in", ", ".join(also)),
        ("UUID" if len(vm.uuid) == UUID_LENGTH else "Id", vm.uuid),
        ("Id", vm.ref.id if vm.ref.id != vm.uuid else ""),
        ("Addresses", ", ".join(vm.addresses)),
        ("Machine", ", ".join(word for word in (vm.machine, vm.arch, vm.firmware) if word)),
        ("Flavor", vm.flavor),
        ("Image", vm.image),
        ("Zone", vm.zone),
        ("Platform says", vm.native_state if vm.native_state != str(vm.state) else ""),
        ("Starts with host", "" if vm.autostart is None else "yes" if vm.autostart else "no"),
        ("Created", fmt.clock(vm.created) if vm.created else ""),
    )
    return [(name, value) for name, value in pairs if value]
