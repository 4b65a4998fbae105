"""What goes wrong on the way into the cloud: a real guest, a real endpoint, and exactly one VM that can run after it.

Judged from outside: which QEMU runs on the hosts, and what a bare boto3 client finds in the cloud.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
import pytest_asyncio

from app.link import ConnectionState
from app.migration import Planned
from app.playground import Seed
from app.playground.endpoint import Endpoint
from app.services import Services
from app.tasks import Task, TaskState
from backends.model import LiveOptions
from tests.lab.machine import Lab, LabGuest
from tests.lab.relay import Relay
from tests.lab.test_migration import beats, known, place, until

pytestmark = pytest.mark.lab

SLOWLY = LiveOptions(bandwidth_bps=2 << 20)
"""So that there is a middle: the guest's disk has some 16 MiB of data."""
LONG = 300.0


class Cloud:
    """The lab's endpoint behind a relay, what goes wrong in it, and what an outsider finds there."""

    def __init__(self, endpoint: Endpoint) -> None:
        host, _, port = endpoint.url.removeprefix("http://").partition(":")
        self.endpoint = endpoint
        self.relay = Relay((host, int(port)))
        key = {"aws_access_key_id": endpoint.access_key, "aws_secret_access_key": endpoint.secret_key}
        self._ec2: Any = boto3.client("ec2", endpoint_url=endpoint.url, region_name="us-east-1", **key)
        self._before = self._everything()

    def fail(self, *operations: str, **fault: object) -> None:
        """These operations fail from now on, as app.playground.wire.Faults has it."""
        fresh = self.endpoint.folder / "faults.new"
        fresh.write_text(json.dumps(dict.fromkeys(operations, fault)), encoding="utf-8")
        fresh.replace(self.endpoint.faults_file)

    def heal(self) -> None:
        self.endpoint.faults_file.unlink(missing_ok=True)

    def running(self, guest: LabGuest) -> list[str]:
        return [ident for ident, state in self.instances(guest) if state == "running"]

    def instances(self, guest: LabGuest) -> list[tuple[str, str]]:
        """(id, state) of the guest's instances that were not terminated."""
        reservations = self._ec2.describe_instances(Filters=[{"Name": "tag:Name", "Values": [guest.name]}])
        found = [one for reservation in reservations["Reservations"] for one in reservation["Instances"]]
        return [(one["InstanceId"], one["State"]["Name"]) for one in found if one["State"]["Name"] != "terminated"]

    def leftovers(self) -> set[str]:
        """Snapshots, images, volumes and instances that were not there at the beginning."""
        return self._everything() - self._before

    def parts(self, ident: str) -> set[str]:
        """An instance and its volumes."""
        found = self._ec2.describe_instances(InstanceIds=[ident])["Reservations"][0]["Instances"][0]
        return {ident, *(mapping["Ebs"]["VolumeId"] for mapping in found["BlockDeviceMappings"])}

    def remove(self, guest: LabGuest) -> None:
        self.heal()
        for ident, _ in self.instances(guest):
            self._ec2.terminate_instances(InstanceIds=[ident])

    def close(self) -> None:
        self.heal()
        self.relay.close()
        self._ec2.close()

    def _everything(self) -> set[str]:
        images = self._ec2.describe_images(Owners=["self"])["Images"]
        snapshots = self._ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
        volumes = self._ec2.describe_volumes()["Volumes"]
        instances = [
            one
            for reservation in self._ec2.describe_instances()["Reservations"]
            for one in reservation["Instances"]
            if one["State"]["Name"] != "terminated"
        ]
        return {
            *(one["ImageId"] for one in images),
            *(one["SnapshotId"] for one in snapshots),
            *(one["VolumeId"] for one in volumes),
            *(one["InstanceId"] for one in instances),
        }


@pytest.fixture
def cloud(lab: Lab) -> Iterator[Cloud]:
    made = Cloud(lab.playground.cloud)
    yield made
    made.close()


@pytest.fixture(scope="module")
def guests(lab: Lab) -> Iterator[list[LabGuest]]:
    """The guest that runs on kvm-a: a move that failed leaves it to the next test."""
    made: list[LabGuest] = []
    yield made
    lab.heal()
    lab.clear()


@pytest_asyncio.fixture
async def guest(lab: Lab, guests: list[LabGuest], cloud: Cloud) -> AsyncIterator[LabGuest]:
    """A bootable guest that runs on kvm-a and has come up, so that it shuts down when it is asked to."""
    if not guests or guests[-1].where() != [lab.a]:
        guests.append(await asyncio.to_thread(lab.make, lab.a, pool="default", bootable=True))
    one = guests[-1]
    await beats(one, lab.a, 1)
    yield one
    cloud.remove(one)


@asynccontextmanager
async def program(lab: Lab, cloud: Cloud, home: Path) -> AsyncIterator[Services]:
    """The program without a screen, on kvm-a and on the cloud by way of the relay."""
    opened = await Services.open(home, vault_key_file=home.parent / "key")
    try:
        if not opened.connections.all():
            for seed in seeds(lab, cloud):
                await opened.connections.add(seed.kind, seed.name, seed.settings, seed.secrets)
        yield opened
    finally:
        await opened.close()


def seeds(lab: Lab, cloud: Cloud) -> list[Seed]:
    chosen = [seed for seed in lab.state.connections if seed.name in ("kvm-a", "cloud")]
    changed = {"cloud": {"endpoint_url": cloud.relay.url}}
    return [seed._replace(settings=seed.settings | changed.get(seed.name, {})) for seed in chosen]


async def ready(services: Services) -> None:
    await until(
        lambda: all(item.state == ConnectionState.READY and item.listed for item in services.connections.all()),
        "the connections are not ready",
    )


@pytest_asyncio.fixture
async def services(lab: Lab, cloud: Cloud, tmp_path: Path) -> AsyncIterator[Services]:
    async with program(lab, cloud, tmp_path / "home") as opened:
        await ready(opened)
        yield opened


async def plan(services: Services, guest: LabGuest, live: LiveOptions = LiveOptions()) -> Planned:  # noqa: B008
    vm = await known(services, "kvm-a", guest.name)
    made = await services.migrations.plan(vm.ref, place("cloud"), live=live)
    assert made.verdict.allowed, made.verdict
    assert made.plan.running
    return made


async def start(services: Services, guest: LabGuest, live: LiveOptions = LiveOptions()) -> Task:  # noqa: B008
    return services.migrations.start(await plan(services, guest, live))


async def ended(services: Services, task: Task, state: TaskState, seconds: float = LONG) -> None:
    await until(lambda: task.state == state or not task.active, f"{task.state}: {task.log}", seconds)
    assert task.state == state, (task.state, task.error, task.log)


async def copying(task: Task, share: float = 0.2) -> None:
    """Until a part of the disk has gone over."""
    progress = lambda: task.stage("Copy").progress  # noqa: E731
    await until(
        lambda: not task.active or (progress().total_bytes or 0) * share < (progress().done_bytes or 0) > 0,
        "nothing is copied",
        LONG,
    )
    assert task.active, (task.state, task.error, task.log)


def is_there(lab: Lab, cloud: Cloud, guest: LabGuest) -> None:
    """It runs in the cloud only: nothing else of it is there, and the source cannot start by accident."""
    assert guest.where() == []
    assert guest.uuid not in lab.a.virsh("list", "--all", "--uuid").split()
    (ident,) = cloud.running(guest)
    assert [one for one, _ in cloud.instances(guest)] == [ident]
    assert cloud.leftovers() == cloud.parts(ident)


async def is_here(lab: Lab, cloud: Cloud, guest: LabGuest, boot: str) -> None:
    """It runs on the source again, shut down cleanly in between, and nothing is left in the cloud."""
    assert guest.where() == [lab.a]
    assert cloud.leftovers() == set()
    assert cloud.instances(guest) == []
    assert (await beats(guest, lab.a)).boot != boot


async def nothing_open(services: Services) -> None:
    assert await services.store.open_migrations() == []
    folder = services.home / "copies"
    assert not folder.exists() or list(folder.iterdir()) == []


EBS_WRITE = ("StartSnapshot", "PutSnapshotBlock", "CompleteSnapshot")


@pytest.mark.parametrize("mode", ["503", "throttle"])
async def test_an_endpoint_in_trouble_for_a_while(
    lab: Lab, services: Services, cloud: Cloud, guest: LabGuest, mode: str
) -> None:
    cloud.fail("PutSnapshotBlock", mode=mode, after=5, count=12)
    task = await start(services, guest)
    await ended(services, task, TaskState.DONE)
    is_there(lab, cloud, guest)
    await nothing_open(services)


async def test_a_cut_connection(lab: Lab, services: Services, cloud: Cloud, guest: LabGuest) -> None:
    task = await start(services, guest, SLOWLY)
    await copying(task)
    cloud.relay.cut(6, after=100_000)
    await until(lambda: cloud.relay.cuts == 0, "nothing was cut")
    cloud.relay.close()
    await asyncio.sleep(2)
    cloud.relay.open()
    await ended(services, task, TaskState.DONE)
    is_there(lab, cloud, guest)
    await nothing_open(services)


@pytest.mark.parametrize(
    ("operation", "mode", "word"),
    [
        ("PutSnapshotBlock", "bad-checksum", "hecksum"),
        ("CompleteSnapshot", "bad-checksum", "hecksum"),
        ("PutSnapshotBlock", "flip", "not what was sent"),
        ("GetSnapshotBlock", "flip", "checksum"),
    ],
)
async def test_bytes_that_are_not_what_was_sent(
    lab: Lab, services: Services, cloud: Cloud, guest: LabGuest, operation: str, mode: str, word: str
) -> None:
    boot = guest.beats(lab.a)[-1].boot
    cloud.fail(operation, mode=mode)
    task = await start(services, guest)
    await ended(services, task, TaskState.FAILED)
    assert word in task.error, task.error
    await is_here(lab, cloud, guest, boot)
    await nothing_open(services)


async def test_credentials_that_expire_in_the_middle(
    lab: Lab, services: Services, cloud: Cloud, guest: LabGuest
) -> None:
    boot = guest.beats(lab.a)[-1].boot
    task = await start(services, guest, SLOWLY)
    await copying(task)
    cloud.fail(*EBS_WRITE, *CLEANING, mode="expired")
    await ended(services, task, TaskState.UNKNOWN)
    assert "taking it back waits" in task.error
    assert guest.where() == [lab.a]
    cloud.heal()
    services.connections.retry("cloud")
    await until(lambda: task.state in (TaskState.FAILED, TaskState.CANCELLED), f"{task.state} {task.error}")
    await is_here(lab, cloud, guest, boot)
    await nothing_open(services)


CLEANING = ("DescribeInstances", "DescribeImages", "DescribeSnapshots", "DescribeVolumes", "DeleteSnapshot")


async def test_an_endpoint_that_does_not_come_back_and_is_cleaned_by_the_next_start(
    lab: Lab, cloud: Cloud, guest: LabGuest, tmp_path: Path
) -> None:
    boot = guest.beats(lab.a)[-1].boot
    home = tmp_path / "home"
    async with program(lab, cloud, home) as services:
        await ready(services)
        task = await start(services, guest, SLOWLY)
        await copying(task)
        cloud.relay.close()
        await ended(services, task, TaskState.UNKNOWN)
        assert "waits" in task.error
        assert guest.where() == [lab.a]
    assert len(cloud.leftovers()) == 1
    cloud.relay.open()
    async with program(lab, cloud, home) as services:
        await ready(services)
        again = services.tasks.get(task.id)
        assert again is not None
        await until(lambda: again.state == TaskState.FAILED, f"{again.state} {again.error} {again.log}")
        assert "taken back" in again.error
        await is_here(lab, cloud, guest, boot)
        await nothing_open(services)


MOVE = textwrap.dedent(
    """
    import asyncio, json, sys
    from pathlib import Path
    from app.link import ConnectionState
    from app.services import Services
    from backends.model import Kind, LiveOptions, Ref, Vm

    home, name, seeds = Path(sys.argv[1]), sys.argv[2], json.load(sys.stdin)

    async def main():
        services = await Services.open(home, vault_key_file=home.parent / "key")
        for kind, connection, settings, secrets in seeds:
            await services.connections.add(kind, connection, settings, secrets)
        vms = []
        while not vms or any(not one.listed for one in services.connections.all()):
            await asyncio.sleep(0.1)
            vms = [item.ref for item in services.inventory if isinstance(item, Vm) and item.name == name]
        live = LiveOptions(bandwidth_bps=1 << 20)
        planned = await services.migrations.plan(vms[0], Ref("cloud", Kind.CONNECTION, "cloud"), live=live)
        await services.tasks.wait(services.migrations.start(planned))

    asyncio.run(main())
    """
)


def mover(home: Path, guest: LabGuest, connections: list[Seed]) -> subprocess.Popen[bytes]:
    """A process that moves the guest into the cloud, as its own program."""
    given = json.dumps([(one.kind, one.name, one.settings, one.secrets) for one in connections])
    command = [sys.executable, "-c", MOVE, str(home), guest.name]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert child.stdin is not None
    child.stdin.write(given.encode())
    child.stdin.close()
    return child


def safe_bytes(home: Path) -> int:
    """How far the copy is durable, as the journal has it, read from outside."""
    if not (home / "causeway.db").exists():
        return 0
    connection = sqlite3.connect(f"file:{home / 'causeway.db'}?mode=ro", uri=True)
    try:
        rows = connection.execute("select entry from journal").fetchall()
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()
    entries = [json.loads(row[0]) for row in rows]
    return max((int(entry["offset"]) for entry in entries if entry.get("do") == "safe"), default=0)


async def test_killed_in_the_middle_of_the_copy_and_resumed(
    lab: Lab, cloud: Cloud, guest: LabGuest, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    child = mover(home, guest, seeds(lab, cloud))
    try:
        await until(lambda: child.poll() is not None or safe_bytes(home) > 0, "no part of the copy is safe", LONG)
        assert child.poll() is None
        child.send_signal(signal.SIGKILL)
    finally:
        child.kill()
        child.wait()
    assert (guest.where(), cloud.instances(guest)) == ([], [])
    async with program(lab, cloud, home) as services:
        await ready(services)
        (task,) = services.tasks.all()
        await until(lambda: task.state == TaskState.INTERRUPTED, f"{task.state} {task.error}")
        assert "interrupted in step 'copy'" in task.error
        services.tasks.retry(task.id)
        await ended(services, task, TaskState.DONE)
        assert any("goes on at byte" in text for _, text in task.log), task.log
        is_there(lab, cloud, guest)
        await nothing_open(services)
