"""moto's EC2 with its gaps closed: images keep their disks, volumes their bytes, changes take a moment.

`install(store)` replaces a few functions of moto in this process, which is the endpoint's own and nobody else's.
Everything lives in the one account of the playground.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID as ACCOUNT
from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import EC2Backend, ec2_backends
from moto.ec2.models import instances as instance_models
from moto.ec2.models.amis import Ami
from moto.ec2.models.elastic_block_store import Snapshot
from moto.ec2.responses import EC2Response

from app.playground.blocks import BlockStore

__all__ = ["ACCOUNT", "backend", "has_region", "install", "seed", "start_snapshot"]

SETTLE_S = 0.4
"""How long a started, stopped or snapshotted thing stays in its transitional state."""
FAMILIES = ("t3.", "t4g.", "m5.", "c5.", "r5.")
"""The instance types offered: all 800 of moto take it 7 s to print."""
_PASSING = {"running": ("pending", 0), "stopped": ("stopping", 64), "terminated": ("shutting-down", 32)}
_lock = threading.RLock()


class SettlingState:
    """An instance's state that passes through pending, stopping or shutting-down on its way."""

    def __init__(self, name: str = "pending", code: int = 0) -> None:
        self._name, self._code, self._since = name, code, time.monotonic()

    @property
    def _passing(self) -> bool:
        return self._name in _PASSING and time.monotonic() - self._since < SETTLE_S

    @property
    def name(self) -> str:
        return _PASSING[self._name][0] if self._passing else self._name

    @name.setter
    def name(self, value: str) -> None:
        if value != self._name:
            self._name, self._since = value, time.monotonic()

    @property
    def code(self) -> int:
        return _PASSING[self._name][1] if self._passing else self._code

    @code.setter
    def code(self, value: int) -> None:
        self._code = value

    @property
    def target(self) -> str:
        """Where it is going to."""
        return self._name


def backend(region: str) -> Any:
    """moto's model of one region."""
    return ec2_backends[ACCOUNT][region]


def has_region(region: str) -> bool:
    """Whether there is a region of this name."""
    return region in ec2_backends[ACCOUNT].regions


def install(store: BlockStore) -> None:
    """Put our behaviour in moto's place. Call it once, before the first request."""
    _replace(instance_models, InstanceState=SettlingState)
    _replace(Ami, block_device_mappings=property(_mappings))
    _install_disks(store)
    _install_images(store)
    _install_instances()


def _replace(owner: Any, **attributes: Any) -> None:
    for name, value in attributes.items():
        setattr(owner, name, value)


def start_snapshot(store: BlockStore, region: str, request: dict[str, Any]) -> Snapshot:
    """EBS direct's StartSnapshot on moto's side: a snapshot that stays pending until it is completed."""
    ec2 = backend(region)
    with _lock:
        volume = ec2.create_volume(size=int(request["VolumeSize"]), zone_name=f"{region}a")
        snapshot = ec2.create_snapshot(volume.id, request.get("Description", ""))
        ec2.delete_volume(volume.id)
        store.get(snapshot.id).pending = True
        snapshot.add_tags({tag["Key"]: tag["Value"] for tag in request.get("Tags") or []})
    return snapshot  # type: ignore[no-any-return]


def _install_disks(store: BlockStore) -> None:
    create_volume: Any = EC2Backend.create_volume
    delete_volume = EC2Backend.delete_volume
    create_snapshot, delete_snapshot = EC2Backend.create_snapshot, EC2Backend.delete_snapshot
    detach_volume = EC2Backend.detach_volume

    def volume(self: Any, size: Any, zone_name: str, snapshot_id: str | None = None, **rest: Any) -> Any:
        with _lock:
            if snapshot_id:
                origin = self.get_snapshot(snapshot_id)
                if store.pending(snapshot_id):
                    raise EC2ClientError("IncorrectState", f"Snapshot {snapshot_id} is not completed")
                if size is not None and int(size) < origin.volume_size:
                    raise EC2ClientError("InvalidParameterValue", "The volume is smaller than its snapshot")
            made = create_volume(self, None if size is None else int(size), zone_name, snapshot_id, **rest)
            if snapshot_id:
                store.clone(snapshot_id, made.id, made.size)
            else:
                store.create(made.id, made.size)
            return made

    def volume_gone(self: Any, volume_id: str) -> Any:
        with _lock:
            gone = delete_volume(self, volume_id)
            store.delete(volume_id)
            return gone

    def snapshot(self: Any, volume_id: str, *args: Any, **rest: Any) -> Any:
        with _lock:
            made: Any = create_snapshot(self, volume_id, *args, **rest)
            made.made_at = time.monotonic()
            store.clone(volume_id, made.id, made.volume.size)
            return made

    def snapshot_gone(self: Any, snapshot_id: str) -> Any:
        with _lock:
            for ami in self.amis.values():
                if any(m["Ebs"]["SnapshotId"] == snapshot_id for m in ami.block_device_mappings):
                    text = f"The snapshot {snapshot_id} is currently in use by {ami.id}"
                    raise EC2ClientError("InvalidSnapshot.InUse", text)
            gone = delete_snapshot(self, snapshot_id)
            store.delete(snapshot_id)
            return gone

    def detach(self: Any, volume_id: str, instance_id: str | None, device_path: str | None) -> Any:
        with _lock:
            attachment = self.get_volume(volume_id).attachment
            if attachment is None:
                raise EC2ClientError("IncorrectState", f"Volume '{volume_id}' is in the 'available' state.")
            instance = attachment.instance
            in_use = instance._state.target == "running" and not getattr(instance, "ending", False)
            if attachment.device == instance.root_device_name and in_use:
                text = f"Unable to detach root volume '{volume_id}' from instance '{instance.id}'"
                raise EC2ClientError("OperationNotPermitted", text)
            return detach_volume(self, volume_id, instance_id or instance.id, device_path or attachment.device)

    def status(self: Any) -> str:
        settling = time.monotonic() - getattr(self, "made_at", 0.0) < SETTLE_S
        return "pending" if settling or store.pending(self.id) else "completed"

    _replace(EC2Backend, create_volume=volume, delete_volume=volume_gone, detach_volume=detach)
    _replace(EC2Backend, create_snapshot=snapshot, delete_snapshot=snapshot_gone)
    _replace(Snapshot, status=property(status, lambda self, value: None))


def _mappings(ami: Any) -> list[dict[str, Any]]:
    return list(getattr(ami, "disks", []))


def _disk(ec2: Any, device: str, ebs: dict[str, Any], store: BlockStore) -> dict[str, Any]:
    ident = ebs.get("SnapshotId")
    if not ident:
        return {"DeviceName": device, "Ebs": {"SnapshotId": None, **ebs}}
    if store.pending(ident):
        raise EC2ClientError("IncorrectState", f"Snapshot {ident} is not completed")
    size = int(ebs.get("VolumeSize") or ec2.get_snapshot(ident).volume_size)
    return {
        "DeviceName": device,
        "Ebs": {
            "SnapshotId": ident,
            "VolumeSize": size,
            "VolumeType": ebs.get("VolumeType") or "gp2",
            "DeleteOnTermination": ebs.get("DeleteOnTermination", True),
            "Encrypted": False,
        },
    }


def _forget_stray_snapshot(ec2: Any, ami: Any) -> None:
    """moto makes a snapshot of its own for every image."""
    stray = ami.ebs_snapshot.id
    ec2.amis.pop(ami.id)
    ec2.delete_snapshot(stray)
    ec2.amis[ami.id] = ami


def _install_images(store: BlockStore) -> None:
    create_image = EC2Backend.create_image

    def register(self: Any) -> ActionResult:
        self.error_on_dryrun()
        ec2, name = self.ec2_backend, self._get_param("Name") or ""
        root = self._get_param("RootDeviceName") or "/dev/sda1"
        with _lock:
            if any(ami.name == name for ami in ec2.amis.values()):
                raise EC2ClientError("InvalidAMIName.Duplicate", f"AMI name {name} is already in use")
            asked = self._get_param("BlockDeviceMappings") or []
            disks = [_disk(ec2, m["DeviceName"], m.get("Ebs", {}), store) for m in asked]
            if not any(disk["DeviceName"] == root for disk in disks):
                raise EC2ClientError("InvalidBlockDeviceMapping", f"There is no mapping for the root device {root}")
            ami = ec2.register_image(name, self._get_param("Description", ""))
            _forget_stray_snapshot(ec2, ami)
            ami.disks, ami.root_device_name, ami.root_device_type = disks, root, "ebs"
            ami.architecture = self._get_param("Architecture") or "i386"
            ami.virtualization_type = self._get_param("VirtualizationType") or "paravirtual"
            ami.boot_mode = self._get_param("BootMode")
            ami.ena_support = bool(self._get_param("EnaSupport"))
            ami.add_tags(self._parse_tag_specification().get("image", {}))
        return ActionResult({"ImageId": ami.id})

    def create(self: Any, instance_id: str, *args: Any, **rest: Any) -> Any:
        with _lock:
            ami: Any = create_image(self, instance_id, *args, **rest)
            _forget_stray_snapshot(self, ami)
            instance = self.get_instance(instance_id)
            ami.disks, ami.root_device_name = [], instance.root_device_name
            for device, block in instance.get_block_device_mapping:
                made = self.create_snapshot(block.volume_id, f"Created by CreateImage({instance_id}) for {ami.id}")
                ami.disks.append(_disk(self, device, {"SnapshotId": made.id, "VolumeSize": block.size}, store))
            ami.root_device_type = "ebs"
            return ami

    _replace(EC2Response, register_image=register)
    _replace(EC2Backend, create_image=create)


def _install_instances() -> None:
    teardown = instance_models.Instance.teardown_defaults
    run, start, stop = EC2Backend.run_instances, EC2Backend.start_instances, EC2Backend.stop_instances
    describe_types = EC2Backend.describe_instance_types
    tokens: dict[tuple[str, str], tuple[str, Any]] = {}

    def run_instances(self: Any, image_id: str, count: int, user_data: Any, names: list[str], **rest: Any) -> Any:
        with _lock:
            token = (self.region_name, rest.get("client_token") or "")
            asked = json.dumps([image_id, count, user_data, names, rest], sort_keys=True, default=str)
            if token in tokens and token[1] != "ABCDE":
                before, reservation = tokens[token]
                if before != asked:
                    text = "Arguments on this idempotent request are inconsistent with arguments used before"
                    raise EC2ClientError("IdempotentParameterMismatch", text)
                return reservation
            image = self.describe_images(ami_ids=[image_id])[0]
            disks = {m["DeviceName"]: {**m, "Ebs": dict(m["Ebs"])} for m in image.block_device_mappings}
            for mapping in rest.get("block_device_mappings") or []:
                disk = disks.setdefault(mapping["DeviceName"], {"DeviceName": mapping["DeviceName"], "Ebs": {}})
                disk["Ebs"].update({k: v for k, v in mapping["Ebs"].items() if v is not None})
            rest["block_device_mappings"] = list(disks.values())
            reservation = run(self, image_id, count, user_data, names, **rest)
            instance: Any
            for instance in reservation.instances:
                instance.client_token = token[1]
                instance.ena_support, instance.boot_mode = image.ena_support, image.boot_mode
                instance._state = SettlingState("running", 16)
            tokens[token] = (asked, reservation)
            return reservation

    def teardown_defaults(self: Any) -> None:
        self.ending = True
        teardown(self)

    def start_instances(self: Any, instance_ids: list[str]) -> Any:
        for instance in self.get_multi_instances_by_id(instance_ids):
            if instance._state.name not in ("stopped", "running", "pending"):
                text = f"The instance '{instance.id}' is not in a state from which it can be started."
                raise EC2ClientError("IncorrectInstanceState", text)
            if instance.root_device_name not in instance.block_device_mapping:
                text = f"Invalid value '{instance.id}' for instanceId. Instance does not have a volume attached at root"
                raise EC2ClientError("InvalidParameterValue", f"{text} ({instance.root_device_name})")
        return start(self, instance_ids)

    def stop_instances(self: Any, instance_ids: list[str]) -> Any:
        for instance in self.get_multi_instances_by_id(instance_ids):
            if instance._state.target == "terminated":
                text = f"The instance '{instance.id}' is not in a state from which it can be stopped."
                raise EC2ClientError("IncorrectInstanceState", text)
        return stop(self, instance_ids)

    def describe_instance_types(self: Any, *args: Any, **rest: Any) -> Any:
        return [t for t in describe_types(self, *args, **rest) if t["InstanceType"].startswith(FAMILIES)]

    _replace(EC2Backend, run_instances=run_instances, describe_instance_types=describe_instance_types)
    _replace(instance_models.Instance, teardown_defaults=teardown_defaults)
    _replace(EC2Backend, start_instances=start_instances, stop_instances=stop_instances)


def seed(region: str, names: Sequence[str]) -> None:
    """Begin with one image of an empty disk, and small running instances of it with these names."""
    ec2 = backend(region)
    volume = ec2.create_volume(size=1, zone_name=f"{region}a")
    snapshot = ec2.create_snapshot(volume.id, "empty")
    ec2.delete_volume(volume.id)
    ami = ec2.register_image("empty-1gib", "An empty disk of 1 GiB")
    _forget_stray_snapshot(ec2, ami)
    ebs = {"SnapshotId": snapshot.id, "VolumeSize": 1, "VolumeType": "gp3", "DeleteOnTermination": True}
    ami.disks = [{"DeviceName": "/dev/sda1", "Ebs": ebs}]
    ami.architecture, ami.virtualization_type, ami.root_device_type = "x86_64", "hvm", "ebs"
    ami.ena_support, ami.boot_mode = True, "uefi-preferred"
    for name in names:
        ec2.run_instances(
            ami.id,
            1,
            None,
            [],
            instance_type="t3.micro",
            is_instance_type_default=False,
            region_name=region,
            tags={"instance": {"Name": name}},
            client_token=f"seed-{name}",
        )
