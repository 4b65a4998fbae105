"""This terminal on a serial line: raw keys to it, its bytes to the screen, Ctrl+] leaves."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sys
import threading
from typing import Any

import typer

from app.cli.printer import Printer, harmless
from app.cli.rows import Row
from backends.errors import Unsupported

LEAVE = b"\x1d"
UNSENT = 64 * 1024
"""Keys that a line does not take are dropped beyond that, so that Ctrl+] is always read."""
JOIN_S = 2.0


class LinePrinter(Printer):
    """Takes the rows of `console-line`: attaches the terminal to the socket that one of them names.

    Between `line` and the end the terminal is raw; what is said meanwhile stands on lines of its own. Raises
    BadParameter (exit 2) where there is no terminal, Unsupported on Windows.
    """

    def __init__(self, as_json: bool) -> None:
        super().__init__(as_json, _show_kept)
        if sys.platform == "win32":
            cure = "use the window's console tab"
            raise Unsupported("--serial needs a terminal of the Unix kind, which Windows has not", cure=cure)
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise typer.BadParameter("there is no terminal to attach", param_hint="--serial")
        self._terminal: _Terminal | None = None

    def __call__(self, row: Row) -> None:
        if row["type"] == "line":
            print(f"{harmless(row['name'])}: {harmless(row['label'])}. Ctrl+] leaves.", file=sys.stderr)  # noqa: T201
            self._terminal = _Terminal(row["socket"])
        elif row["type"] == "note" and self._terminal is not None:
            self._terminal.say(row["message"])
        else:
            self._leave()
            super().__call__(row)

    def close(self) -> None:
        self._leave()
        super().close()

    def _leave(self) -> None:
        terminal, self._terminal = self._terminal, None
        if terminal is not None:
            terminal.close()


class _Terminal:
    """Standard input and output, raw, joined with a socket by a thread of its own until either ends."""

    def __init__(self, path: str) -> None:
        self._in, self._out = sys.stdin.fileno(), sys.stdout.fileno()
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._line.connect(path)
        self._line.setblocking(False)
        # Whoever ends the program from outside must not leave a terminal without echo.
        self._handlers = {name: signal.signal(name, _leave) for name in (signal.SIGTERM, signal.SIGHUP)}
        self._before = _raw(self._in)
        self._thread = threading.Thread(target=self._join, name="terminal", daemon=True)
        self._thread.start()

    def say(self, text: str) -> None:
        os.write(self._out, f"\r\n[{harmless(text)}]\r\n".encode())

    def close(self) -> None:
        """Give the terminal back as it was."""
        with contextlib.suppress(OSError):  # The other side may have hung up already.
            self._line.shutdown(socket.SHUT_RDWR)
        self._thread.join(JOIN_S)
        self._line.close()
        _restore(self._in, self._before)
        for name, handler in self._handlers.items():
            signal.signal(name, handler)
        os.write(self._out, b"\r\n")

    def _join(self) -> None:
        unsent = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(self._in, selectors.EVENT_READ)
            selector.register(self._line, selectors.EVENT_READ)
            try:
                while self._once(selector, unsent):
                    writes = selectors.EVENT_WRITE if unsent else 0
                    selector.modify(self._line, selectors.EVENT_READ | writes)
                self._line.shutdown(socket.SHUT_RDWR)
            except OSError:
                return

    def _once(self, selector: selectors.BaseSelector, unsent: bytearray) -> bool:
        """What is there now, in both directions. False at the end."""
        for key, events in selector.select():
            if key.fd == self._in:
                keys = os.read(self._in, 1024)
                before, leaves, _ = keys.partition(LEAVE)
                if len(unsent) + len(before) <= UNSENT:
                    unsent += before
                if leaves or not keys:
                    return False
                continue
            if events & selectors.EVENT_READ:
                data = self._line.recv(65536)
                if not data:
                    return False
                _write(self._out, data)
            if events & selectors.EVENT_WRITE:
                del unsent[: self._line.send(unsent)]
        return True


def _leave(number: int, frame: object) -> None:
    """The way out through every `finally`."""
    raise SystemExit(128 + number)


def _write(descriptor: int, data: bytes) -> None:
    """All of it, blocking: a terminal that does not keep up slows the line down."""
    while data:
        data = data[os.write(descriptor, data) :]


def _raw(descriptor: int) -> Any:
    """No echo, no signals, every key at once. Returns how it was."""
    if sys.platform == "win32":
        return None
    import termios
    import tty

    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor, termios.TCSANOW)
    return before


def _restore(descriptor: int, before: Any) -> None:
    if sys.platform != "win32":
        import termios

        termios.tcsetattr(descriptor, termios.TCSANOW, before)


def _show_kept(console: Any, row: Row) -> None:
    output = (row["data"] or {}).get("output")
    if output is not None:
        console.print(output.replace("\r", ""), markup=False, highlight=False)
