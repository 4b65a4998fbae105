"""SPICE and RDP consoles, in the viewer that this machine has: a private connection file, and the program on it.

Sources: remote-viewer(1), "Connection file"; Microsoft's list of .rdp settings; FreeRDP reads `password:s:` of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from backends.consoles import ConsoleKind, Door
from backends.errors import Invalid, Unreachable, Unsupported

EARLY_S = 1.0
"""A viewer that fails does so soon: so long it is waited for."""
READ_S = 15.0
"""After so long a viewer has read its connection file, or given it to a window of its own that was open already."""
MOST_SAID = 2000

PROGRAMS = {
    ConsoleKind.SPICE: ("remote-viewer",),
    ConsoleKind.RDP: ("mstsc",) if sys.platform == "win32" else ("xfreerdp3", "xfreerdp", "remmina"),
}
SUFFIX = {ConsoleKind.SPICE: ".vv", ConsoleKind.RDP: ".rdp"}
WINDOWS = {ConsoleKind.SPICE: "VirtViewer*/bin/remote-viewer.exe"}
"""Where installers for Windows put a program that is not on the PATH, below the folder for programs."""
INSTALLS = {
    "debian": ("apt install", {ConsoleKind.SPICE: "virt-viewer", ConsoleKind.RDP: "freerdp2-x11"}),
    "fedora": ("dnf install", {ConsoleKind.SPICE: "virt-viewer", ConsoleKind.RDP: "freerdp"}),
    "rhel": ("dnf install", {ConsoleKind.SPICE: "virt-viewer", ConsoleKind.RDP: "freerdp"}),
    "suse": ("zypper install", {ConsoleKind.SPICE: "virt-viewer", ConsoleKind.RDP: "freerdp"}),
    "arch": ("pacman -S", {ConsoleKind.SPICE: "virt-viewer", ConsoleKind.RDP: "freerdp"}),
    "alpine": ("apk add", {ConsoleKind.SPICE: "virt-viewer", ConsoleKind.RDP: "freerdp"}),
}
"""How a viewer is installed, by the ID or ID_LIKE of os-release(5)."""


def program(kind: ConsoleKind) -> str:
    """The path of the viewer for a kind. Raises Unsupported, naming the package, where none is installed."""
    if kind not in PROGRAMS:
        raise Unsupported(f"a {kind} console needs no external viewer")
    for name in PROGRAMS[kind]:
        found = shutil.which(name)
        if found is not None:
            return found
    if sys.platform == "win32" and kind in WINDOWS:
        folders = [os.environ.get(name, "") for name in ("ProgramFiles", "ProgramFiles(x86)")]
        for folder in filter(None, folders):
            if places := sorted(Path(folder).glob(WINDOWS[kind])):
                return str(places[-1])
    raise Unsupported(f"no viewer for {kind.upper()} is installed here", cure=_install(kind))


def connection_file(door: Door, title: str) -> str:
    """What a viewer is told, secrets included. Raises Invalid for a value that would break its lines."""
    make: dict[ConsoleKind, Callable[[Door, str], dict[str, str]]] = {ConsoleKind.SPICE: _vv, ConsoleKind.RDP: _rdp}
    kind = door.console.kind
    values = make[kind](door, title)
    for key, value in values.items():
        if not value.isprintable():
            raise Invalid(f"the console's {key.split(':')[0]} has characters that no viewer takes", field=key)
    head, apart = ("[virt-viewer]\n", "=") if kind == ConsoleKind.SPICE else ("", ":")
    return head + "".join(f"{key}{apart}{value}\n" for key, value in values.items() if value)


def folder_of(home: Path) -> Path:
    """Where the connection files of a data folder are: in the user's runtime folder, which no disk keeps, if there is
    one; else in the data folder."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    with contextlib.suppress(OSError):
        if runtime and sys.platform != "win32" and Path(runtime).stat().st_uid == os.geteuid():
            return Path(runtime) / f"causeway-{hashlib.sha256(os.fsencode(home)).hexdigest()[:12]}"
    return home / "viewers"


def sweep(home: Path) -> None:
    """Remove the connection files that an earlier run left, passwords and all. Only for the owner of the folder."""
    for folder in {folder_of(home), home / "viewers"}:
        with contextlib.suppress(OSError):
            for file in folder.iterdir():
                with contextlib.suppress(OSError):
                    file.unlink()
            folder.rmdir()


class Viewer:
    """One running viewer. Its door stays open until it ends; its file is gone as soon as it is read.

    `failed` is called (in a thread) with its last words where it ends with an error later than at once.
    """

    def __init__(self, door: Door, title: str, folder: Path, failed: Callable[[str], None]) -> None:
        self._door = door
        self._title = title
        self._folder = folder
        self._failed = failed
        self._file: Path | None = None
        self._said: Path | None = None

    def start(self) -> None:
        """Blocking, EARLY_S at most. Raises Unsupported without a viewer, Unreachable where it fails at once."""
        try:
            words = self._words()
            assert self._said is not None
            with self._said.open("wb") as said:
                process = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
                )
        except OSError as error:
            self.close()
            raise Unreachable(f"the viewer does not start: {error.strerror}") from None
        except BaseException:
            self.close()
            raise
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(EARLY_S)
            if code:
                last = self._last_words()
                self.close()
                raise Unreachable(f"{Path(words[0]).name} ended with {code}: {last or 'it says nothing'}")
        threading.Thread(target=self._watch, args=(process,), name="viewer", daemon=True).start()

    def close(self) -> None:
        """Hang up and remove its files; the viewer itself is its user's. Idempotent, from any thread."""
        for file in (self._file, self._said):
            if file is not None:
                file.unlink(missing_ok=True)
        self._door.close()

    def _words(self) -> list[str]:
        """The command: it names the file, and no secret."""
        kind = self._door.console.kind
        found = program(kind)
        content = connection_file(self._door, self._title)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        name = secrets.token_hex(8)
        self._file = self._folder / f"{name}{SUFFIX[kind]}"
        self._said = self._folder / f"{name}.log"
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
        return command(found, str(self._file))

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() == 0:
            # It gave the file to a window of its own that was open already.
            time.sleep(READ_S)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(READ_S)
        if self._file is not None:
            self._file.unlink(missing_ok=True)
        code = process.wait()
        last = self._last_words()
        self.close()
        if code > 0:
            self._failed(last or f"it ended with {code}")

    def _last_words(self) -> str:
        """The last line that it said, without the password."""
        assert self._said is not None
        try:
            text = self._said.read_bytes()[-MOST_SAID:].decode(errors="replace")
        except OSError:
            return ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        last = lines[-1] if lines else ""
        return last.replace(self._door.password, "...") if self._door.password else last


def command(found: str, file: str) -> list[str]:
    """How a viewer at the path `found` is started on a connection file."""
    match Path(found).stem:
        case "remmina":
            return [found, "-c", file]
        case "xfreerdp" | "xfreerdp3":
            # It would ask on a terminal whether the certificate is right, and there is none: so it takes a host's
            # first one, and refuses another one later.
            return [found, file, "/cert:tofu"]
    return [found, file]


def _vv(door: Door, title: str) -> dict[str, str]:
    path = door.host if door.host.startswith("/") else ""
    values = {
        "type": "spice",
        "title": title,
        "unix-path": path,
        "host": "" if path else door.host,
        # Told of both, a viewer begins with the one that is not encrypted.
        "port": str(door.port or "") if door.carrier or not (door.tls and door.tls_port) else "",
        "tls-port": str(door.tls_port or ""),
        "password": door.password,
        "proxy": door.proxy,
    }
    if door.tls is not None and door.tls_port:
        if door.tls.ca:
            values["ca"] = Path(door.tls.ca).read_text(encoding="ascii").replace("\n", "\\n")
        # The forward that leads there bears another name than the certificate.
        values["host-subject"] = f"CN={door.tls.host}" if door.host != door.tls.host else ""
    return {**values, "delete-this-file": "1"}


def _rdp(door: Door, title: str) -> dict[str, str]:
    port = door.port or 3389
    host = f"[{door.host}]" if ":" in door.host else door.host
    values = {"full address:s": f"{host}:{port}", "username:s": door.user, "redirectclipboard:i": "1"}
    # Windows' own viewer takes sealed passwords only, and asks for it.
    return values if sys.platform == "win32" else {**values, "password:s": door.password}


def _install(kind: ConsoleKind) -> str:
    """What to do to have a viewer, in words for this system."""
    if sys.platform == "win32":
        return "install virt-viewer from https://virt-manager.org/download"
    if sys.platform == "darwin":
        return "brew install virt-viewer" if kind == ConsoleKind.SPICE else "brew install freerdp"
    with contextlib.suppress(OSError):
        release = platform.freedesktop_os_release()
        for name in [release.get("ID", ""), *release.get("ID_LIKE", "").split()]:
            known = next((key for key in INSTALLS if name == key or (key == "suse" and "suse" in name)), None)
            if known is not None:
                command, packages = INSTALLS[known]
                return f"{command} {packages[kind]}"
    return f"install {'virt-viewer' if kind == ConsoleKind.SPICE else 'FreeRDP'}"
