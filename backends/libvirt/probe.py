"""The honest test of a pair of hosts: a tiny guest without disks is migrated for real and removed.

It proves the target's address, its ports and TLS at once; nothing else proves all of them.
"""

from __future__ import annotations

import threading
import time
import uuid as uuids
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import libvirt

from backends.errors import Unreachable
from backends.libvirt.client import Conn, connection, using
from backends.libvirt.create import virtualization
from backends.libvirt.live import bracketed
from backends.libvirt.picture import PROBE

GIVE_UP_S = 8.0
ENDS_WITHIN_S = 3.0
NO_ANSWER = "no answer: a firewall may swallow it"
VALID_S = 300.0
STALE_S = 120
CLOSED = frozenset(
    {libvirt.VIR_ERR_OPERATION_FAILED, libvirt.VIR_ERR_OPERATION_ABORTED, libvirt.VIR_ERR_SYSTEM_ERROR}
    | {libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_ERR_OPERATION_TIMEOUT}
)
"""What libvirt says when the memory did not get through; with any other error nothing is known."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """None: it could not be found out. `reason` is libvirt's word for what failed.

    `post_copy`: the target's kernel lets QEMU fetch memory later (userfaultfd).
    """

    open: bool | None
    encrypted: bool | None
    reason: str = ""
    post_copy: bool | None = None


class Verdicts:
    """Verdicts by the source's connection, valid for some minutes."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[float, Verdict]] = {}

    def get(self, number: int) -> Verdict | None:
        at, verdict = self._known.get(number, (0.0, None))
        return verdict if verdict is not None and time.monotonic() - at < VALID_S else None

    def put(self, number: int, verdict: Verdict) -> None:
        self._known[number] = (time.monotonic(), verdict)


def probe(source_number: int, target_number: int, address: str) -> Verdict:
    """Migrate a probe with TLS, then without where that failed. The probe is gone afterwards on both sides.

    Where a firewall swallows what it does not like, libvirt itself cannot be stopped for two minutes: the probe is
    given up, and its thread ends alone.
    """
    source, target = connection(source_number), connection(target_number)
    try:
        kind, emulator = virtualization(source, "x86_64")
    except Exception as error:
        return Verdict(None, None, str(error))
    for side in (source, target):
        _sweep(side)
    later = libvirt.VIR_MIGRATE_POSTCOPY
    for flags in (libvirt.VIR_MIGRATE_TLS, 0):
        opened, reason = _in_time(source_number, target_number, address, kind, emulator, flags | later)
        if later and not opened and "ostcopy" in reason:
            later = 0
            opened, reason = _in_time(source_number, target_number, address, kind, emulator, flags)
        if opened and flags:
            return Verdict(True, True, post_copy=bool(later))
        if reason == NO_ANSWER:
            break
    return Verdict(opened, False if opened else None, reason, bool(later) if opened else None)


def _in_time(source: int, target: int, address: str, kind: str, emulator: str, flags: int) -> tuple[bool | None, str]:
    """One attempt in a thread of its own, which keeps both connections until it is over."""
    found: list[tuple[bool | None, str]] = []

    def work() -> None:
        with using(), suppress(libvirt.libvirtError, Unreachable):
            found.append(_attempt(connection(source), connection(target), address, kind, emulator, flags))

    thread = threading.Thread(target=work, name="libvirt-probe", daemon=True)
    thread.start()
    thread.join(GIVE_UP_S + ENDS_WITHIN_S)
    return found[0] if found else (False, NO_ANSWER)


def _attempt(source: Conn, target: Conn, address: str, kind: str, emulator: str, flags: int) -> tuple[bool | None, str]:
    name = f"{PROBE}{int(time.time()):x}-{uuids.uuid4().hex[:8]}"
    text = (
        f"<domain type='{kind}'><name>{name}</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>"
        "<os><type arch='x86_64' machine='pc'>hvm</type></os>"
        f"<devices><emulator>{emulator}</emulator><memballoon model='none'/></devices></domain>"
    )
    try:
        item = source.createXML(text, 0)  # a paused one is refused with post-copy
    except libvirt.libvirtError as error:
        return None, str(error)
    timer = threading.Timer(GIVE_UP_S, _abort, (item,))
    timer.start()
    try:
        values = {libvirt.VIR_MIGRATE_PARAM_URI: f"tcp://{bracketed(address)}"}
        item.migrate3(target, values, flags | libvirt.VIR_MIGRATE_LIVE)
        return True, ""
    except libvirt.libvirtError as error:
        return (False if error.get_error_code() in CLOSED else None), str(error)
    finally:
        timer.cancel()
        for side in (source, target):
            with suppress(libvirt.libvirtError):
                side.lookupByName(name).destroy()


def _sweep(conn: Conn) -> None:
    """Remove probes that a process which died left; their name says when they were made."""
    for item in conn.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
        with suppress(libvirt.libvirtError, ValueError):
            name = item.name()
            if name.startswith(PROBE) and time.time() - int(name[len(PROBE) :].split("-")[0], 16) > STALE_S:
                item.destroy()


def _abort(item: Any) -> None:
    with suppress(libvirt.libvirtError):
        item.abortJob()
    time.sleep(1)
    with suppress(libvirt.libvirtError):
        item.destroy()
