"""The connection itself: threads, clients, the calls that everything else is made of."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backends.driver import Capability, Settings
from backends.ec2 import translate as t
from backends.ec2.clients import Clients, regions
from backends.ec2.failures import call
from backends.errors import Conflict, Invalid, NotFound, OutcomeUnknown
from backends.model import Flavor, Kind, Ref
from backends.threads import Pool

Raw = dict[str, Any]


class Core:
    """What inventory, export and import share. `regions` are the connection's, the first is the default."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.settings = settings
        self.regions = regions(settings)
        self._pool = Pool(f"ec2 {name}", size=8, deadline=60.0)
        self._clients = Clients(settings)
        self._types: dict[str, dict[str, Flavor]] = {region: {} for region in self.regions}
        self._arch: dict[str, tuple[str, ...]] = {}
        self._local_store: set[str] = set()
        self._region_of: dict[str, str] = {}
        self._capabilities: frozenset[Capability] = frozenset()

    def capabilities(self) -> frozenset[Capability]:
        """What this key and endpoint can do; nothing before `connect`."""
        return self._capabilities

    def mover_settings(self) -> Settings:
        """What the mover process needs to sign in: blocking; the session itself where an MFA code made it."""
        return self._clients.frozen()

    async def _ec2(
        self, region: str, method: str, *, changes: bool = False, once: bool = False, **arguments: Any
    ) -> Raw:
        """One EC2 call, off the loop."""

        def work() -> Raw:
            client = call(self._clients.ec2, region=region, once=once)
            answer: Raw = call(getattr(client, method), changes=changes, **arguments)
            return answer

        return await self._pool.call(work, changes=changes, what=f"{self.name}: {method}")

    async def _all(self, region: str, method: str, key: str, **arguments: Any) -> list[Raw]:
        """Every item of a paged description."""

        def work() -> list[Raw]:
            client = call(self._clients.ec2, region=region)
            if not client.can_paginate(method):
                return list(call(getattr(client, method), **arguments).get(key, ()))
            pages = client.get_paginator(method).paginate(**arguments)
            return [item for page in call(lambda: list(pages)) for item in page.get(key, ())]

        return await self._pool.call(work, deadline=180.0, what=f"{self.name}: {method}")

    async def _instances(self, region: str, **arguments: Any) -> list[Raw]:
        if "InstanceIds" not in arguments:
            arguments["PaginationConfig"] = {"PageSize": 1000}
        reservations = await self._all(region, "describe_instances", "Reservations", **arguments)
        found = [instance for reservation in reservations for instance in reservation["Instances"]]
        self._region_of.update((instance["InstanceId"], region) for instance in found)
        return found

    async def _instance(self, ident: str) -> tuple[str, Raw]:
        """An instance's region and description. Raises NotFound where it is in none of the regions, or terminated."""
        known = self._region_of.get(ident)
        for region in (known,) if known else self.regions:
            try:
                found = await self._instances(region, InstanceIds=[ident])
            except NotFound:
                continue
            except Invalid as error:
                raise NotFound(f"there is no instance {ident}", object_name=ident) from error
            if found and found[0]["State"]["Name"] != "terminated":
                return region, found[0]
        raise NotFound(f"there is no instance {ident}", object_name=ident)

    async def _tagged(self, region: str, method: str, key: str, tags: Mapping[str, str]) -> list[Raw]:
        """What carries all these tags."""
        filters = [{"Name": f"tag:{name}", "Values": [value]} for name, value in tags.items()]
        if method == "describe_instances":
            return await self._instances(region, Filters=filters)
        return await self._all(region, method, key, Filters=filters)

    async def _volumes(self, region: str, idents: Sequence[str] = ()) -> dict[str, Raw]:
        arguments = {"VolumeIds": list(idents)} if idents else {}
        found = await self._all(region, "describe_volumes", "Volumes", **arguments)
        return {volume["VolumeId"]: volume for volume in found}

    async def _learn_types(self, region: str, names: Sequence[str]) -> Mapping[str, Flavor]:
        """The flavors by name, those of `names` at least (all of them where `names` is empty)."""
        known = self._types[region]
        missing = sorted(set(names) - set(known))
        if names and not missing:
            return known
        arguments = {"InstanceTypes": missing[:100]} if names else {}
        for raw in await self._all(region, "describe_instance_types", "InstanceTypes", **arguments):
            known[raw["InstanceType"]] = t.flavor(self.name, region, raw)
            archs = raw.get("ProcessorInfo", {}).get("SupportedArchitectures", ())
            self._arch[raw["InstanceType"]] = tuple(t.ARCHS.get(arch, arch) for arch in archs)
            if raw.get("InstanceStorageSupported"):
                self._local_store.add(raw["InstanceType"])
        return known

    async def _set_tags(self, region: str, idents: Sequence[str], tags: Mapping[str, str]) -> None:
        """Set tags; those with an empty value are removed."""
        kept = {key: value for key, value in tags.items() if value}
        gone = [{"Key": key} for key, value in tags.items() if not value]
        if kept and idents:
            await self._ec2(region, "create_tags", changes=True, Resources=list(idents), Tags=t.tag_list(kept))
        if gone and idents:
            await self._ec2(region, "delete_tags", changes=True, Resources=list(idents), Tags=gone)

    async def _wait(self, what: str, done: Callable[[], Any], *, seconds: float = 600.0, pause: float = 0.3) -> None:
        """Ask again until `done()` gives something true. Raises OutcomeUnknown after `seconds`."""
        end = time.monotonic() + seconds
        while not await done():
            if time.monotonic() > end:
                raise OutcomeUnknown(f"{what}: not done within {seconds:g} s", cure="refresh, then decide")
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 15.0)

    async def _wait_state(self, ident: str, state: str) -> None:
        async def reached() -> bool:
            try:
                _, raw = await self._instance(ident)
            except NotFound:
                if state == "terminated":
                    return True
                raise
            now = raw["State"]["Name"]
            if now in t.GONE and state != "terminated":
                raise Conflict(f"{ident} is {now}", object_name=ident)
            return bool(now == state)

        await self._wait(f"{ident} {state}", reached)

    async def _wait_snapshots(self, region: str, idents: Sequence[str]) -> None:
        async def completed() -> bool:
            answer = await self._ec2(region, "describe_snapshots", SnapshotIds=list(idents))
            states = {each["SnapshotId"]: each["State"] for each in answer["Snapshots"]}
            for ident, state in states.items():
                if state in ("error", "recoverable"):
                    raise Conflict(f"snapshot {ident} ended in state {state}", object_name=ident)
            return len(states) == len(set(idents)) and set(states.values()) == {"completed"}

        if idents:
            await self._wait(f"snapshots {', '.join(idents)}", completed, seconds=6 * 3600.0)

    def _region(self, ref: Ref) -> str:
        """The region that a target names: a zone, or the whole connection."""
        if ref.kind is Kind.CONNECTION:
            return self.regions[0]
        if ref.kind is Kind.ZONE and ref.id in self.regions:
            return ref.id
        raise Invalid(f"{ref} is not a region of this connection", cure=f"one of {', '.join(self.regions)}")
