"""The guest is built once, without a network afterwards, its initramfs is what the kernel reads, its agent answers."""

from __future__ import annotations

import gzip
import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from app.playground import guest
from app.playground.errors import PlaygroundError
from app.playground.guest import GuestFiles, guest_files
from app.playground.initrd import Archive, modules


def entries(packed: bytes) -> dict[str, tuple[int, bytes]]:
    """Name -> (mode, content) of a newc archive, read as the kernel does."""
    data, at, found = gzip.decompress(packed), 0, {}
    while True:
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        size, length = fields[6], fields[11]
        name = data[at + 110 : at + 109 + length].decode()
        start = (at + 110 + length + 3) // 4 * 4
        if name == "TRAILER!!!":
            return found
        found[name] = (fields[1], data[start : start + size])
        at = (start + size + 3) // 4 * 4


def test_archive_holds_what_was_added() -> None:
    archive = Archive()
    archive.folder("bin")
    archive.file("bin/one", b"12345", 0o755)
    archive.link("bin/sh", "one")
    archive.device("console", 5, 1)
    assert entries(archive.packed()) == {
        "bin": (stat.S_IFDIR | 0o755, b""),
        "bin/one": (stat.S_IFREG | 0o755, b"12345"),
        "bin/sh": (stat.S_IFLNK | 0o777, b"one"),
        "console": (stat.S_IFCHR | 0o600, b""),
    }


def test_modules_come_after_what_they_need(tmp_path: Path) -> None:
    for name, needs in (("virtio-net", "net_failover,virtio"), ("net_failover", "failover"), ("failover", "")):
        (tmp_path / f"{name}.ko").write_bytes(b"ELF\0depends=" + needs.encode() + b"\0rest")
    (tmp_path / "other.ko").write_bytes(b"ELF")
    assert list(modules(tmp_path, ["virtio_net", "built_in"])) == ["failover.ko", "net_failover.ko", "virtio_net.ko"]


def build(_: Path, to: GuestFiles, __: dict[str, bytes]) -> None:
    for path in (to.kernel, to.initrd, to.disk, to.data):
        path.write_bytes(b"built")


def test_second_time_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, lines = tmp_path / "cache", list[str]()
    monkeypatch.setattr(guest, "_build", build)
    monkeypatch.setattr(guest, "_unpack", lambda work: work)
    first = guest_files(lines.append, cache)
    assert first.complete()
    assert len(lines) == 2
    monkeypatch.setattr(guest, "_unpack", lambda _: pytest.fail("downloaded again"))
    assert guest_files(lines.append, cache) == first
    assert len(lines) == 2


def test_new_version_replaces_what_nobody_used_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest, "_build", build)
    monkeypatch.setattr(guest, "_unpack", lambda work: work)
    first = guest_files(print, tmp_path)
    monkeypatch.setattr(guest, "VERSION", b"another")
    second = guest_files(print, tmp_path)
    assert first.complete()
    os.utime(first.kernel.parent, (0, 0))
    (tmp_path / "tmpabc").mkdir()
    monkeypatch.setattr(guest, "VERSION", b"a third")
    third = guest_files(print, tmp_path)
    assert {*tmp_path.iterdir()} == {second.kernel.parent, third.kernel.parent}


def test_no_package_lists_gives_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest, "KERNELS", ("no-such-package-at-all",))
    with pytest.raises(PlaygroundError) as error:
        guest_files(print, tmp_path)
    assert error.value.cure == "sudo apt-get update"
    assert list(tmp_path.iterdir()) == []


def test_tidy_removes_only_what_is_incomplete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest, "_build", build)
    monkeypatch.setattr(guest, "_unpack", lambda work: work)
    files = guest_files(print, tmp_path)
    (tmp_path / "tmpabc/debs").mkdir(parents=True)
    guest.tidy(tmp_path)
    assert list(tmp_path.iterdir()) == [files.kernel.parent]


def test_kvm_is_believed_only_after_a_boot_and_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[GuestFiles] = []
    files = GuestFiles.inside(tmp_path)
    build(tmp_path, files, {})
    monkeypatch.setattr(guest, "KVM", files.kernel)
    monkeypatch.setattr(guest, "_boots_with_kvm", lambda which: asked.append(which) is not None)
    assert [guest.domain_type(files), guest.domain_type(files)] == ["qemu", "qemu"]
    assert asked == [files]
    (tmp_path / "accelerator").write_text("another-boot qemu", encoding="utf-8")
    monkeypatch.setattr(guest, "_boots_with_kvm", lambda _: True)
    assert guest.domain_type(files) == "kvm"


def asked(*lines: bytes) -> list[object]:
    """What the guest's agent answers to these lines, run here by bash."""
    script = Path(guest.__file__).with_name("agent")
    done = subprocess.run(
        ["bash", script], input=b"\n".join(lines) + b"\n", capture_output=True, check=True, timeout=20
    )
    return [json.loads(line.lstrip(b"\xff")) for line in done.stdout.splitlines()]


def test_agent_knows_who_asked_and_what_it_can() -> None:
    sync, delimited, info, ping, status = asked(
        b'{"execute":"guest-sync", "arguments":{"id":1790000000001}}',
        b'\xff{"execute":"guest-sync-delimited","arguments":{"id":7}}',
        b'{"execute":"guest-info"}',
        b'{"execute": "guest-ping"}',
        b'{"execute":"guest-fsfreeze-status"}',
    )
    assert (sync, delimited, ping) == ({"return": 1790000000001}, {"return": 7}, {"return": {}})
    assert status == {"return": "thawed"}
    known = {item["name"] for item in info["return"]["supported_commands"]}  # type: ignore[index]
    assert {"guest-ping", "guest-network-get-interfaces", "guest-shutdown", "guest-fsfreeze-freeze"} <= known


def test_agent_survives_nonsense(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    nonsense = [b"nonsense", b"\x01\x02{", b'{"execute": "$(touch %s)"}' % bytes(trap), b'{"execute":', b"x" * 70_000]
    *said, pong = asked(*nonsense, b'{"execute":"half \xff{"execute":"guest-ping"}')
    assert pong == {"return": {}}
    assert len(said) >= len(nonsense)
    assert all(answer["error"]["class"] == "GenericError" for answer in said)  # type: ignore[index]
    assert not trap.exists()
    assert asked(b'{"execute":"guest-exec"}') == [
        {"error": {"class": "CommandNotFound", "desc": "The command guest-exec has not been found"}}
    ]
