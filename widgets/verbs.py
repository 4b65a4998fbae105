"""What the commands do with the selected objects: asks where it must, then hands over to the services."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtGui import QGuiApplication

from backends.driver import Capability
from backends.model import Kind, PowerAction, Ref, Vm
from widgets import format as fmt
from widgets.prompts import AskText, Confirm
from widgets.reasons import POWER_WORDS, able, power_reason, ready_for

if TYPE_CHECKING:
    from app.services import Services
    from widgets.frame import Frame

HARD = (PowerAction.OFF, PowerAction.RESET)
"""These lose what the guest has not written."""
SCREENS = (Capability.CONSOLE, Capability.SERIAL)
STOPS = (PowerAction.SHUTDOWN, PowerAction.OFF, PowerAction.REBOOT, PowerAction.RESET)


class Verbs:
    """One method per verb. Everything that changes the world becomes a Task; nothing here waits."""

    def __init__(self, services: Services, window: Frame) -> None:
        self._services, self._window = services, window

    def names(self, refs: Sequence[Ref]) -> list[str]:
        """The objects as people know them: web-01 on kvm-a."""
        found = []
        for ref in refs:
            item = self._services.inventory.get(ref)
            found.append(f"{item.name if item else ref.id} on {ref.connection}")
        return found

    def subject(self, refs: Sequence[Ref]) -> str:
        """web-01, or: 3 VMs."""
        item = self._services.inventory.get(refs[0]) if len(refs) == 1 else None
        return item.name if item is not None else fmt.counted(len(refs), "VM")

    def power(self, refs: Sequence[Ref], action: PowerAction) -> None:
        """Do it to those that can; hard ones, several at once and production are confirmed first."""
        ready = ready_for(self._services, refs, action)
        if not ready:
            return
        production = self._production(ready)
        ask = action in HARD or (action in STOPS and (len(ready) > 1 or production))
        if not ask:
            self._services.actions.power(ready, action)
            if action == PowerAction.SHUTDOWN:
                self._tell_shutdown(ready)
            return
        text = "What the guests have not written yet is lost." if action in HARD else "The guests are asked to stop."
        word = POWER_WORDS[action][0]
        Confirm(
            f"{word} {self.subject(ready)}?",
            self.names(ready),
            text,
            word,
            lambda _: self._start(lambda: self._services.actions.power(ready, action)),
            self._window,
            typed=production,
        ).show()

    def _tell_shutdown(self, refs: Sequence[Ref]) -> None:
        """Names what a shortcut has shut down, and offers the way back."""

        def start() -> None:
            if reason := power_reason(self._services, refs, PowerAction.START):
                self._window.toasts.tell("info", f"{self.subject(refs)} cannot be started yet: {reason}")
            self.power(refs, PowerAction.START)

        text = f"{', '.join(self.names(refs))} was asked to shut down"
        self._window.toasts.tell("info", text, action=("Start it again", start))

    def delete(self, refs: Sequence[Ref]) -> None:
        able_refs = able(self._services, refs, Capability.DELETE)
        running = [vm for ref in able_refs if (vm := self._services.inventory.vm(ref)) and vm.state == "running"]
        one = len(able_refs) == 1
        text = "Its definition goes." if one else "Their definitions go."
        if originals := sum(self._services.migrations.original(ref) is not None for ref in able_refs):
            which = "It is" if one else f"{originals} of them {'is' if originals == 1 else 'are'}"
            text += f" {which} what a move keeps for Undo: it cannot be taken back after that."
        if running:
            text += " It runs: it" if one else f" {len(running)} of them run: they"
            text += " would be forced off."
        Confirm(
            f"Delete {self.subject(able_refs)}?",
            self.names(able_refs),
            text,
            "Delete",
            lambda disks: self._start(lambda: self._services.actions.delete(able_refs, disks)),
            self._window,
            option="Delete the disks too (cannot be undone)",
            option_note="Without this the disks stay where they are",
            typed=self._production(able_refs),
        ).show()

    def rename(self, ref: Ref) -> None:
        item = self._services.inventory.get(ref)
        if item is None:
            return
        siblings = {other.name for other in self._services.inventory.of(ref.connection, Kind.VM)} - {item.name}

        def why_not(text: str) -> str:
            if not text or text == item.name:
                return "type a new name"
            return f"{text} is taken on {ref.connection}" if text in siblings else ""

        AskText(
            f"Rename {item.name}",
            "New name",
            item.name,
            lambda text: self._start(lambda: self._services.actions.rename(ref, text)),
            self._window,
            why_not=why_not,
        ).show()

    def group(self, refs: Sequence[Ref]) -> None:
        vms = [vm for vm in self._services.inventory if isinstance(vm, Vm)]
        known = sorted({vm.group for vm in vms if vm.group})
        current = {vm.group for ref in refs if (vm := self._services.inventory.vm(ref))}
        AskText(
            f"Group of {self.subject(refs)}",
            "Group",
            current.pop() if len(current) == 1 else "",
            lambda text: self._start(lambda: self._services.actions.set_group(refs, text)),
            self._window,
            known=known,
            help="Empty takes it out of its group. The group stays with a VM wherever it moves.",
        ).show()

    def tag(self, refs: Sequence[Ref]) -> None:
        able_refs = able(self._services, refs, Capability.TAG)

        def done(text: str) -> None:
            key, _, value = text.partition("=")
            self._start(lambda: self._services.actions.tag(able_refs, {key.strip(): value.strip()}))

        AskText(
            f"Tag {self.subject(able_refs)}",
            "key=value",
            "",
            done,
            self._window,
            why_not=lambda text: "" if text.partition("=")[0].strip() else "for example: owner=anna",
            help="An empty value takes the tag away.",
        ).show()

    def autostart(self, ref: Ref) -> None:
        vm = self._services.inventory.vm(ref)
        if vm is not None:
            self._start(lambda: self._services.actions.autostart(ref, not vm.autostart))

    def move(self, refs: Sequence[Ref]) -> None:
        self._window.plan_move(refs, None, copy=False)

    def console(self, refs: Sequence[Ref]) -> None:
        """One console in its tab; up to four side by side."""
        able_refs = [ref for capability in SCREENS for ref in able(self._services, refs, capability)]
        able_refs = list(dict.fromkeys(able_refs)) or list(refs)
        self._window.show_consoles(able_refs)

    def wall(self, refs: Sequence[Ref]) -> None:
        """Thumbnails of the chosen screens, or of what the search finds."""
        self._window.show_wall(refs)

    def connect(self) -> None:
        self._window.show_connect()

    def toggle_read_only(self, name: str) -> None:
        item = self._services.connections.get(name)
        if item is not None:
            self._window.background.run(
                self._services.connections.set_read_only(name, not item.read_only), f"{name}: read-only switch"
            )

    def toggle_production(self, name: str) -> None:
        item = self._services.connections.get(name)
        if item is not None:
            self._window.background.run(
                self._services.connections.set_production(name, not item.production), f"{name}: production mark"
            )

    def forget(self, name: str) -> None:
        item = self._services.connections.get(name)
        if item is None:
            return
        vms = len(self._services.inventory.of(name, Kind.VM))
        Confirm(
            f"Forget {name}?",
            (),
            f"Causeway drops the connection, its credentials and what it knows of {fmt.counted(vms, 'VM')}. "
            "Nothing changes on the site itself: it can be added again at any time.",
            "Forget",
            lambda _: self._window.forget_site(name),
            self._window,
            typed=name if item.production else "",
        ).show()

    def copy_address(self, ref: Ref) -> None:
        vm = self._services.inventory.vm(ref)
        if vm is not None and vm.addresses:
            self._copy(vm.addresses[0])

    def copy_uuid(self, ref: Ref) -> None:
        vm = self._services.inventory.vm(ref)
        if vm is not None:
            self._copy(vm.uuid or vm.ref.id)

    def copy_ssh(self, ref: Ref) -> None:
        vm = self._services.inventory.vm(ref)
        if vm is not None and vm.addresses:
            self._copy(f"ssh {vm.addresses[0]}")

    def _copy(self, text: str) -> None:
        QGuiApplication.clipboard().setText(text)
        self._window.toasts.tell("info", f"Copied {text}")

    def _production(self, refs: Sequence[Ref]) -> str:
        """What must be typed: the name of the VM, or of the production site; empty where none is production."""
        for ref in refs:
            site = self._services.connections.get(ref.connection)
            if site is not None and site.production:
                item = self._services.inventory.get(ref)
                return item.name if len(refs) == 1 and item is not None else site.name
        return ""

    def _start(self, begin: object) -> None:
        """Run what starts a task; a refusal becomes a message."""
        self._window.attempt(begin)
