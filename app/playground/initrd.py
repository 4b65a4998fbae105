"""A newc cpio archive, the format of a Linux initramfs, and kernel modules in the order of their needs."""

from __future__ import annotations

import gzip
import io
import lzma
import re
import stat
from collections.abc import Iterable
from pathlib import Path


class Archive:
    """Files on their way into an initramfs. Source: Documentation/driver-api/early-userspace/buffer-format.rst."""

    def __init__(self) -> None:
        self._out = io.BytesIO()
        self._inode = 0

    def folder(self, name: str) -> None:
        self._add(name, stat.S_IFDIR | 0o755)

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        self._add(name, stat.S_IFREG | mode, data)

    def link(self, name: str, to: str) -> None:
        self._add(name, stat.S_IFLNK | 0o777, to.encode())

    def device(self, name: str, major: int, minor: int) -> None:
        self._add(name, stat.S_IFCHR | 0o600, device=(major, minor))

    def packed(self) -> bytes:
        """The whole archive, gzip-compressed and the same bytes for the same content."""
        self._add("TRAILER!!!", 0)
        return gzip.compress(self._out.getvalue(), 9, mtime=0)

    def _add(self, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        self._inode += 1
        encoded = name.encode() + b"\0"
        fields = (self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
        self._write(b"070701" + b"".join(b"%08X" % value for value in fields) + encoded)
        self._write(data)

    def _write(self, data: bytes) -> None:
        self._out.write(data)
        self._out.write(b"\0" * (-self._out.tell() % 4))


def modules(root: Path, wanted: Iterable[str]) -> dict[str, bytes]:
    """The wanted kernel modules below `root` and all they need, uncompressed, in loading order.

    Names that the kernel has built in are left out: they have no file.
    """
    files = {path.name.split(".ko")[0].replace("-", "_"): path for path in root.rglob("*.ko*")}
    ordered: dict[str, bytes] = {}

    def need(name: str) -> None:
        name = name.replace("-", "_")
        if name not in files or f"{name}.ko" in ordered:
            return
        data = files[name].read_bytes()
        if files[name].suffix == ".xz":
            data = lzma.decompress(data)
        found = re.search(rb"\0depends=([^\0]*)\0", data)
        for other in found[1].decode().split(",") if found else []:
            need(other)
        ordered[f"{name}.ko"] = data

    for name in wanted:
        need(name)
    return ordered
