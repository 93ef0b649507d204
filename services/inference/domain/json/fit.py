"""Whether a value fits a JSON Schema, as far as a grammar could have held it to that; in bounded time.

A client's schema is checked here after a model has answered. So nothing is fetched, no pattern is
matched, and after MAX_STEPS parts the rest is taken to fit. Keywords that are not known here constrain nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

MAX_STEPS = 10_000  # parts of schemas that are compared with parts of a value: at most some 60 ms
MAX_DEPTH = 100
TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: not isinstance(value, bool) and isinstance(value, int | float) and value == value // 1,
}


def fits(value: Any, schema: Any) -> bool:
    """Whether a value of parsed JSON fits a schema of parsed JSON."""
    return _Fit(schema).part(value, schema, 0)


class _Fit:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._steps = 0

    def part(self, value: Any, schema: Any, depth: int) -> bool:
        self._steps += 1
        if schema is False:
            return False
        if not isinstance(schema, dict) or self._steps > MAX_STEPS or depth > MAX_DEPTH:
            return True
        return (
            self._reference(value, schema, depth)
            and _typed(value, schema.get("type"))
            and _enumerated(value, schema)
            and self._combined(value, schema, depth)
            and self._inside(value, schema, depth)
        )

    def _reference(self, value: Any, schema: dict[str, Any], depth: int) -> bool:
        pointer = schema.get("$ref")
        if not isinstance(pointer, str) or not pointer.startswith("#"):
            return True
        part = self._root
        for name in pointer[1:].split("/")[1:]:
            key = name.replace("~1", "/").replace("~0", "~")
            part = part.get(key, True) if isinstance(part, dict) else True
        return self.part(value, part, depth + 1)

    def _combined(self, value: Any, schema: dict[str, Any], depth: int) -> bool:
        def each(keyword: str) -> list[Any] | None:
            parts = schema.get(keyword)
            return parts if isinstance(parts, list) and parts else None

        if (parts := each("allOf")) and not all(self.part(value, part, depth + 1) for part in parts):
            return False
        # A grammar holds `oneOf` as `anyOf`: that no second branch fits is left to the model.
        choices = (parts for keyword in ("anyOf", "oneOf") if (parts := each(keyword)))
        return all(any(self.part(value, part, depth + 1) for part in parts) for parts in choices)

    def _inside(self, value: Any, schema: dict[str, Any], depth: int) -> bool:
        if isinstance(value, dict):
            return self._object(value, schema, depth)
        if isinstance(value, list):
            return _counted(len(value), schema, "minItems", "maxItems") and self._array(value, schema, depth)
        if isinstance(value, str):
            return _counted(len(value), schema, "minLength", "maxLength")
        return isinstance(value, bool) or not isinstance(value, int | float) or _in_range(value, schema)

    def _object(self, value: dict[str, Any], schema: dict[str, Any], depth: int) -> bool:
        required = schema.get("required")
        if isinstance(required, list) and any(isinstance(name, str) and name not in value for name in required):
            return False
        known, others = schema.get("properties"), schema.get("additionalProperties", True)
        known = known if isinstance(known, dict) else {}
        if "patternProperties" in schema:
            others = True
        return all(self.part(item, known.get(name, others), depth + 1) for name, item in value.items())

    def _array(self, value: list[Any], schema: dict[str, Any], depth: int) -> bool:
        first = schema.get("prefixItems")
        first = first if isinstance(first, list) else []
        others = schema.get("items", True)
        if isinstance(others, list):  # before 2020-12
            first, others = others, schema.get("additionalItems", True)
        parts = [*first[: len(value)], *[others] * (len(value) - len(first))]
        return all(self.part(item, part, depth + 1) for item, part in zip(value, parts, strict=True))


def _typed(value: Any, named: Any) -> bool:
    names = named if isinstance(named, list) else [named]
    checks = [TYPES[name] for name in names if isinstance(name, str) and name in TYPES]
    return not checks or any(check(value) for check in checks)


def _enumerated(value: Any, schema: dict[str, Any]) -> bool:
    values = schema.get("enum")
    if isinstance(values, list) and not any(_same(value, item) for item in values):
        return False
    return "const" not in schema or _same(value, schema["const"])


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: true is not 1, and 1.0 is 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


def _counted(size: int, schema: dict[str, Any], least: str, most: str) -> bool:
    low, high = schema.get(least), schema.get(most)
    return not (isinstance(low, int) and size < low) and not (isinstance(high, int) and size > high)


def _in_range(value: float, schema: dict[str, Any]) -> bool:
    def bound(keyword: str) -> float | None:
        limit = schema.get(keyword)
        return limit if isinstance(limit, int | float) and not isinstance(limit, bool) else None

    low, high = bound("minimum"), bound("maximum")
    above, below = bound("exclusiveMinimum"), bound("exclusiveMaximum")
    return not (
        (low is not None and value < low)
        or (high is not None and value > high)
        or (above is not None and value <= above)
        or (below is not None and value >= below)
    )
