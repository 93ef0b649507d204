"""What vLLM makes of a JSON Schema: which keywords it cannot hold an answer to, and which it refuses.

Other servers are sent schemas as they are, and decide themselves (docs/upstreams.md, What a schema guarantees).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from services.inference.domain.errors import InvalidRequest

# Taken and not held. With `strict` that is not what was asked for, so the request is refused.
NOT_HELD = {"not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies"} | {
    *("unevaluatedProperties", "unevaluatedItems", "propertyNames"),
}
# A 400 or a 500 of its grammar compiler. Without `strict` they are left out of what is sent, and the rest is held.
REFUSED = {"uniqueItems", "contains", "minContains", "maxContains", "minProperties", "maxProperties"}
FORMATS = {"date", "time", "date-time", "duration", "uuid", "email", "hostname", "ipv4", "ipv6", "uri"} | {
    *("uri-reference", "uri-template", "json-pointer", "relative-json-pointer"),
}
MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")  # of schemas by name
LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
SINGLE = ("items", "additionalProperties", "contains", "not", "if", "then", "else", "propertyNames")
MAX_DEPTH = 64


def refuse_what_is_not_held(schema: dict[str, Any], param: str) -> None:
    """Raises InvalidRequest that names the first keyword to which vLLM holds no answer."""
    for path, part in _parts(schema, "", 0):
        for keyword, value in part.items():
            unknown = keyword == "format" and value not in FORMATS
            if keyword in NOT_HELD or keyword in REFUSED or unknown:
                problem = f"the schema at {path}/{keyword} has a keyword that is not supported with strict: true"
                raise InvalidRequest(problem, param=param)


def without_refused(schema: dict[str, Any], depth: int = 0) -> dict[str, Any]:
    """The schema without what vLLM's grammar compiler refuses."""
    if depth > MAX_DEPTH:
        return schema
    kept = {name: value for name, value in schema.items() if name not in REFUSED}
    if isinstance(kept.get("format"), str) and kept["format"] not in FORMATS:
        del kept["format"]
    for name, value in kept.items():
        if name in MAPS and isinstance(value, dict):
            kept[name] = {key: _relaxed(part, depth) for key, part in value.items()}
        elif name in LISTS and isinstance(value, list):
            kept[name] = [_relaxed(part, depth) for part in value]
        elif name in SINGLE:
            kept[name] = _relaxed(value, depth)
    return kept


def _relaxed(part: Any, depth: int) -> Any:
    return without_refused(part, depth + 1) if isinstance(part, dict) else part


def _parts(schema: Any, path: str, depth: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema within a schema, with where it stands."""
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return
    yield path, schema
    for name, value in schema.items():
        if name in MAPS and isinstance(value, dict):
            inner = [(f"{path}/{name}/{key}", part) for key, part in value.items()]
        elif name in LISTS and isinstance(value, list):
            inner = [(f"{path}/{name}/{index}", part) for index, part in enumerate(value)]
        else:
            inner = [(f"{path}/{name}", value)] if name in SINGLE else []
        for where, part in inner:
            yield from _parts(part, where, depth + 1)
