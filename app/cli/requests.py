"""What may be asked over the owner's socket: the types of every verb's arguments.

Whoever asks may be another version of Causeway, or no Causeway at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.cli.rows import Row
from app.migration.plan import Mode
from backends.errors import Invalid

Check = Callable[[Any], bool]
LIVE: dict[str, type[int]] = {
    **dict.fromkeys(("tls", "peer_to_peer", "tunnelled", "post_copy", "auto_converge"), bool),
    **dict.fromkeys(("parallel", "bandwidth_bps"), int),
}
"""What of a live move's options is a person's choice; the rest is found out."""


def text(value: Any) -> bool:
    return isinstance(value, str)


def flag(value: Any) -> bool:
    return isinstance(value, bool | None)


def texts(value: Any) -> bool:
    return isinstance(value, list) and all(text(item) for item in value)


def pairs(value: Any) -> bool:
    return isinstance(value, dict) and all(text(key) and text(item) for key, item in value.items())


def mode(value: Any) -> bool:
    return value is None or value in [item.value for item in Mode]


def live(value: Any) -> bool:
    return isinstance(value, dict) and all(type(item) is LIVE.get(key) and item >= 0 for key, item in value.items())


def seeds(value: Any) -> bool:
    shape = {"name": text, "kind": text, "settings": pairs, "secrets": pairs}
    return isinstance(value, list) and all(
        isinstance(item, dict) and item.keys() == shape.keys() and all(shape[key](item[key]) for key in shape)
        for item in value
    )


def each(verbs: str, **checks: Check) -> dict[str, dict[str, Check]]:
    return dict.fromkeys(verbs.split(), checks)


NEEDS: dict[str, dict[str, Check]] = {
    **each("connect", kind=text, name=text, settings=pairs, secrets=pairs),
    **each("disconnect", name=text),
    **each("show", ref=text),
    **each("start shutdown stop reboot pause resume delete", refs=texts),
    **each("plan move", ref=text, to=text),
    **each("retry undo cancel", task=text),
    **each("playground-add playground-drop", seeds=seeds),
    **each("picture", path=text),
    **each("console console-line", ref=text),
    **each("console-screenshot", ref=text, path=text),
}
"""What a verb must be given."""
MAY: dict[str, dict[str, Check]] = {
    **each("connect", read_only=flag, production=flag, local=flag),
    **each("disconnect undo", yes=flag),
    **each("ls", query=text, offline=flag),
    **each("show", offline=flag),
    **each("delete", disks=flag),
    **each("console-line", force=flag),
    **each("console-screenshot", unproven=flag),
    **each("plan move", mode=mode, copy=flag, map=texts, storage=text, flavor=text, name=text, live=live),
}
"""What else it takes."""


def arguments(request: Row) -> tuple[str, Row]:
    """The verb of a request and its arguments. Raises Invalid for what is missing or of another type."""
    verb, args = request.get("verb"), request.get("args") or {}
    if not isinstance(verb, str) or not isinstance(args, dict):
        raise Invalid("a request names a verb and its arguments")
    needs = NEEDS.get(verb, {})
    if missing := needs.keys() - args.keys():
        raise Invalid(f"{verb} needs {', '.join(sorted(missing))}")
    checks = needs | MAY.get(verb, {})
    if wrong := [key for key, check in checks.items() if key in args and not check(args[key])]:
        raise Invalid(f"{verb} does not take such a value for {', '.join(wrong)}")
    return verb, args
