"""What could be connected, found on this machine without asking anybody: for the first run.

The parsers are pure; only `discover` looks at files and runs programs, off the loop and with a deadline.
"""

from __future__ import annotations

import ast
import asyncio
import configparser
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

DEADLINE_S = 3.0
SYSTEM_SOCKETS = ("libvirt/libvirt-sock", "libvirt/virtqemud-sock")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A connection that could be added: `settings` fit the kind's options, `origin` says where it was found."""

    kind: str
    name: str
    title: str
    origin: str
    settings: Mapping[str, str] = field(default_factory=dict)


async def discover(home: Path | None = None, run: Path = Path("/run")) -> list[Found]:
    """Everything found, without doubles; takes some seconds at most and never fails.

    Parameters: `home` is the user's own folder, `run` the system's run-time folder.
    """
    user = home or Path.home()
    files, uris = await asyncio.gather(asyncio.to_thread(_from_files, user, run), _virt_manager_uris())
    seen: dict[tuple[str, str], Found] = {}
    for item in [*files, *from_uris(uris)]:
        seen.setdefault((item.kind, item.settings.get("uri") or item.name), item)
    return list(seen.values())


def local_libvirt(run: Path, runtime: Path | None, has_libvirt: bool) -> list[Found]:
    """This machine's own libvirt: the system's where its socket is, the session's where a client is installed."""
    found = []
    if any((run / socket).exists() for socket in SYSTEM_SOCKETS):
        found.append(_libvirt("this-machine", "This machine's KVM", "local socket", "qemu:///system"))
    session = runtime is not None and any((runtime / socket).exists() for socket in SYSTEM_SOCKETS)
    if session or (found and has_libvirt):
        found.append(_libvirt("my-session", "My own VMs on this machine", "local socket", "qemu:///session"))
    return found


def ssh_hosts(text: str) -> list[Found]:
    """The hosts of an OpenSSH client configuration; patterns and negations are no hosts."""
    found: dict[str, Found] = {}
    for line in text.splitlines():
        match = re.match(r"\s*host(?:\s*=\s*|\s+)(\S.*)$", line, re.IGNORECASE)
        if match is None:
            continue
        try:
            names = shlex.split(match[1], comments=True)
        except ValueError:
            continue
        for name in names:
            if not re.search(r"[*?!/\s]", name):
                found[name] = _libvirt(name, f"KVM on {name}", "~/.ssh/config", f"qemu+ssh://{name}/system")
    return list(found.values())


def aws_profiles(config: str, credentials: str = "") -> list[Found]:
    """The profiles of ~/.aws/config and ~/.aws/credentials; only names and regions are read, never a key."""
    regions: dict[str, str] = {}
    for text, prefix in ((config, "profile "), (credentials, "")):
        parser = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
        try:
            parser.read_string(text)
        except configparser.Error:
            continue
        for section in parser.sections():
            if section == "default" or not prefix or section.startswith(prefix):
                name = section.removeprefix(prefix).strip().strip('"')
                region = (parser.get(section, "region", fallback="") or "").strip()
                regions[name] = regions.get(name) or region
    return [
        Found(
            kind="ec2",
            name="aws" if name == "default" else f"aws-{name}",
            title=f"AWS profile {name}",
            origin="~/.aws",
            settings={"profile": name, **({"regions": region} if region else {})},
        )
        for name, region in regions.items()
    ]


def from_uris(uris: Iterable[str]) -> list[Found]:
    """virt-manager's saved connections."""
    found = []
    for uri in uris:
        parts = urlsplit(uri)
        if not parts.scheme:
            continue
        place = parts.hostname or ("my-session" if parts.path == "/session" else "this-machine")
        if parts.scheme.startswith("test"):
            place = f"test-{Path(parts.path).name or 'default'}"
        found.append(_libvirt(place, f"{uri}", "virt-manager", uri))
    return found


def string_list(text: str) -> list[str]:
    """A list of strings as gsettings and dconf print it: ['a', 'b'], or @as [] for none."""
    try:
        value = ast.literal_eval(text.strip().removeprefix("@as").strip() or "[]")
    except (ValueError, SyntaxError):
        return []
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _libvirt(name: str, title: str, origin: str, uri: str) -> Found:
    return Found(kind="libvirt", name=name, title=title, origin=origin, settings={"uri": uri})


def _from_files(user: Path, run: Path) -> list[Found]:
    found: list[Found] = []
    if sys.platform != "win32":
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        has_libvirt = shutil.which("libvirtd") is not None or shutil.which("virtqemud") is not None
        found += local_libvirt(run, Path(runtime) if runtime else None, has_libvirt)
    found += ssh_hosts(_with_includes(user / ".ssh" / "config", user / ".ssh"))
    aws = user / ".aws"
    found += aws_profiles(_text(aws / "config"), _text(aws / "credentials"))
    return found


def _with_includes(path: Path, folder: Path, depth: int = 0) -> str:
    """An OpenSSH configuration with what it includes; relative patterns are below ~/.ssh."""
    lines: list[str] = []
    for line in _text(path).splitlines():
        match = re.match(r"\s*include(?:\s*=\s*|\s+)(\S.*)$", line, re.IGNORECASE)
        if match is None:
            lines.append(line)
        elif depth < 4:
            for pattern in match[1].split():
                below = pattern.removeprefix("~/.ssh/")
                if not below.startswith(("/", "~")):
                    lines += [_with_includes(item, folder, depth + 1) for item in sorted(folder.glob(below))]
    return "\n".join(lines)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")[: 2**20]
    except OSError:
        return ""


async def _virt_manager_uris() -> list[str]:
    """What virt-manager has saved, asked with gsettings, else dconf; nothing where neither answers in time."""
    for command in (
        ("gsettings", "get", "org.virt-manager.virt-manager.connections", "uris"),
        ("dconf", "read", "/org/virt-manager/virt-manager/connections/uris"),
    ):
        program = shutil.which(command[0])
        if program is None:
            continue
        found = string_list(await _output(program, *command[1:]))
        if found:
            return found
    return []


async def _output(*command: str) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return ""
    try:
        out, _ = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        return ""
    return out.decode(errors="replace") if process.returncode == 0 else ""
