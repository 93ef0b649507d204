"""JSON Schemas that a grammar can hold an answer to: checked, bounded, and reduced to what constrains.

llama.cpp drops a grammar that it cannot compile and answers unconstrained, and one huge schema stops it for everyone
for minutes (docs/engine.md). So only keywords that are known to constrain pass, and everything is bounded.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from services.inference.domain.errors import InvalidRequest

MAX_BYTES = 32 * 1024
MAX_DEPTH = 12
MAX_PROPERTIES = 256  # of the whole schema
MAX_VALUES = 512  # of all enums together
MAX_LENGTH = 4096  # for minLength, minItems and their like: each is a counter in the grammar
MAX_NESTED = 8192  # for the items of lists within lists, summed: 11 lists of 4,096 each stopped all slots for 1.3 s
ANNOTATIONS = {"title", "description", "default", "examples", "$schema", "$id", "$comment", "deprecated"}
TYPES = {"object", "array", "string", "number", "integer", "boolean", "null"}
COUNTS = {"minLength", "maxLength", "minItems", "maxItems"}
NUMBERS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}


def parse_schema(text: str, param: str) -> dict[str, Any]:
    """A schema's JSON text as a schema for a grammar. Raises InvalidRequest that names `param` and the keyword."""
    if len(text.encode()) > MAX_BYTES:
        raise InvalidRequest(f"the schema is larger than {MAX_BYTES // 1024} KiB", param=param)
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidRequest("the schema is not JSON", param=param) from None
    return _Checker(param).reduce(schema, "", 0)


@dataclass
class _Checker:
    param: str
    properties: int = 0
    values: int = 0
    nested: int = 0  # items of the lists around the part that is looked at

    def fail(self, where: str, problem: str) -> InvalidRequest:
        return InvalidRequest(f"the schema{f' at {where}' if where else ''} {problem}", param=self.param)

    def reduce(self, schema: Any, where: str, depth: int) -> dict[str, Any]:
        """The schema without annotations, each part checked."""
        if depth > MAX_DEPTH:
            raise self.fail(where, f"is nested deeper than {MAX_DEPTH}")
        if not isinstance(schema, dict):
            raise self.fail(where, "is not an object")
        reduced: dict[str, Any] = {}
        for keyword, value in schema.items():
            if keyword == "items":
                reduced[keyword] = self._items(value, f"{where}/items", depth, _items_of(schema))
            elif keyword not in ANNOTATIONS:
                reduced[keyword] = self._keyword(keyword, value, f"{where}/{keyword}", depth)
        if "properties" in reduced:
            self._close(reduced, where)
        return reduced

    def _close(self, schema: dict[str, Any], where: str) -> None:
        """Without this a model may write any property for ever; what it may leave out stays valid for the caller."""
        schema.setdefault("additionalProperties", False)
        if missing := [name for name in schema.get("required", ()) if name not in schema["properties"]]:
            raise self.fail(where, f"requires {missing[0]!r}, which is not among its properties")

    def _keyword(self, keyword: str, value: Any, where: str, depth: int) -> Any:
        if keyword == "type":
            return self._type(value, where)
        if keyword == "properties":
            return self._properties(value, where, depth)
        if keyword == "required":
            return self._names(value, where)
        if keyword == "enum":
            return self._values(value, where)
        if keyword == "additionalProperties" and not isinstance(value, bool):
            return self.reduce(value, where, depth + 1)
        if keyword in ("additionalProperties", "const"):
            return value
        if keyword == "anyOf":
            return self._any_of(value, where, depth)
        if keyword in COUNTS:
            return self._number(value, where, whole=True)
        if keyword in NUMBERS:
            return self._number(value, where, whole=False)
        raise self.fail(where, "is a keyword that is not supported")

    def _items(self, value: Any, where: str, depth: int, counted: int) -> dict[str, Any]:
        self.nested += counted
        if self.nested > MAX_NESTED:
            raise self.fail(where, f"is within lists of more than {MAX_NESTED} items together")
        reduced = self.reduce(value, where, depth + 1)
        self.nested -= counted
        return reduced

    def _type(self, value: Any, where: str) -> Any:
        types = value if isinstance(value, list) else [value]
        if not types or any(not isinstance(name, str) or name not in TYPES for name in types):
            raise self.fail(where, f"must be of {', '.join(sorted(TYPES))}")
        return value

    def _properties(self, value: Any, where: str, depth: int) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.fail(where, "is not an object")
        self.properties += len(value)
        if self.properties > MAX_PROPERTIES:
            raise self.fail(where, f"brings more than {MAX_PROPERTIES} properties")
        return {name: self.reduce(part, f"{where}/{name}", depth + 1) for name, part in value.items()}

    def _names(self, value: Any, where: str) -> Any:
        if not isinstance(value, list) or any(not isinstance(name, str) for name in value):
            raise self.fail(where, "is not a list of names")
        return value

    def _values(self, value: Any, where: str) -> Any:
        if not isinstance(value, list) or not value:
            raise self.fail(where, "is not a list of values")
        self.values += len(value)
        if self.values > MAX_VALUES:
            raise self.fail(where, f"brings more than {MAX_VALUES} values")
        return value

    def _any_of(self, value: Any, where: str, depth: int) -> list[dict[str, Any]]:
        if not isinstance(value, list) or not value:
            raise self.fail(where, "is not a list of schemas")
        self._values(value, where)
        return [self.reduce(part, f"{where}/{index}", depth + 1) for index, part in enumerate(value)]

    def _number(self, value: Any, where: str, *, whole: bool) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float) or (whole and not isinstance(value, int)):
            raise self.fail(where, "is not a whole number" if whole else "is not a number")
        if whole and not 0 <= value <= MAX_LENGTH:
            raise self.fail(where, f"must lie between 0 and {MAX_LENGTH}")
        return value


def _items_of(schema: dict[str, Any]) -> int:
    """How many items a list's counters reach; what is no count is refused where it stands."""
    counts = [schema.get("minItems"), schema.get("maxItems")]
    return max((count for count in counts if isinstance(count, int)), default=0)
