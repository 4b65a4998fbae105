"""What answers on a demo VM's serial line: a login prompt, then a shell of a few commands."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

FILES = ("bin", "boot", "dev", "etc", "home", "srv", "var", "notes.txt")
HELP = "cat clear colours date echo exit flood [LINES] help hostname ls utf8 (Ctrl+C stops)"
LINE_LIMIT = 4096
BATCH = 200
"""Lines of a flood that are given at once."""


class Shell:
    """A serial line's far end. It stays as it is while nobody is connected, as a real one does.

    `feed` takes what was typed and gives what to print at once; `more` what a command goes on printing.
    """

    def __init__(self, name: Callable[[], str]) -> None:
        self._name = name
        self._line = bytearray()
        self._logged_in = False
        self._running: Iterator[bytes] | None = None
        self._commands: dict[str, Callable[[list[str]], bytes]] = {
            "cat": lambda words: b"serial lines are slow, and honest\r\n" if words else b"",
            "clear": lambda _words: b"\x1b[2J\x1b[H",
            "colours": lambda _words: _colours(),
            "date": lambda _words: time.strftime("%a %b %d %H:%M:%S UTC %Y\r\n", time.gmtime()).encode(),
            "echo": lambda words: " ".join(words).encode() + b"\r\n",
            "help": lambda _words: HELP.encode() + b"\r\n",
            "hostname": lambda _words: self._name().encode() + b"\r\n",
            "ls": lambda _words: "  ".join(f"\x1b[1;34m{file}\x1b[0m" for file in FILES).encode() + b"\r\n",
            "utf8": lambda _words: "äöü € 漢字 e\u0301 \U0001f680\r\n".encode(),
        }

    def greeting(self) -> bytes:
        """What the line says when the VM has booted."""
        return f"\r\nDemo/Linux 1.0 {self._name()} ttyS0\r\n\r\n".encode() + self._prompt()

    def feed(self, data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            if byte == 3:
                self._running = None
                self._line.clear()
                out += b"^C\r\n" + self._prompt()
            elif self._running is not None:
                continue
            elif byte in (10, 13):
                line = self._line.decode("utf-8", "replace").strip()
                self._line.clear()
                out += b"\r\n" + self._run(line)
            elif byte in (8, 127):
                out += self._rub_out()
            elif byte == 21:
                while self._line:
                    out += self._rub_out()
            elif byte >= 32 and len(self._line) < LINE_LIMIT:
                self._line.append(byte)
                out.append(byte)
        return bytes(out)

    def more(self) -> bytes:
        """The next piece of what runs; b"" where nothing does."""
        if self._running is None:
            return b""
        piece = next(self._running, None)
        if piece is None:
            self._running = None
            return self._prompt()
        return piece

    def _prompt(self) -> bytes:
        return f"root@{self._name()}:~# ".encode() if self._logged_in else f"{self._name()} login: ".encode()

    def _rub_out(self) -> bytes:
        """Take the last character back, all its bytes."""
        if not self._line:
            return b""
        while self._line.pop() & 0xC0 == 0x80 and self._line:
            pass
        return b"\b \b"

    def _run(self, line: str) -> bytes:
        if not line:
            return self._prompt()
        if not self._logged_in:
            self._logged_in = True
            return f"Welcome, {line}. `help` says what there is.\r\n".encode() + self._prompt()
        verb, *words = line.split()
        if verb == "exit":
            self._logged_in = False
            return self.greeting()
        if verb == "flood":
            count = int(words[0]) if words and words[0].isdigit() else 1 << 62
            self._running = _flood(count)
            return b""
        command = self._commands.get(verb)
        if command is None:
            return f"{verb}: command not found\r\n".encode() + self._prompt()
        return command(words) + self._prompt()


def _flood(lines: int) -> Iterator[bytes]:
    for start in range(0, lines, BATCH):
        rows = range(start, min(lines, start + BATCH))
        yield b"".join(b"%08d the quick brown fox jumps over the lazy dog\r\n" % row for row in rows)


def _colours() -> bytes:
    basic = "".join(f"\x1b[{code}m {code} \x1b[0m" for code in (*range(40, 48), *range(100, 108)))
    cube = "".join(f"\x1b[48;5;{code}m \x1b[0m" for code in range(16, 88))
    true = "".join(f"\x1b[48;2;{step * 3};80;{255 - step * 3}m \x1b[0m" for step in range(72))
    return (
        f"{basic}\r\n{cube}\r\n{true}\r\n\x1b[1mbold\x1b[0m \x1b[3mitalic\x1b[0m \x1b[4munderlined\x1b[0m\r\n".encode()
    )
