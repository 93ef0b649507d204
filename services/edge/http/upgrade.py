"""Offers to speak another protocol, which are declined by ignoring them (RFC 9110 section 7.8).

h2c, which Java's client offers with every first request, is one. httptools takes what follows the header for that
protocol, so the request is read again without the offer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

OFFER = frozenset({b"upgrade", b"http2-settings"})


def without_offer(parser: Any, url: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The request's header as it came, less the offer; other options of Connection stay."""
    lines = [b"%s %s HTTP/%s" % (parser.get_method(), url, parser.get_http_version().encode())]
    for name, value in headers:
        if name == b"connection":
            value = b", ".join(
                option for option in (part.strip() for part in value.split(b",")) if option.lower() not in OFFER
            )
        if name not in OFFER:
            lines.append(name + b": " + value)
    return b"\r\n".join(lines) + b"\r\n\r\n"
