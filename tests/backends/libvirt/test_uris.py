from __future__ import annotations

import pytest

from backends.driver import Settings
from backends.errors import Invalid
from backends.libvirt.uris import address, parse


@pytest.mark.parametrize(
    "uri",
    [
        "qemu:///system",
        "qemu:///session",
        "qemu+unix:///system?socket=/run/x/libvirt-sock",
        "qemu+ssh://root@host:2222/system",
        "qemu+tls://host/system",
        "qemu+tcp://[fe80::1]:16509/system",
        "test:///default",
        "test:///tmp/file.xml",
        "test+tcp://host/default",
    ],
)
def test_uris_come_back_as_they_were(uri: str) -> None:
    assert parse(uri).text() == uri


@pytest.mark.parametrize(
    "uri", ["", "host", "http://x/y", "qemu+ssh:///system", "qemu+foo://h/system", "qemu://", "qemu+ssh://a:b@h/system"]
)
def test_what_is_none_is_invalid_on_its_field(uri: str) -> None:
    with pytest.raises(Invalid) as caught:
        address(Settings({"uri": uri}))
    assert caught.value.field == "uri" and caught.value.cure


def test_settings_become_parameters_that_virsh_knows() -> None:
    found = address(Settings({"uri": "qemu+ssh://h/system", "keyfile": "/k", "known_hosts": "/kh"}))
    assert found.text() == "qemu+ssh://h/system?keyfile=/k&known_hosts=/kh"
    assert found.through("/s.sock") == "qemu+unix:///system?socket=/s.sock"
