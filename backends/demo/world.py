"""A make-believe platform: hosts, VMs and byte-true disks, in memory or in a folder that several processes share."""

from __future__ import annotations

import json
import math
import random
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from pathlib import Path

from backends.demo.scratch import Scratch
from backends.errors import (
    AuthNeeded,
    BackendError,
    Conflict,
    Denied,
    NotFound,
    OutcomeUnknown,
    QuotaExceeded,
    Throttled,
    Unreachable,
)
from backends.model import (
    Disk,
    Host,
    Kind,
    Network,
    Nic,
    Object,
    Origin,
    PowerState,
    Ref,
    Sample,
    StoragePool,
    Vm,
    now,
)

GIB = 1 << 30
MIB = 1 << 20
DISK_BYTES = 8 * MIB
ROLES = ("web", "db", "cache", "mail", "build", "app", "queue", "ldap", "proxy", "git")
GROUPS = ("web", "data", "infra", "research")
SYSTEMS = ("debian 12", "ubuntu 24.04", "rocky 9", "windows 2022")
ERRORS: dict[str, type[BackendError]] = {
    "unreachable": Unreachable,
    "throttled": Throttled,
    "auth": AuthNeeded,
    "denied": Denied,
    "conflict": Conflict,
    "quota": QuotaExceeded,
    "unknown": OutcomeUnknown,
}


class Faults:
    """Which calls fail, written `call=error*count`, comma separated; without a count: always."""

    def __init__(self, text: str = "") -> None:
        self._left: Counter[str] = Counter()
        self._error: dict[str, type[BackendError]] = {}
        for part in filter(None, (item.strip() for item in text.split(","))):
            body, _, count = part.partition("*")
            call, _, error = body.partition("=")
            self.add(call, error or "unreachable", int(count) if count else 1 << 30)

    def add(self, call: str, error: str = "unreachable", count: int = 1) -> None:
        self._error[call] = ERRORS[error]
        self._left[call] = count

    def check(self, call: str) -> None:
        """Raise what is due for this call."""
        if self._left[call] > 0:
            self._left[call] -= 1
            raise self._error[call](f"{call}: a fault that was asked for")


class World:
    """The state of one demo connection; with `folder` it lives there, and what another process wrote is read again."""

    def __init__(self, connection: str, *, vms: int, hosts: int, folder: Path | None) -> None:
        self.connection = connection
        self._scratch: Scratch | None = None
        if folder is None:
            self._scratch = Scratch()
            folder = self._scratch.path
        self.folder = folder
        self.disks = self.folder / "disks"
        self.disks.mkdir(parents=True, exist_ok=True)
        self._state = self.folder / "state.json"
        self._stamp = 0
        self.vms: dict[str, Vm] = {}
        self.fenced: dict[str, str] = {}
        self.hosts = [self._host(number) for number in range(max(1, hosts))]
        self.pool = StoragePool(
            ref=Ref(connection, Kind.POOL, "default"),
            name="default",
            parent=self.hosts[0].ref,
            size_bytes=100 * 1024 * GIB,
            free_bytes=80 * 1024 * GIB,
            type="dir",
            path=str(self.disks),
        )
        self.network = Network(
            ref=Ref(connection, Kind.NETWORK, "lan"), name="lan", parent=self.hosts[0].ref, type="bridge"
        )
        if not self.load():
            self.vms = {vm.ref.id: vm for vm in self._populate(vms)}
            self.save()

    def close(self) -> None:
        if self._scratch is not None:
            self._scratch.close()

    def get(self, ref: Ref) -> Vm:
        """The VM as it is now. Raises NotFound."""
        self.load()
        found = self.vms.get(ref.id)
        if found is None or ref.kind != Kind.VM:
            raise NotFound(f"there is no VM {ref.id}", object_name=ref.id)
        return found

    def put(self, vm: Vm) -> Vm:
        vm = replace(vm, seen=now(), origin=Origin.EVENT)
        self.vms[vm.ref.id] = vm
        self.save()
        return vm

    def remove(self, ref: Ref) -> None:
        self.vms.pop(ref.id, None)
        self.fenced.pop(ref.id, None)
        self.save()

    def disk(self, name: str) -> Path:
        return self.disks / name

    def materialize(self, vm: Vm) -> None:
        """Give a VM's disks their bytes: the same for the same name, mostly holes, as real disks are."""
        for disk in vm.disks:
            path = self.disk(disk.source)
            if path.exists():
                continue
            size = disk.size_bytes or DISK_BYTES
            dice = random.Random(disk.source)
            scratch = path.with_suffix(".new")
            with scratch.open("wb") as file:
                file.truncate(size)
                for _ in range(4):
                    file.seek(dice.randrange(0, max(1, size - 70_000)))
                    file.write(dice.randbytes(min(size // 4, 65_536)))
                file.truncate(size)
            scratch.replace(path)

    def sample(self, vm: Vm, at: float) -> Sample:
        seed = hash(vm.ref.id) % 997
        wave = (math.sin(at / 17 + seed) + math.sin(at / 5 + seed * 3) + 2) / 4
        load = min(100.0, 4 + 70 * wave * ((seed % 10) / 10))
        return Sample(
            at=at,
            cpu_percent=load,
            memory_used_bytes=int(vm.memory_bytes * (0.4 + 0.3 * wave)),
            disk_read_bps=wave * seed * 4e3,
            disk_write_bps=wave * seed * 9e3,
            net_rx_bps=wave * seed * 12e3,
            net_tx_bps=wave * seed * 7e3,
        )

    def save(self) -> None:
        if self._scratch is not None:
            return
        state = {"vms": [_encode(vm) for vm in self.vms.values()], "fenced": self.fenced}
        scratch = self._state.with_suffix(".new")
        scratch.write_text(json.dumps(state), encoding="utf-8")
        scratch.replace(self._state)
        self._stamp = self._state.stat().st_mtime_ns

    def load(self) -> bool:
        """Read the folder's state if somebody else changed it. False where there is none."""
        if self._scratch is not None:
            return False
        try:
            stamp = self._state.stat().st_mtime_ns
        except FileNotFoundError:
            return False
        if stamp != self._stamp:
            state = json.loads(self._state.read_text(encoding="utf-8"))
            self.vms = {vm.ref.id: vm for vm in (_decode(row, self.connection) for row in state["vms"])}
            self.fenced = dict(state["fenced"])
            self._stamp = stamp
        return True

    def _host(self, number: int) -> Host:
        name = f"{self.connection}-host-{number + 1:02d}"
        return Host(
            ref=Ref(self.connection, Kind.HOST, name),
            name=name,
            uuid=str(uuid.uuid5(uuid.NAMESPACE_DNS, name)),
            hostname=name,
            cpus=64,
            memory_bytes=512 * GIB,
            hypervisor="demo",
            arch="x86_64",
        )

    def _populate(self, count: int) -> Iterable[Vm]:
        dice = random.Random(self.connection)
        started = now() - timedelta(days=3, hours=4)
        for number in range(count):
            role = ROLES[number % len(ROLES)]
            name = f"{role}-{number // len(ROLES) + 1:02d}"
            ident = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{self.connection}/{name}"))
            host = self.hosts[number % len(self.hosts)]
            state = (
                PowerState.OFF if number % 5 == 4 else PowerState.PAUSED if number % 37 == 36 else PowerState.RUNNING
            )
            yield Vm(
                ref=Ref(self.connection, Kind.VM, ident),
                name=name,
                parent=host.ref,
                state=state,
                native_state=state.value,
                vcpus=dice.choice((1, 2, 4, 8)),
                memory_bytes=dice.choice((1, 2, 4, 8, 16)) * GIB,
                uuid=ident,
                addresses=(f"10.{20 + number // 65025}.{number // 255 % 255}.{number % 255 + 1}",),
                disks=(Disk(target="vda", source=f"{ident}-0.img", size_bytes=DISK_BYTES, bus="virtio", boot=True),),
                nics=(
                    Nic(mac=f"52:54:00:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}", network="lan"),
                ),
                group=GROUPS[number % len(GROUPS)],
                os=SYSTEMS[number % len(SYSTEMS)],
                arch="x86_64",
                firmware="bios",
                started=started if state == PowerState.RUNNING else None,
                autostart=False,
                detailed=True,
            )


def rebase(vm: Vm, connection: str, parent: Ref) -> Vm:
    """The same VM in another place."""
    return replace(vm, ref=Ref(connection, Kind.VM, vm.ref.id), parent=parent)


def objects(world: World, kinds: frozenset[Kind]) -> tuple[Object, ...]:
    found: list[Object] = []
    if Kind.HOST in kinds:
        found += world.hosts
    if Kind.VM in kinds:
        world.load()
        found += world.vms.values()
    if Kind.POOL in kinds:
        found.append(world.pool)
    if Kind.NETWORK in kinds:
        found.append(world.network)
    return tuple(found)


def _encode(vm: Vm) -> dict[str, object]:
    row = asdict(vm)
    row["ref"], row["parent"] = vm.ref.id, vm.parent.id if vm.parent else None
    for name in ("seen", "started", "created"):
        row[name] = row[name].isoformat() if row[name] else None
    return row


def _decode(row: dict[str, object], connection: str) -> Vm:
    values = dict(row)
    values["ref"] = Ref(connection, Kind.VM, str(row["ref"]))
    values["parent"] = Ref(connection, Kind.HOST, str(row["parent"]))
    values["state"] = PowerState(str(row["state"]))
    values["origin"] = Origin.EVENT
    for name in ("seen", "started", "created"):
        text = row[name]
        values[name] = datetime.fromisoformat(str(text)) if text else None
    values["disks"] = tuple(Disk(**disk) for disk in row["disks"])  # type: ignore[attr-defined]
    values["nics"] = tuple(Nic(**nic) for nic in row["nics"])  # type: ignore[attr-defined]
    values["addresses"] = tuple(row["addresses"])  # type: ignore[arg-type]
    values["tags"] = tuple((key, value) for key, value in row["tags"])  # type: ignore[attr-defined]
    return Vm(**values)  # type: ignore[arg-type]
