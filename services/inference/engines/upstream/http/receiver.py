"""What a user of the HTTP client writes (HttpReceiver) and holds (HttpCall).

    client = HttpClient(headers, connect_timeout=5.0, reuse=True)
    call = client.send(HttpRequest("POST", "https://host/v1/chat/completions", body), receiver)

The client calls the receiver from the event loop, always after `send` has returned:

    on_head  on_data*  on_end      an answer
    [on_head  on_data*]  on_error  a failure, at any point

Exactly one of on_end and on_error comes last, unless the user ends the call before: after cancel() or leave(), also
when called from within a callback, nothing more comes. The client has one time-out, for connecting; all others are the
user's, who calls cancel(). Redirects are not followed, informational answers (1xx) are skipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

Headers = Mapping[bytes, bytes]
"""Names in lower case; the values of a repeated name joined by `, `. Trailers are not among them."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request. `url` is absolute; `body` None: there is none."""

    method: str
    url: str
    body: bytes | None = field(default=None, repr=False)


class HttpFault(Enum):
    """What went wrong. The values are the `outcome` words of TargetFailed."""

    UNREACHABLE = "connect"  # no connection in time: name, address, TLS
    CUT = "cut"  # the connection ended before the answer did
    MALFORMED = "protocol"  # not HTTP/1.1, or a form of it that is not taken
    OVERSIZED = "oversized"  # header, trailers or chunk framing above their bounds


@dataclass(frozen=True, slots=True)
class HttpFailure:
    """A failed call. `detail` is a few words for people; it holds nothing that the upstream sent, nor the key."""

    fault: HttpFault
    detail: str


class HttpReceiver(Protocol):
    """Gets one answer. Its methods must return soon; an exception of theirs ends this call and no other."""

    def on_head(self, status: int, headers: Headers) -> None:
        """The final status line and the header are there."""

    def on_data(self, data: bytes) -> None:
        """The next bytes of the body, never empty: what came in one read of the socket comes in one call."""

    def on_end(self) -> None:
        """The answer is whole. Its connection serves another request already."""

    def on_error(self, failure: HttpFailure) -> None:
        """There will be no (more of an) answer. What came before stays true."""


class HttpCall(Protocol):
    """One request under way. All methods return at once, may be called at any time, and twice."""

    def pause(self) -> None:
        """Stops reading from the socket, so that the upstream is held back. At most one more on_data may come."""

    def resume(self) -> None:
        """Reads again."""

    def cancel(self) -> None:
        """Nothing more is wanted: closes the connection at once, which makes most servers stop generating."""

    def leave(self) -> None:
        """Nothing more is wanted, and the answer is as good as over.

        Its end is awaited without the user for a moment (DRAIN_TIMEOUT, MAX_DRAIN), so that the connection can serve
        another request; otherwise it is closed.
        """
