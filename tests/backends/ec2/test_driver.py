"""The EC2 driver's settings, inventory and errors, on a real endpoint process."""

from __future__ import annotations

import ast
import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from app.playground.endpoint import Endpoint
from backends.driver import Capability, Settings
from backends.ec2 import Driver, failures
from backends.errors import AuthNeeded, Denied, Invalid, NotFound, OutcomeUnknown, Throttled, Unreachable
from backends.model import DiskFacts, Kind, Level, Ref, Scope, SourceFacts, Vm, VmSpec
from tests.backends.cloud import ec2_settings

MIB = 1024**2
ROLE = "arn:aws:iam::123456789012:role/operator"


async def all_vms(driver: Driver) -> list[Vm]:
    found: list[Vm] = []
    for scope in driver.scopes():
        if scope.kinds == {Kind.VM}:
            listing = await driver.list(scope)
            assert listing.error is None
            found += [item for item in listing.objects if isinstance(item, Vm)]
    return found


def with_secrets(settings: Settings, values: dict[str, str], **secrets: str) -> Settings:
    return Settings({**settings.values, **values}, {**settings.secrets, **secrets})


async def test_the_vms_are_listed_before_anything_else(driver: Driver) -> None:
    kinds = [next(iter(scope.kinds)) for scope in driver.scopes()]
    assert kinds[:2] == [Kind.ZONE, Kind.VM]
    assert kinds[-1] == Kind.FLAVOR
    vm = next(vm for vm in await all_vms(driver) if vm.name == "web-1")
    assert (vm.vcpus, vm.memory_bytes, vm.flavor) == (2, 1024**3, "t3.micro")
    assert vm.parent == Ref("cloud", Kind.ZONE, "us-east-1")
    assert vm.addresses and vm.nics[0].mac and vm.disks[0].boot


async def test_two_regions_are_two_zones_of_one_site(endpoint: Endpoint, driver: Driver) -> None:
    both = Driver("both", ec2_settings(endpoint, regions="us-east-1, eu-west-1, us-east-1"))
    await both.connect()
    listing = await both.list(Scope(frozenset((Kind.ZONE,))))
    assert [item.name for item in listing.objects] == ["us-east-1", "eu-west-1"]
    spec = VmSpec(name="far", uuid="u-far", disks=(DiskFacts(target="vda", size_bytes=MIB, boot=True),))
    to = Ref("both", Kind.ZONE, "eu-west-1")
    disk = await both.prepare_disk(to, spec, 0, pool="", migration="far")
    ident = both.open_sink(disk, ec2_settings(endpoint)).commit()
    ref = await both.create_vm(to, spec, [ident], migration="far")
    assert [(vm.name, vm.parent) for vm in await all_vms(both) if vm.ref == ref] == [("far", to)]
    assert await both.locate("u-far") == ref
    assert await driver.locate("u-far") is None
    with pytest.raises(NotFound):
        await driver.describe(ref)
    await both.discard_import("far")
    assert await both.locate("u-far") is None
    await both.close()


@pytest.mark.parametrize(
    ("values", "code", "field"),
    [
        ({"access_key_id": "AKIAWRONG"}, "auth", "access_key_id"),
        ({"endpoint_url": "http://127.0.0.1:1"}, "unreachable", "endpoint_url"),
        ({"endpoint_url": "nonsense"}, "invalid", "endpoint_url"),
        ({"regions": "mars-1"}, "invalid", "regions"),
        ({"regions": "us-east-1,mars-1"}, "region", "regions"),
        ({"profile": "nobody", "access_key_id": ""}, "invalid", "profile"),
        ({"proxy": "http://127.0.0.1:1"}, "unreachable", "proxy"),
        ({"mfa_serial": "arn:aws:iam::123456789012:mfa/me"}, "auth", "mfa_code"),
    ],
)
async def test_check_names_the_field(endpoint: Endpoint, values: dict[str, str], code: str, field: str) -> None:
    made = Driver("cloud", ec2_settings(endpoint, **values))
    findings = await made.check()
    await made.close()
    assert [(finding.level, finding.code, finding.field) for finding in findings] == [(Level.RED, code, field)]
    assert findings[0].cure
    assert endpoint.secret_key not in str(findings)


async def test_an_expired_key_asks_for_a_new_one(endpoint: Endpoint, driver: Driver) -> None:
    endpoint.faults_file.write_text(json.dumps({"DescribeInstances": {"mode": "expired"}}))
    listing = await driver.list(Scope(frozenset((Kind.VM,)), Ref("cloud", Kind.ZONE, "us-east-1")))
    assert isinstance(listing.error, AuthNeeded)
    with pytest.raises(AuthNeeded):
        await driver.connect()


async def test_throttling_and_outages_are_told_apart(endpoint: Endpoint, driver: Driver) -> None:
    for mode, kind in (("throttle", Throttled), ("503", Unreachable), ("cut", Unreachable)):
        endpoint.faults_file.write_text(json.dumps({"DescribeInstances": {"mode": mode}}))
        listing = await driver.list(Scope(frozenset((Kind.VM,)), Ref("cloud", Kind.ZONE, "us-east-1")))
        assert type(listing.error) is kind


async def test_a_change_whose_answer_is_lost_has_an_unknown_outcome(endpoint: Endpoint, driver: Driver) -> None:
    vm = next(vm for vm in await all_vms(driver) if vm.name == "web-1")
    endpoint.faults_file.write_text(json.dumps({"CreateTags": {"mode": "cut"}}))
    with pytest.raises(OutcomeUnknown):
        await driver.rename(vm.ref, "x")


async def test_what_the_key_may_not_do_is_no_capability(endpoint: Endpoint, driver: Driver) -> None:
    assert {Capability.EXPORT, Capability.IMPORT, Capability.DELETE} <= driver.capabilities()
    denied = {"mode": "denied"}
    plan = {"TerminateInstances": denied, "RegisterImage": denied}
    endpoint.faults_file.write_text(json.dumps(plan))
    await driver.connect()
    assert driver.capabilities() == driver.implemented() - {Capability.DELETE, Capability.IMPORT}
    endpoint.faults_file.write_text(json.dumps({"ListSnapshotBlocks": denied}))
    await driver.connect()
    assert driver.capabilities() == driver.implemented() - {Capability.EXPORT, Capability.IMPORT}
    endpoint.faults_file.write_text(json.dumps({"DescribeInstances": denied}))
    with pytest.raises(Denied):
        await driver.connect()


async def test_a_role_is_assumed(endpoint: Endpoint) -> None:
    made = Driver("cloud", ec2_settings(endpoint, role_arn=ROLE))
    await made.connect()
    assert await all_vms(made)
    keys = made._clients._open().get_credentials()
    assert keys.get_frozen_credentials().access_key != endpoint.access_key
    await made.close()


async def test_an_mfa_code_opens_a_session_that_the_mover_inherits(endpoint: Endpoint) -> None:
    settings = ec2_settings(endpoint, mfa_serial="arn:aws:iam::123456789012:mfa/me")
    made = Driver("cloud", with_secrets(settings, {}, mfa_code="123456"))
    await made.connect()
    lent = await asyncio.to_thread(made.mover_settings)
    assert lent["session_token"] and not lent["mfa_serial"] and not lent["mfa_code"]
    assert lent["secret_access_key"] != endpoint.secret_key
    other = Driver("other", lent)
    assert await other.check() == []
    await other.close()
    await made.close()


async def test_a_profile_with_a_role_works(endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials, config = tmp_path / "credentials", tmp_path / "config"
    secret = endpoint.secret_key
    credentials.write_text(f"[base]\naws_access_key_id={endpoint.access_key}\naws_secret_access_key={secret}\n")
    config.write_text(
        f"[profile ops]\nrole_arn={ROLE}\nsource_profile=base\nregion=us-east-1\nendpoint_url={endpoint.url}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    made = Driver("cloud", Settings({"endpoint_url": endpoint.url, "profile": "ops"}))
    assert await made.check() == []
    await made.close()


async def test_the_same_flavor_is_chosen_by_size_and_architecture(endpoint: Endpoint, driver: Driver) -> None:
    to = Ref("cloud", Kind.ZONE, "us-east-1")
    facts = await driver.import_facts(to, None, None)
    assert facts.flavors and facts.networks and facts.encrypted_transport is False
    for vcpus, memory, arch, expected in (
        (1, 256 * MIB, "x86_64", "t3.nano"),
        (2, 3 * 1024 * MIB, "x86_64", "t3.medium"),
        (1, 256 * MIB, "aarch64", "t4g.nano"),
    ):
        spec = VmSpec(name="x", vcpus=vcpus, memory_bytes=memory, arch=arch)
        assert await driver._flavor("us-east-1", spec) == expected
    with pytest.raises(Invalid):
        await driver._flavor("us-east-1", VmSpec(name="x", vcpus=4096))
    with pytest.raises(Invalid):
        await driver._flavor("us-east-1", VmSpec(name="x", flavor="t9.none"))
    with pytest.raises(Invalid):
        await driver.import_facts(Ref("cloud", Kind.ZONE, "mars-1"), None, None)


async def test_import_facts_judge_the_source(driver: Driver) -> None:
    vm = Vm(ref=Ref("kvm", Kind.VM, "u"), name="x", arch="s390x")
    huge = DiskFacts(target="vda", size_bytes=17 * 1024**4)
    source = SourceFacts(vm=vm, capabilities=frozenset(), platform="libvirt", disks=(huge,))
    facts = await driver.import_facts(Ref("cloud", Kind.CONNECTION, "cloud"), source, None)
    assert {f.code: f.level for f in facts.blocking} == {"architecture": Level.RED, "disk-too-large": Level.RED}


async def test_delete_keeps_disks_when_told(driver: Driver, endpoint: Endpoint, ec2: Any) -> None:
    image = ec2.describe_images(Filters=[{"Name": "name", "Values": ["empty-1gib"]}])["Images"][0]["ImageId"]
    made = ec2.run_instances(ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1)["Instances"][0]
    volume = made["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    await driver.delete(Ref("cloud", Kind.VM, made["InstanceId"]), disks=False)
    assert ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]["State"] == "available"
    ec2.delete_volume(VolumeId=volume)


def test_importing_the_module_does_not_import_boto3() -> None:
    code = "import sys, backends.ec2; sys.exit('boto3' in sys.modules or 'botocore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_secrets_are_in_no_repr(endpoint: Endpoint) -> None:
    made = Driver("cloud", ec2_settings(endpoint))
    assert endpoint.secret_key not in repr(vars(made)) + repr(made.settings) + made.uri


def test_every_code_of_the_table_is_written_once() -> None:
    tree = ast.parse(Path(failures.__file__).read_text(encoding="utf-8"))
    table = next(node.value for node in tree.body if isinstance(node, ast.AnnAssign))
    assert isinstance(table, ast.Dict) and len(table.keys) == len(failures.TABLE)


class Page(BaseHTTPRequestHandler):
    """Something that is not EC2."""

    def do_POST(self) -> None:
        body = b"<!doctype html><p>Welcome"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def web_page() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


async def test_a_url_that_is_not_ec2_is_said_to_be_wrong(endpoint: Endpoint, web_page: str) -> None:
    made = Driver("cloud", ec2_settings(endpoint, endpoint_url=web_page))
    assert [finding.field for finding in await made.check()] == ["endpoint_url"]
    await made.close()


async def test_a_silent_server_does_not_hold_close(endpoint: Endpoint) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        made = Driver("cloud", ec2_settings(endpoint, endpoint_url=f"http://127.0.0.1:{silent.getsockname()[1]}"))
        asking = asyncio.create_task(made.check())
        await asyncio.sleep(0.5)
        await asyncio.wait_for(made.close(), 20)
        asking.cancel()
