"""Why an upstream refuses a request, wherever its answer says so, in words that a client may read.

A reason can repeat what we sent, or tell of the operator's surroundings. So it is bounded, and addresses, paths, keys
and organisations are taken out; a message that quotes our own key is not shown at all (refusals.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from servicekit.observability.masking import masked
from services.inference.engines.upstream.values import mapping, parse

MAX_MESSAGE = 500  # characters
MAX_RAW = 2000  # characters before what is hidden has been taken out
MAX_DEPTH = 8  # of objects and lists within each other, and of JSON within texts
MAX_ITEMS = 5  # of a list of errors
PARAM = re.compile(r"[A-Za-z0-9_.\[\]]{1,100}")
WORDS = (
    "message",
    "msg",
    "detail",
    "details",
    "reason",
    "description",
    "error_description",
    "error",
    "errors",
    "title",
)
PLACES = ("error", "errors", "detail", "message", "metadata", "body", "raw", "response", "data")
MARKUP = re.compile(r"^\s*<|<(html|body|head|!doctype)\b", re.IGNORECASE)
TRACE = ("Traceback (most recent call last)", 'File "/')
HIDDEN = (
    re.compile(r"\b[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE),  # addresses with a scheme
    re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"),  # IPv4
    re.compile(r"\[?(?:[0-9a-f]{1,4}:){3,7}[0-9a-f]{0,4}\]?", re.IGNORECASE),  # IPv6
    re.compile(r"(?i)\b(?:[\w-]+\.)+(?:local|internal|svc|cluster|lan|corp|home|intra)\b(?:\.[\w-]+)*(?::\d+)?"),
    re.compile(r"(?i)\blocalhost\b(?::\d+)?"),
    re.compile(r"\b(?:[\w-]+\.)+[\w-]+:\d{2,5}\b"),  # a host and its port
    re.compile(r"(?<![\w.])/(?:[\w.@+-]+/)+[\w.@+-]*"),  # files
    re.compile(r"\b(?:[a-z]{2,8}[-_]){1,3}(?=[A-Za-z0-9]*\d)[A-Za-z0-9]{16,}\b"),  # gsk_…, xai-…, org-…
    re.compile(r"\b(?:org|proj|acct|project|organization)[-_][A-Za-z0-9]{6,}\b"),
    re.compile(r"\b(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{32,}\b"),  # keys without a mark of their own
    re.compile(r"\beyJ[\w-]{10,}(?:\.[\w-]+)*"),  # JSON web tokens
)


def reason_of(body: Any) -> str:
    """The upstream's own words in an error's body or error object; empty when it has none. Not for clients: shown()."""
    found: list[str] = []
    for text in _texts(body, 0):
        if text not in found:
            found.append(text)
        if len(found) == MAX_ITEMS:
            break
    text = "; ".join(found)
    if not text or MARKUP.search(text) or any(mark in text for mark in TRACE):
        return ""
    return "".join(c if c.isprintable() else " " for c in text[:MAX_RAW]).strip()


def shown(text: str, hosts: Iterable[str]) -> str:
    """A reason as clients may read it: bounded, and without addresses (`hosts` are the upstream's own) and keys."""
    text = masked(text)
    for host in sorted(hosts, key=len, reverse=True):
        text = re.sub(rf"(?<![\w.-]){re.escape(host)}(?![\w-])", "…", text, flags=re.IGNORECASE)
    for pattern in HIDDEN:
        text = pattern.sub("…", text)
    return text[:MAX_MESSAGE].strip()


def param_of(body: Any) -> str:
    """The name of the field in question, where the upstream names one."""
    for fields in (mapping(mapping(body).get("error")), mapping(body)):
        param = fields.get("param")
        if isinstance(param, str) and PARAM.fullmatch(param):
            return param
    return ""


def codes_of(body: Any) -> Iterator[str]:
    """The error's code and type, however deep, in lower case."""
    for fields in (mapping(body), mapping(mapping(body).get("error"))):
        for name in ("code", "type", "status"):
            if isinstance(value := fields.get(name), str | int):
                yield str(value).lower()


def _texts(value: Any, depth: int) -> Iterator[str]:
    """The texts that say why, the nearest first."""
    if depth > MAX_DEPTH:
        return
    if isinstance(value, str):
        yield from _of_string(value.strip(), depth)
    elif isinstance(value, list):
        for item in value[:MAX_ITEMS]:
            yield from _texts(item, depth + 1)
    elif isinstance(value, dict):
        yield from _of_object(value, depth)


def _of_string(text: str, depth: int) -> Iterator[str]:
    """A text, or the reason within the JSON that it is: proxies pass on what they were told as one string."""
    if text[:1] in ("{", "["):
        try:
            inner = parse(text.encode())
        except ValueError:
            return
        yield from _texts(inner, depth + 1)
        return
    if text:
        yield text


def _of_object(fields: dict[str, Any], depth: int) -> Iterator[str]:
    if isinstance(fields.get("msg"), str) and isinstance(fields.get("loc"), list):  # FastAPI's
        where = ".".join(str(part) for part in fields["loc"][:8] if isinstance(part, str | int))
        yield f"{where}: {fields['msg']}" if where else fields["msg"]
        return
    for place in PLACES[:2] if "error" in fields or "errors" in fields else ():
        yield from (found := list(_texts(fields.get(place), depth + 1)))
        if found:
            return
    for name in WORDS:
        if found := list(_texts(fields.get(name), depth + 1)):
            yield from found
            return
    for place in PLACES:
        if found := list(_texts(fields.get(place), depth + 1)):
            yield from found
            return
