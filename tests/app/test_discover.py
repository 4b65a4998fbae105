"""What is found on a machine at the first run: the parsers, on files."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from app.discover import Found, aws_profiles, discover, from_uris, local_libvirt, ssh_hosts, string_list


def uris(found: list[Found]) -> list[str]:
    return [item.settings["uri"] for item in found]


def test_ssh_hosts_are_names_not_patterns() -> None:
    text = """
    # a comment
    Host kvm-a kvm-b
      HostName 10.0.0.1
    Host *.lab !secret web?
    host = mail   # the mail server
    Host "quoted"
    Match host other
    HostName never
    Host *
    """
    found = ssh_hosts(text)
    assert [item.name for item in found] == ["kvm-a", "kvm-b", "mail", "quoted"]
    assert uris(found)[0] == "qemu+ssh://kvm-a/system"


def test_ssh_includes_are_read(tmp_path: Path) -> None:
    folder = tmp_path / ".ssh"
    (folder / "more").mkdir(parents=True)
    (folder / "config").write_text("Include more/*\nInclude ~/.ssh/config\nHost first\n", encoding="utf-8")
    (folder / "more" / "lab").write_text("Host second\n", encoding="utf-8")
    assert {item.name for item in _found(tmp_path)} == {"first", "second"}


def _found(home: Path) -> list[Found]:
    from app.discover import _with_includes

    return ssh_hosts(_with_includes(home / ".ssh" / "config", home / ".ssh"))


def test_aws_profiles_without_their_keys() -> None:
    config = "[default]\nregion = eu-west-1\n[profile prod]\nregion=us-east-1\n[sso-session x]\nsso_region = a\n"
    credentials = "[default]\naws_secret_access_key = canary-4711\n[old]\naws_access_key_id = AKIA\n"
    found = aws_profiles(config, credentials)
    assert [(item.name, dict(item.settings)) for item in found] == [
        ("aws", {"profile": "default", "regions": "eu-west-1"}),
        ("aws-prod", {"profile": "prod", "regions": "us-east-1"}),
        ("aws-old", {"profile": "old"}),
    ]
    assert "canary-4711" not in str(found)


def test_a_broken_aws_file_is_nothing() -> None:
    assert aws_profiles("region = x\n", "") == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("['qemu:///system', 'qemu+ssh://root@kvm-a/system']\n", ["qemu:///system", "qemu+ssh://root@kvm-a/system"]),
        ("@as []\n", []),
        ("", []),
        ("nonsense", []),
        ("'text'", []),
        ("[1, 'a']", ["a"]),
    ],
)
def test_lists_of_gsettings(text: str, found: list[str]) -> None:
    assert string_list(text) == found


def test_virt_managers_connections() -> None:
    found = from_uris(["qemu:///system", "qemu+ssh://root@kvm-a/system", "test:///default", "junk"])
    assert [item.name for item in found] == ["this-machine", "kvm-a", "test-default"]


def test_local_libvirt(tmp_path: Path) -> None:
    run, runtime = tmp_path / "run", tmp_path / "user"
    for folder in (run, runtime):
        (folder / "libvirt").mkdir(parents=True)
    assert local_libvirt(run, runtime, has_libvirt=True) == []
    (run / "libvirt" / "virtqemud-sock").touch()
    assert uris(local_libvirt(run, None, has_libvirt=False)) == ["qemu:///system"]
    assert uris(local_libvirt(run, None, has_libvirt=True)) == ["qemu:///system", "qemu:///session"]
    (runtime / "libvirt" / "libvirt-sock").touch()
    assert uris(local_libvirt(tmp_path, runtime, has_libvirt=False)) == ["qemu:///session"]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs, the only one on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/bin")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    return folder


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


async def test_everything_together_without_doubles(tmp_path: Path, programs: Path) -> None:
    program(programs / "gsettings", """echo "['qemu:///system', 'qemu+ssh://kvm-a/system']" """)
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("Host kvm-a\n", encoding="utf-8")
    (tmp_path / "libvirt").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "libvirt" / "libvirt-sock"))
        found = await discover(tmp_path, tmp_path)
    assert uris(found) == ["qemu:///system", "qemu+ssh://kvm-a/system"]


async def test_a_program_that_hangs_or_fails_is_passed_over(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.discover.DEADLINE_S", 0.2)
    program(programs / "gsettings", "exec sleep 60")
    program(programs / "dconf", "echo oops; exit 1")
    assert await discover(tmp_path, tmp_path) == []
