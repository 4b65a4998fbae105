"""What can be chosen for a move: how, name, storage, flavor, networks, and what is seldom needed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import QFormLayout, QLineEdit, QSizePolicy, QSpinBox, QVBoxLayout, QWidget

from app.migration.plan import Mapping, Mode
from backends.model import LiveOptions
from widgets import format as fmt
from widgets.parts import Card, Check, Combo, Elided, button, label

if TYPE_CHECKING:
    from app.migration import Planned

MODE_WORDS = {Mode.LIVE: "live: runs on", Mode.WARM: "warm: a short stop", Mode.COLD: "cold: stopped meanwhile"}
MIB = 2**20
LABEL_PX = 120
"""The most room for a network's name, in pixels: a cloud's are long, and what is chosen must stay in view."""
LIVE = (
    ("tls", "Encrypt what crosses the network (TLS)", "needs certificates on both hosts"),
    ("peer_to_peer", "Let the hosts talk to each other", "peer-to-peer"),
    ("tunnelled", "Through libvirt's own connection", "tunnelled; implies peer-to-peer"),
    ("post_copy", "Switch first, fetch memory after", "post-copy: surely ends, but a loss then stops the VM"),
    ("auto_converge", "Slow the guest down if it never ends", "auto-converge"),
)


class Choices(Card):
    """The form of one VM at a time. `changed` tells of a choice made by hand, never of one that was filled in."""

    changed = Signal()
    folded_out = Signal(QWidget)
    """The seldom needed part came into view; its last input."""

    def __init__(self) -> None:
        super().__init__("Choices")
        self._filling = False
        self._form = QFormLayout()
        self._form.setHorizontalSpacing(12)
        self._form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.body.addLayout(self._form)
        self.name = QLineEdit()
        self.mode, self.storage, self.flavor = Combo("How"), Combo("Storage"), Combo("Flavor")
        self.networks: dict[str, Combo] = {}
        self.name.textEdited.connect(lambda _: self._chosen())
        self.name.setAccessibleName("Name")
        for combo in (self.mode, self.storage, self.flavor):
            combo.activated.connect(lambda _: self._chosen())
        for text, widget in (
            ("How", self.mode), ("Name", self.name), ("Storage", self.storage), ("Flavor", self.flavor)
        ):  # fmt: skip
            self._form.addRow(label(text, "muted"), widget)
        self.fold = button("Advanced", self._toggle, "sliders-horizontal")
        self.fold.setCheckable(True)
        self.body.addWidget(self.fold, 0, Qt.AlignmentFlag.AlignLeft)
        self._advanced = self._made_advanced()
        self.body.addWidget(self._advanced)

    def _made_advanced(self) -> QWidget:
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(0, 4, 0, 0)
        self.boxes: dict[str, Check] = {}
        for name, text, tip in LIVE:
            box = self.boxes[name] = Check(text, inner)
            box.setToolTip(fmt.tip(tip))
            box.clicked.connect(lambda _: self._chosen())
            column.addWidget(box)
        self._numbers = QFormLayout()
        self._numbers.setHorizontalSpacing(12)
        self._numbers.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.parallel, self.bandwidth = QSpinBox(), QSpinBox()
        self.parallel.setRange(0, 16)
        self.parallel.setSpecialValueText("one")
        self.bandwidth.setRange(0, 100_000)
        self.bandwidth.setSuffix(" MiB/s")
        self.bandwidth.setSpecialValueText("no limit")
        for text, spin in (("Connections at once", self.parallel), ("Bandwidth", self.bandwidth)):
            spin.setAccessibleName(text)
            spin.valueChanged.connect(lambda _: self._chosen())
            self._numbers.addRow(label(text, "muted"), spin)
        column.addLayout(self._numbers)
        inner.hide()
        return inner

    def _toggle(self) -> None:
        self._advanced.setVisible(self.fold.isChecked())
        QTimer.singleShot(0, self, lambda: self.folded_out.emit(self.bandwidth))

    def _chosen(self) -> None:
        if not self._filling:
            self.changed.emit()

    # Reading

    def chosen_mode(self) -> Mode | None:
        mode = self.mode.chosen()
        return mode if isinstance(mode, Mode) else None

    def mapping(self) -> Mapping:
        pairs = tuple((name, str(combo.chosen())) for name, combo in self.networks.items() if combo.chosen())
        return Mapping(
            networks=pairs,
            storage=str(self.storage.chosen() or ""),
            flavor=str(self.flavor.chosen() or ""),
            name=self.name.text().strip(),
        )

    def live(self, before: LiveOptions) -> LiveOptions:
        """The options as they stand in the form; what it has no input for stays."""
        return replace(
            before,
            **{name: box.isChecked() for name, box in self.boxes.items()},
            parallel=self.parallel.value(),
            bandwidth_bps=self.bandwidth.value() * MIB,
        )

    # Showing

    def fill(self, planned: Planned, name: str, mapping: Mapping, live: LiveOptions) -> None:
        """Show what was chosen for a VM, and what there is to choose from at the target."""
        self._filling = True
        try:
            facts, mode = planned.target, planned.plan.mode
            self.mode.fill([(MODE_WORDS[mode], mode) for mode in Mode], mode)
            if not self.name.hasFocus():
                self.name.setText(mapping.name or name)
            pools = [
                (f"{pool.name}, {fmt.size(pool.free_bytes)} free" if pool.size_bytes else pool.name, pool.name)
                for pool in facts.pools
            ]
            self.storage.fill([("as it fits", ""), *pools], mapping.storage)
            flavors = [
                (f"{flavor.name}, {flavor.vcpus} vCPU, {fmt.size(flavor.memory_bytes)}", flavor.name)
                for flavor in facts.flavors
            ]
            self.flavor.fill([("the smallest that fits", ""), *flavors], mapping.flavor)
            self._form.setRowVisible(self.storage, bool(pools))
            self._form.setRowVisible(self.flavor, bool(flavors))
            self._fill_advanced(mode, live)
            self._fill_networks(planned, mapping)
        finally:
            self._filling = False

    def _fill_advanced(self, mode: Mode, live: LiveOptions) -> None:
        """A limit goes with every move, the rest with live ones."""
        for name, box in self.boxes.items():
            box.setChecked(bool(getattr(live, name)))
            box.setVisible(mode == Mode.LIVE)
        self.parallel.setValue(live.parallel)
        self._numbers.setRowVisible(self.parallel, mode == Mode.LIVE)
        if not self.bandwidth.hasFocus():
            self.bandwidth.setValue(live.bandwidth_bps // MIB)

    def _fill_networks(self, planned: Planned, mapping: Mapping) -> None:
        wanted = sorted({nic.network for nic in planned.source.nics if nic.network})
        known = [(network.name, network.name) for network in planned.target.networks]
        for name in set(self.networks) - set(wanted):
            self._form.removeRow(self.networks.pop(name))
        chosen = dict(mapping.networks)
        for name in wanted if known else ():
            if name not in self.networks:
                combo = self.networks[name] = Combo(f"Network for {name}")
                combo.activated.connect(lambda _: self._chosen())
                words = Elided(f"Network {name}", "muted")
                words.setToolTip(fmt.tip(f"Network {name}"))
                words.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
                words.setMaximumWidth(LABEL_PX)
                self._form.addRow(words, combo)
            same = name if any(name == data for _, data in known) else ""
            self.networks[name].fill([("as it fits", ""), *known], chosen.get(name) or same)
