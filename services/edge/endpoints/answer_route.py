"""A request that inference answers, from its key to its last byte: the same for every endpoint of that kind.

When several errors apply the first wins: 401, 413, 415, 400, 404, 403, 429, 402 (docs/wire.md). The order of the code
below is that. What an endpoint adds is its Dialect.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from muhgpt.inference.v1 import inference_pb2
from servicekit.clock import MICROSECONDS
from services.edge.endpoints.endpoint import HotTools
from services.edge.endpoints.errors import to_api_error
from services.edge.endpoints.identify import identify
from services.edge.endpoints.rate_limit_headers import WindowMemory, window_headers
from services.edge.http.bodies import HeldBody
from services.edge.http.body import read_json_body
from services.edge.http.disconnect import until_disconnect
from services.edge.http.errors import ApiError
from services.edge.http.exchange import JSON, Exchange, Header, Receive
from services.edge.http.heartbeat import Heartbeat
from services.edge.http.ids import answer_id
from services.edge.http.limits import Sender
from services.edge.http.parsing.body_format import BodyFormat
from services.edge.http.writer import Writer
from services.edge.peers.errors import Failure, Refused
from services.edge.serving import metrics
from services.edge.serving.answer import Answer, Batch, Sink, Usage
from services.edge.serving.gateway import Caller
from services.edge.serving.order import AnswerOrder


class Form(Protocol):
    """What this route needs to know of a request, beside the work."""

    @property
    def alias(self) -> str: ...

    @property
    def stream(self) -> bool: ...

    @property
    def choices(self) -> int: ...

    @property
    def output_limit(self) -> int | None: ...


FormT = TypeVar("FormT", bound=Form)
FormT_co = TypeVar("FormT_co", bound=Form, covariant=True)


class ParsedRequest(Protocol[FormT_co]):
    """A body as its format reads it. `message.model` is the alias until it is resolved."""

    @property
    def form(self) -> FormT_co: ...

    @property
    def message(self) -> inference_pb2.ChatRequest: ...


class StreamSink(Sink, Protocol):
    """Writes a streamed answer."""

    def encode_end(self, last: Batch) -> bytes:
        """The end of the stream, with the usage of the last batch."""
        ...


class WholeSink(Sink, Protocol):
    """Collects a whole answer."""

    usage: Usage | None

    def add(self, batch: Batch) -> None:
        """Takes up a batch."""
        ...

    def encode(self, *, completion_id: str, created: int, model: str) -> bytes:
        """The JSON document; created is in Unix seconds."""
        ...


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """What every piece of an answer says: its id, Unix seconds, the alias that was asked."""

    id: str
    created: int
    model: str


@dataclass(frozen=True, slots=True)
class Dialect(Generic[FormT]):
    """How an endpoint reads requests and writes answers."""

    path: str
    id_prefix: str  # of answers
    body: BodyFormat[Any]  # of ParsedRequest[FormT]
    stream: Callable[[FormT, AnswerHead, Writer], StreamSink]
    whole: Callable[[FormT], WholeSink]
    stream_headers: Sequence[Header]
    keep_alive: bytes  # for a stream that has nothing to send
    error_event: Callable[[ApiError], bytes]  # a failure after a stream's start


class AnswerRoute(Generic[FormT]):
    """Serves answers, whole and streamed (a HotRoute)."""

    def __init__(self, dialect: Dialect[FormT], tools: HotTools) -> None:
        self._dialect = dialect
        self._gateway = tools.gateway
        self._clock = tools.clock
        self._limits = tools.limits
        self._budget = tools.budget
        self._parser = tools.parser
        self._timers = tools.timers
        self._windows = WindowMemory(tools.clock)

    async def serve(self, exchange: Exchange, receive: Receive) -> None:
        """See HotRoute."""
        exchange.route = self._dialect.path
        with exchange.trace.child("authenticate"):
            caller = await identify(exchange, self._gateway, self._budget)
        principal = caller.principal
        exchange.identified(principal.account_id, principal.key_id)
        self._budget.spending.check(Sender.account(principal.account_id))
        try:
            with self._budget.bodies.open(principal.account_id) as held:
                await self._answer(exchange, receive, caller, held)
        except BaseException as error:
            if isinstance(error, Refused) and error.window is not None:
                self._windows.remember(principal.account_id, error.window)
            window = self._windows.recall(principal.account_id, principal.requests_per_minute)
            exchange.account_headers = window_headers(window)
            raise

    async def _answer(self, exchange: Exchange, receive: Receive, caller: Caller, held: HeldBody) -> None:
        uploading = partial(self._uploading, caller)
        parsed: ParsedRequest[FormT] = await self._parser.parse(
            await read_json_body(exchange, receive, self._limits.max_body_bytes, held, uploading),
            caller.principal.account_id,
            self._dialect.body,
        )
        form = parsed.form
        model = self._gateway.resolve(caller, form.alias)
        exchange.model = form.alias
        parsed.message.model = model.model
        async with until_disconnect(exchange):
            answer = await self._open(caller, self._order(exchange, parsed))
            try:
                del parsed  # an answer may run for minutes; what was asked is inference's now
                held.release()
                exchange.first_token = self._clock.monotonic()
                exchange.account_headers = window_headers(answer.window)
                exchange.charge_id = answer.charge_id
                self._windows.remember(caller.principal.account_id, answer.window)
                await (self._stream if form.stream else self._whole)(exchange, form, answer)
            finally:
                await answer.aclose()

    def _uploading(self, caller: Caller, end: Callable[[ApiError], None]) -> AbstractContextManager[object]:
        return self._gateway.uploading(caller, lambda failure: end(to_api_error(failure)))

    def _order(self, exchange: Exchange, parsed: ParsedRequest[FormT]) -> AnswerOrder:
        form = parsed.form
        return AnswerOrder(
            request=parsed.message,
            alias=form.alias,
            max_tokens=form.output_limit,
            choices=form.choices,
            streamed=form.stream,
            request_id=exchange.request_id,
            deadline=exchange.began + self._limits.request_timeout,
        )

    async def _open(self, caller: Caller, order: AnswerOrder) -> Answer:
        try:
            return await self._gateway.open(caller, order)
        except Failure as failure:
            error = to_api_error(failure)
            metrics.REFUSALS.labels(error.code or error.type).inc()
            raise

    async def _stream(self, exchange: Exchange, form: FormT, answer: Answer) -> None:
        dialect = self._dialect
        sink = dialect.stream(form, self._head(exchange, form), exchange)
        await exchange.start(200, [*dialect.stream_headers, _granted(answer)])
        exchange.error_event = dialect.error_event
        with Heartbeat(exchange, dialect.keep_alive, self._limits.heartbeat, self._clock, self._timers):
            last = await answer.deliver(sink)
            exchange.usage = last.usage
            await exchange.body(sink.encode_end(last))

    async def _whole(self, exchange: Exchange, form: FormT, answer: Answer) -> None:
        whole = self._dialect.whole(form)
        last = await answer.deliver(whole)
        whole.add(last)
        try:
            await self._write_whole(exchange, form, answer, whole)
        finally:
            if last.written is not None:
                exchange.when_written(last.written)

    async def _write_whole(self, exchange: Exchange, form: FormT, answer: Answer, whole: WholeSink) -> None:
        exchange.usage = whole.usage
        head = self._head(exchange, form)
        body = whole.encode(completion_id=head.id, created=head.created, model=head.model)
        await exchange.respond(200, body, [JSON, _granted(answer)])

    def _head(self, exchange: Exchange, form: FormT) -> AnswerHead:
        made = self._clock.now_us() // MICROSECONDS
        return AnswerHead(answer_id(self._dialect.id_prefix, exchange.request_id), made, form.alias)


def _granted(answer: Answer) -> Header:
    """How many output tokens per choice the account can pay (G2)."""
    return (b"x-muhgpt-max-tokens", b"%d" % answer.max_tokens)
