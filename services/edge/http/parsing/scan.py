"""What a body will cost to parse, and how deep JSON is nested: counted in its raw bytes, without parsing it.

Everything here runs at the speed of bytes.count, replace and split. A loop over bytes in Python would cost more than
the parsing that it predicts.
"""

from __future__ import annotations

import re
from typing import Final

from services.edge.http.errors import ApiError

# What a parsed body may take in memory, by what was measured for each value, named value, array and object. Far above
# any conversation within its own bounds: half a million schema properties.
MAX_PARSED_BYTES: Final = 128 * 1024 * 1024
_BYTES_PER_VALUE = 24
_BYTES_PER_NAME = 76
_BYTES_PER_CONTAINER = 260

# Seconds, measured with the shapes of tests/unit/edge/http/parsing/test_scan.py on a slow core and rounded up.
_PER_BYTE = 4e-9
_PER_COMMA = 0.2e-6
_PER_ARRAY = 0.6e-6
_PER_OBJECT = 0.5e-6  # one that is carried as it is, in a schema
_PER_PART = 1.5e-6  # an object that is checked field by field: a part, a message, a call
_PER_MESSAGE = 3e-6
_PER_CALL = 6e-6
_PER_IMAGE = 3e-6  # its name stands there twice
# A key may be written with escapes to hide it. No encoder escapes a small letter.
_ESCAPED_LETTERS = (b"\\u006", b"\\u007")

_PIECE = 1024 * 1024  # characters
_NO_BRACKETS = re.compile(r"[^][{}]+")
_AS_ARRAYS = str.maketrans("{}", "[]")


def predicted_seconds(body: bytes | bytearray) -> float:
    """CPU seconds that parsing, checking and translating a body takes at most, roughly."""
    objects = body.count(b"{")
    base = len(body) * _PER_BYTE + body.count(b",") * _PER_COMMA + body.count(b"[") * _PER_ARRAY
    worst = base + objects * _PER_MESSAGE
    if worst < 0.005:  # nearly every body; looking closer costs more than it can tell
        return worst
    hidden = sum(body.count(escape) for escape in _ESCAPED_LETTERS)
    known = body.count(b'"text"') * _PER_PART + body.count(b'"role"') * _PER_MESSAGE
    known += body.count(b'"image_url"') * _PER_IMAGE
    known += body.count(b'"arguments"') * _PER_CALL + hidden * _PER_CALL
    return min(worst, base + objects * _PER_OBJECT + known)


def check_values(body: bytes | bytearray) -> None:
    """Raises ApiError 400 for a body of so many JSON values that they could take all memory, once parsed."""
    if _fits(body.count(b","), body.count(b":"), body.count(b"{") + body.count(b"[")):
        return
    if _has_too_many_values(bytes(body).decode("latin-1")):
        raise ApiError.invalid("The request body holds too many JSON values.", code="too_many_values")


def check_nesting(text: str, param: str, levels: int) -> None:
    """Raises ApiError 400 for JSON text with arrays and objects nested deeper than `levels`.

    Also for text that is cut or not JSON at all: then what counts is what a parser could meet before it gives up.
    """
    if text.count("[") + text.count("{") <= levels:
        return
    if _has_too_many_values(text) or _nested_deeper(text, levels):
        message = f"'{param}' is nested deeper than {levels} levels, or holds too many values."
        raise ApiError.invalid(message, param=param, code="nested_too_deep")


def _nested_deeper(text: str, levels: int) -> bool:
    marks = _NO_BRACKETS.sub("", _outside_strings(text)).translate(_AS_ARRAYS)
    for level in range(levels):
        shallower = marks.replace("[]", "")  # one level less, everywhere at once
        if len(shallower) == len(marks):
            return level + marks.count("[") > levels
        marks = shallower
    return "[" in marks


def _has_too_many_values(text: str) -> bool:
    """Prose has commas and brackets too. Strings are left out only where it matters: that takes milliseconds for each
    megabyte."""
    if _fits(text.count(","), text.count(":"), text.count("{") + text.count("[")):
        return False
    outside = _outside_strings(text)
    return not _fits(outside.count(","), outside.count(":"), outside.count("{") + outside.count("["))


def _fits(values: int, names: int, containers: int) -> bool:
    size = values * _BYTES_PER_VALUE + names * _BYTES_PER_NAME + containers * _BYTES_PER_CONTAINER
    return size <= MAX_PARSED_BYTES


def _outside_strings(text: str) -> str:
    """JSON text without its strings, the last of which may be cut.

    Escaped quotes go first, and before them pairs of backslashes, which escape nothing behind them. The rest is split
    a piece at a time: all at once, its parts could take fifty times the memory of the text.
    """
    text = text.replace("\\\\", "").replace('\\"', "")
    outside: list[str] = []
    inside = 0
    for start in range(0, len(text), _PIECE):
        parts = text[start : start + _PIECE].split('"')
        outside.append("".join(parts[inside::2]))
        inside = (inside + len(parts) - 1) % 2
    return "".join(outside)
