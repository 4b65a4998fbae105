"""What a VM will have where it goes, beside what it had before an earlier move changed that. Pure."""

from __future__ import annotations

from app.migration.forecast import size
from backends.model import Finding, Level, SourceFacts, TargetFacts, VmSpec


def resized(
    source: SourceFacts, target: TargetFacts, spec: VmSpec | None, before: VmSpec | None, origin: str
) -> tuple[Finding, ...]:
    """Says the size of a VM that goes to another platform, where no flavor decides it: that is judged with the flavors.

    `spec` is the VM as it is to be made, `before` as it was on `origin` until a move brought it where it is now (None:
    no move did). Less than it had is amber. Nothing is said of what is not known.
    """
    if spec is None or source.platform == target.platform or target.flavors or not spec.memory_bytes:
        return ()
    flavor = f" ({source.vm.flavor})" if source.vm.flavor else ""
    has = f"{_machine(spec)}{flavor}"
    if before is None or not before.memory_bytes:
        return (Finding(level=Level.INFO, code="size", message=f"keeps what it has now: {has}"),)
    now, then = _sizes(spec), _sizes(before)
    other_disks = len(now) == len(then) and now != then
    if not other_disks and (spec.vcpus, spec.memory_bytes) == (before.vcpus, before.memory_bytes):
        return ()
    had = _machine(before)
    if other_disks:
        has, had = f"{has}, disk {_words(now)}", f"{had}, disk {_words(then)}"
    less = spec.vcpus < before.vcpus or spec.memory_bytes < before.memory_bytes
    return (
        Finding(
            level=Level.AMBER if less else Level.INFO,
            code="size",
            message=f"will have {has}; it had {had} on {origin}",
            cure=f"change it afterwards, or undo the move from {origin} instead",
        ),
    )


def _machine(spec: VmSpec) -> str:
    return f"{spec.vcpus} vCPU, {size(spec.memory_bytes)}"


def _sizes(spec: VmSpec) -> list[int]:
    return [disk.size_bytes for disk in spec.disks if disk.device == "disk"]


def _words(sizes: list[int]) -> str:
    return " + ".join(size(one) for one in sizes)
