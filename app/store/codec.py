"""Dataclasses of the model, of tasks and of plans to plain JSON values and back.

What a field's type says is how it is read back; fields at their default are left out, fields that are not known
(written by a newer version) are ignored. Where the type says nothing (`object`), a Ref and a time carry a mark.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Any, TypeVar

from backends import model
from backends.model import Kind, Object, Ref

T = TypeVar("T")
Coder = Callable[[Any], Any]

_compact = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
CLASSES: dict[Kind, type[Object]] = {
    Kind.VM: model.Vm,
    Kind.HOST: model.Host,
    Kind.ZONE: model.Zone,
    Kind.DATACENTER: model.Datacenter,
    Kind.CLUSTER: model.Cluster,
    Kind.TEMPLATE: model.Template,
    Kind.IMAGE: model.Image,
    Kind.FLAVOR: model.Flavor,
    Kind.SNAPSHOT: model.Snapshot,
    Kind.VOLUME: model.Volume,
    Kind.POOL: model.StoragePool,
    Kind.NETWORK: model.Network,
    Kind.KEYPAIR: model.KeyPair,
    Kind.CONNECTION: Object,
}
"""Which class an object of a kind is."""


def encode(value: object) -> Any:
    """`value` as plain JSON values: a dataclass becomes a dict, a Ref a list of three strings."""
    cls: Any = type(value)
    return _encoder(cls)(value)


def encode_but(value: object, left_out: frozenset[str]) -> dict[str, Any]:
    """A dataclass as plain JSON values, without some of its fields."""
    cls: Any = type(value)
    return _encode_fields(value, _fields_but(cls, left_out))


def decode(cls: type[T], data: Any) -> T:
    """The inverse of encode, given the class. Raises ValueError for data that is not of that shape."""
    try:
        hint: Any = cls
        return typing.cast(T, _decoder(hint)(data))
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"not a stored {cls.__name__}: {type(error).__name__}: {error}") from None


def dumps(value: object) -> str:
    """Compact JSON of plain values."""
    return _compact.encode(value)


@cache
def _fields(cls: type) -> tuple[tuple[str, Any, Any], ...]:
    """Name, type and default (MISSING where there is none) of every field that takes part in __init__."""
    hints = typing.get_type_hints(cls)
    return tuple((item.name, hints[item.name], item.default) for item in dataclasses.fields(cls) if item.init)


@cache
def _fields_but(cls: type, left_out: frozenset[str]) -> list[tuple[str, bool, Any]]:
    """Name, whether its type says nothing of what is inside, and default of every field that is kept."""
    return [(name, _loose(hint), default) for name, hint, default in _fields(cls) if name not in left_out]


@cache
def _encoder(cls: type) -> Coder:
    if cls is Ref:
        return lambda ref: [ref.connection, str(ref.kind), ref.id]
    if dataclasses.is_dataclass(cls):
        fields = _fields_but(cls, frozenset())
        return lambda value: _encode_fields(value, fields)
    if issubclass(cls, Enum):
        return lambda value: value.value
    if issubclass(cls, datetime):
        return datetime.isoformat
    if issubclass(cls, Mapping):
        return lambda value: {str(key): encode(item) for key, item in value.items()}
    if issubclass(cls, (list, tuple)):
        return lambda value: [encode(item) for item in value]
    if issubclass(cls, (set, frozenset)):
        return lambda value: sorted(encode(item) for item in value)
    if cls in (str, int, float, bool, type(None)):
        return lambda value: value
    raise TypeError(f"{cls.__name__} has no stored form")


def _encode_fields(value: object, fields: list[tuple[str, bool, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, loose, default in fields:
        item = getattr(value, name)
        if default is dataclasses.MISSING or item != default or type(item) is not type(default):
            row[name] = _mark(item) if loose else encode(item)
    return row


def _loose(hint: Any) -> bool:
    """Whether a type says nothing of what is inside."""
    return hint in (object, Any) or any(_loose(inner) for inner in typing.get_args(hint))


def _mark(value: Any) -> Any:
    if isinstance(value, Ref):
        return {"$ref": encode(value)}
    if isinstance(value, datetime):
        return {"$time": value.isoformat()}
    if isinstance(value, Mapping):
        return {str(key): _mark(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_mark(item) for item in value]
    return encode(value)


def _unmark(data: Any) -> Any:
    if isinstance(data, dict):
        if len(data) == 1:
            ((key, inner),) = data.items()
            if key == "$ref":
                return _decode_ref(inner)
            if key == "$time":
                return datetime.fromisoformat(inner)
        return {key: _unmark(item) for key, item in data.items()}
    return [_unmark(item) for item in data] if isinstance(data, list) else data


def _decode_ref(data: Any) -> Ref:
    connection, kind, ident = data
    return Ref(connection, Kind(kind), ident)


@cache
def _decoder(hint: Any) -> Coder:
    if hint is Ref:
        return _decode_ref
    if hint in (object, Any):
        return _unmark
    if hint is datetime:
        return datetime.fromisoformat
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _dataclass_decoder(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _union_decoder(inner)
    if origin is tuple:
        return _tuple_decoder(inner)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        value = _decoder(inner[1])
        return lambda data: {key: value(item) for key, item in data.items()}
    if origin in (list, set, frozenset):
        item_of = _decoder(inner[0])
        return lambda data: origin(item_of(item) for item in data)
    if hint is float:
        return lambda data: float(data) if isinstance(data, int) else data
    return lambda data: data


def _dataclass_decoder(cls: type) -> Coder:
    coders: dict[str, Coder] = {}

    def read(data: Any) -> Any:
        # Filled at the first use, so that a class may hold its own kind.
        if not coders:
            coders.update({name: _decoder(hint) for name, hint, _ in _fields(cls)})
        return cls(**{name: coders[name](item) for name, item in data.items() if name in coders})

    return read


def _union_decoder(members: tuple[Any, ...]) -> Coder:
    """`X | None` reads X; a union of plain JSON types reads what is there."""
    real = [member for member in members if member is not type(None)]
    inner: Coder = _decoder(real[0]) if len(real) == 1 else lambda data: data
    return lambda data: None if data is None else inner(data)


def _tuple_decoder(members: tuple[Any, ...]) -> Coder:
    if len(members) == 2 and members[1] is Ellipsis:
        item_of = _decoder(members[0])
        return lambda data: tuple(item_of(item) for item in data)
    coders = [_decoder(member) for member in members]
    return lambda data: tuple(coder(item) for coder, item in zip(coders, data, strict=True))
