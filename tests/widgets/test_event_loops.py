"""Qt and libvirt run in one process: neither may dispatch what is the other's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BOTH = """
import os, threading
import widgets
from PySide6.QtCore import QAbstractEventDispatcher, QTimer
from PySide6.QtWidgets import QApplication
from backends.libvirt.client import EVENTS

EVENTS.start()
import libvirt
libvirt.virEventAddTimeout(1, lambda timer, opaque: None, None)
app = QApplication([])
here, rounds, elsewhere = threading.get_ident(), [], []

def tick():
    rounds.append(1)
    if threading.get_ident() != here:
        elsewhere.append(1)
    if len(rounds) == 300:
        app.quit()

timer = QTimer(interval=1)
timer.timeout.connect(tick)
timer.start()
app.exec()
print(QAbstractEventDispatcher.instance().metaObject().className(), len(rounds), len(elsewhere), flush=True)
os._exit(0)
"""


def test_libvirts_event_thread_leaves_qt_alone() -> None:
    """On GLib's default context both would take turns: GLib complains, Qt's timers stop, in the end it crashes."""
    clean = {name: value for name, value in os.environ.items() if name != "QT_NO_GLIB"}
    done = subprocess.run(
        [sys.executable, "-c", BOTH], capture_output=True, text=True, timeout=120, check=False, cwd=ROOT, env=clean
    )
    assert (done.returncode, done.stderr) == (0, "")
    dispatcher, rounds, elsewhere = done.stdout.split()
    assert (int(rounds), int(elsewhere)) == (300, 0)
    assert "Glib" not in dispatcher
