"""One HTTP request and its answer: ids, headers, what was sent, and what the log will say of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Any, Protocol

from servicekit.clock import Clock
from servicekit.observability import tracing
from servicekit.observability.line_safe import line_safe
from services.edge.http.errors import ApiError
from services.edge.http.flush import WhenWritten
from services.edge.http.senders import Sources
from services.edge.http.writer import Writer

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

CLIENT_GONE = 499  # nginx's number for a client that left before its answer; appears in logs and metrics only
JSON: Header = (b"content-type", b"application/json")


class TokenCounts(Protocol):
    """What the log says of an answer's size."""

    @property
    def prompt_tokens(self) -> int: ...

    @property
    def completion_tokens(self) -> int: ...


class Exchange:
    """Sends the answer, with `x-request-id` on it, and remembers what the log and the metrics need.

    Times are on the monotonic clock, in seconds.
    """

    __slots__ = (
        "_client",
        "_clock",
        "_held_start",
        "_lines",
        "_send",
        "_when_written",
        "_writer",
        "account_headers",
        "account_id",
        "began",
        "charge_id",
        "complete",
        "error_event",
        "first_token",
        "headers",
        "key_id",
        "last_sent",
        "method",
        "model",
        "request_id",
        "route",
        "status",
        "trace",
        "unread",
        "usage",
    )

    def __init__(self, scope: Scope, send: Send, *, request_id: str, clock: Clock) -> None:
        self._send = send
        self._clock = clock
        self.unread: Callable[[], bool] = scope.get("muhgpt.unread", _nothing_unread)
        self._client = scope.get("client")
        self._when_written: WhenWritten | None = scope.get("muhgpt.when_written")
        self._writer: Writer | None = scope.pop("muhgpt.writer", None)  # which holds the scope
        self.request_id = request_id
        self.method: str = scope["method"]
        self.route = "unknown"  # the route's template: paths may hold anything, secrets too
        self._lines: Sequence[Header] = scope["headers"]
        self.headers: dict[bytes, bytes] = dict(self._lines)
        self.began = self.last_sent = clock.monotonic()
        self.first_token: float | None = None
        self._held_start: Message | None = None  # of FastAPI's answer, until its body is known
        self.status = 0  # until the answer starts
        self.error_event: Callable[[ApiError], bytes] | None = None  # of an answer that streams, in its dialect
        self.complete = False
        self.trace = tracing.NONE
        self.account_id: str | None = None
        self.key_id: str | None = None
        self.model: str | None = None  # the alias, once it is known to be one
        self.charge_id: str | None = None  # the receipt's, once the request was admitted
        self.usage: TokenCounts | None = None
        self.account_headers: Sequence[Header] = ()  # where the account stands, after the other headers

    def identified(self, account_id: str, key_id: str) -> None:
        """Whose request it is, for the log."""
        self.account_id, self.key_id = account_id, key_id

    def header(self, name: bytes) -> str | None:
        """A request header's value; names are in lower case."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    def authorization(self) -> str | None:
        """The Authorization header. Raises ApiError 401 when there are several: a proxy before us may have looked at
        another one than we would, so none is believed."""
        if len(self._lines) != len(self.headers) and sum(name == b"authorization" for name, _ in self._lines) > 1:
            raise ApiError.invalid_api_key("There are several Authorization headers. Send one.")
        return self.header(b"authorization")

    def source(self, sources: Sources) -> str:
        """The address that this request is counted to."""
        return sources.of(self._client[0] if self._client else None, self._lines)

    async def start(self, status: int, headers: Iterable[Header]) -> None:
        """Begins the answer."""
        self.status = status
        lines = [*headers, (b"x-request-id", self.request_id.encode()), *self.account_headers]
        if self.unread():
            # What is still to come of the request is not read: the connection hears it out within bounds, and closes.
            lines.append((b"connection", b"close"))
        await self._send({"type": "http.response.start", "status": status, "headers": lines})

    async def body(self, data: bytes, *, more: bool = False) -> None:
        """Sends a piece of the answer; waits while the client takes no more."""
        await self._send({"type": "http.response.body", "body": data, "more_body": more})
        self.last_sent = self._clock.monotonic()
        self.complete = not more

    # A Writer (writer.py), once the answer has begun

    @property
    def ready(self) -> bool:
        """See Writer."""
        return self._socket.ready

    def when_ready(self, look: Callable[[], None]) -> None:
        """See Writer."""
        self._socket.when_ready(look)

    def when_gone(self, leave: Callable[[], None]) -> None:
        """See Writer."""
        self._socket.when_gone(leave)

    def write(self, data: bytes) -> None:
        """See Writer."""
        self._socket.write(data)
        self.last_sent = self._clock.monotonic()

    @property
    def _socket(self) -> Writer:
        if self._writer is None:
            raise RuntimeError("only the edge's own server streams")
        return self._writer

    async def respond(self, status: int, body: bytes, headers: Iterable[Header] = (JSON,)) -> None:
        """A whole answer."""
        await self.start(status, [*headers, (b"content-length", b"%d" % len(body))])
        await self.body(body)

    def when_written(self, done: Callable[[], None]) -> None:
        """Calls `done` once all that was sent has left this process, or nobody is there to take it any more."""
        if self._when_written is None:  # no socket of ours
            done()
        else:
            self._when_written(done)

    async def fail(self, error: ApiError) -> None:
        """Tells the client of a failure, in whatever form is still possible."""
        if self.status == 0:
            extra = [(name.encode(), value.encode()) for name, value in error.headers.items()]
            await self.respond(error.status, error.body(), [JSON, *extra])
        elif self.error_event is not None and not self.complete:
            await self.body(self.error_event(error))

    async def asgi_send(self, message: Message) -> None:
        """For the application that answers through plain ASGI messages (FastAPI)."""
        if message["type"] == "http.response.start":
            self._held_start = message
            return
        body: bytes = message.get("body", b"")
        begun, self._held_start = self._held_start, None
        if begun is not None:
            headers = dict(begun.get("headers", ()))
            if headers.get(b"content-type") == b"application/json":
                body = line_safe(body)
                headers[b"content-length"] = b"%d" % len(body)
            await self.start(begun["status"], headers.items())
        await self.body(body, more=message.get("more_body", False))


def _nothing_unread() -> bool:
    return False
