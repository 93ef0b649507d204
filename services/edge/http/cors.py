"""Which web pages may read answers (CORS, https://fetch.spec.whatwg.org/#http-cors-protocol). Off unless configured.

Only paths below /v1/ and /openapi.json: with "*" any page that an operator's browser shows could otherwise read the
metrics of an edge on a private network. Credentials are never allowed: keys come in a header that a page sets itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from servicekit.errors import StartupError
from services.edge.http.exchange import Exchange, Header, Message, Scope, Send

ANY = "*"
ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
EXPOSED = (
    "x-request-id, x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, "
    "x-muhgpt-max-tokens, retry-after, retry-after-ms, x-should-retry"
)
METHODS = b"GET, HEAD, POST, OPTIONS"
REMEMBERED = b"7200"  # seconds that a browser may skip the preflight; Chromium's upper bound
ASKED_BY = b"access-control-request-headers"


class Cors:
    """The origins whose pages may read answers."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origin.encode() for origin in origins)
        self._any = ANY.encode() in self._origins

    @classmethod
    def parse(cls, text: str | None) -> Cors | None:
        """Origins separated by commas, or `*` for every page; None when there are none. Raises StartupError."""
        origins = [origin.strip() for origin in (text or "").split(",") if origin.strip()]
        for place, origin in enumerate(origins, 1):
            if origin != ANY and not ORIGIN.fullmatch(origin):
                raise StartupError(
                    f"entry {place} of MUHGPT_EDGE_CORS_ORIGINS is no origin; write it as browsers send it: "
                    "https://app.example.com or http://localhost:3000, in lower case, without a path; or * for any page"
                )
        return cls(origins) if origins else None

    def headers(self, origin: bytes | None) -> list[Header]:
        """What an answer to a request from this origin carries, refusals too."""
        varies: list[Header] = [] if self._any else [(b"vary", b"origin")]
        if not self._allows(origin):
            return varies
        shown = ANY.encode() if self._any else origin or b""
        return [
            *varies,
            (b"access-control-allow-origin", shown),
            (b"access-control-expose-headers", EXPOSED.encode()),
        ]

    def sending(self, scope: Scope, send: Send) -> Send:
        """`send` with these headers on the answer's start; `send` itself where the path is not for pages."""
        if not _for_pages(scope["path"]):
            return send
        headers = self.headers(_of(scope, b"origin"))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        return send_with_headers

    def is_preflight(self, scope: Scope) -> bool:
        """Whether a browser asks what a page may send, without the page's key."""
        asks = scope["method"] == "OPTIONS" and _of(scope, b"access-control-request-method") is not None
        return asks and _for_pages(scope["path"]) and self._allows(_of(scope, b"origin"))

    async def answer_preflight(self, exchange: Exchange) -> None:
        """Allows it. A route or method that does not exist is allowed too: the page can read the 404 or 405 then."""
        headers: list[Header] = [
            (b"access-control-allow-methods", METHODS),
            (b"access-control-max-age", REMEMBERED),
            (b"vary", ASKED_BY),
        ]
        asked = exchange.headers.get(b"access-control-request-headers")
        if asked is not None:
            headers.append((b"access-control-allow-headers", asked))
        await exchange.start(204, headers)
        await exchange.body(b"")

    def _allows(self, origin: bytes | None) -> bool:
        return origin is not None and (self._any or origin in self._origins)


def _for_pages(path: str) -> bool:
    return path.startswith("/v1/") or path == "/openapi.json"


def _of(scope: Scope, name: bytes) -> bytes | None:
    return next((value for key, value in scope["headers"] if key == name), None)
