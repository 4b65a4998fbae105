"""One host's sshd: on 127.0.0.1 of the machine, but with the host's processes and files, for one key only."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from app.playground import processes
from app.playground.pki import private
from app.playground.running import launch, wait

SSHD = Path("/usr/sbin/sshd")
CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey /etc/libvirt/ssh/host_key
AuthorizedKeysFile /etc/libvirt/ssh/authorized_keys
AuthenticationMethods publickey
PermitRootLogin prohibit-password
AllowUsers root
UsePAM no
PidFile none
"""


@dataclass(frozen=True, slots=True)
class Ssh:
    """The way to one host by SSH.

    `folder` is for the caller: `id` (private key) and `known_hosts`. `etc` is the host's /etc/libvirt.
    """

    folder: Path
    etc: Path
    port: int

    @property
    def key(self) -> Path:
        return self.folder / "id"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def uri(self) -> str:
        """For a connection's settings. (virsh takes it with "libssh" for "ssh": ssh ignores known_hosts.)"""
        return f"qemu+ssh://root@127.0.0.1:{self.port}/system?keyfile={self.key}&known_hosts={self.known_hosts}"

    def prepare(self, owner: int, group: int) -> None:
        """Keys and configuration; keys that exist stay."""
        inner = self.etc / "ssh"
        inner.mkdir(exist_ok=True)
        (inner / "sshd_config").write_text(CONFIG.format(port=self.port), encoding="utf-8")
        if not self.key.exists():
            host, user = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
            private(inner / "host_key", _private(host))
            private(inner / "authorized_keys", _public(user))
            private(inner / "host_key.pub", _public(host))
            private(self.key, _private(user))
        private(self.known_hosts, f"[127.0.0.1]:{self.port} ".encode() + (inner / "host_key.pub").read_bytes())
        for path in (self.folder, self.key, self.known_hosts):
            os.chown(path, owner, group)

    def start(self, mark: str, host: int) -> None:
        """Start it on the host whose process 1 is `host`; idempotent."""
        log = self.etc.parent / "sshd.log"
        if not processes.marked(f"{mark}/sshd"):
            words = [str(SSHD), "-D", "-e", "-f", "/etc/libvirt/ssh/sshd_config"]
            launch(f"{mark}/sshd", log, "nsenter", "-t", str(host), "-m", "-u", "-i", "-p", *words)
        wait(self.answers, "sshd did not start", log)

    def answers(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(5)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def free_port(wanted: int) -> int:
    """`wanted` where it is free on 127.0.0.1, else any other free one."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port on 127.0.0.1")


def _private(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def _public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n"
