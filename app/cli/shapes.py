"""Objects, connections, plans and tasks as the plain dicts that --json prints. The names are a promise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.connections import Connection
from app.identity import Identity
from app.migration.plan import Plan, Verdict
from app.store import codec
from app.tasks import Offer, Task
from backends.model import Finding, Host, Object, Vm, now

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Row = dict[str, Any]


def of_object(item: Object, identity: Identity, kept: str = "") -> Row:
    """One line of `ls --json`; `kept` says what it is the original of, where it is kept for Undo."""
    vm = item if isinstance(item, Vm) else None
    host = item if isinstance(item, Host) else None
    return {
        "ref": str(item.ref),
        "uid": identity.uid_of(item.ref) if vm else "",
        "name": item.name,
        "kind": item.ref.kind.value,
        "connection": item.ref.connection,
        "parent": str(item.parent) if item.parent else "",
        "state": str(getattr(item, "state", "")),
        "vcpus": vm.vcpus if vm else host.cpus if host else 0,
        "memory_bytes": getattr(item, "memory_bytes", 0),
        "addresses": list(vm.addresses) if vm else [],
        "group": vm.group if vm else "",
        "origin": item.origin.value,
        "age_s": round(max(0.0, (now() - item.seen).total_seconds()), 1),
        "id": item.ref.id,
        "uuid": getattr(item, "uuid", ""),
        "kept": kept,
    }


def of_details(item: Object, identity: Identity, text: str, kept: str = "") -> Row:
    """`show --json`: the line of `ls`, every field of the object, and the platform's own words."""
    fields: Row = codec.encode(item)
    return {**fields, **of_object(item, identity, kept), "description": text}


def of_connection(connection: Connection) -> Row:
    return {
        "name": connection.name,
        "kind": connection.kind,
        "uri": connection.uri or connection.settings.get("uri", ""),
        "state": connection.state.value,
        "error": connection.error,
        "cure": connection.cure,
        "section": connection.section.value,
        "read_only": connection.read_only,
        "production": connection.production,
        "same_as": connection.same_as,
        "capabilities": sorted(connection.capabilities),
    }


def of_finding(finding: Finding) -> Row:
    return {
        "level": finding.level.value,
        "code": finding.code,
        "message": finding.message,
        "cure": finding.cure,
        "field": finding.field,
    }


def of_plan(plan: Plan, verdict: Verdict, stages: Sequence[str], steps: Sequence[str]) -> Row:
    return {
        "verdict": verdict.colour,
        "text": verdict.text,
        "allowed": verdict.allowed,
        "vm": str(plan.vm),
        "to": str(plan.to),
        "mode": plan.mode.value,
        "path": plan.path.value,
        "copy": plan.copy,
        "findings": [of_finding(finding) for finding in verdict.findings],
        "stages": list(stages) if verdict.allowed else [],
        "steps": list(steps) if verdict.allowed else [],
        "forecast": {
            "seconds": plan.forecast.seconds,
            "downtime_s": plan.forecast.downtime_s,
            "bytes": plan.forecast.bytes,
            "measured": plan.forecast.measured,
        },
    }


def of_task(task: Task, offers: Iterable[Offer]) -> Row:
    """A task whole: what `tasks --json` prints. `offers`: what can be done about it."""
    row: Row = codec.encode(task)
    return {
        **row,
        "id": task.id,
        "kind": task.kind,
        "title": task.title,
        "state": task.state.value,
        "error": task.error,
        "cure": task.cure,
        "ref": str(task.ref) if task.ref else "",
        "target": str(task.target) if task.target else "",
        "created": task.created.isoformat(),
        "ended": task.ended.isoformat() if task.ended else "",
        "undo": task.undo,
        "offers": sorted(offer.value for offer in offers),
    }


def of_progress(task: Task) -> Row:
    """How far a task is, small enough to be sent several times a second."""
    stages = [
        {
            "name": stage.name,
            "state": stage.state.value,
            "done_bytes": stage.progress.done_bytes,
            "total_bytes": stage.progress.total_bytes,
            "rate_bps": stage.progress.rate_bps,
            "text": stage.progress.text,
        }
        for stage in task.stages
    ]
    return {"type": "progress", "task": task.id, "title": task.title, "state": task.state.value, "stages": stages}


def of_move(task: Task, ok: bool, seconds: float) -> Row:
    """The last words of `move --json`."""
    target = task.result.get("target_ref") or task.result.get("target") or (task.target if ok else "") or ""
    return {
        "ok": ok,
        "task": task.id,
        "state": task.state.value,
        "seconds": task.result.get("seconds", round(seconds, 3)),
        "downtime_s": task.result.get("downtime_s"),
        "bytes_sent": task.result.get("bytes_sent"),
        "target_ref": str(target),
        "error": task.error,
        "cure": task.cure,
    }
