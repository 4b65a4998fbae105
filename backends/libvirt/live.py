"""Live migration: what is asked of libvirt, how it is watched, and how its end is proved."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import libvirt

from backends.errors import BackendError, Cancelled, Conflict, NotFound, OutcomeUnknown, Unreachable, Unsupported
from backends.libvirt import picture
from backends.libvirt.actions import autostart, undefine
from backends.libvirt.client import LONG, Client, Conn, connection
from backends.libvirt.domainxml import Domain
from backends.libvirt.storage import pool_for, pool_path, refresh, remove_volume
from backends.libvirt.translate import power_state
from backends.model import LiveOptions, Progress

POLL_S = 0.2
ABORT_EVERY_S = 0.3
YANK_AFTER_S = 4.0
"""How long an aborted move may take to end before its memory's lines are cut too."""
ABORTS_WITHIN_S = 30.0
POST_COPY_AFTER = 2
"""Iterations of pre-copy before a post-copy move switches over."""
IN_POST_COPY = frozenset({libvirt.VIR_DOMAIN_PAUSED_POSTCOPY, libvirt.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED})
MIGRATABLE = libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_SECURE
STORED = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE


@dataclass(frozen=True, slots=True)
class Move:
    """One live move: who, by which connections, to which address."""

    uuid: str
    source: int
    target: int
    target_uri: str
    """What the source's daemon opens in a peer-to-peer move."""
    address: str
    """Where the memory goes: the target host's address."""
    options: LiveOptions


@dataclass(frozen=True, slots=True)
class Moved:
    seconds: float
    downtime_s: float | None
    bytes_sent: int | None
    leftovers: tuple[str, ...]


def flags(options: LiveOptions, persistent: bool, live: bool) -> int:
    """The flags of virDomainMigrate3 for these options."""
    wanted = libvirt.VIR_MIGRATE_LIVE if live else 0
    if persistent:
        wanted |= libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
    for asked, flag in (
        (options.copy_storage, libvirt.VIR_MIGRATE_NON_SHARED_DISK),
        (options.unsafe, libvirt.VIR_MIGRATE_UNSAFE),
        (options.peer_to_peer or options.tunnelled, libvirt.VIR_MIGRATE_PEER2PEER),
        (options.tunnelled, libvirt.VIR_MIGRATE_TUNNELLED),
        (options.tls, libvirt.VIR_MIGRATE_TLS),
        (options.post_copy, libvirt.VIR_MIGRATE_POSTCOPY),
        (options.auto_converge, libvirt.VIR_MIGRATE_AUTO_CONVERGE),
        (options.parallel > 1, libvirt.VIR_MIGRATE_PARALLEL),
    ):
        if asked:
            wanted |= flag
    return int(wanted)


def params(move: Move, dest_xml: str, persist_xml: str) -> dict[str, Any]:
    """The typed parameters. libvirt counts bandwidth in MiB/s; the target's address is always given."""
    options = move.options
    found: dict[str, Any] = {}
    if not options.tunnelled:
        found[libvirt.VIR_MIGRATE_PARAM_URI] = options.uri or f"tcp://{bracketed(move.address)}"
    if options.copy_storage:
        found[libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS] = list(options.copy_storage)
    if options.bandwidth_bps:
        found[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH] = max(options.bandwidth_bps >> 20, 1)
        if options.post_copy:
            found[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH_POSTCOPY] = max(options.bandwidth_bps >> 20, 1)
    if options.parallel > 1:
        found[libvirt.VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS] = options.parallel
    if dest_xml:
        found[libvirt.VIR_MIGRATE_PARAM_DEST_XML] = dest_xml
    if persist_xml:
        found[libvirt.VIR_MIGRATE_PARAM_PERSIST_XML] = persist_xml
    return found


def bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


async def run(client: Client, other: Client, move: Move, progress: Callable[[Progress], None]) -> Moved:
    """Move it. Returns when the target says it runs there and the source no longer has it.

    On an error the VM is where it was, else OutcomeUnknown. Cancelling aborts; a move that was through is a success.
    A post-copy move that broke off after its switch is gone on with: nothing else saves the VM.
    """
    if move.options.tunnelled and move.options.copy_storage:
        raise Unsupported("a tunnelled move cannot copy disks", cure="choose TLS, or shared storage")
    going_on = await client.call(lambda conn: _in_post_copy(conn, move.uuid))
    leftovers = await client.call(lambda _conn: _prepare(move, going_on), what="prepare the move")
    ended = threading.Event()
    began = time.monotonic()
    watcher = asyncio.create_task(_watch(client, move, progress, ended))
    work = asyncio.ensure_future(client.call(lambda _conn: _migrate(move, going_on), deadline=LONG, changes=True))
    failure: BaseException | None = None
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError as cancelled:
        failure = cancelled
        await _abort(client, move, work)
    except BackendError as error:
        failure = error
    finally:
        ended.set()
        watcher.cancel()
    seconds = time.monotonic() - began
    where = await _where(client, other, move)
    if where == "target":
        stats = await other.call(lambda conn: _completed(conn, move.uuid))
        return Moved(seconds, stats[0], stats[1], leftovers)
    if where == "source":
        if failure is None:
            raise OutcomeUnknown("the move was reported done, but the VM is still on the source")
        if going_on:
            raise OutcomeUnknown("the VM is not on the target any more, and its memory is not all here") from failure
        with suppress(BackendError):
            await other.call(lambda conn: _clean(conn, move, leftovers), changes=True)
        raise failure
    raise OutcomeUnknown(f"it is not sure where the VM runs: {where}") from failure


def _in_post_copy(conn: Conn, uuid: str) -> bool:
    """Whether the target runs it and still needs the memory that is here."""
    try:
        state, reason = conn.lookupByUUIDString(uuid).state()
    except libvirt.libvirtError:
        return False
    return state == libvirt.VIR_DOMAIN_PAUSED and reason in IN_POST_COPY


def _prepare(move: Move, going_on: bool) -> tuple[str, ...]:
    """Judge what would fail later. Returns the paths of the disks that a copy leaves on the source."""
    source, target = connection(move.source), connection(move.target)
    item = picture.domain(source, move.uuid)
    if going_on:
        # Where the line broke without a word, QEMU here still waits on the old one.
        with suppress(libvirt.libvirtError):
            item.abortJobFlags(libvirt.VIR_DOMAIN_ABORT_JOB_POSTCOPY)
        return tuple(
            disk.source for disk in Domain.parse(item.XMLDesc(0)).disks if disk.target in move.options.copy_storage
        )
    if not item.isActive():
        raise Conflict(f"{item.name()} is not running: only a running VM moves live")
    with suppress(NotFound):
        there = picture.domain(target, move.uuid)
        raise Conflict(f"a VM of this UUID is on the target already: {there.name()}")
    if any(other.name() == item.name() for other in target.listAllDomains(0)):
        raise Conflict(f"the name {item.name()} is taken on the target", field="name")
    definition = Domain.parse(item.XMLDesc(MIGRATABLE))
    chosen = [disk for disk in definition.disks if disk.target in move.options.copy_storage]
    for disk in chosen:
        folder = _folder(target, move, disk.source)
        pool = pool_for(target, folder)
        if pool is None:
            raise Conflict(f"the target has no active storage pool at {folder}", cure="make or start one there")
        if PurePosixPath(disk.source).name in pool.listVolumes():
            raise Conflict(f"{disk.source} exists on the target already", cure="remove it there", field="storage")
    return tuple(disk.source for disk in chosen)


def _clean(target: Conn, move: Move, paths: tuple[str, ...]) -> None:
    """Remove the half-written copies of a move that did not happen; `_prepare` saw that none was there before."""
    for path in paths:
        remove_volume(target, f"{_folder(target, move, path)}/{PurePosixPath(path).name}")


def _folder(target: Conn, move: Move, path: str) -> str:
    if move.options.pool:
        return pool_path(target.storagePoolLookupByName(move.options.pool))
    return str(PurePosixPath(path).parent)


def _rewritten(text: str, target: Conn, move: Move) -> str:
    """The definition for the target: copied disks in the chosen pool, NICs on the mapped networks."""
    definition, networks = Domain.parse(text), dict(move.options.networks)
    for disk in definition.disks:
        if move.options.pool and disk.target in move.options.copy_storage:
            disk.move_to(f"{_folder(target, move, disk.source)}/{PurePosixPath(disk.source).name}")
    known = {network.name() for network in target.listAllNetworks(0)}
    for nic in definition.nics:
        wanted = networks.get(nic.network, "")
        if wanted and wanted != nic.network:
            nic.connect_to(wanted, "" if wanted in known else wanted)
    return definition.text()


def _migrate(move: Move, going_on: bool) -> None:
    source, target = connection(move.source), connection(move.target)
    item = picture.domain(source, move.uuid)
    persistent = bool(item.isPersistent())
    dest_xml = persist_xml = ""
    if move.options.pool or move.options.networks:
        dest_xml = _rewritten(item.XMLDesc(MIGRATABLE), target, move)
        persist_xml = _rewritten(item.XMLDesc(STORED), target, move) if persistent else ""
    live = going_on or item.state()[0] != libvirt.VIR_DOMAIN_PAUSED
    wanted, values = flags(move.options, persistent, live), params(move, dest_xml, persist_xml)
    if going_on:
        wanted |= libvirt.VIR_MIGRATE_POSTCOPY_RESUME
    if wanted & libvirt.VIR_MIGRATE_PEER2PEER:
        item.migrateToURI3(move.target_uri, values, wanted)
    else:
        item.migrate3(target, values, wanted)


async def _watch(client: Client, move: Move, progress: Callable[[Progress], None], ended: threading.Event) -> None:
    """Ask the source five times a second; switch to post-copy when its time has come."""
    switched = not move.options.post_copy
    last, at = 0, time.monotonic()
    while not ended.is_set():
        await asyncio.sleep(POLL_S)
        with suppress(BackendError):
            stats = await client.call(lambda conn: _stats(conn, move.uuid), deadline=LONG)
            if stats and not ended.is_set():
                seen, moment = progress_of(stats), time.monotonic()
                rate = seen.rate_bps or max(seen.done_bytes - last, 0) / max(moment - at, POLL_S)
                last, at = seen.done_bytes, moment
                progress(replace(seen, rate_bps=rate))
                if not switched and int(stats.get("memory_iteration", 0)) >= POST_COPY_AFTER:
                    switched = True
                    await client.call(lambda conn: _post_copy(conn, move.uuid))


def _post_copy(conn: Conn, uuid: str) -> None:
    picture.domain(conn, uuid).migrateStartPostCopy(0)


def _stats(conn: Conn, uuid: str) -> dict[str, Any]:
    """The job's numbers, empty when there is no job (any more)."""
    try:
        return dict(conn.lookupByUUIDString(uuid).jobStats(0))
    except libvirt.libvirtError:
        return {}


def progress_of(stats: dict[str, Any]) -> Progress:
    done = int(stats.get("memory_processed", 0)) + int(stats.get("disk_processed", 0))
    total = int(stats.get("memory_total", 0)) + int(stats.get("disk_total", 0))
    left = int(stats.get("memory_remaining", 0)) + int(stats.get("disk_remaining", 0))
    rate = float(stats.get("memory_bps", 0)) + float(stats.get("disk_bps", 0))
    rounds = int(stats.get("memory_iteration", 0))
    return Progress(
        done_bytes=max(done, 0),
        total_bytes=max(total, done + left),
        rate_bps=rate,
        text=f"memory, round {rounds}" if rounds else "disks" if stats.get("disk_total") else "memory",
    )


async def _abort(client: Client, move: Move, work: asyncio.Future[None]) -> None:
    """End the job and wait until libvirt has rolled it back. It may have been too late: the caller looks.

    Raises OutcomeUnknown where that takes long; it is told to end all the same, until it has.
    """
    ending = asyncio.create_task(_end(client, move, work), name=f"end {move.uuid}")
    ENDINGS.add(ending)
    ending.add_done_callback(ENDINGS.discard)
    await asyncio.wait({ending}, timeout=ABORTS_WITHIN_S)
    if not ending.done():
        raise OutcomeUnknown("the move does not end although it was aborted", cure="it is looked at again now and then")
    if not work.done():
        # The target runs it already, and needs the rest of its memory.
        await asyncio.wait({work})


ENDINGS: set[asyncio.Task[None]] = set()
"""What is not to be collected as long as it runs."""


async def _end(client: Client, move: Move, work: asyncio.Future[None]) -> None:
    """Abort the job until it is over, or the target has the VM. The disks' lines are cut before: what QEMU asks of a
    target that is not reached any more, when libvirt takes the copy down, would stop it and its guest for minutes."""
    began = time.monotonic()
    while not work.done():
        yank = partial(_yank, uuid=move.uuid, memory=time.monotonic() - began > YANK_AFTER_S)
        with suppress(BackendError):
            if await client.call(lambda conn: _in_post_copy(conn, move.uuid)):
                return
            await client.call(yank, changes=True, deadline=LONG)
        with suppress(BackendError):
            await client.call(lambda conn: _abort_job(conn, move.uuid), changes=True, deadline=LONG)
        await asyncio.wait({work}, timeout=ABORT_EVERY_S)
    with suppress(BackendError):
        work.result()


def _abort_job(conn: Conn, uuid: str) -> None:
    with suppress(libvirt.libvirtError):
        conn.lookupByUUIDString(uuid).abortJob()


def _yank(conn: Conn, uuid: str, memory: bool) -> None:
    """Cut the lines of a move (QEMU's `yank`); those of the guest's own network disks and consoles are left alone."""
    import libvirt_qemu

    item = picture.domain(conn, uuid)
    said = json.loads(libvirt_qemu.qemuMonitorCommand(item, json.dumps({"execute": "query-yank"}), 0))
    ours = [
        line
        for line in said.get("return", ())
        if str(line.get("node-name", "")).startswith("migration-") or (memory and line["type"] == "migration")
    ]
    if ours:
        command = {"execute": "yank", "arguments": {"instances": ours}}
        libvirt_qemu.qemuMonitorCommand(item, json.dumps(command), 0)


async def _where(client: Client, other: Client, move: Move) -> str:
    """`source`, `target`, or in words why that cannot be said. Both sides are asked, by UUID."""
    try:
        there = await other.call(lambda conn: picture.one_quick(conn, move.uuid))
    except (Unreachable, Cancelled):
        return "the target does not answer"
    try:
        here = await client.call(lambda conn: picture.one_quick(conn, move.uuid))
    except (Unreachable, Cancelled):
        return "the source does not answer"
    alive_there = there is not None and there.state in RUNS
    alive_here = here is not None and here.state in RUNS
    if alive_there and not alive_here:
        return "target"
    if alive_here and not alive_there:
        return "source"
    if alive_there:
        return "the target runs it, and the source still holds it paused: do not resume it there"
    return "neither side runs it"


RUNS = frozenset(
    {
        libvirt.VIR_DOMAIN_RUNNING,
        libvirt.VIR_DOMAIN_BLOCKED,
        libvirt.VIR_DOMAIN_PAUSED,
        libvirt.VIR_DOMAIN_PMSUSPENDED,
    }
)


def _completed(conn: Conn, uuid: str) -> tuple[float | None, int | None]:
    """Downtime in seconds and bytes sent, from the target's completed job; None after post-copy."""
    try:
        stats = conn.lookupByUUIDString(uuid).jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
    except libvirt.libvirtError:
        return None, None
    downtime = stats.get("downtime_net", stats.get("downtime"))
    sent = stats.get("memory_processed", stats.get("data_processed"))
    return None if downtime is None else int(downtime) / 1000, None if sent is None else int(sent)


def let_go(conn: Conn, target: int, uuid: str) -> None:
    """End and undefine what a broken move left here; NVRAM, TPM state and disks stay, as after a whole one. Raises
    Conflict, with nothing touched, unless the target surely runs it, as persistent as it is here, and needs it no more.
    """
    there, here = picture.one_quick(connection(target), uuid), picture.one_quick(conn, uuid)
    if here is None:
        return
    state = "not there" if there is None else power_state(there)[1]
    if there is None or there.state not in ALIVE or there.reason in NEEDS_SOURCE or here.state in ALIVE:
        text = f"{here.name} is {power_state(here)[1]} here and {state} on the target: nothing was touched"
        raise Conflict(text, cure="it is looked at again now and then")
    if here.persistent and not there.persistent:
        raise Conflict(f"{here.name} is not defined on the target: nothing was touched", cure="define it there")
    if here.autostart:
        autostart(connection(target), uuid, True)
    item = picture.domain(conn, uuid)
    if item.isActive():
        item.destroy()
    if here.persistent:
        undefine(item, keep=True)


ALIVE = frozenset({libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_BLOCKED})
NEEDS_SOURCE = frozenset(
    {libvirt.VIR_DOMAIN_RUNNING_POSTCOPY, getattr(libvirt, "VIR_DOMAIN_RUNNING_POSTCOPY_FAILED", 11)}
)
"""Reasons of a VM that runs on the target while some of its memory is still on the source."""


def refresh_pools(conn: Conn) -> None:
    """After a move with disks: let both sides see what is there."""
    for pool in conn.listAllStoragePools(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE):
        refresh(pool)
