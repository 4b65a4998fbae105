"""KVM hosts through libvirt: local, by SSH, TLS or TCP."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from typing import ClassVar

from backends import driver as contract
from backends.consoles import Console, Door
from backends.disks import DiskSink, DiskSource
from backends.driver import Capability, Option, Settings
from backends.errors import BackendError, Invalid, Unreachable
from backends.libvirt import actions, create, disks, exports, facts, live, picture, translate
from backends.libvirt.check import finding
from backends.libvirt.client import LONG, Client
from backends.libvirt.consoles import Doors
from backends.libvirt.probe import Verdicts
from backends.libvirt.reach import Reach
from backends.libvirt.session import HostSession
from backends.libvirt.translate import Reading
from backends.libvirt.uris import address
from backends.model import (
    Changed,
    DiskSpec,
    Finding,
    Kind,
    Listing,
    LiveOptions,
    LiveResult,
    Object,
    PowerAction,
    Progress,
    Ref,
    Sample,
    Scope,
    Section,
    SourceFacts,
    TargetFacts,
    VmSpec,
)

ALWAYS = frozenset(
    {
        Capability.WATCH,
        Capability.METER,
        Capability.DESCRIBE,
        Capability.EDIT,
        Capability.START,
        Capability.SHUTDOWN,
        Capability.OFF,
        Capability.REBOOT,
        Capability.RESET,
        Capability.PAUSE,
        Capability.RESUME,
        Capability.SAVE,
        Capability.RESTORE,
        Capability.AUTOSTART,
        Capability.DELETE,
        Capability.RENAME,
        Capability.TAG,
        Capability.STORAGE,
    }
)
REAL = frozenset({Capability.CONSOLE, Capability.SERIAL, Capability.MOVE_LIVE, Capability.EXPORT, Capability.IMPORT})
"""What libvirt's test driver does not have."""


class Driver:
    kind: ClassVar[str] = "libvirt"
    title: ClassVar[str] = "KVM / libvirt"
    section: ClassVar[Section] = Section.LOCAL
    fence_undefines: ClassVar[bool] = True
    options: ClassVar[tuple[Option, ...]] = (
        Option(
            name="uri",
            label="URI",
            help="qemu:///system, qemu+ssh://user@host/system, qemu+tls://host/system, ...",
            default="qemu:///system",
            required=True,
        ),
        Option(name="keyfile", label="Key file", help="SSH key; empty: agent and ~/.ssh/config", kind="path"),
        Option(name="passphrase", label="Passphrase", help="Of the key file", secret=True),
        Option(name="known_hosts", label="Known hosts", help="File of SSH host keys", kind="path", advanced=True),
        Option(
            name="transport",
            label="SSH by",
            help="asyncssh, or the system's ssh (Kerberos, FIDO keys)",
            default="asyncssh",
            choices=("asyncssh", "ssh"),
            advanced=True,
        ),
        Option(name="pkipath", label="TLS folder", help="cacert, clientcert, clientkey", kind="path", advanced=True),
        Option(
            name="accelerator",
            label="New VMs run by",
            help="Empty: as the VM did, or as the host's other VMs do",
            choices=("", "kvm", "qemu"),
            advanced=True,
        ),
        Option(name="migration_host", label="Migration address", help="Where moves to here go", advanced=True),
    )

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self._settings = settings
        self._reach: Reach | None = None
        self._session: HostSession | None = None
        self._doors: Doors | None = None
        self._readings: dict[str, Reading] = {}
        self.probes = Verdicts()

    @property
    def uri(self) -> str:
        return address(self._settings).text()

    @property
    def session(self) -> HostSession:
        if self._session is None:
            raise Unreachable(f"{self.name} is not connected")
        return self._session

    @property
    def client(self) -> Client:
        return self.session.client

    @property
    def doors(self) -> Doors:
        if self._doors is None:
            raise Unreachable(f"{self.name} is not connected")
        return self._doors

    @property
    def hostname(self) -> str:
        """The host's own name."""
        return self.session.host.hostname if self.session.host else ""

    def implemented(self) -> frozenset[Capability]:
        return ALWAYS | REAL

    def capabilities(self) -> frozenset[Capability]:
        real = address(self._settings).driver != "test"
        return ALWAYS | REAL if real else ALWAYS

    async def check(self) -> list[Finding]:
        """Try it once, without keeping it. Every obstacle is its own finding, by field."""
        probe = Driver(self.name, self._settings)
        try:
            await probe.connect()
        except BackendError as error:
            return [finding(error)]
        finally:
            await probe.close()
        return []

    async def connect(self) -> None:
        await self.close()
        reach = Reach(self._settings)
        client: Client | None = None
        try:
            uri = await reach.open()
            client = Client(self.name, uri, self._lost)
            await client.open()
            session = HostSession(self.name, client)
            await session.begin()
        except BaseException:
            if client is not None:
                await client.close()
            await reach.close()
            raise
        self._reach, self._session = reach, session
        self._doors = Doors(self, reach.address, reach.ssh, self._settings["pkipath"])

    def scopes(self) -> Sequence[Scope]:
        return tuple(Scope(frozenset({kind})) for kind in (Kind.HOST, Kind.VM, Kind.NETWORK, Kind.POOL, Kind.VOLUME))

    async def list(self, scope: Scope) -> Listing:
        try:
            found: list[Object] = []
            for kind in sorted(scope.kinds):
                found += await self._list(kind)
            return Listing(scope, tuple(item for item in found if scope.covers(item)))
        except BackendError as error:
            return Listing(scope, (), error)

    async def close(self) -> None:
        session, self._session = self._session, None
        reach, self._reach = self._reach, None
        doors, self._doors = self._doors, None
        if doors is not None:
            doors.hang_up()
        if session is not None:
            await session.end()
            await session.client.close()
        if reach is not None:
            await reach.close()

    async def watch(self) -> AsyncIterator[Changed]:
        async for change in self.session.watch():
            yield change

    async def power(self, ref: Ref, action: PowerAction) -> None:
        uuid = _vm(ref)
        long = action in (PowerAction.SAVE, PowerAction.RESTORE, PowerAction.START)
        deadline = 600.0 if long else None
        await self.client.call(
            lambda conn: actions.power(conn, uuid, action), changes=True, deadline=deadline, what=str(action)
        )
        await self.session.refresh(uuid)

    async def autostart(self, ref: Ref, enabled: bool) -> None:
        uuid = _vm(ref)
        await self.client.call(lambda conn: actions.autostart(conn, uuid, enabled), changes=True)
        await self.session.refresh(uuid)

    async def delete(self, ref: Ref, *, disks: bool) -> None:
        uuid = _vm(ref)
        await self.client.call(lambda conn: actions.delete(conn, uuid, disks), changes=True, deadline=120)
        await self.session.refresh(uuid)

    async def rename(self, ref: Ref, name: str) -> None:
        uuid = _vm(ref)
        await self.client.call(lambda conn: actions.rename(conn, uuid, name), changes=True)
        await self.session.refresh(uuid)

    async def tag(self, ref: Ref, tags: Mapping[str, str]) -> None:
        uuid = _vm(ref)
        await self.client.call(lambda conn: actions.tag(conn, uuid, tags), changes=True)
        await self.session.refresh(uuid)

    async def meter(self) -> Mapping[Ref, Sample]:
        session = self.session
        await session.recheck()
        records = await session.client.call(picture.meter_stats)
        at, wall = time.monotonic(), time.time()
        old, self._readings = self._readings, {}
        samples = {}
        for uuid, record in records:
            new = self._readings[uuid] = translate.reading(record, at, wall)
            samples[session.ref(uuid)] = translate.sample(new, old.get(uuid))
        return samples

    async def consoles(self, vm: Ref) -> Sequence[Console]:
        _vm(vm)
        return await self.doors.offers(vm)

    async def open_console(self, console: Console, *, force: bool = False) -> Door:
        _vm(console.vm)
        return await self.doors.open(console, force)

    async def describe(self, ref: Ref) -> str:
        uuid = _vm(ref)
        return await self.client.call(lambda conn: actions.describe(conn, uuid))

    async def definition(self, ref: Ref) -> str:
        uuid = _vm(ref)
        return await self.client.call(lambda conn: actions.definition(conn, uuid))

    async def redefine(self, ref: Ref, old: str, new: str) -> None:
        uuid = _vm(ref)
        await self.client.call(lambda conn: actions.redefine(conn, uuid, old, new), changes=True)
        await self.session.refresh(uuid)

    async def move_live(
        self,
        vm: Ref,
        target: contract.Driver,
        to: Ref,
        options: LiveOptions,
        progress: Callable[[Progress], None],
    ) -> LiveResult:
        other = _peer(target)
        uuid = _vm(vm)
        move = live.Move(
            uuid, self.client.number, other.client.number, other.uri, await other.migration_address(), options
        )
        autostart = await self.client.call(lambda conn: actions.starts_alone(conn, uuid))
        moved = await live.run(self.client, other.client, move, progress)
        if autostart:
            with suppress(BackendError):
                await other.client.call(lambda conn: actions.autostart(conn, uuid, True), changes=True)
        for side in (self, other):
            with suppress(BackendError):
                await side.session.refresh(uuid)
        return LiveResult(
            target=other.session.ref(uuid),
            seconds=moved.seconds,
            downtime_s=moved.downtime_s,
            bytes_sent=moved.bytes_sent,
            leftovers=moved.leftovers,
        )

    async def remove_leftovers(self, paths: Sequence[str], target: contract.Driver) -> tuple[str, ...]:
        """Delete the disks that a live copy left here; those that are shared with the target or in use stay."""
        other = _peer(target).client
        await other.call(lambda _conn: None)
        number = other.number
        return await self.client.call(
            lambda conn: exports.remove_leftovers(conn, number, paths), changes=True, deadline=120
        )

    async def let_go(self, vm: Ref, target: contract.Driver) -> None:
        uuid, other = _vm(vm), _peer(target)
        await other.client.call(lambda _conn: None)
        number = other.client.number
        await self.client.call(lambda conn: live.let_go(conn, number, uuid), changes=True)
        for side in (self, other):
            await side.session.refresh(uuid)

    async def rescue(self, vm: Ref, target: contract.Driver) -> bool:
        uuid, other = _vm(vm), _peer(target)
        if await other.client.call(lambda conn: picture.one_quick(conn, uuid)) is not None:
            return False
        await self.client.call(lambda conn: actions.rescue(conn, uuid), changes=True)
        await self.session.refresh(uuid)
        return True

    async def migration_address(self) -> str:
        """Where other hosts reach this one: the setting, else the URI's host, else its own name."""
        where = address(self._settings)
        return self._settings["migration_host"] or where.host or self.hostname

    async def locate(self, uuid: str) -> Ref | None:
        found = await self.client.call(lambda conn: picture.one_quick(conn, uuid))
        return None if found is None else self.session.ref(uuid)

    async def export_facts(self, vm: Ref) -> SourceFacts:
        uuid = _vm(vm)
        await self.session.refresh(uuid)
        return await facts.of_source(self, uuid)

    async def vm_spec(self, vm: Ref) -> VmSpec:
        uuid = _vm(vm)
        return await self.client.call(lambda conn: facts.spec(conn, uuid))

    async def begin_export(self, vm: Ref, *, migration: str) -> contract.ExportSession:
        uuid, client = _vm(vm), self.client
        specs = await client.call(lambda conn: exports.begin(conn, uuid, migration), deadline=LONG, changes=True)
        return exports.VolumeExport(client, migration, specs)

    async def discard_export(self, migration: str) -> None:
        await self.client.call(lambda conn: exports.discard(conn, migration), changes=True, deadline=120)

    @staticmethod
    def open_source(spec: DiskSpec, settings: Settings) -> DiskSource:
        return disks.VolumeSource(spec, settings)

    async def fence(self, vm: Ref, *, migration: str) -> None:
        uuid = _vm(vm)
        await self.client.call(lambda conn: exports.fence(conn, uuid, migration), changes=True)
        await self.session.refresh(uuid)

    async def unfence(self, vm: Ref, *, migration: str) -> None:
        uuid = _vm(vm)
        await self.client.call(lambda conn: exports.unfence(conn, uuid, migration), changes=True)
        await self.session.refresh(uuid)

    async def retire(self, vm: Ref, *, migration: str) -> None:
        uuid = _vm(vm)
        await self.client.call(lambda conn: exports.retire(conn, uuid, migration), changes=True, deadline=120)

    async def import_facts(
        self, to: Ref, source: SourceFacts | None, source_driver: contract.Driver | None
    ) -> TargetFacts:
        peer = source_driver if isinstance(source_driver, Driver) else None
        return await facts.of_target(self, to, source, peer)

    async def prepare_disk(self, to: Ref, spec: VmSpec, disk: int, *, pool: str, migration: str) -> DiskSpec:
        return await self.client.call(lambda conn: create.prepare(conn, spec, disk, pool, migration), changes=True)

    @staticmethod
    def open_sink(spec: DiskSpec, settings: Settings) -> DiskSink:
        return disks.VolumeSink(spec, settings)

    @staticmethod
    def read_back(spec: DiskSpec, disk_id: str, settings: Settings) -> DiskSource:
        return disks.VolumeSource(spec, settings)

    async def create_vm(self, to: Ref, spec: VmSpec, disk_ids: Sequence[str], *, migration: str) -> Ref:
        ids, accelerator = tuple(disk_ids), self._settings["accelerator"]
        uuid = await self.client.call(lambda conn: create.define(conn, spec, ids, migration, accelerator), changes=True)
        await self.session.refresh(uuid)
        return self.session.ref(uuid)

    async def adopt(self, vm: Ref, *, migration: str) -> None:
        uuid = _vm(vm)
        await self.client.call(lambda conn: actions.adopt(conn, uuid), changes=True)
        await self.session.refresh(uuid)

    async def discard_import(self, migration: str) -> None:
        await self.client.call(lambda conn: create.discard(conn, migration), changes=True, deadline=120)

    async def _list(self, kind: Kind) -> Sequence[Object]:
        session, name = self.session, self.name
        parent = session.parent
        match kind:
            case Kind.HOST:
                await session.begin()
                assert session.host is not None
                return (session.host,)
            case Kind.VM:
                return await session.list_vms()
            case Kind.NETWORK:
                return await self.client.call(lambda conn: picture.networks(conn, name, parent))
            case Kind.POOL:
                return await self.client.call(lambda conn: picture.pools(conn, name, parent))
            case Kind.VOLUME:
                return await self.client.call(lambda conn: picture.volumes(conn, name))
            case _:
                return ()

    def _lost(self, reason: str) -> None:
        if self._doors is not None:
            self._doors.hang_up()
        if self._session is not None:
            self._session.lost(reason)


def _vm(ref: Ref) -> str:
    if ref.kind != Kind.VM:
        raise Invalid(f"{ref} is no VM")
    return ref.id


def _peer(driver: contract.Driver) -> Driver:
    if not isinstance(driver, Driver):
        raise Invalid("a live move needs a KVM host as its target")
    return driver
