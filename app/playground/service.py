"""The playground of one data folder: its hosts, guests and cloud, started, found again and removed.

Everything that it makes is found again without a list: processes by their mark, files in one folder, and where the
data folder's path is too long for a socket, a folder in /run whose name derives from it. So there is nothing that
a crash could leave unrecorded.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import pwd
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from app.playground import guest, pki, processes
from app.playground.domains import Guest
from app.playground.endpoint import Endpoint
from app.playground.errors import PlaygroundError
from app.playground.hosts import Host, Switch
from app.playground.running import PATH, call
from app.playground.ssh import SSHD, Ssh, free_port

HOSTS = ("kvm-a", "kvm-b")
SSH_HOST = "kvm-b"
SOCKET_LIMIT = 100
"""Bytes of a unix socket's path that every libvirt client takes; the kernel's limit is 108."""
PROGRAMS = {
    "libvirtd": "libvirt-daemon libvirt-daemon-driver-qemu",
    "virsh": "libvirt-clients",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "ip": "iproute2",
    "unshare": "util-linux",
    "mke2fs": "e2fsprogs",
    "apt-get": "apt",
}
PLAN = (
    ("web-01", "kvm-a", "shared", False),
    ("db-01", "kvm-b", "default", False),
    ("app-01", "kvm-a", "default", True),
)
"""The guests of a fresh playground: name, host, pool of the disk, whether it boots from that disk."""


@dataclass(slots=True)
class Record:
    """What a playground must remember. `guests` are those that were made once: whoever deletes one keeps it so."""

    network: str = ""
    port: int = 0
    owner: int = 0
    group: int = 0
    guests: list[str] = field(default_factory=list)
    complete: bool = False
    """Everything was made and started; false while an `up` starts something, so that the next one goes on."""


class Playground:
    """The playground below `home`. Methods block; all but reading attributes need root."""

    def __init__(self, home: Path) -> None:
        self.home = home.resolve()
        self.folder = self.home / "playground"
        self.key = hashlib.sha256(str(self.home).encode()).hexdigest()[:10]
        self.record = self._load()

    @property
    def short(self) -> Path:
        """Where the sockets are when the data folder's path is too long for one."""
        return Path("/run") / f"causeway-{self.key}"

    @property
    def sockets(self) -> Path:
        longest = self.folder / "sockets" / HOSTS[0] / "libvirt-sock"
        return self.folder / "sockets" if len(os.fsencode(longest)) <= SOCKET_LIMIT else self.short

    @property
    def switch(self) -> Switch:
        return Switch(self.key, self.folder)

    @property
    def hosts(self) -> tuple[Host, ...]:
        return tuple(self._host(number, name) for number, name in enumerate(HOSTS))

    @property
    def guests(self) -> tuple[tuple[Guest, str], ...]:
        """The guests of the plan, each with the name of the host that it is made on."""
        return tuple(
            (Guest(name=name, uuid=self.uuid(name), number=101 + number, pool=pool, bootable=bootable), host)
            for number, (name, host, pool, bootable) in enumerate(PLAN)
        )

    @property
    def cloud(self) -> Endpoint:
        return Endpoint(self.folder / "cloud")

    @property
    def ssh(self) -> Ssh | None:
        """None on a machine without sshd."""
        if not SSHD.exists():
            return None
        return Ssh(self.folder / "ssh", self.folder / SSH_HOST / "etc", self.record.port)

    def uuid(self, name: str) -> str:
        """The UUID of a host or guest: the same at every `up`, another one in every playground."""
        return str(uuid5(NAMESPACE_URL, f"causeway:{self.key}:{name}"))

    def up(self, report: Callable[[str], None]) -> None:
        """Make or complete it.

        Raises:
            PlaygroundError: not root, a package is missing, or a part did not start; names the cure.
        """
        self._check()
        owner, group = _caller()
        for folder in reversed([path for path in (self.home, *self.home.parents) if not path.exists()]):
            folder.mkdir(mode=0o700)
            os.chown(folder, owner, group)
        with guest.locked(self.home):
            files = guest.guest_files(report)
            kind = guest.domain_type(files)
            self.record = self._load()
            self._folders(owner, group)
            report(f"Starting {' and '.join(HOSTS)}{'' if kind == 'kvm' else ' (emulated: KVM does not work here)'}")
            self._prepare(files)
            if any(host.pid() is None for host in self.hosts):
                self.record.complete = False
                self._save()
            self.switch.start()
            with ThreadPoolExecutor(len(HOSTS) + 1) as pool:
                cloud = pool.submit(self._start_cloud)
                fresh = list(pool.map(Host.start, self.hosts))
                report("Starting the guests")
                work = [pool.submit(self._populate, *one, files, kind) for one in zip(self.hosts, fresh, strict=True)]
                for part in (*work, cloud):
                    part.result()
            self.record.complete = True
            self._save()
        report("The playground is up")

    def down(self) -> None:
        """Remove it without a trace; also what an interrupted `up` left. Idempotent."""
        if os.geteuid():
            raise PlaygroundError("The playground needs root", _as_root("down", self.home))
        if self.home.is_dir():
            with guest.locked(self.home):
                self._remove()
        else:
            self._remove()

    def _remove(self) -> None:
        processes.end(self.key)
        self.cloud.stop()
        for folder in (self.folder, self.short):
            if folder.exists():
                shutil.rmtree(folder)
        guest.tidy()

    def alive(self) -> bool:
        """Whether it was made completely and every host answers; any user may ask."""
        return self.record.complete and all(host.answers() for host in self.hosts)

    def _check(self) -> None:
        if sys.platform != "linux":
            raise PlaygroundError("The playground needs Linux")
        missing = [package for name, package in PROGRAMS.items() if shutil.which(name, path=PATH) is None]
        if missing:
            raise PlaygroundError("The playground needs more packages", f"sudo apt-get install {' '.join(missing)}")
        if os.geteuid():
            raise PlaygroundError("The playground needs root", _as_root("up", self.home))

    def _folders(self, owner: int, group: int) -> None:
        """The folders that only the owner enters; what is below them may be open."""
        for folder in (self.folder, self.sockets):
            folder.mkdir(exist_ok=True, mode=0o700)
            os.chown(folder, owner, group)
            folder.chmod(0o700)
        self.record.owner, self.record.group = owner, group
        self.record.network = self.record.network or _free_network(self.key)
        if not processes.marked(f"{self.key}/{SSH_HOST}/sshd"):
            self.record.port = free_port(self.record.port)
        self._save()

    def _prepare(self, files: guest.GuestFiles) -> None:
        """What is on the hosts' disks. Made once: what exists stays."""
        names = "".join(f"{host.address} {host.name}\n" for host in self.hosts)
        (self.folder / "names").write_text(f"127.0.0.1 localhost\n{names}", encoding="utf-8")
        (self.folder / "shared").mkdir(exist_ok=True)
        boot = self.folder / "boot"
        boot.mkdir(exist_ok=True)
        for path in (files.kernel, files.initrd):
            if not (boot / path.name).exists():
                shutil.copy(path, boot / "new")
                (boot / "new").replace(boot / path.name)
        authority = pki.Authority()
        known = [host.folder / "pki" / pki.COMPLETE for host in self.hosts]
        trusted = all(path.exists() for path in known) and len({path.read_bytes() for path in known}) == 1
        for host in self.hosts:
            host.prepare()
            if not trusted:
                pki.write(authority, host.folder / "pki", host.name, host.address)
        if self.ssh:
            self.ssh.prepare(self.record.owner, self.record.group)

    def _populate(self, host: Host, fresh: bool, files: guest.GuestFiles, kind: str) -> None:
        """Make the guests that this host begins with, and start those that its last power cut ended."""
        mine = [one for one, place in self.guests if place == host.name and one.name not in self.record.guests]
        for one in mine:
            self.define(host, one, files.disk if one.bootable else files.data, kind)
            self.record.guests.append(one.name)
            self._save()
        if self.record.complete and not (fresh or mine):
            return
        plan = {one.uuid for one, _ in self.guests}
        elsewhere = set().union(*(other.running() for other in self.hosts))
        for uuid in host.virsh("list", "--uuid", "--inactive", "--persistent").split():
            if uuid in plan - elsewhere:
                host.virsh("start", uuid)

    def define(
        self, host: Host, one: Guest, disk: Path, kind: str, change: Callable[[str], str] = lambda xml: xml
    ) -> None:
        """Give a guest its own copy of `disk` on a host and make it known there, not started.

        `kind` is libvirt's domain type, `change` may edit the domain's XML.
        """
        if one.pool:
            place = host.folder / "lib" / "images" if one.pool == "default" else self.folder / "shared"
            command = ["qemu-img", "convert", "-f", "raw", "-O", one.format, str(disk), str(place / one.file)]
            call(*command)
            host.virsh("pool-refresh", one.pool)
        file = self.folder / f"{one.name}.xml"
        file.write_text(change(one.xml(kind, self.record.network)), encoding="utf-8")
        host.virsh("define", str(file))
        file.unlink()

    def _start_cloud(self) -> None:
        """The endpoint, as the owner: it needs nothing of root's."""
        if self.cloud.running():
            return
        processes.end(f"{self.key}/cloud")
        program = "import sys; from pathlib import Path; from app.playground.endpoint import Endpoint; "
        program += "Endpoint(Path(sys.argv[1]), sys.argv[2:]).start()"
        owner = {"user": self.record.owner, "group": self.record.group, "extra_groups": []}
        home = pwd.getpwuid(self.record.owner).pw_dir
        environment = {"PATH": PATH, "HOME": home, processes.MARK: f"{self.key}/cloud"}
        done = subprocess.run(
            [sys.executable, "-c", program, str(self.cloud.folder), "cloud-01"],
            cwd=Path(__file__).parents[2],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            **(owner if self.record.owner else {}),  # type: ignore[call-overload]
        )
        if done.returncode:
            raise PlaygroundError(f"The playground's cloud did not start: {done.stderr.strip()[-800:]}")

    def _host(self, number: int, name: str) -> Host:
        address = f"{self.record.network}.{11 + number}"
        ssh = self.ssh if name == SSH_HOST else None
        return Host(name, address, self.uuid(name), self.folder / name, self.sockets / name, self.switch, ssh)

    def _load(self) -> Record:
        try:
            return Record(**json.loads((self.folder / "record.json").read_text(encoding="utf-8")))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return Record()

    def _save(self) -> None:
        new = self.folder / "record.new"
        new.write_text(json.dumps(asdict(self.record)), encoding="utf-8")
        new.chmod(0o644)
        new.replace(self.folder / "record.json")


def _caller() -> tuple[int, int]:
    """Who the playground is for: the user behind sudo, else ourselves."""
    return int(os.environ.get("SUDO_UID", os.getuid())), int(os.environ.get("SUDO_GID", os.getgid()))


def _as_root(verb: str, home: Path) -> str:
    program = Path(sys.executable).with_name("causeway")
    return shlex.join(["sudo", str(program), "--home", str(home), "playground", verb])


def _free_network(key: str) -> str:
    """The first three numbers of a network that this machine does not use: "10.87.3". Derived from the key."""
    used = []
    for link in json.loads(call("ip", "-json", "-4", "address")):
        for item in link["addr_info"]:
            used.append(ipaddress.ip_interface(f"{item['local']}/{item['prefixlen']}").network)
    start = int(key, 16)
    for number in range(256):
        network = f"10.{64 + start % 64}.{(start // 64 + number) % 256}"
        if not any(ipaddress.ip_network(f"{network}.0/24").overlaps(other) for other in used):
            return network
    raise PlaygroundError("No free network for the playground's hosts")
