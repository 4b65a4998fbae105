"""Frozen values to JSON and back, for the journal and for the mover's job."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")


def encode(value: Any) -> Any:
    """A dataclass, enum, container or plain value as what `json.dumps` takes."""
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: encode(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (Sequence, frozenset)) and not isinstance(value, str):
        return [encode(item) for item in value]
    return value


def decode(cls: type[T], data: Any) -> T:
    """The inverse of `encode` for a dataclass. Raises ValueError for fields that it does not have."""
    if not isinstance(data, dict):
        raise ValueError(f"{cls.__name__}: not an object")
    hints = _hints(cast(Any, cls))
    unknown = set(data) - set(hints)
    if unknown:
        raise ValueError(f"{cls.__name__}: unknown fields {', '.join(sorted(unknown))}")
    return cls(**{name: _value(hints[name], item) for name, item in data.items()})


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls)


def _value(hint: Any, data: Any) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if data is None:
            return None
        options = [arg for arg in args if arg is not type(None)]
        return _value(options[0], data) if len(options) == 1 else data
    if origin is tuple:
        if len(args) == 2 and args[1] is ...:
            return tuple(_value(args[0], item) for item in data)
        return tuple(_value(arg, item) for arg, item in zip(args, data, strict=True))
    if origin is frozenset:
        return frozenset(_value(args[0], item) for item in data)
    if isinstance(hint, type):
        if is_dataclass(hint):
            return decode(hint, data)
        if issubclass(hint, Enum):
            return hint(data)
        if issubclass(hint, datetime):
            return datetime.fromisoformat(data)
    return data
