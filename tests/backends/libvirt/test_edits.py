"""Edits of a definition on a real host: what is wrong is said before anything changes, and no password gets lost."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from backends.driver import Settings
from backends.errors import Conflict, Invalid
from backends.libvirt import Driver, domainxml
from backends.libvirt.domainxml import Domain
from backends.model import Kind, Level, Ref, VmSpec
from tests.lab.machine import Lab, LabGuest

pytestmark = pytest.mark.lab
PASSWORD = "hunter2!"
"""Eight letters: libvirt takes no longer ones for VNC."""
MIGRATION = "cwlabtest000002"


def with_password(xml: str) -> str:
    return xml.replace("<graphics type='vnc'>", f"<graphics type='vnc' passwd='{PASSWORD}'>")


@pytest_asyncio.fixture
async def driver(lab: Lab, healed: Lab) -> AsyncIterator[Driver]:
    made = Driver("host", Settings({"uri": lab.a.uri}))
    await made.connect()
    yield made
    await made.close()


@pytest.fixture
def guest(lab: Lab, healed: Lab) -> LabGuest:
    return lab.make(lab.a, start=False, change=with_password)


def stored(lab: Lab, guest: LabGuest) -> str:
    """What the host has, passwords and all."""
    return lab.a.virsh("dumpxml", "--inactive", "--security-info", guest.uuid)


async def test_a_password_is_kept_and_never_shown(lab: Lab, driver: Driver, guest: LabGuest) -> None:
    ref = Ref("host", Kind.VM, guest.uuid)
    old = await driver.definition(ref)
    assert PASSWORD not in old and PASSWORD not in await driver.describe(ref)
    before = stored(lab, guest)
    assert PASSWORD in before
    await driver.redefine(ref, old, old.replace("</name>", "</name><title>shop</title>"))
    after = stored(lab, guest)
    assert "<title>shop</title>" in after
    assert domainxml.same(after.replace("  <title>shop</title>\n", ""), before)
    spec = await driver.vm_spec(ref)
    assert PASSWORD not in repr(spec)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda xml: xml.replace("</devices>", ""), "line"),
        (lambda xml: xml.replace("<devices>", "<devices><warpdrive/>"), "devices"),
        (lambda xml: re.sub(r"(<vcpu[^>]*>)1<", r"\1many<", xml), "vcpu"),
        (lambda xml: re.sub(r"<model type=.virtio.", "<model type='?'", xml), ""),
    ],
    ids=["malformed", "unknown", "no number", "no such model"],
)
async def test_what_is_wrong_is_said_and_nothing_changes(
    lab: Lab, driver: Driver, guest: LabGuest, wrong: object, words: str
) -> None:
    ref = Ref("host", Kind.VM, guest.uuid)
    before, old = stored(lab, guest), await driver.definition(ref)
    new = wrong(old)  # type: ignore[operator]
    assert new != old
    with pytest.raises(Invalid) as caught:
        await driver.redefine(ref, old, new)
    assert words in caught.value.message and PASSWORD not in str(caught.value)
    assert stored(lab, guest) == before


async def test_a_change_of_others_is_a_conflict(lab: Lab, driver: Driver, guest: LabGuest) -> None:
    ref = Ref("host", Kind.VM, guest.uuid)
    old = await driver.definition(ref)
    lab.a.virsh("desc", guest.uuid, "--config", "--title", "--new-desc", "theirs")
    before = stored(lab, guest)
    with pytest.raises(Conflict):
        await driver.redefine(ref, old, old.replace("</name>", "</name><title>mine</title>"))
    assert stored(lab, guest) == before


async def test_real_definitions_make_the_round_trip(lab: Lab, driver: Driver) -> None:
    for name in lab.a.virsh("list", "--all", "--name").split():
        for words in ((), ("--inactive",), ("--security-info",), ("--migratable",)):
            text = lab.a.virsh("dumpxml", name, *words)
            assert domainxml.same(Domain.parse(text).text(), text)
            assert domainxml.same(domainxml.unmasked(domainxml.masked(text), text), text)


async def test_what_a_copy_of_disks_leaves_behind_is_said(lab: Lab, driver: Driver, guest: LabGuest) -> None:
    facts = await driver.export_facts(Ref("host", Kind.VM, guest.uuid))
    found = {item.code: item for item in facts.blocking}
    assert found["password"].level == Level.AMBER and found["password"].cure
    assert PASSWORD not in repr(facts)


async def test_a_vm_made_from_nothing_runs_here_whatever_kvm_promises(lab: Lab, driver: Driver) -> None:
    """The first VM of a host that came from a cloud: no definition, no other VM to take after."""
    spec = VmSpec(name="from-a-cloud", memory_bytes=64 << 20, autostart=True)
    ref = await driver.create_vm(driver.session.parent, spec, [], migration=MIGRATION)
    try:
        assert "disable" in lab.a.virsh("dominfo", ref.id).partition("Autostart:")[2].splitlines()[0]
        lab.a.virsh("start", ref.id)
        await driver.adopt(ref, migration=MIGRATION)
        await driver.adopt(ref, migration=MIGRATION)
        assert "enable" in lab.a.virsh("dominfo", ref.id).partition("Autostart:")[2].splitlines()[0]
        await driver.discard_import(MIGRATION)
        assert ref.id in await asyncio.to_thread(lab.a.virsh, "list", "--uuid")
    finally:
        lab.a.virsh("destroy", ref.id)
        lab.a.virsh("undefine", ref.id)
