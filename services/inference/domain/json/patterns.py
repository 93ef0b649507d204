"""Regular expressions of schemas: which a grammar can hold, and at what cost.

LLGuidance takes regular expressions as Rust's, without look-around and back-references. Counted repeats are written
out, and beyond a size it gives up in the middle of the answer, silently, after a second in which no slot goes on
(docs/engine.md).
"""

from __future__ import annotations

import re

MAX_COST = 2_000  # of one expression: characters and classes with counted repeats written out
MAX_COST_TOGETHER = 8_192  # of a whole schema
MAX_GROUPS = 32  # within each other
ENDLESS, ENDLESS_COST = -1, 8  # a repeat without end: many after each other are more states than their letters

# http and https alone: what browsers' and pydantic's URL types take. RFC 3986, with names as registries give them.
_UNRESERVED = r"[A-Za-z0-9._~!$&'()*+,;=:@"
_ESCAPED = r"%[0-9A-Fa-f]{2}"
URI = (
    r"^https?://([A-Za-z0-9]+(-[A-Za-z0-9]+)*\.)*[A-Za-z][A-Za-z0-9]*(-[A-Za-z0-9]+)*(:[1-9][0-9]{0,3})?"
    rf"(/({_UNRESERVED}-]|{_ESCAPED})*)*(\?({_UNRESERVED}/?-]|{_ESCAPED})*)?(#({_UNRESERVED}/?-]|{_ESCAPED})*)?$"
)

# Look-around, comments and conditions; of what begins so, only groups without a number and with a name can be held.
_FOREIGN_GROUP = re.compile(r"\?(?!:|P?<[A-Za-z_])")
_GROUP_HEAD = re.compile(r"\?(?::|P?<\w{1,40}>)")
_FOREIGN_ESCAPES = "123456789bBAZzkK"  # back-references and borders
_COUNT = re.compile(r"\{(\d{1,6})?(,?)(\d{1,6})?\}")
_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_NAMED = re.compile(r"\\[pP]\{\w{1,40}\}|\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}")


def cost(pattern: str) -> int | None:
    """How large an expression becomes; None when it cannot be held."""
    if len(pattern) > MAX_COST:
        return None
    groups, last, place = [0], 0, 0
    while place < len(pattern):
        letter = pattern[place]
        if letter == "(":
            if len(groups) > MAX_GROUPS or _FOREIGN_GROUP.match(pattern, place + 1):
                return None
            groups.append(0)
            head = _GROUP_HEAD.match(pattern, place + 1)
            place, last = (head.end() if head else place + 1), 0
            continue
        if letter == ")":
            if len(groups) == 1:
                return None
            last, place = groups.pop() + 1, place + 1
            groups[-1] += last
            continue
        length, times = _piece(pattern, place)
        if length is None:
            return None
        if times is None:
            last = 1
            groups[-1] += 1
        elif times == ENDLESS:
            groups[-1] += ENDLESS_COST
            last += ENDLESS_COST
        else:
            groups[-1] += last * (times - 1)
            last *= times
        if groups[-1] > MAX_COST:
            return None
        place += length
    return groups[0] if len(groups) == 1 else None


def _piece(pattern: str, place: int) -> tuple[int | None, int | None]:
    """The length of what stands there, None for what cannot be held; and how often it repeats what stands before it,
    ENDLESS when without end, None when it is no repeat."""
    letter = pattern[place]
    if letter in "*+":
        return 1, ENDLESS
    if letter == "?":
        return 1, 1
    if letter == "{":
        match = _COUNT.match(pattern, place)
        if match is None:
            return None, None
        return len(match[0]), max(1, int(match[1] or 0), int(match[3] or 0))
    if letter == "[":
        match = _CLASS.match(pattern, place)
        return (None if match is None else len(match[0])), None
    if letter == "\\":
        named = _NAMED.match(pattern, place)
        after = pattern[place + 1 : place + 2]
        if not after or (named is None and after in _FOREIGN_ESCAPES):
            return None, None
        return (len(named[0]) if named else 2), None
    return 1, None
