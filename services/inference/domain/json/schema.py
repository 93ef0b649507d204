"""JSON Schemas that a grammar can hold an answer to: checked, bounded, and reduced to what constrains.

llama.cpp drops a grammar that it cannot compile and answers unconstrained, and one huge schema stops it for everyone
for minutes (docs/engine.md). So only keywords that are known to constrain pass, and everything is bounded.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from services.inference.domain.errors import InvalidRequest
from services.inference.domain.json import patterns as json_patterns
from services.inference.domain.json.loosening import (
    FORMATS,
    MAX_COUNTED,
    MAX_MULTIPLE,
    URI,
    Hold,
    loosened,
    states_of_multiples,
)
from services.inference.domain.json.references import KEYWORDS, MAX_DEFINITIONS, ROOT, endless, name_of, path_of, plain

MAX_BYTES = 32 * 1024
MAX_DEPTH = 12
MAX_PROPERTIES = 256  # of the whole schema
MAX_VALUES = 512  # of all enums together
MAX_ITEMS = (
    16_384  # for the items of all lists, summed: wherever they stand, 60 lists of 4,096 stopped all slots for 4 s
)
ANNOTATIONS = {"title", "description", "default", "examples", "$schema", "$id", "$comment", "deprecated"} | {
    "readOnly",
    "writeOnly",
    "discriminator",  # OpenAPI's; pydantic writes it beside oneOf, whose branches say the same
}
TYPES = {"object", "array", "string", "number", "integer", "boolean", "null"}
COUNTS = {"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"}
NUMBERS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}


def parse_schema(text: str, param: str, *, strict: bool = True, hold: Hold = Hold.WHOLE) -> dict[str, Any]:
    """A schema's JSON text as a schema for a grammar. Raises InvalidRequest that names `param` and the keyword.

    Unless it is `strict`, what no grammar holds is left out, and `hold` says how much of the rest. What it refers to
    stands in its `$defs`, at the root and nowhere else.
    """
    if len(text.encode()) > MAX_BYTES:
        raise InvalidRequest(f"the schema is larger than {MAX_BYTES // 1024} KiB", param=param)
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidRequest("the schema is not JSON", param=param) from None
    return _Checker(param).whole(schema if strict else loosened(schema, hold))


@dataclass
class _Checker:
    param: str
    properties: int = 0
    values: int = 0
    items: int = 0  # that the counters of all lists so far reach
    patterns: int = 0  # what all patterns and multiples cost (patterns.py)
    defined: set[str] = field(default_factory=set)  # names that may be referred to
    used: set[str] = field(default_factory=set)
    root: str = ""  # what the root is called where it is referred to: in a grammar it may be a part of something else

    def whole(self, schema: Any) -> dict[str, Any]:
        """The root schema with the definitions that it needs; itself one of them, when it is referred to."""
        given = self._definitions(schema) if isinstance(schema, dict) else {}
        self.defined = {*given, ROOT}
        self.root = next(name for name in (f"root{number}" for number in range(len(given) + 1)) if name not in given)
        root = self.reduce(schema, "", 0)
        reduced = {name: self.reduce(part, f"/$defs/{name}", 1) for name, part in given.items()}
        if name := endless({**reduced, self.root: root}):
            where = "" if name == self.root else f"/$defs/{name}"
            raise self.fail(where, "can never be satisfied: it always needs another of itself")
        if ROOT in self.used:
            return {"$ref": path_of(self.root), "$defs": {**reduced, self.root: root}}
        return {**root, "$defs": reduced} if self.used else root

    def _definitions(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Takes them out of the schema."""
        given: dict[str, Any] = {}
        for keyword in KEYWORDS:
            part = schema.get(keyword, {})
            if not isinstance(part, dict) or not all(plain(name) for name in part):
                raise self.fail(f"/{keyword}", "must be an object whose names are of letters, digits, '_', '-' and '.'")
            if twice := given.keys() & part.keys():
                raise self.fail(f"/{keyword}/{min(twice)}", "is defined twice")
            given |= part
        if len(given) > MAX_DEFINITIONS:
            raise self.fail("/$defs", f"has more than {MAX_DEFINITIONS} definitions")
        return given

    def fail(self, where: str, problem: str) -> InvalidRequest:
        return InvalidRequest(f"the schema{f' at {where}' if where else ''} {problem}", param=self.param)

    def reduce(self, schema: Any, where: str, depth: int) -> dict[str, Any]:
        """The schema without annotations, each part checked."""
        if depth > MAX_DEPTH:
            raise self.fail(where, f"is nested deeper than {MAX_DEPTH}")
        if not isinstance(schema, dict):
            raise self.fail(where, "is not an object")
        reduced: dict[str, Any] = {}
        kept = {keyword: value for keyword, value in schema.items() if keyword not in ANNOTATIONS}
        if not where:
            kept = {keyword: value for keyword, value in kept.items() if keyword not in KEYWORDS}
        for keyword in ("$ref", "allOf"):
            if keyword in kept and len(kept) > 1:
                raise self.fail(f"{where}/{keyword}", "cannot stand beside other keywords")
        if "allOf" in kept:
            return self._all_of(kept["allOf"], f"{where}/allOf", depth)
        for keyword, value in kept.items():
            reduced[keyword] = self._keyword(keyword, value, f"{where}/{keyword}", depth)
        if "properties" in reduced:
            self._close(reduced, where)
        if reduced.get("format") == URI:
            self._hold_uri(reduced, where)
        self._count_items(reduced, where)
        return reduced

    def _close(self, schema: dict[str, Any], where: str) -> None:
        """Without this a model may write any property for ever; what it may leave out stays valid for the caller."""
        schema.setdefault("additionalProperties", False)
        if missing := [name for name in schema.get("required", ()) if name not in schema["properties"]]:
            raise self.fail(where, f"requires {missing[0]!r}, which is not among its properties")

    def _keyword(self, keyword: str, value: Any, where: str, depth: int) -> Any:
        if keyword == "type":
            return self._type(value, where)
        if keyword in ("properties", "patternProperties"):
            if keyword == "patternProperties" and isinstance(value, dict):
                for name in value:
                    self._pattern(name, f"{where}/{name}")
            return self._properties(value, where, depth)
        if keyword == "required":
            return self._names(value, where)
        if keyword == "enum":
            return self._values(value, where)
        if keyword == "items" or (keyword == "additionalProperties" and not isinstance(value, bool)):
            return self.reduce(value, where, depth + 1)
        if keyword in ("additionalProperties", "const"):
            return value
        if keyword in ("anyOf", "oneOf", "prefixItems"):
            return self._any_of(value, where, depth)
        if keyword == "$ref":
            return self._reference(value, where)
        if keyword == "format":
            return self._format(value, where)
        if keyword == "pattern":
            return self._pattern(value, where)
        if keyword == "multipleOf":
            return self._multiple(value, where)
        if keyword in COUNTS:
            return self._number(value, where, whole=True)
        if keyword in NUMBERS:
            return self._number(value, where, whole=False)
        raise self.fail(where, "is a keyword that is not supported")

    def _count_items(self, reduced: dict[str, Any], where: str) -> None:
        listed = len(reduced.get("prefixItems", ()))
        self.items += max(reduced.get("minItems", 0), reduced.get("maxItems", 0), listed)
        if self.items > MAX_ITEMS:
            raise self.fail(where, f"has lists of more than {MAX_ITEMS:,} items together")

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

    def _all_of(self, value: Any, where: str, depth: int) -> dict[str, Any]:
        """Of one schema, as converters write it to hang a description on a reference; no grammar joins several."""
        if not isinstance(value, list) or len(value) != 1:
            raise self.fail(where, "is not a list of one schema, the only form that is supported")
        return self.reduce(value[0], f"{where}/0", depth)

    def _reference(self, value: Any, where: str) -> str:
        name = name_of(value)
        if name not in self.defined:
            raise self.fail(where, "refers to nothing in the schema's own $defs")
        assert name is not None
        self.used.add(name)
        return path_of(self.root if name == ROOT else name)

    def _format(self, value: Any, where: str) -> Any:
        if not isinstance(value, str) or value not in {*FORMATS, URI}:
            raise self.fail(where, f"must be one of {', '.join(sorted({*FORMATS, URI}))}")
        return value

    def _pattern(self, value: Any, where: str) -> str:
        cost = json_patterns.cost(value) if isinstance(value, str) else None
        if cost is None:
            problem = "is no regular expression that can be held: without look-around, back-references and long repeats"
            raise self.fail(where, problem)
        self._pay(cost, where)
        return str(value)

    def _pay(self, cost: int, where: str) -> None:
        self.patterns += cost
        if self.patterns > json_patterns.MAX_COST_TOGETHER:
            raise self.fail(where, "is too much, with the schema's other patterns and multiples")

    def _hold_uri(self, schema: dict[str, Any], where: str) -> None:
        """The grammar knows no `uri`; as a pattern it can be held, together with the schema's own."""
        del schema["format"]
        self._pattern(json_patterns.URI, where)
        if "pattern" in schema:
            schema["allOf"] = [{"pattern": schema.pop("pattern")}, {"pattern": json_patterns.URI}]
        else:
            schema["pattern"] = json_patterns.URI

    def _multiple(self, value: Any, where: str) -> Any:
        value = self._number(value, where, whole=False)
        states = states_of_multiples(value)
        if states is None:
            raise self.fail(where, f"must be a whole number up to {MAX_MULTIPLE:,}, or 0.1, 0.01, 0.001 or 0.0001")
        self._pay(states, where)
        return value

    def _number(self, value: Any, where: str, *, whole: bool) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float) or (whole and not isinstance(value, int)):
            raise self.fail(where, "is not a whole number" if whole else "is not a number")
        if whole and not 0 <= value <= MAX_COUNTED:
            raise self.fail(where, f"must lie between 0 and {MAX_COUNTED}")
        return value
