"""What a grammar can hold of a schema that is not strict: the rest is left to the model, as OpenAI does without
`strict`."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

from services.inference.domain.json import patterns as json_patterns
from services.inference.domain.json.references import KEYWORDS, MAX_DEFINITIONS, ROOT, name_of, plain

MAX_JOINS = 4  # of `allOf` within `allOf`, or in what it refers to
MAX_WALK = 16  # levels; what lies deeper is refused where the schema is checked
FORMATS = {"date", "time", "date-time", "duration", "uuid", "email", "hostname", "ipv4", "ipv6"}
URI = "uri"  # the grammar does not know it; it is held as a pattern
RISKY = {"pattern", "multipleOf", "prefixItems", "patternProperties", "minProperties", "maxProperties"}
KEPT = RISKY | {
    *("type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "allOf", "$ref"),
    *("format", "minLength", "maxLength", "minItems", "maxItems"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
}
MAX_MULTIPLE = 1000
COUNTED = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
MAX_COUNTED = 4096  # each is a counter in the grammar
FRACTIONS = (0.1, 0.01, 0.001, 0.0001)


class Hold(enum.Enum):
    """How much of a schema a grammar is to hold. What is strict is always held whole."""

    WHOLE = "all that grammars know"
    PLAIN = "without patterns and what else may be too much"
    FORM = "the type at its top"


def states_of_multiples(value: float) -> int | None:
    """How large a grammar of the multiples of a number becomes; None when it cannot be held."""
    if value in FRACTIONS:
        return 1
    return int(value) if value == int(value) and 1 <= value <= MAX_MULTIPLE else None


def loosened(schema: Any, hold: Hold) -> Any:
    """The schema without what no grammar holds. What is malformed stays, to be refused."""
    if hold is Hold.FORM:
        return _form(schema)
    given = _definitions(schema)
    loosening = _Loosening(given, hold)
    root = loosening.schema(schema, 0)
    if not isinstance(root, dict) or not isinstance(schema, dict):
        return root
    root |= {keyword: schema[keyword] for keyword in KEYWORDS if not isinstance(schema.get(keyword, {}), dict)}
    if given:
        root[KEYWORDS[0]] = {name: loosening.schema(value, 1) for name, value in given.items()}
    return root


def _definitions(schema: Any) -> dict[str, Any]:
    """Those that a grammar can refer to. What refers to another one may be anything."""
    given: dict[str, Any] = {}
    for keyword in KEYWORDS:
        part = schema.get(keyword) if isinstance(schema, dict) else None
        for name, value in part.items() if isinstance(part, dict) else ():
            if plain(name) and len(given) < MAX_DEFINITIONS:
                given.setdefault(name, value)
    return given


def _form(schema: Any) -> Any:
    kind = schema.get("type") if isinstance(schema, dict) else None
    return {"type": kind} if isinstance(kind, str) else {}


class _Loosening:
    def __init__(self, given: Mapping[str, Any], hold: Hold) -> None:
        self._given = given  # definitions
        self._plain = hold is Hold.PLAIN
        self._left = json_patterns.MAX_COST_TOGETHER

    def schema(self, schema: Any, depth: int) -> Any:
        """One schema, and those within it."""
        if isinstance(schema, bool):
            return {}
        if not isinstance(schema, dict) or depth > MAX_WALK:
            return schema
        schema = _modern(dict(schema))
        if "$ref" in schema:
            name = name_of(schema["$ref"])
            return {"$ref": schema["$ref"]} if name == ROOT or name in self._given else {}
        for _ in range(MAX_JOINS):
            if isinstance(schema.get("allOf"), list):
                schema = self._joined(schema)
        self._name_properties(schema)
        if isinstance(schema.get("allOf"), list):
            del schema["allOf"]
        kept = {keyword: value for keyword, value in schema.items() if keyword in KEPT and self._holds(keyword, value)}
        within = self._within(kept, depth + 1)
        named = schema.get("patternProperties")
        if isinstance(named, dict) and len(within.get("patternProperties", ())) < len(named):
            within["additionalProperties"] = True  # what is left out must not be forbidden by that
        return within

    def _holds(self, keyword: str, value: Any) -> bool:
        if self._plain and keyword in RISKY:
            return False
        if keyword in COUNTED:
            return not isinstance(value, int) or value <= MAX_COUNTED
        if keyword == "format":
            if value == URI:
                return not self._plain and self._pays(json_patterns.cost(json_patterns.URI))
            return isinstance(value, str) and value in FORMATS
        if keyword == "pattern":
            return not isinstance(value, str) or self._pays(json_patterns.cost(value))
        if keyword == "multipleOf":
            return not isinstance(value, int | float) or self._pays(states_of_multiples(value))
        return True

    def _pays(self, cost: int | None) -> bool:
        """Whether a schema can have this too; None: it cannot be held at all."""
        if cost is None or cost > self._left:
            return False
        self._left -= cost
        return True

    def _within(self, kept: dict[str, Any], depth: int) -> dict[str, Any]:
        for keyword in ("properties", "patternProperties"):
            if isinstance(parts := kept.get(keyword), dict):
                patterns = keyword == "patternProperties"
                kept[keyword] = {
                    name: self.schema(part, depth)
                    for name, part in parts.items()
                    if part is not False and not (patterns and not self._pays(json_patterns.cost(name)))
                }
        for keyword in ("anyOf", "prefixItems"):
            if isinstance(parts := kept.get(keyword), list):
                kept[keyword] = [self.schema(part, depth) for part in parts if part is not False] or parts
        if self._plain and "properties" in kept:
            kept.pop("anyOf", None)  # closed objects within a closed one are none
        self._close_list(kept, depth)
        if isinstance(kept.get("additionalProperties"), dict):
            kept["additionalProperties"] = self.schema(kept["additionalProperties"], depth)
        self._complete(kept)
        return kept

    def _close_list(self, kept: dict[str, Any], depth: int) -> None:
        items = kept.get("items")
        if items is False:
            del kept["items"]
            first = kept.get("prefixItems")
            kept["maxItems"] = len(first) if isinstance(first, list) else 0
        elif isinstance(items, dict | bool):
            kept["items"] = self.schema(items, depth)

    @staticmethod
    def _complete(kept: dict[str, Any]) -> None:
        """Properties that are required and not described may be anything that others may."""
        properties, required = kept.get("properties"), kept.get("required")
        if not isinstance(properties, dict) or not isinstance(required, list):
            return
        other = kept.get("additionalProperties", True)
        for name in required:
            if isinstance(name, str) and name not in properties and other is not False:
                properties[name] = dict(other) if isinstance(other, dict) else {}
        kept["required"] = [name for name in required if not isinstance(name, str) or name in properties]

    def _name_properties(self, schema: dict[str, Any]) -> None:
        """`propertyNames`, as an object whose properties are known or follow a pattern (dict[Enum, int])."""
        names = schema.pop("propertyNames", None)
        if not isinstance(names, dict) or "properties" in schema or "patternProperties" in schema:
            return
        names = self._resolved(names)
        value = schema.get("additionalProperties", {})
        value = {} if isinstance(value, bool) else value
        known = names.get("enum", [names["const"]] if "const" in names else None)
        if isinstance(known, list) and known and all(isinstance(name, str) for name in known):
            schema["properties"] = dict.fromkeys(known, value)
        elif isinstance(names.get("pattern"), str) and json_patterns.cost(names["pattern"]) is not None:
            schema["patternProperties"] = {names["pattern"]: value}
        else:
            return
        schema["additionalProperties"] = False

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        found = self._given.get(name_of(schema.get("$ref")) or "", schema)
        return _modern(dict(found)) if isinstance(found, dict) else schema

    def _joined(self, schema: dict[str, Any]) -> dict[str, Any]:
        """`allOf` with what stands beside it, as one schema, as far as that can be said in one."""
        parts = schema.pop("allOf")
        joined = schema
        for part in parts:
            if isinstance(part, dict):
                joined = _both(joined, self._resolved(part))
        return joined


def _modern(schema: dict[str, Any]) -> dict[str, Any]:
    """Older forms in today's words: lists in `items`, OpenAPI's `nullable`, `exclusiveMinimum: true`, whole numbers
    with a fraction of zero, and `oneOf`, whose branches grammars know only where they exclude each other."""
    for keyword in COUNTED:
        if isinstance(value := schema.get(keyword), float) and value.is_integer():
            schema[keyword] = int(value)
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(is_exclusive := schema.get(exclusive), bool):
            del schema[exclusive]
            if is_exclusive and bound in schema:
                schema[exclusive] = schema.pop(bound)
    if isinstance(schema.get("items"), list):
        schema["prefixItems"] = schema.pop("items")
        if "additionalItems" in schema:
            schema["items"] = schema["additionalItems"]
    if schema.get("nullable") is True and isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
    if "oneOf" in schema and "anyOf" not in schema:
        schema["anyOf"] = schema.pop("oneOf")
    return schema


def _both(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """A schema that asks for what two do: of the keywords in which they differ, the first one's stays."""
    joined = {**other, **one}
    properties = one.get("properties"), other.get("properties")
    if isinstance(properties[0], dict) and isinstance(properties[1], dict):
        joined["properties"] = {**properties[1], **properties[0]}
    required = one.get("required"), other.get("required")
    if isinstance(required[0], list) and isinstance(required[1], list):
        joined["required"] = [*required[0], *(name for name in required[1] if name not in required[0])]
    if False in (one.get("additionalProperties"), other.get("additionalProperties")) and "properties" in joined:
        joined["additionalProperties"] = False
    return joined
