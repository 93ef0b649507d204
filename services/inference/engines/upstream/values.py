"""What stands in an upstream's JSON, read with tolerance: a field of another type is as good as absent.

Servers differ in what they send beside the words that matter, and no answer is lost for a field that nobody needs.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

MAX_COUNT = 2**40  # tokens; a larger number counts nothing
THOUGHTS = ("thinking", "reasoning", "thought")  # types of content parts that are not the answer itself


def parse(data: bytes) -> Any:
    """JSON, and what Python's encoder makes of NaN and of half a surrogate pair. Raises ValueError."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            return _without_surrogates(json.loads(data.decode(errors="replace")))
        except RecursionError:
            raise ValueError("nested too deeply") from None


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(name): _without_surrogates(item) for name, item in value.items()}
    return value


def mapping(value: Any) -> dict[str, Any]:
    """The object, or an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """The list; an object alone is a list of one."""
    if isinstance(value, dict):
        return [value]
    return value if isinstance(value, list) else []


def count(value: Any) -> int | None:
    """A number of tokens; None for what cannot be one (negative, a truth value, infinite, no number)."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 12:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT:
        return value
    return None


def words(value: Any) -> str:
    """A text, also one that comes as a list of parts; parts that hold thoughts or no text are left out."""
    if isinstance(value, str):
        return value
    return "".join(_part(part) for part in items(value))


def thoughts(value: Any) -> str:
    """What of a list of parts is the model's reasoning."""
    parts = [mapping(part) for part in items(value)]
    return "".join(words(part.get(kind)) for part in parts for kind in THOUGHTS if part.get("type") == kind)


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    fields = mapping(part)
    if fields.get("type") in THOUGHTS:
        return ""
    text = fields.get("text")
    if isinstance(text, dict):  # {"value": …}, as assistants' messages have it
        text = text.get("value")
    if not isinstance(text, str):
        text = fields.get("refusal") if fields.get("type") == "refusal" else fields.get("content")
    return text if isinstance(text, str) else ""
