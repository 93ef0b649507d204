"""JSON within strings, as clients write it: call arguments in the history, tools' parameters, schemas of answers.

Native parsers recurse into it (llama.cpp's template engine overflowed its stack at 35,000 brackets), so it is measured
before anything parses it, and only what was parsed here is passed on as JSON.
"""

from __future__ import annotations

import json
import math
import re
from itertools import accumulate
from typing import Any

MAX_DEPTH = 64  # brackets within each other
MAX_MEMBERS = 1024  # of one object: llama.cpp looks names up one by one, and took 14 s for 50,000
MAX_VALUES = 16_384  # of one text

_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_SURROGATES = re.compile("[\ud800-\udfff]")
REPLACEMENT = "\ufffd"


def nests_deeper(text: str, limit: int = MAX_DEPTH) -> bool:
    """Whether the brackets of a text stand in more than `limit` others, whether or not it is JSON."""
    if text.count("[") + text.count("{") <= limit:
        return False
    brackets = _STRING.sub("", text).encode("ascii", "ignore").translate(None, _NOT_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > limit


def parse(text: str) -> Any:
    """The value of a JSON text, in which lone surrogates are replaced. Raises ValueError, also for what a native parser
    could not take: nesting beyond MAX_DEPTH, numbers out of a double's range, or too many members or values.
    """
    if nests_deeper(text):
        raise ValueError("nested too deep")
    value = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    return _Checked().value(value)


class _Checked:
    """Copies a value and counts what it holds. Its depth is bounded already."""

    def __init__(self) -> None:
        self._left = MAX_VALUES

    def value(self, value: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise ValueError("too many values")
        if isinstance(value, str):
            return well_formed(value)
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, dict):
            if len(value) > MAX_MEMBERS:
                raise ValueError("too many members")
            return {well_formed(name): self.value(item) for name, item in value.items()}
        if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**64:
            return _finite(str(value))
        return value


def well_formed(text: str) -> str:
    """The text with U+FFFD for each lone surrogate, which UTF-8 has no bytes for."""
    return _SURROGATES.sub(REPLACEMENT, text)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number out of range")
    return number


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
