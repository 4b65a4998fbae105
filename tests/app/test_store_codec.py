"""Whatever is stored comes back equal, whatever is in it."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.migration.plan import Mapping as PlanMapping
from app.migration.plan import Mode, Plan
from app.store import codec
from app.tasks import Stage, StageState, Task, TaskState
from backends import model
from backends.model import Kind, Progress, Ref, VmSpec

TIMES = st.datetimes(timezones=st.just(UTC))
VALUES: dict[Any, st.SearchStrategy[Any]] = {datetime: TIMES}
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def through_json(value: Any) -> Any:
    return codec.decode(type(value), json.loads(codec.dumps(codec.encode(value))))


def examples(cls: type[Any]) -> st.SearchStrategy[Any]:
    with_types = st.register_type_strategy
    with_types(datetime, TIMES)
    return st.builds(cls)


@pytest.mark.parametrize("kind", sorted(codec.CLASSES))
def test_every_object_of_the_model_comes_back(kind: Kind) -> None:
    @QUICK
    @given(examples(codec.CLASSES[kind]))
    def holds(item: Any) -> None:
        back = through_json(item)
        assert back == item
        assert (back.seen, back.origin) == (item.seen, item.origin)

    holds()


def test_every_kind_has_a_class() -> None:
    assert set(codec.CLASSES) == set(Kind)


@pytest.mark.parametrize("cls", [model.SourceFacts, model.TargetFacts, model.DiskSpec, model.LiveOptions, Plan])
def test_facts_and_plans_come_back(cls: type[Any]) -> None:
    @settings(parent=QUICK, max_examples=10)
    @given(examples(cls))
    def holds(item: Any) -> None:
        assert through_json(item) == item

    holds()


def test_a_task_comes_back_with_stages_log_and_result() -> None:
    ref = Ref("a/b", Kind.VM, "x/y")
    task = Task("migrate", "Move web-01", uid="u1", ref=ref, target=Ref("kvm-b", Kind.HOST, "h"), who="ann")
    task.state = TaskState.INTERRUPTED
    task.stages = [
        Stage("Prepare", StageState.DONE, began=datetime(2026, 1, 1, tzinfo=UTC)),
        Stage("Copy", StageState.RUNNING, Progress(done_bytes=5, total_bytes=9, rate_bps=1.5, text="sda")),
    ]
    task.note("began")
    task.result = {"target_ref": ref, "seconds": 1.5, "ok": True, "at": task.created, "n": [1, {"deep": ref}, None]}
    task.undo_until = datetime(2026, 2, 1, tzinfo=UTC)
    assert through_json(task) == task


def test_a_plan_keeps_its_inside() -> None:
    plan = Plan(
        id="m1",
        vm=Ref("a", Kind.VM, "1"),
        to=Ref("b", Kind.HOST, "2"),
        spec=VmSpec(name="web", disks=(model.DiskFacts(target="vda", size_bytes=7),), tags=(("k", "v"),)),
        mode=Mode.WARM,
        mapping=PlanMapping(networks=(("a", "b"),)),
    )
    assert through_json(plan) == plan


def test_only_what_differs_from_the_default_is_written() -> None:
    row = codec.encode(model.Nic(mac="52:54:00:00:00:01"))
    assert row == {"mac": "52:54:00:00:00:01"}


def test_a_field_of_a_newer_version_is_ignored() -> None:
    assert codec.decode(model.Nic, {"mac": "m", "invented_later": 1}) == model.Nic(mac="m")


@pytest.mark.parametrize("data", [{}, {"ref": ["a", "vm"]}, {"ref": ["a", "no-kind", "1"], "name": "x"}, [], "x", None])
def test_data_of_another_shape_is_a_value_error(data: object) -> None:
    with pytest.raises(ValueError):
        codec.decode(model.Vm, data)


def test_a_class_without_a_stored_form_is_refused() -> None:
    with pytest.raises(TypeError):
        codec.encode(object())


def test_no_field_of_a_vm_is_forgotten_by_columns_and_body() -> None:
    from app.store import cache

    assert {item.name for item in fields(model.Vm)} >= cache.COLUMN_FIELDS
