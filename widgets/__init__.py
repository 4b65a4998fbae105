"""The screen: Qt lives here and nowhere else."""

import os

# Qt for Linux would run on GLib's default main context. So does libvirt's event thread: each then dispatches what is
# the other's, in the wrong thread, until the process crashes. Qt has a dispatcher of its own.
os.environ.setdefault("QT_NO_GLIB", "1")
