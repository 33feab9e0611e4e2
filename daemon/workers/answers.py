"""What another process answered, made into values: its JSON may be anything at all until it is looked at here."""

from __future__ import annotations

import functools
import math
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

Value = TypeVar("Value")

#: No answer of ours is deeper; what walks through one later must not run out of stack.
DEEPEST = 32


def value_of(kind: type[Value], told: object) -> Value:
    """``told``, plain JSON values, as the dataclass ``kind``. What it does not know is passed over; a number that is
    not finite was not taken, and is None.

    Raises ``ValueError`` with one sentence that names the first part that is not what it must be.
    """
    try:
        return cast(Value, _reader(cast(Any, kind)).validate_python(finite(told)))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise ValueError(f"{place}: {first['msg']}") from None


def finite(told: object, depth: int = 0) -> Any:
    """The same JSON values with None for every number that is not finite; ``ValueError`` for one nested too deep."""
    if depth > DEEPEST:
        raise ValueError(f"nested more than {DEEPEST} deep")
    if isinstance(told, dict):
        return {name: finite(item, depth + 1) for name, item in told.items()}
    if isinstance(told, list):
        return [finite(item, depth + 1) for item in told]
    return None if isinstance(told, float) and not math.isfinite(told) else told


@functools.cache
def _reader(kind: type[Any]) -> TypeAdapter[Any]:
    """Made once for each: it takes longer than reading an answer."""
    return TypeAdapter(kind)
