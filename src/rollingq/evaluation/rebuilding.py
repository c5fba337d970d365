"""Values of a type from what JSON made of them: dataclasses, tuples, lists, mappings and literals."""

import dataclasses
import math
import types
import typing
from typing import Any, TypeVar

from rollingq.errors import DataError

T = TypeVar("T")


def rebuilt(kind: type[T], value: Any, *, is_strict: bool = True) -> T:  # noqa: ANN401
    """Return a value of a type from what JSON made of it.

    Args:
        kind: What to build.
        value: What ``json.loads`` gave.
        is_strict: Whether a dataclass has to find every one of its fields and no other, and values have to be of
            their types, as for settings. If not, fields may have their defaults, others are left out, and null is
            not-a-number where a number stands, as for results of another version.

    Raises:
        DataError: If a field is unknown or missing, or a value is not of its type.

    Example:
        >>> from rollingq.evaluation.diagnosis import Intervention
        >>> rebuilt(Intervention, {"name": "average", "accuracy": 0.5, "drop": 0.25})
        Intervention(name='average', accuracy=0.5, drop=0.25)
    """
    built: T = _built(kind, value, kind.__name__, is_strict)
    return built


def _built(kind: Any, value: Any, name: str, is_strict: bool) -> Any:  # noqa: ANN401
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _built_fields(kind, value, name, is_strict)
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        _require(value in args, name, f"one of {', '.join(map(repr, args))}", value)
    elif origin in (types.UnionType, typing.Union):
        (other,) = (arg for arg in args if arg is not types.NoneType)
        return None if value is None else _built(other, value, name, is_strict)
    elif origin in (tuple, list):
        _require(isinstance(value, list), name, "a list", value)
        return origin(_built(args[0], item, name, is_strict) for item in value)
    elif origin is dict:
        _require(isinstance(value, dict), name, "a mapping", value)
        return {key: _built(args[1], item, f"{name}.{key}", is_strict) for key, item in value.items()}
    elif is_strict:
        is_right = type(value) is kind or (kind is float and type(value) is int)
        _require(is_right, name, f"a {kind.__name__}", value)
    elif kind is float and value is None:
        return math.nan
    return value


def _built_fields(kind: type, value: Any, name: str, is_strict: bool) -> Any:  # noqa: ANN401
    _require(isinstance(value, dict), name, "a mapping", value)
    hints = typing.get_type_hints(kind)
    known = [field.name for field in dataclasses.fields(kind)]
    if is_strict:
        _require(set(value) <= set(known), name, f"fields among {', '.join(known)}", sorted(set(value) - set(known)))
        _require(set(value) == set(known), name, f"the fields {', '.join(known)}", sorted(value))
    given = [field for field in known if field in value]
    return kind(**{field: _built(hints[field], value[field], f"{name}.{field}", is_strict) for field in given})


def _require(is_right: bool, name: str, form: str, value: object) -> None:
    if not is_right:
        raise DataError(f"Expected {name} to be {form}, but got {value!r}.")
