"""The playground's cloud as a real process, by boto3: its lock, its disks, its manners."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import signal
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from app.playground.endpoint import Endpoint
from tests.backends.cloud import running_endpoint

BLOCK = 512 * 1024


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with running_endpoint("web-1") as started:
        yield started


@pytest.fixture(autouse=True)
def no_faults(endpoint: Endpoint) -> Iterator[None]:
    yield
    endpoint.faults_file.unlink(missing_ok=True)


@pytest.fixture
def client(endpoint: Endpoint) -> Iterator[Callable[..., Any]]:
    made: list[Any] = []

    def make(service: str, **keys: str) -> Any:
        given = {"aws_access_key_id": endpoint.access_key, "aws_secret_access_key": endpoint.secret_key} | keys
        config = Config(retries={"total_max_attempts": 1}, read_timeout=20)
        made.append(boto3.client(service, region_name="us-east-1", endpoint_url=endpoint.url, config=config, **given))
        return made[-1]

    yield make
    for each in made:
        each.close()


def refused(call: Callable[..., Any], **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return str(caught.value.response["Error"]["Code"])


def sum_of(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def put(ebs: Any, ident: str, index: int, data: bytes, checksum: str = "") -> None:
    ebs.put_snapshot_block(
        SnapshotId=ident,
        BlockIndex=index,
        BlockData=data,
        DataLength=len(data),
        Checksum=checksum or sum_of(data),
        ChecksumAlgorithm="SHA256",
    )


def snapshot(ebs: Any, blocks: dict[int, bytes], gib: int = 1) -> str:
    ident = str(ebs.start_snapshot(VolumeSize=gib)["SnapshotId"])
    for index, data in blocks.items():
        put(ebs, ident, index, data)
    ebs.complete_snapshot(SnapshotId=ident, ChangedBlocksCount=len(blocks))
    return ident


def read(ebs: Any, ident: str) -> dict[int, bytes]:
    return {
        each["BlockIndex"]: ebs.get_snapshot_block(
            SnapshotId=ident, BlockIndex=each["BlockIndex"], BlockToken=each["BlockToken"]
        )["BlockData"].read()
        for each in ebs.list_snapshot_blocks(SnapshotId=ident)["Blocks"]
    }


def test_only_the_key_opens_it(client: Callable[..., Any], endpoint: Endpoint) -> None:
    wrong = {"aws_secret_access_key": "x"}
    assert refused(client("ec2", **wrong).describe_instances) == "AuthFailure"
    assert refused(client("ec2", aws_access_key_id="AKIAX").describe_instances) == "AuthFailure"
    assert refused(client("sts", **wrong).get_caller_identity) == "SignatureDoesNotMatch"
    assert refused(client("ebs", **wrong).list_snapshot_blocks, SnapshotId="snap-1") == "InvalidSignatureException"
    assert client("sts").get_caller_identity()["Account"] == "123456789012"
    with pytest.raises(ClientError):
        client("s3").list_buckets()


@pytest.mark.parametrize("length", ["0", "99999999999"])
def test_a_stranger_who_sends_nonsense_is_refused(endpoint: Endpoint, length: str) -> None:
    scope = f"Credential={endpoint.access_key}/20260101/us-east-1/ec2/aws4_request"
    sent = {"Authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=\xe9", "Content-Length": length}
    connection = http.client.HTTPConnection(endpoint.url.removeprefix("http://"), timeout=20)
    try:
        connection.putrequest("POST", "/")
        for name, value in sent.items():
            connection.putheader(name, value)
        connection.endheaders(bytes(5 << 20) if length != "0" else None)
        assert connection.getresponse().status == 401
    finally:
        connection.close()


def test_nothing_secret_is_in_the_open(endpoint: Endpoint) -> None:
    assert endpoint.url.startswith("http://127.0.0.1:")
    assert stat.S_IMODE(endpoint.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(endpoint.key_file.stat().st_mode) == 0o600
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert endpoint.secret_key.encode() not in line.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue


def test_it_listens_on_loopback_only(endpoint: Endpoint) -> None:
    port = f"{int(endpoint.url.rpartition(':')[2]):04X}"
    rows = [line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()]
    found = [row[1] for row in rows if row[1].endswith(f":{port}") and row[3] == "0A"]
    assert found == [f"0100007F:{port}"]


def test_a_session_of_sts_works_and_ends(client: Callable[..., Any]) -> None:
    keys = client("sts").assume_role(RoleArn="arn:aws:iam::123456789012:role/x", RoleSessionName="test")["Credentials"]
    given = {"aws_access_key_id": keys["AccessKeyId"], "aws_secret_access_key": keys["SecretAccessKey"]}
    assert client("ec2", **given, aws_session_token=keys["SessionToken"]).describe_instances()["Reservations"]
    assert refused(client("ec2", **given, aws_session_token="x").describe_instances) == "AuthFailure"


def test_blocks_are_checked(client: Callable[..., Any]) -> None:
    ebs, data = client("ebs"), os.urandom(BLOCK)
    ident = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
    assert refused(put, ebs=ebs, ident=ident, index=0, data=data, checksum=sum_of(b"x")) == "ValidationException"
    assert refused(put, ebs=ebs, ident=ident, index=2048, data=data) == "ValidationException"
    assert refused(put, ebs=ebs, ident=ident, index=0, data=data[:512]) == "ValidationException"
    put(ebs, ident, 3, data)
    put(ebs, ident, 1, data[::-1])
    complete = {"SnapshotId": ident, "ChecksumAlgorithm": "SHA256", "ChecksumAggregationMethod": "LINEAR"}
    right = sum_of(hashlib.sha256(data[::-1]).digest() + hashlib.sha256(data).digest())
    wrong = sum_of(hashlib.sha256(data).digest() + hashlib.sha256(data[::-1]).digest())
    done = ebs.complete_snapshot
    assert refused(done, **complete, ChangedBlocksCount=1, Checksum=right) == "ValidationException"
    assert refused(done, **complete, ChangedBlocksCount=2, Checksum=wrong) == "ValidationException"
    assert client("ec2").describe_snapshots(SnapshotIds=[ident])["Snapshots"][0]["State"] == "pending"
    assert done(**complete, ChangedBlocksCount=2, Checksum=right)["Status"] == "completed"
    assert refused(put, ebs=ebs, ident=ident, index=0, data=data) == "ValidationException"
    assert read(ebs, ident) == {1: data[::-1], 3: data}


def test_listings_come_in_pages_and_void_older_tokens(client: Callable[..., Any]) -> None:
    ebs = client("ebs")
    ident = snapshot(ebs, {index: bytes([index]) * BLOCK for index in range(150)})
    first = ebs.list_snapshot_blocks(SnapshotId=ident, MaxResults=100)
    rest = ebs.list_snapshot_blocks(SnapshotId=ident, MaxResults=100, NextToken=first["NextToken"])
    assert (first["BlockSize"], first["VolumeSize"]) == (BLOCK, 1)
    assert [each["BlockIndex"] for each in first["Blocks"] + rest["Blocks"]] == list(range(150))
    assert "NextToken" not in rest
    token = first["Blocks"][7]["BlockToken"]
    ebs.get_snapshot_block(SnapshotId=ident, BlockIndex=7, BlockToken=token)["BlockData"].read()
    get = ebs.get_snapshot_block
    assert refused(get, SnapshotId=ident, BlockIndex=8, BlockToken=token) == "ValidationException"
    ebs.list_snapshot_blocks(SnapshotId=ident)
    assert refused(get, SnapshotId=ident, BlockIndex=7, BlockToken=token) == "ValidationException"
    assert refused(ebs.list_snapshot_blocks, SnapshotId=ident, NextToken="1:x") == "ValidationException"
    assert refused(ebs.list_snapshot_blocks, SnapshotId="snap-none") == "ResourceNotFoundException"


def test_start_snapshot_keeps_to_its_client_token(client: Callable[..., Any]) -> None:
    ebs = client("ebs")
    first = ebs.start_snapshot(VolumeSize=1, ClientToken="one")["SnapshotId"]
    assert ebs.start_snapshot(VolumeSize=1, ClientToken="one")["SnapshotId"] == first
    assert refused(ebs.start_snapshot, VolumeSize=2, ClientToken="one") == "ConflictException"


def test_an_image_keeps_its_disks_and_an_instance_their_bytes(client: Callable[..., Any]) -> None:
    ec2, ebs, data = client("ec2"), client("ebs"), os.urandom(BLOCK)
    root, other = snapshot(ebs, {5: data}, gib=2), snapshot(ebs, {0: data[::-1]})
    disks = [
        {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": root, "VolumeSize": 3}},
        {"DeviceName": "/dev/sdf", "Ebs": {"SnapshotId": other}},
    ]
    given = {"Name": "two", "Architecture": "x86_64", "RootDeviceName": "/dev/xvda", "VirtualizationType": "hvm"}
    image = ec2.register_image(**given, BlockDeviceMappings=disks, EnaSupport=True)["ImageId"]
    assert refused(ec2.register_image, **given, BlockDeviceMappings=disks) == "InvalidAMIName.Duplicate"
    assert refused(ec2.delete_snapshot, SnapshotId=root) == "InvalidSnapshot.InUse"
    run = {"ImageId": image, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1, "ClientToken": "run-two"}
    instance = ec2.run_instances(**run)["Instances"][0]
    assert ec2.run_instances(**run)["Instances"][0]["InstanceId"] == instance["InstanceId"]
    assert refused(ec2.run_instances, **{**run, "InstanceType": "t3.small"}) == "IdempotentParameterMismatch"
    ids = {m["DeviceName"]: m["Ebs"]["VolumeId"] for m in instance["BlockDeviceMappings"]}
    volumes = {v["VolumeId"]: v for v in ec2.describe_volumes(VolumeIds=list(ids.values()))["Volumes"]}
    assert {d: (volumes[i]["Size"], volumes[i]["SnapshotId"]) for d, i in ids.items()} == {
        "/dev/xvda": (3, root),
        "/dev/sdf": (1, other),
    }
    made = ec2.create_snapshot(VolumeId=ids["/dev/xvda"])
    assert made["State"] == "pending"
    assert read(ebs, made["SnapshotId"]) == {5: data}
    ec2.deregister_image(ImageId=image)
    ec2.delete_snapshot(SnapshotId=root)
    assert read(ebs, ec2.create_snapshot(VolumeId=ids["/dev/xvda"])["SnapshotId"]) == {5: data}


def test_states_take_a_moment(client: Callable[..., Any]) -> None:
    ec2 = client("ec2")

    def state() -> str:
        return str(ec2.describe_instances(InstanceIds=[ident])["Reservations"][0]["Instances"][0]["State"]["Name"])

    def reaches(wanted: str) -> set[str]:
        seen, end = set(), time.monotonic() + 20
        while (now := state()) != wanted:
            assert time.monotonic() < end
            seen.add(now)
        return seen

    running = [{"Name": "tag:Name", "Values": ["web-1"]}]
    ident = ec2.describe_instances(Filters=running)["Reservations"][0]["Instances"][0]["InstanceId"]
    reaches("running")
    root = ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [ident]}])["Volumes"][0]
    assert refused(ec2.detach_volume, VolumeId=root["VolumeId"]) == "OperationNotPermitted"
    ec2.stop_instances(InstanceIds=[ident])
    assert reaches("stopped") == {"stopping"}
    ec2.detach_volume(VolumeId=root["VolumeId"])
    assert refused(ec2.start_instances, InstanceIds=[ident]) == "InvalidParameterValue"
    ec2.attach_volume(VolumeId=root["VolumeId"], InstanceId=ident, Device="/dev/sda1")
    ec2.start_instances(InstanceIds=[ident])
    assert reaches("running") == {"pending"}


def test_what_it_cannot_do_is_an_error_code(client: Callable[..., Any]) -> None:
    assert refused(client("ec2").get_console_screenshot, InstanceId="i-1") == "UnsupportedOperation"
    assert refused(client("ec2").import_image) == "UnsupportedOperation"


def test_faults_come_when_asked_for_and_end(client: Callable[..., Any], endpoint: Endpoint) -> None:
    ec2 = client("ec2")
    for mode, code in (("503", "Unavailable"), ("throttle", "RequestLimitExceeded"), ("expired", "RequestExpired")):
        plan = {"DescribeInstances": {"mode": mode, "count": 1, "after": 1}}
        endpoint.faults_file.write_text(json.dumps(plan))
        ec2.describe_instances()
        assert refused(ec2.describe_instances) == code
        ec2.describe_instances()
    endpoint.faults_file.write_text(json.dumps({"DescribeInstances": {"mode": "cut", "count": 1}}))
    with pytest.raises(BotoCoreError):
        ec2.describe_instances()
    ec2.describe_instances()


def wait_end(pid: int) -> None:
    """Until nothing is left of a process; a thread takes its last word as soon as it has its turn."""
    end = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_start_and_stop_are_idempotent_and_leave_nothing(tmp_path: Path) -> None:
    endpoint = Endpoint(tmp_path / "cloud")
    assert not endpoint.running()
    endpoint.stop()
    endpoint.start()
    url, key = endpoint.url, endpoint.access_key
    Endpoint(tmp_path / "cloud").start()
    assert (endpoint.url, endpoint.access_key) == (url, key)
    pid = json.loads((endpoint.folder / "endpoint.json").read_text())["pid"]
    endpoint.stop()
    endpoint.stop()
    assert not endpoint.running() and not endpoint.folder.exists()
    wait_end(pid)


def test_a_killed_endpoint_is_replaced(tmp_path: Path) -> None:
    endpoint = Endpoint(tmp_path / "cloud")
    endpoint.start()
    key = endpoint.access_key
    os.kill(json.loads((endpoint.folder / "endpoint.json").read_text())["pid"], signal.SIGKILL)
    endpoint.start()
    assert endpoint.running() and endpoint.access_key != key
    endpoint.stop()


def test_it_ends_when_its_folder_is_gone(tmp_path: Path) -> None:
    endpoint = Endpoint(tmp_path / "cloud")
    endpoint.start()
    state = endpoint.folder / "endpoint.json"
    pid = json.loads(state.read_text())["pid"]
    state.unlink()
    wait_end(pid)
    endpoint.stop()
