"""What a request's header must be before it reaches the application (RFC 9112 sections 2.3, 3.2 and 6)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from services.edge.http.errors import ApiError

# A registered name or an IPv4 address, or an IPv6 address in brackets, and a port. Commas and other sub-delimiters,
# which RFC 3986 allows, are in no name of a server: two names joined by a comma are two hosts.
HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]{2,45}\]|(?:[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2}){0,255})(?::[0-9]{0,5})?")
MAX_LENGTH_DIGITS = 19  # what 64 bits hold; zeros in front count too
MAX_HEADERS = 256  # lines; each costs memory whatever its length
MAX_TRAILERS = 64
VERSIONS = frozenset({"1.1", "1.0"})


def check_head(version: str, headers: Iterable[tuple[bytes, bytes]], url: bytes, limit: int) -> None:
    """Raises ApiError 400, 431 (more than limit bytes) or 505. Header names are in lower case."""
    size, hosts, host, codings, coding, length = len(url), 0, b"", 0, b"", b""
    for name, value in headers:
        size += len(name) + len(value) + 4
        if name == b"host":
            hosts, host = hosts + 1, value
        elif name == b"transfer-encoding":
            codings, coding = codings + 1, value
        elif name == b"content-length":
            length = value
    if size > limit:
        raise ApiError.header_too_large(limit)
    if version not in VERSIONS:
        raise ApiError.http_version() if version >= "2" else ApiError.invalid("The request is not valid HTTP.")
    if hosts > 1 or (not hosts and version == "1.1"):
        raise ApiError.invalid("The request must have exactly one Host header.")
    if not HOST.fullmatch(host.strip(b" \t")):
        raise ApiError.invalid("The Host header is not a host and a port.")
    if codings and (codings > 1 or version == "1.0" or coding.strip(b" \t").lower() != b"chunked"):
        raise ApiError.invalid("The only Transfer-Encoding that is understood is chunked, once, in HTTP/1.1.")
    if len(length) > MAX_LENGTH_DIGITS:
        raise ApiError.invalid("The Content-Length header is not a length.")
