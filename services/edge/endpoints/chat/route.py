"""POST /v1/chat/completions in plain ASGI (ARCHITECTURE.md, speed): the only route where microseconds count.

When several errors apply the first wins: 401, 413, 415, 400, 404, 403, 429, 402 (docs/wire.md). The order of the code
below is that.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

from servicekit.clock import MICROSECONDS
from services.edge.endpoints.chat import description
from services.edge.endpoints.chat import stream as sse
from services.edge.endpoints.chat.parsed import CHAT_BODY, ChatForm, ParsedChat
from services.edge.endpoints.chat.whole import Completion
from services.edge.endpoints.endpoint import HotEndpoint, HotTools
from services.edge.endpoints.errors import to_api_error
from services.edge.endpoints.identify import identify
from services.edge.endpoints.rate_limit_headers import WindowMemory, window_headers
from services.edge.http.bodies import HeldBody
from services.edge.http.body import read_json_body
from services.edge.http.disconnect import until_disconnect
from services.edge.http.errors import ApiError
from services.edge.http.exchange import JSON, Exchange, Header, Receive
from services.edge.http.heartbeat import Heartbeat
from services.edge.http.ids import completion_id
from services.edge.http.limits import Sender
from services.edge.peers.errors import Failure, Refused
from services.edge.serving import metrics
from services.edge.serving.answer import Answer
from services.edge.serving.gateway import Caller
from services.edge.serving.order import AnswerOrder

PATH = "/v1/chat/completions"


class ChatRoute:
    """Serves chat completions, whole and streamed."""

    def __init__(self, tools: HotTools) -> None:
        self._gateway = tools.gateway
        self._clock = tools.clock
        self._limits = tools.limits
        self._budget = tools.budget
        self._parser = tools.parser
        self._timers = tools.timers
        self._windows = WindowMemory(tools.clock)

    async def serve(self, exchange: Exchange, receive: Receive) -> None:
        """See HotRoute."""
        exchange.route = PATH
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
        parsed = await self._parser.parse(
            await read_json_body(exchange, receive, self._limits.max_body_bytes, held, uploading),
            caller.principal.account_id,
            CHAT_BODY,
        )
        form = parsed.form
        model = self._gateway.resolve(caller, form.alias)
        exchange.model = form.alias
        parsed.message.model = model.model
        async with until_disconnect(receive):
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

    def _order(self, exchange: Exchange, parsed: ParsedChat) -> AnswerOrder:
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

    async def _stream(self, exchange: Exchange, form: ChatForm, answer: Answer) -> None:
        encoder = sse.ChunkEncoder(
            completion_id=completion_id(exchange.request_id),
            created=self._now(),
            model=form.alias,
            choices=form.choices,
            include_usage=form.include_usage,
            logprobs=form.logprobs,
        )
        await exchange.start(200, [*sse.HEADERS, _granted(answer)])
        exchange.error_event = sse.encode_error
        with Heartbeat(exchange, sse.KEEP_ALIVE, self._limits.heartbeat, self._clock, self._timers):
            last = await answer.deliver(sse.ChunkSink(encoder, exchange))
            exchange.usage = last.usage
            await exchange.body(encoder.encode(last))

    async def _whole(self, exchange: Exchange, form: ChatForm, answer: Answer) -> None:
        completion = Completion(choices=form.choices, logprobs=form.logprobs)
        last = await answer.deliver(completion)
        completion.add(last)
        try:
            await self._write_whole(exchange, form, answer, completion)
        finally:
            if last.written is not None:
                exchange.when_written(last.written)

    async def _write_whole(self, exchange: Exchange, form: ChatForm, answer: Answer, completion: Completion) -> None:
        exchange.usage = completion.usage
        body = completion.encode(
            completion_id=completion_id(exchange.request_id), created=self._now(), model=form.alias
        )
        await exchange.respond(200, body, [JSON, _granted(answer)])

    def _now(self) -> int:
        return self._clock.now_us() // MICROSECONDS


def _granted(answer: Answer) -> Header:
    """How many output tokens per choice the account can pay (G2)."""
    return (b"x-muhgpt-max-tokens", b"%d" % answer.max_tokens)


ENDPOINT = HotEndpoint(
    path=PATH,
    method="POST",
    body=CHAT_BODY,
    make=ChatRoute,
    errors=description.ERRORS,
    operation=description.operation,
    schemas=description.schemas,
)
