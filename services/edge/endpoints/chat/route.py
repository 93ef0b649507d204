"""POST /v1/chat/completions: what chat adds to the route of all endpoints that inference answers (answer_route.py)."""

from __future__ import annotations

from functools import partial

from services.edge.endpoints.answer_route import AnswerHead, AnswerRoute, Dialect
from services.edge.endpoints.chat import description
from services.edge.endpoints.chat import stream as sse
from services.edge.endpoints.chat.parsed import CHAT_BODY, ChatForm
from services.edge.endpoints.chat.whole import Completion
from services.edge.endpoints.endpoint import HotEndpoint
from services.edge.http.writer import Writer

PATH = "/v1/chat/completions"


def _stream(form: ChatForm, head: AnswerHead, writer: Writer) -> sse.ChunkSink:
    encoder = sse.ChunkEncoder(
        completion_id=head.id,
        created=head.created,
        model=head.model,
        choices=form.choices,
        include_usage=form.include_usage,
        logprobs=form.logprobs,
    )
    return sse.ChunkSink(encoder, writer)


def _whole(form: ChatForm) -> Completion:
    return Completion(choices=form.choices, logprobs=form.logprobs)


DIALECT: Dialect[ChatForm] = Dialect(
    path=PATH,
    id_prefix="chatcmpl-",
    body=CHAT_BODY,
    stream=_stream,
    whole=_whole,
    stream_headers=sse.HEADERS,
    keep_alive=sse.KEEP_ALIVE,
    error_event=sse.encode_error,
)
ENDPOINT = HotEndpoint(
    path=PATH,
    method="POST",
    body=CHAT_BODY,
    make=partial(AnswerRoute, DIALECT),
    errors=description.ERRORS,
    operation=description.operation,
    schemas=description.schemas,
)
