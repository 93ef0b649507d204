"""A session that sends what no edge sends ends alone: the generations of others go on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from muhgpt.inference.v1 import inference_pb2 as pb
from tests.contract.inference.session_client import SessionClient, chat, open_session
from tests.fakes_engine import EDGE_TOKEN, RunningInference, ScriptedEngine, start_inference

SESSION = "/muhgpt.inference.v1.Inference/Session"
HELLO = pb.SessionRequest(hello=pb.SessionHello(session_id=b"h" * 16, edge_name="hostile")).SerializeToString()
HUGE = 2**63 - 1


@pytest.fixture
async def world() -> AsyncIterator[tuple[RunningInference, SessionClient, ScriptedEngine]]:
    engine = ScriptedEngine(*"abcdef")
    async with start_inference(engine) as running, open_session(running.address, EDGE_TOKEN) as edge:
        yield running, edge, engine


async def send_raw(address: str, *messages: bytes) -> None:
    """Sends bytes as a session, and reads until the service has ended it."""
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.stream_stream(SESSION)(metadata=(("authorization", f"Bearer {EDGE_TOKEN}"),))
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            for message in messages:
                await call.write(message)
            await call.done_writing()
        with contextlib.suppress(grpc.aio.AioRpcError):
            async with asyncio.timeout(10):
                while await call.read() is not grpc.aio.EOF:
                    pass


def commands(*items: pb.Command) -> bytes:
    return pb.SessionRequest(commands=pb.Commands(commands=items)).SerializeToString()


def prepare(**fields: object) -> pb.Command:
    return pb.Command(generation_id=1, prepare=pb.Prepare(**{"request": chat(), "account_id": "a", **fields}))


TOO_DEEP = b""
for _ in range(200):  # message within message, deeper than protobuf reads
    TOO_DEEP = b"\x0a" + bytes([len(TOO_DEEP) % 128]) + TOO_DEEP
HOSTILE = {
    "no protobuf": (b"\xff" * 100,),
    "no protobuf after hello": (HELLO, b"\xff" * 100),
    "a length beyond its end": (HELLO, b"\x12\xff\xff\xff\x7f"),
    "deep": (HELLO, TOO_DEEP),
    "text that is no UTF-8": (HELLO, b"\x12\x0c\x0a\x0a\x08\x01\x12\x06\x0a\x04\x0a\x02\xff\xfe"),
    "commands before hello": (commands(prepare()),),
    "a short id": (pb.SessionRequest(hello=pb.SessionHello(session_id=b"x")).SerializeToString(),),
    "hello twice": (HELLO, HELLO),
    "nothing": (HELLO, b"", b"", commands(), commands(pb.Command())),
    "a deadline without end": (HELLO, commands(prepare(deadline=Duration(seconds=HUGE, nanos=2**31 - 1)))),
    "a deadline long ago": (HELLO, commands(prepare(deadline=Duration(seconds=-HUGE)))),
    "a handle that is none": (HELLO, commands(prepare(handle=b"\0" * 100_000))),
    "a trace that is none": (HELLO, commands(prepare(traceparent="\0" * 100_000))),
    "the same number again and again": (HELLO, commands(*[prepare()] * 1000)),
    "go before prepare": (HELLO, commands(pb.Command(generation_id=HUGE, go=pb.Go(max_tokens=-HUGE)))),
    "less than nothing": (HELLO, commands(prepare(), pb.Command(generation_id=1, go=pb.Go(max_tokens=-HUGE)))),
    "more than anything": (HELLO, commands(prepare(), pb.Command(generation_id=1, go=pb.Go(max_tokens=HUGE)))),
    "values that no enum has": (
        HELLO,
        commands(prepare(request=pb.ChatRequest(messages=[pb.Message(role=99)], tool_choice=pb.ToolChoice(mode=99)))),
    ),
    "no number": (HELLO, commands(prepare(request=chat(temperature=float("nan"), top_p=float("inf"), choices=-5)))),
    "parts of nothing": (
        HELLO,
        commands(
            prepare(request=pb.ChatRequest(messages=[pb.Message(role=2, content=[pb.ContentPart()] * 50_000)])),
        ),
    ),
}


@pytest.mark.parametrize("messages", HOSTILE.values(), ids=HOSTILE.keys())
async def test_what_no_edge_sends_ends_one_session_at_most(
    world: tuple[RunningInference, SessionClient, ScriptedEngine], messages: tuple[bytes, ...]
) -> None:
    running, edge, engine = world
    pause = engine.pause_after(2)
    number = await edge.start(chat("Go on."), max_tokens=6)
    await pause.reached()
    await send_raw(running.address, *messages)
    pause.resume()
    events = await edge.to_end(number)
    assert events[-1].finished.output_tokens == 6
    assert (await edge.answer(chat("Hello!"))).finished is not None
