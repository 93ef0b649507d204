"""`$defs` and `$ref` in a schema: which definition a reference means, and whether what is defined can ever be whole.

A grammar may refer to itself, as a tree's node does. One that can never come to an end is worse than one that does not
compile: the worker notices only midway, and goes on without it (docs/engine.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KEYWORDS = ("$defs", "definitions")  # of today's JSON Schema, and of draft 7's, which zod's converters still write
ROOT = "#"
MAX_DEFINITIONS = 64
COMPOSED = {"object", "array"}


def path_of(name: str) -> str:
    """How a reference to a definition is written for the grammar."""
    return f"#/$defs/{name}"


def name_of(reference: Any) -> str | None:
    """The definition that a reference means; ROOT for the schema itself, None for what lies anywhere else.

    JSON Pointers (RFC 6901) to other places and to names that need escapes are not followed.
    """
    if reference == ROOT:
        return ROOT
    if isinstance(reference, str):
        for keyword in KEYWORDS:
            name = reference.removeprefix(f"#/{keyword}/")
            if name != reference and plain(name):
                return name
    return None


def plain(name: str) -> bool:
    """Whether a name is the same in a JSON Pointer within a URI; pydantic's and zod's are."""
    return bool(name) and name.isascii() and all(letter.isalnum() or letter in "_-." for letter in name)


def endless(definitions: Mapping[str, dict[str, Any]]) -> str | None:
    """The name of a definition (of reduced schemas) that no finite value satisfies; None when there is none.

    What can be whole is found from the bottom up: a definition is, once all that it cannot do without are.
    """
    finite: set[str] = set()
    while True:
        found = {name for name in definitions.keys() - finite if _finite(definitions[name], finite)}
        if not found:
            return min(definitions.keys() - finite, default=None)
        finite |= found


def _finite(schema: Mapping[str, Any], known: set[str]) -> bool:
    if "const" in schema or "enum" in schema:
        return True
    if "$ref" in schema:
        return name_of(schema["$ref"]) in known
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            return any(_finite(part, known) for part in schema[keyword])
    types = schema.get("type")
    if types is None or (isinstance(types, list) and set(types) - COMPOSED):
        return True
    kinds = types if isinstance(types, list) else [types]
    return any(_finite_of(kind, schema, known) for kind in kinds)


def _finite_of(kind: str, schema: Mapping[str, Any], known: set[str]) -> bool:
    if kind == "array":
        first = schema.get("prefixItems", [])[: schema.get("minItems", 0)]
        more = schema.get("minItems", 0) > len(first)
        return all(_finite(part, known) for part in first) and (not more or _finite(schema.get("items", {}), known))
    if kind == "object":
        properties, required = schema.get("properties", {}), schema.get("required", ())
        if schema.get("minProperties", 0) > len(set(required)):
            other = schema.get("additionalProperties", {})
            others = [*properties.values(), *schema.get("patternProperties", {}).values()]
            others += [other] if isinstance(other, dict) else [{}] if other else []
            if not any(_finite(part, known) for part in others):
                return False
        return all(_finite(properties.get(name, {}), known) for name in required)
    return True
