"""An endpoint that inference answers is a dialect: another one beside chat gets the rest of a request's life."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial

import pytest

from common.reasons import Reason
from muhgpt.inference.v1 import inference_pb2
from services.edge.endpoints.answer_route import AnswerHead, AnswerRoute, Dialect
from services.edge.endpoints.endpoint import HotEndpoint, HotLimits
from services.edge.endpoints.routes import HOT
from services.edge.http.errors import ApiError
from services.edge.http.limits import RequestLimits
from services.edge.http.parsing.body_format import Body, BodyFormat
from services.edge.http.protocol import Bounds
from services.edge.http.writer import Writer
from services.edge.peers.errors import KeyRevoked, Refused
from services.edge.serving.answer import Batch, Delta, Usage
from tests.worlds.in_process.http_edge import Edge, serving
from tests.worlds.in_process.scripted_gateway import ScriptedGateway, text_answer

PATH = "/v1/shouts"


@dataclass(frozen=True)
class Shout:
    """A request is a JSON string; `!` at its end asks for a stream."""

    text: str
    alias: str = "muh-chat"
    choices: int = 1
    output_limit: int | None = None

    @property
    def stream(self) -> bool:
        return self.text.endswith("!")


@dataclass(frozen=True)
class ParsedShout:
    form: Shout
    message: inference_pb2.ChatRequest = field(default_factory=inference_pb2.ChatRequest)


def _parse(body: Body, limits: RequestLimits) -> ParsedShout:
    text = bytes(body).decode()
    if not text.startswith('"'):
        raise ApiError.invalid("Shout a string.")
    return ParsedShout(Shout(text.strip('"')))


class Shouting:
    """Whole or as it comes, in capitals."""

    ready = True

    def __init__(self, writer: Writer | None = None) -> None:
        self.usage: Usage | None = None
        self._writer = writer
        self._text = ""

    def when_ready(self, look: Callable[[], None]) -> None:
        pass

    def write(self, deltas: list[Delta]) -> None:
        text = "".join(delta.text for delta in deltas).upper()
        if self._writer is not None and text:
            self._writer.write(text.encode())
        self._text += text

    def add(self, batch: Batch) -> None:
        self.write(batch.deltas)
        self.usage = batch.usage

    def encode(self, *, completion_id: str, created: int, model: str) -> bytes:
        return f"{completion_id[:6]} {self._text}".encode()

    def encode_end(self, last: Batch) -> bytes:
        return b"."


def _stream(form: Shout, head: AnswerHead, writer: Writer) -> Shouting:
    return Shouting(writer)


def _packed(parsed: ParsedShout) -> tuple[bytes, bytes]:
    return parsed.form.text.encode(), b""


def _unpacked(document: bytes, message: Body) -> ParsedShout:
    return ParsedShout(Shout(document.decode()))


SHOUT_BODY = BodyFormat(f"{__name__}:SHOUT_BODY", _parse, _packed, _unpacked)
DIALECT: Dialect[Shout] = Dialect(
    path=PATH,
    id_prefix="shout-",
    body=SHOUT_BODY,
    stream=_stream,
    whole=lambda form: Shouting(),
    stream_headers=[(b"content-type", b"text/plain")],
    keep_alive=b" ",
    error_event=lambda error: b"<" + (error.code or "").encode() + b">",
)
SHOUTS = HotEndpoint(PATH, "POST", SHOUT_BODY, partial(AnswerRoute, DIALECT), {}, dict, dict)


@pytest.fixture
async def edge() -> AsyncIterator[Edge]:
    gateway = ScriptedGateway(steps=text_answer("hello", " there"))
    async with serving(gateway, Bounds(), HotLimits(), 600, hot=[*HOT, SHOUTS]) as started:
        yield started


async def shout(edge: Edge, body: str) -> tuple[int, str]:
    answer = await edge.client.post(PATH, content=body, headers={"content-type": "application/json"})
    return answer.status_code, answer.text


async def test_it_is_answered_whole_and_as_a_stream(edge: Edge) -> None:
    assert await shout(edge, '"hi"') == (200, "shout- HELLO THERE")
    assert await shout(edge, '"hi!"') == (200, "HELLO THERE.")
    assert [each.streamed for each in edge.gateway.opened] == [False, True]
    assert (await edge.chat()).json()["choices"][0]["message"]["content"] == "hello there"


async def test_its_errors_are_those_of_every_endpoint(edge: Edge) -> None:
    status, text = await shout(edge, "hi")
    assert (status, "Shout a string." in text) == (400, True)
    edge.gateway.open_error = Refused(Reason.INSUFFICIENT_CREDITS)
    assert (await shout(edge, '"hi"'))[0] == 402
    edge.gateway.open_error = None
    edge.gateway.steps = [Batch([Delta(0, "hel")]), KeyRevoked()]
    assert await shout(edge, '"hi!"') == (200, "HEL<key_revoked>")


async def test_its_methods_come_from_its_entry(edge: Edge) -> None:
    assert (await edge.client.options(PATH)).headers["allow"] == "OPTIONS, POST"
    refused = await edge.client.get(PATH)
    assert (refused.status_code, refused.headers["allow"]) == (405, "OPTIONS, POST")
