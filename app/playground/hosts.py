"""A playground host: a libvirtd with QEMU in namespaces of its own, and the switch that connects the hosts.

Process 1 of a host runs `host.sh`. Killing it is a power cut: the kernel ends everything in its pid namespace.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from uuid import UUID

from app.playground import processes
from app.playground.errors import PlaygroundError
from app.playground.running import call, launch, tail, wait
from app.playground.ssh import Ssh

DAEMON = """\
host_uuid = "{uuid}"
listen_tls = 1
listen_tcp = 0
auth_tls = "none"
unix_sock_rw_perms = "0777"
unix_sock_ro_perms = "0777"
auth_unix_rw = "none"
auth_unix_ro = "none"
max_clients = 200
keepalive_interval = 1
keepalive_count = 3
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""
"""Its sockets are open to all who can reach them: they lie in a folder that only the owner can enter."""
QEMU = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = [ ]
cgroup_controllers = [ ]
stdio_handler = "file"
vnc_auto_unix_socket = 1
default_tls_x509_cert_dir = "/etc/pki/qemu"
default_tls_x509_verify = 1
migration_address = "{address}"
keepalive_interval = 1
keepalive_count = 3
swtpm_user = "root"
swtpm_group = "root"
"""
"""Without cgroup controllers a domain starts in a second where a machine has no systemd; QEMU's files are root's."""
POOL = """\
<pool type='dir'><name>{name}</name><uuid>{uuid}</uuid><target><path>/var/lib/libvirt/{folder}</path></target></pool>
"""
NETWORK = """\
<network><name>lan</name><uuid>{uuid}</uuid><forward mode='bridge'/><bridge name='br0'/></network>
"""


@dataclass(frozen=True, slots=True)
class Switch:
    """The network between the hosts: a bridge in a namespace of its own, nothing of it in the machine's."""

    key: str
    folder: Path

    @property
    def mark(self) -> str:
        return f"{self.key}/switch"

    def pid(self) -> int | None:
        return next(iter(processes.marked(self.mark)), None)

    def start(self) -> None:
        """Idempotent. Returns when the bridge is up."""
        if self.pid() is None:
            script = "ip link add br0 type bridge && ip link set br0 up && exec sleep infinity"
            launch(self.mark, self.folder / "switch.log", "unshare", "--net", "sh", "-c", script)
        wait(lambda: "br0" in self._links(), "the switch did not come up", self.folder / "switch.log")

    def plug(self, name: str, host: int) -> None:
        """A cable from the switch to the host whose process 1 is `host`; the other end of it is called eth0."""
        self._ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(host))
        self._ip("link", "set", name, "master", "br0", "up")

    def plugged(self, name: str) -> bool:
        return name in self._links()

    def carry(self, name: str, on: bool) -> None:
        """Whether the cable of a host carries anything."""
        self._ip("link", "set", name, "up" if on else "down")

    def _links(self) -> str:
        try:
            return self._ip("-brief", "link")
        except PlaygroundError:
            return ""

    def _ip(self, *words: str) -> str:
        pid = self.pid()
        if pid is None or processes.namespace(pid, "net") == processes.namespace(os.getpid(), "net"):
            raise PlaygroundError("The playground's switch does not run", "causeway playground up")
        return call("nsenter", "-t", str(pid), "-n", "ip", *words)


@dataclass(frozen=True, slots=True)
class Host:
    """One host. All methods block and need root, but `uri` and `socket`."""

    name: str
    address: str
    uuid: str
    folder: Path
    sockets: Path
    switch: Switch
    ssh: Ssh | None = None

    @property
    def mark(self) -> str:
        return f"{self.switch.key}/{self.name}"

    @property
    def mac(self) -> str:
        """Of its own network card: the same after every power cut."""
        return ":".join(["02", *(self.uuid[at : at + 2] for at in (0, 2, 4, 6, 9))])

    @property
    def socket(self) -> Path:
        return self.sockets / "libvirt-sock"

    @property
    def uri(self) -> str:
        return f"qemu+unix:///system?socket={self.socket}"

    @property
    def logs(self) -> Path:
        """Where the serial lines of its guests are recorded: <name>.serial."""
        return self.folder / "log/qemu"

    def pid(self) -> int | None:
        """Its process 1, as the machine numbers it."""
        return processes.first(self.mark)

    def prepare(self) -> None:
        """Its folders and configuration, as on a disk: they survive a power cut."""
        for part in ("root", "etc/qemu/networks/autostart", "etc/storage/autostart", "pki", "cache"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        for part in ("lib/images", "lib/shared", "lib/boot", "log/qemu"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        etc = self.folder / "etc"
        (etc / "libvirtd.conf").write_text(DAEMON.format(uuid=self.uuid), encoding="utf-8")
        (etc / "qemu.conf").write_text(QEMU.format(address=self.address), encoding="utf-8")
        number = int(self.uuid.replace("-", ""), 16)
        objects = {
            "storage/default.xml": POOL.format(name="default", uuid=_uuid(number + 1), folder="images"),
            "storage/shared.xml": POOL.format(name="shared", uuid=_uuid(number + 2), folder="shared"),
            "qemu/networks/lan.xml": NETWORK.format(uuid=_uuid(number + 3)),
        }
        for path, xml in objects.items():
            file = etc / path
            file.write_text(xml, encoding="utf-8")
            link = file.parent / "autostart" / file.name
            link.unlink(missing_ok=True)
            link.symlink_to(f"/etc/libvirt/{path}")

    def start(self) -> bool:
        """Power it on and wait for its libvirtd; plug it in where the switch is new. False where it ran already.

        A host that somebody left in the middle of its boot is powered on anew: it may still start its libvirtd.
        """
        fresh = self.pid() is None or not self._booted.exists()
        if fresh:
            self.power_cut()
            shutil.rmtree(self.sockets, ignore_errors=True)
            self.sockets.mkdir(parents=True)
            script = str(resources.files("app.playground") / "host.sh")
            spaces = ["--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "--kill-child"]
            about = [str(self.folder), self.name, self.address, str(self.sockets), self.mac]
            words = ["unshare", *spaces, "sh", script, *about]
            launch(self.mark, self._console, *words)
            wait(lambda: self.pid() is not None, f"{self.name} did not start", self._console)
        if not self.switch.plugged(self.name):
            wait(self._apart, f"{self.name} did not start", self._console)
            self.switch.plug(self.name, self._running())
            if not fresh:
                self.run("ip", "link", "set", "eth0", "master", "br0", "up")
        self.switch.carry(self.name, True)
        if not self.answers() and not fresh:
            self.start_libvirtd()
        wait(self._booted_or_ended, f"{self.name} did not start", self._console)
        wait(self._answers_or_ended, f"libvirtd of {self.name} does not answer", self.folder / "log/libvirtd.log")
        self._running()
        if self.ssh:
            self.ssh.start(self.mark, self._running())
        return fresh

    def answers(self) -> bool:
        """Whether its libvirtd takes connections."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(5)
            return probe.connect_ex(str(self.socket)) == 0

    def power_cut(self) -> None:
        """Its libvirtd and its guests end at once; its disks stay."""
        processes.end(self.mark)
        wait(lambda: not self.switch.plugged(self.name), f"{self.name} is still on the switch", self._console)

    def restart(self) -> None:
        """A power cut, and power on again."""
        self.power_cut()
        self.start()

    def unplug(self) -> None:
        """Pull its network cable: no traffic, and the guests notice nothing of it."""
        self.switch.carry(self.name, False)

    def plug(self) -> None:
        self.switch.carry(self.name, True)

    def kill_libvirtd(self) -> None:
        """kill -9; its guests run on."""
        self._signal(signal.SIGKILL)
        wait(lambda: self.libvirtd() is None, f"libvirtd of {self.name} does not end", self._console)

    def start_libvirtd(self) -> None:
        """Idempotent; returns when it answers."""
        if self.libvirtd() is None:
            self.run("libvirtd", "--daemon", "--listen", "--pid-file", "/run/libvirt/libvirtd.pid")
        wait(self.answers, f"libvirtd of {self.name} does not answer", self._console)

    def freeze(self) -> None:
        """SIGSTOP its libvirtd: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def libvirtd(self) -> int | None:
        return next((pid for pid, words in self.commands() if Path(words[0]).name == "libvirtd"), None)

    def commands(self) -> list[tuple[int, list[str]]]:
        """Process ids and command lines of all that runs on it."""
        pid = self.pid()
        return [] if pid is None else list(processes.inside(pid))

    def running(self) -> set[str]:
        """UUIDs of the guests whose QEMU runs here, without asking libvirtd."""
        guests = [words for _, words in self.commands() if Path(words[0]).name.startswith("qemu-system")]
        return {words[words.index("-uuid") + 1] for words in guests if "-uuid" in words}

    def run(self, *words: str, timeout: float = 60.0) -> str:
        """Run a program on it, as its root."""
        return call("nsenter", "-t", str(self._running()), "-n", "-m", "-u", "-i", "-p", *words, timeout=timeout)

    def virsh(self, *words: str, timeout: float = 120.0) -> str:
        """virsh on its libvirtd from outside, as any owner of the playground could call it."""
        return call("virsh", "-q", "-c", self.uri, *words, timeout=timeout)

    @property
    def _console(self) -> Path:
        return self.folder / "console.log"

    @property
    def _booted(self) -> Path:
        return self.sockets / "booted"

    def _booted_or_ended(self) -> bool:
        return self._booted.exists() or self.pid() is None

    def _answers_or_ended(self) -> bool:
        return self.answers() or self.pid() is None

    def _apart(self) -> bool:
        pid = self.pid()
        return pid is not None and processes.namespace(pid, "net") != processes.namespace(os.getpid(), "net")

    def _running(self) -> int:
        pid = self.pid()
        if pid is None:
            raise PlaygroundError(f"{self.name} does not run: {tail(self._console)}", "causeway playground up")
        return pid

    def _signal(self, number: signal.Signals) -> None:
        pid = self.libvirtd()
        if pid is None:
            raise PlaygroundError(f"libvirtd of {self.name} does not run")
        os.kill(pid, number)


def _uuid(number: int) -> str:
    return str(UUID(int=number))
