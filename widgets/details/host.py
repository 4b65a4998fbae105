"""A host or a zone: its room, the VMs on it, its storage and networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QWidget

from backends.driver import Capability
from backends.model import Host, Kind, Network, Object, PowerState, Ref, Sample, StoragePool, Vm, Volume, Zone
from widgets import format as fmt
from widgets.details.charts import Chart, Ring, meter_charts, total
from widgets.details.page import CardRow, Page, freshness
from widgets.details.table import VmTable
from widgets.parts import Card, Facts, label

if TYPE_CHECKING:
    from widgets.frame import Frame

VOLUMES_SHOWN = 40


class Meter(QWidget):
    """A name, a bar, and words at its right."""

    def __init__(self, name: str) -> None:
        super().__init__()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 2, 0, 2)
        self._bar = QProgressBar(self)
        self._bar.setObjectName("meter")
        self._bar.setTextVisible(False)
        self._bar.setFixedHeight(8)
        self._bar.setRange(0, 1000)
        self._bar.setAccessibleName(name)
        self._words: QLabel = label("", "", self)
        self._words.setAlignment(Qt.AlignmentFlag.AlignRight)
        self._words.setMinimumWidth(170)
        name_label = label(name, "muted", self)
        name_label.setMinimumWidth(90)
        for widget, stretch in ((name_label, 0), (self._bar, 1), (self._words, 0)):
            row.addWidget(widget, stretch)

    def show_share(self, share: float, words: str) -> None:
        self._bar.setValue(round(1000 * min(1.0, share)))
        self._words.setText(f"{words}, {share:.1f} times" if share > 1 else words)
        if self._bar.property("over") != (share > 1):
            self._bar.setProperty("over", share > 1)
            self._bar.style().unpolish(self._bar)
            self._bar.style().polish(self._bar)


class HostPage(Page):
    """The details of a place where VMs live."""

    def __init__(self, window: Frame, ref: Ref) -> None:
        super().__init__(window, f"host:{ref}", ref, "map-pin" if ref.kind == Kind.ZONE else "server")
        self.ring = Ring()
        host = self.services.inventory.get(ref)
        self.charts: dict[str, Chart] = {}
        if isinstance(host, Host):
            self.charts = meter_charts(window.background, host.memory_bytes)
            row = QHBoxLayout()
            row.setSpacing(14)
            for chart in self.charts.values():
                row.addWidget(chart, 1)
            self.body.addLayout(row)
        self._capacity = Card("Promised to VMs")
        self._cpus, self._memory = Meter("vCPUs"), Meter("Memory")
        self._capacity.body.addWidget(self._cpus)
        self._capacity.body.addWidget(self._memory)
        self._capacity.setVisible(isinstance(host, Host))
        self.body.addWidget(self._capacity)
        vms = Card("Virtual machines")
        self.vms = VmTable(window)
        vms.body.addWidget(self.vms)
        self.body.addWidget(vms)
        self._vms_card = vms
        self.pools = Facts(("Pool", "Kind", "Size", "Free"), right=(2, 3))
        self.volumes = Facts(("Volume", "Where", "Size", "Used"), right=(2, 3))
        self.networks = Facts(("Network", "Addresses", "Kind"))
        cards = []
        for title, table in (("Storage", self.pools), ("Volumes", self.volumes), ("Networks", self.networks)):
            card = Card(title)
            card.body.addWidget(table)
            card.body.addStretch(1)
            cards.append((card, 1))
        self.body.addWidget(CardRow(cards))
        self.body.addStretch(1)
        self.refresh()

    def refresh(self) -> None:
        host = self.services.inventory.get(self.ref)
        if host is None:
            self.state.show_as("gone", "bad")
            self.banner.say(f"{self.name or self.ref.id} is no longer on {self.ref.connection}.")
            return
        self.show_name(host.name)
        site = self.services.connections.get(self.ref.connection)
        live = site is not None and str(site.state) == "ready"
        self.state.show_as("live" if live else "offline", "ok" if live else "warn")
        children = self.services.inventory.children(self.ref.connection, self.ref)
        vms = [item for item in children if isinstance(item, Vm)]
        self.show_facts([*self._words(host), fmt.counted(len(vms), "VM"), freshness(self.window_, host)])
        self.banner.say("" if live else f"{self.ref.connection} does not answer: these are the last known values.")
        self.vms.show_vms(vms)
        if isinstance(host, Host):
            self._show_capacity(host, vms)
        self._show_storage(children)
        self._draw()

    def metered(self, samples: dict[Ref, Sample]) -> None:
        sample = samples.get(self.ref) or self._sum(samples)
        if sample is not None:
            self.ring.add(sample)
            if self.isVisible():
                self._draw()

    def _sum(self, samples: dict[Ref, Sample]) -> Sample | None:
        """What the VMs here use together, where the platform meters VMs only; None where none was read."""
        host = self.services.inventory.get(self.ref)
        if not isinstance(host, Host):
            return None
        children = self.services.inventory.children(self.ref.connection, self.ref)
        read = [(vm, samples[vm.ref]) for vm in children if isinstance(vm, Vm) and vm.ref in samples]
        if not read:
            return None
        busy = total(*(None if one.cpu_percent is None else one.cpu_percent * vm.vcpus for vm, one in read))
        memory = total(*(one.memory_used_bytes for _, one in read))
        return Sample(
            at=max(one.at for _, one in read),
            cpu_percent=None if busy is None or not host.cpus else busy / host.cpus,
            memory_used_bytes=None if memory is None else int(memory),
            disk_read_bps=total(*(one.disk_read_bps for _, one in read)),
            disk_write_bps=total(*(one.disk_write_bps for _, one in read)),
            net_rx_bps=total(*(one.net_rx_bps for _, one in read)),
            net_tx_bps=total(*(one.net_tx_bps for _, one in read)),
        )

    @staticmethod
    def _words(host: Object) -> list[str]:
        if isinstance(host, Host):
            words = [host.hostname if host.hostname != host.name else "", host.hypervisor, host.arch]
            if host.cpus:
                words.append(f"{host.cpus} CPUs · {fmt.size(host.memory_bytes)}")
            return [word for word in (*words, "in maintenance" if host.maintenance else "") if word]
        if isinstance(host, Zone):
            return [] if host.available else ["not available"]
        return [str(host.ref.kind)]

    def _show_capacity(self, host: Host, vms: list[Vm]) -> None:
        on = [vm for vm in vms if vm.state not in (PowerState.OFF, PowerState.SUSPENDED)]
        cpus, memory = sum(vm.vcpus for vm in on), sum(vm.memory_bytes for vm in on)
        self._cpus.show_share(cpus / host.cpus if host.cpus else 0, f"{cpus} of {host.cpus or '?'} CPUs")
        share = memory / host.memory_bytes if host.memory_bytes else 0
        self._memory.show_share(share, fmt.used_of(memory, host.memory_bytes))

    def _show_storage(self, children: list[Object]) -> None:
        inventory, connection = self.services.inventory, self.ref.connection
        here = [*children, *inventory.children(connection, None)]
        pools = [item for item in here if isinstance(item, StoragePool)]
        networks = [item for item in here if isinstance(item, Network)]
        volumes = [item for item in here if isinstance(item, Volume)]
        where = {pool.ref: pool.name for pool in pools}
        for pool in pools:
            volumes += [item for item in inventory.children(connection, pool.ref) if isinstance(item, Volume)]
        self.pools.show_rows(
            [
                (pool.name, pool.type if pool.active else f"{pool.type}, inactive", fmt.size(pool.size_bytes),
                 fmt.size(pool.free_bytes))
                for pool in pools
            ],
            "no storage pools known",
        )  # fmt: skip
        rows = [
            (volume.name, where.get(volume.parent, volume.format) if volume.parent else volume.format,
             fmt.size(volume.size_bytes), fmt.size(volume.allocated_bytes))
            for volume in volumes[:VOLUMES_SHOWN]
        ]  # fmt: skip
        if len(volumes) > VOLUMES_SHOWN:
            rows.append((f"and {len(volumes) - VOLUMES_SHOWN} more", "", "", ""))
        self.volumes.show_rows(rows, "no volumes known: they are listed slowly, and only while shown")
        self.networks.show_rows(
            [
                (net.name, net.cidr or net.bridge, net.type if net.active else f"{net.type}, inactive")
                for net in networks
            ],
            "no networks known",
        )

    def _draw(self) -> None:
        site = self.services.connections.get(self.ref.connection)
        can = site is not None and Capability.METER in site.capabilities
        reason = "waiting for the first reading" if can else f"no metrics: {self.ref.connection} has none now"
        for chart in self.charts.values():
            chart.show_ring(self.ring, reason)
