"""What is wrong with a connection's settings, before anything is asked: pure, by field."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from backends.driver import Option
from backends.model import Finding, Level

_AS_SECRET = "give it by --secret-env, --secret-file or --secret-stdin"


def validate(options: Iterable[Option], settings: Mapping[str, str], secrets: Collection[str]) -> list[Finding]:
    """What is wrong with a connection's settings, before anything is asked: one finding per field."""
    known = {option.name: option for option in options}
    found: list[Finding] = []

    def red(code: str, name: str, message: str, cure: str = "") -> None:
        found.append(Finding(level=Level.RED, code=code, field=name, message=message, cure=cure))

    for name in [*settings, *secrets]:
        if name not in known:
            red("unknown-option", name, f"there is no option {name!r}", f"one of {', '.join(known)}")
        elif name in settings and known[name].secret:
            red("secret-in-settings", name, f"{known[name].label} is a secret", _AS_SECRET)
    for name, option in known.items():
        value = settings.get(name, "")
        if option.required and not value and name not in secrets and not option.default:
            red("required", name, f"{option.label} is needed", option.help)
        if value and option.choices and value not in option.choices:
            red("choice", name, f"{option.label} cannot be {value!r}", f"one of {', '.join(option.choices)}")
        if value and option.kind == "int" and not value.lstrip("-").isdigit():
            red("number", name, f"{option.label} must be a whole number, not {value!r}")
    return found


def as_finding(error: BaseException) -> Finding:
    """An error as the finding that the form shows at its field."""
    code = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in type(error).__name__).lstrip("-")
    return Finding(
        level=Level.RED,
        code=code,
        message=str(error) or type(error).__name__,
        cure=getattr(error, "cure", ""),
        field=getattr(error, "field", ""),
    )


def named(name: str) -> list[Finding]:
    """A connection's name is part of every reference to its objects, so it holds no slash."""
    if name and name == name.strip() and "/" not in name and name.isprintable():
        return []
    message = "a name is one line without slashes and without blanks at its ends"
    return [Finding(level=Level.RED, code="name", field="name", message=message)]
