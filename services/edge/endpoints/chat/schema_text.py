"""A JSON Schema that a client sent, as the JSON text that inference gets."""

from __future__ import annotations

import json
import sys
from typing import Any

import orjson

from services.edge.http.errors import ApiError
from services.edge.http.parsing.scan import check_nesting

# Digits of a whole number. Writing more takes time that grows with their square, and no schema can mean them.
MAX_DIGITS = 640


def schema_text(schema: dict[str, Any] | None, param: str, nesting: int) -> str:
    """JSON text, empty for None. Raises ApiError 400 for a schema that is nested too deep or has a number that JSON
    cannot carry: the parser lets NaN and Infinity through."""
    if schema is None:
        return ""
    text = _quickly(schema)
    if text is None:
        text = _exactly(schema, param)
    check_nesting(text, param, nesting)
    return text


def _quickly(schema: dict[str, Any]) -> str | None:
    """By orjson, many times faster. None for what it refuses, whole numbers beyond 64 bits, and for what it would
    change: it writes NaN and infinities as null."""
    try:
        text = orjson.dumps(schema)
    except TypeError:
        return None
    # A null between quotes is a type's name, and most schemas have no other.
    if text.count(b"null") != text.count(b'"null"') and orjson.loads(text) != schema:
        return None
    return text.decode()


def _exactly(schema: dict[str, Any], param: str) -> str:
    digits = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(MAX_DIGITS)
    try:
        return json.dumps(schema, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        raise ApiError.invalid(f"'{param}' holds a number that JSON cannot carry.", param=param) from None
    except RecursionError:
        raise ApiError.invalid(f"'{param}' is nested too deep.", param=param, code="nested_too_deep") from None
    finally:
        sys.set_int_max_str_digits(digits)
