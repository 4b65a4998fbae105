"""EC2 as a connection: regions as zones, what lives in them, and what can be done to an instance."""

from __future__ import annotations

import asyncio
import builtins
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar

from backends.consoles import Console, Door
from backends.driver import Capability, Option, Settings
from backends.ec2 import consoles
from backends.ec2 import translate as t
from backends.ec2.clients import OPTIONS
from backends.ec2.core import Raw
from backends.ec2.failures import call, code_of
from backends.ec2.importing import Importing
from backends.errors import AuthNeeded, BackendError, Denied, Invalid, NotFound, Unreachable, Unsupported
from backends.model import Finding, Kind, Level, Listing, Object, PowerAction, Ref, Scope, Section

IMPLEMENTED = frozenset(
    (
        Capability.DESCRIBE,
        Capability.START,
        Capability.SHUTDOWN,
        Capability.OFF,
        Capability.REBOOT,
        Capability.DELETE,
        Capability.RENAME,
        Capability.TAG,
        Capability.SERIAL,
        Capability.EXPORT,
        Capability.IMPORT,
    )
)
POWER: Mapping[PowerAction, tuple[str, dict[str, Any]]] = {
    PowerAction.START: ("start_instances", {}),
    PowerAction.SHUTDOWN: ("stop_instances", {}),
    PowerAction.OFF: ("stop_instances", {"Force": True}),
    PowerAction.REBOOT: ("reboot_instances", {}),
}
NO_INSTANCE = "i-00000000000000000"
NO_SNAPSHOT = "snap-00000000000000000"
PROBES: tuple[tuple[str, dict[str, Any], frozenset[Capability]], ...] = (
    ("start_instances", {"InstanceIds": [NO_INSTANCE]}, frozenset((Capability.START,))),
    ("stop_instances", {"InstanceIds": [NO_INSTANCE]}, frozenset((Capability.SHUTDOWN, Capability.OFF))),
    ("reboot_instances", {"InstanceIds": [NO_INSTANCE]}, frozenset((Capability.REBOOT,))),
    ("terminate_instances", {"InstanceIds": [NO_INSTANCE]}, frozenset((Capability.DELETE,))),
    ("get_console_output", {"InstanceId": NO_INSTANCE}, frozenset((Capability.SERIAL,))),
    ("register_image", {"Name": "causeway-probe"}, frozenset((Capability.IMPORT,))),
)
"""Asked with DryRun at connect; a refusal for want of permission takes the capability away."""


class Driver(Importing):
    """One account of EC2 (or of a cloud that speaks its API) with one or several regions."""

    kind: ClassVar[str] = "ec2"
    title: ClassVar[str] = "Amazon EC2 or compatible"
    section: ClassVar[Section] = Section.PUBLIC
    options: ClassVar[tuple[Option, ...]] = OPTIONS

    def __init__(self, name: str, settings: Settings) -> None:
        super().__init__(name, settings)
        self._lists: Mapping[Kind, Callable[[str], Awaitable[Sequence[Object]]]] = {
            Kind.VM: self._list_vms,
            Kind.IMAGE: self._list_images,
            Kind.VOLUME: self._list_volumes,
            Kind.SNAPSHOT: self._list_snapshots,
            Kind.NETWORK: self._list_networks,
            Kind.KEYPAIR: self._list_keypairs,
            Kind.FLAVOR: self._list_flavors,
        }

    @property
    def uri(self) -> str:
        return f"ec2+{self.settings['endpoint_url'] or 'aws'}#{','.join(self.regions)}"

    def implemented(self) -> frozenset[Capability]:
        return IMPLEMENTED

    async def check(self) -> builtins.list[Finding]:
        """Try the settings: what is wrong, by field. Leaves nothing behind."""
        try:
            answer = await self._ec2(self.regions[0], "describe_regions")
            known = {region["RegionName"] for region in answer.get("Regions", ())}
            for region in self.regions:
                if known and region not in known:
                    cure = f"one of {', '.join(sorted(known))}"
                    return [_finding("region", f"there is no region {region}", cure, "regions")]
            await asyncio.gather(*(self._ec2(region, "describe_instances", MaxResults=5) for region in self.regions))
        except BackendError as error:
            code = {AuthNeeded: "auth", Unreachable: "unreachable", Denied: "denied"}.get(type(error), "invalid")
            return [_finding(code, error.message, error.cure, error.field or _FIELDS.get(type(error), ""))]
        return []

    async def connect(self) -> None:
        """Sign in, and find out what this key and this endpoint can do."""
        await self._ec2(self.regions[0], "describe_instances", MaxResults=5)
        missing = await asyncio.gather(*(self._denied(*probe) for probe in PROBES), self._without_blocks())
        self._capabilities = IMPLEMENTED.difference(*missing)

    def scopes(self) -> Sequence[Scope]:
        zones = [t.zone_ref(self.name, region) for region in self.regions]
        return [
            Scope(frozenset((Kind.ZONE,))),
            *(Scope(frozenset((kind,)), zone) for kind in self._lists for zone in zones),
        ]

    async def list(self, scope: Scope) -> Listing:
        objects: builtins.list[Object] = []
        try:
            if Kind.ZONE in scope.kinds:
                objects += [t.zone(self.name, region) for region in self.regions]
            for kind in scope.kinds - {Kind.ZONE}:
                if kind not in self._lists:
                    continue
                for region in (scope.parent.id,) if scope.parent else self.regions:
                    objects += await self._lists[kind](region)
        except BackendError as error:
            return Listing(scope, tuple(objects), error)
        return Listing(scope, tuple(objects))

    async def close(self) -> None:
        self._pool.close()
        await asyncio.to_thread(self._clients.close)

    async def power(self, ref: Ref, action: PowerAction) -> None:
        if action not in POWER:
            raise Unsupported(f"EC2 has no {action}", object_name=ref.id)
        method, arguments = POWER[action]
        region, _ = await self._instance(ref.id)
        await self._ec2(region, method, changes=True, InstanceIds=[ref.id], **arguments)

    async def delete(self, ref: Ref, *, disks: bool) -> None:
        """Terminate an instance. Its volumes go with it or stay, whatever was set at its launch."""
        region, raw = await self._instance(ref.id)
        volumes = [m["Ebs"]["VolumeId"] for m in raw.get("BlockDeviceMappings", ()) if m.get("Ebs")]
        if not disks:
            keep = [
                {"DeviceName": m["DeviceName"], "Ebs": {"DeleteOnTermination": False}}
                for m in raw.get("BlockDeviceMappings", ())
            ]
            for mapping in keep:
                await self._ec2(
                    region, "modify_instance_attribute", changes=True, InstanceId=ref.id, BlockDeviceMappings=[mapping]
                )
        await self._ec2(region, "terminate_instances", changes=True, InstanceIds=[ref.id])
        await self._wait_state(ref.id, "terminated")
        if disks:
            await self._delete_volumes(region, volumes)

    async def rename(self, ref: Ref, name: str) -> None:
        region, _ = await self._instance(ref.id)
        await self._set_tags(region, [ref.id], {"Name": name})

    async def tag(self, ref: Ref, tags: Mapping[str, str]) -> None:
        region, _ = await self._instance(ref.id)
        for key in tags:
            if key.startswith("aws:") or len(key) > 127:
                raise Invalid(f"{key!r} cannot be a tag", cure="up to 127 characters, not beginning with aws:")
        await self._set_tags(region, [ref.id], {t.GROUP if k == "group" else k: v for k, v in tags.items()})

    async def consoles(self, vm: Ref) -> Sequence[Console]:
        return await consoles.offers(self, vm)

    async def open_console(self, console: Console, *, force: bool = False) -> Door:
        return await consoles.open_output(self, console)

    async def describe(self, ref: Ref) -> str:
        _, raw = await self._instance(ref.id)
        return json.dumps(raw, indent=2, default=str, sort_keys=True)

    async def locate(self, uuid: str) -> Ref | None:
        """The instance with this id, or with this UUID in its tag causeway:uuid."""
        for region in self.regions:
            found = await self._tagged(region, "describe_instances", "", {t.UUID: uuid})
            if uuid.startswith("i-"):
                found += await self._instances(region, Filters=[{"Name": "instance-id", "Values": [uuid]}])
            alive = [raw for raw in found if raw["State"]["Name"] not in t.GONE]
            if alive:
                newest = max(alive, key=lambda raw: (raw["LaunchTime"], raw["InstanceId"]))
                return Ref(self.name, Kind.VM, newest["InstanceId"])
        return None

    async def _list_vms(self, region: str) -> Sequence[Object]:
        found, volumes = await asyncio.gather(self._instances(region), self._volumes(region))
        found = [raw for raw in found if raw["State"]["Name"] != "terminated"]
        types = await self._learn_types(region, [raw["InstanceType"] for raw in found]) if found else {}
        return [t.vm(self.name, region, raw, types, volumes, self._local_store) for raw in found]

    async def _list_images(self, region: str) -> Sequence[Object]:
        found = await self._all(region, "describe_images", "Images", Owners=["self"])
        return [t.image(self.name, region, raw) for raw in found]

    async def _list_volumes(self, region: str) -> Sequence[Object]:
        return [t.volume(self.name, region, raw) for raw in (await self._volumes(region)).values()]

    async def _list_snapshots(self, region: str) -> Sequence[Object]:
        found = await self._all(region, "describe_snapshots", "Snapshots", OwnerIds=["self"])
        return [t.snapshot(self.name, region, raw) for raw in found]

    async def _list_networks(self, region: str) -> Sequence[Object]:
        found = await self._all(region, "describe_subnets", "Subnets")
        return [t.network(self.name, region, raw) for raw in found]

    async def _list_keypairs(self, region: str) -> Sequence[Object]:
        found = await self._all(region, "describe_key_pairs", "KeyPairs")
        return [t.keypair(self.name, region, raw) for raw in found]

    async def _list_flavors(self, region: str) -> Sequence[Object]:
        return list((await self._learn_types(region, ())).values())

    async def _denied(self, method: str, arguments: Raw, capabilities: frozenset[Capability]) -> frozenset[Capability]:
        try:
            await self._ec2(self.regions[0], method, DryRun=True, **arguments)
        except Denied:
            return capabilities
        except BackendError:
            # DryRunOperation (it would work) and "no such instance" alike: it is not forbidden.
            return frozenset()
        return frozenset()

    async def _without_blocks(self) -> frozenset[Capability]:
        """EXPORT and IMPORT where the endpoint has no EBS direct, or the key may not use it."""

        def ask() -> bool:
            try:
                call(self._clients.ebs(self.regions[0]).list_snapshot_blocks, SnapshotId=NO_SNAPSHOT)
            except BackendError as error:
                return code_of(error.__cause__ or error) in ("ResourceNotFoundException", "ValidationException")
            return True

        served = await self._pool.call(ask, what=f"{self.name}: list_snapshot_blocks")
        return frozenset() if served else frozenset((Capability.EXPORT, Capability.IMPORT))


_FIELDS: dict[type[BackendError], str] = {
    AuthNeeded: "access_key_id",
    Unreachable: "endpoint_url",
    NotFound: "endpoint_url",
}


def _finding(code: str, message: str, cure: str, field: str) -> Finding:
    return Finding(level=Level.RED, code=code, message=message, cure=cure, field=field)
