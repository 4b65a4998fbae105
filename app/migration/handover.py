"""A copy by the tool of the trade: `qemu-img convert` from file to file, `nbdcopy` from a file to an NBD server.

Used where both sides can be reached from outside this process (they answer `handle()`) and nothing is to be done to
the bytes on their way. The tool copies, and the mover hashes the source after it; a source on the network would be
sent twice, so it is not handed over.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence

from backends.disks import Handle
from backends.errors import BackendError, Cancelled

PERCENT = re.compile(rb"(\d+(?:\.\d+)?)/100")
ASK_EVERY_S = 0.1
END_S = 2.0
WORDS_KEPT = 2000


def command(source: Handle | None, sink: Handle | None) -> Sequence[str]:
    """What copies from one to the other; empty where that is not for a tool, or none is installed.

    A sink that holds something already is not: a broken copy may go on there.
    """
    if source is None or sink is None or not source.path or not sink.empty or {source.format, sink.format} != {"raw"}:
        return ()
    if sink.path and shutil.which("qemu-img"):
        raw = ("-n", "--target-is-zero", "-f", "raw", "-O", "raw")
        # Without -p: told of its progress, it takes several times as long.
        return ("qemu-img", "convert", *raw, source.path, sink.path)
    if sink.nbd and shutil.which("nbdcopy"):
        return ("nbdcopy", "--progress=1", "--destination-is-zero", "--flush", "--", source.path, sink.nbd)
    return ()


class Handover:
    """A tool at work. It begins when this is made; `share(part)` is called from a thread, with 0 to 1."""

    def __init__(self, words: Sequence[str], share: Callable[[float], None]) -> None:
        self._name = words[0]
        self._said = b""
        self._process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
        )
        self._share = share
        self._listener = threading.Thread(target=self._listen, name="handover", daemon=True)
        self._listener.start()

    def wait(self, stop: threading.Event, look: Callable[[], None] = lambda: None) -> None:
        """Until it has ended; `stop` ends it early (Cancelled), `look` is called now and then.

        Raises BackendError with its last words.
        """
        while self._listener.is_alive():
            self._listener.join(ASK_EVERY_S)
            look()
            if stop.is_set():
                self._end()
        code = self._process.wait()
        if stop.is_set():
            raise Cancelled("the copy was stopped")
        if code:
            said = self._said.decode("utf-8", "replace").split("\r")[-1].strip().splitlines()
            raise BackendError(f"{self._name}: {said[-1] if said else f'exit code {code}'}", cure="try again")

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as out:
            while more := out.read(4096):
                self._said = (self._said + more)[-WORDS_KEPT:]
                if found := PERCENT.findall(more):
                    self._share(float(found[-1]) / 100)
