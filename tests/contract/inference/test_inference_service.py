"""The inference service over real gRPC, with a scripted engine behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc
import pytest

from muhgpt.inference.v1 import inference_pb2 as pb
from services.inference.domain.errors import EngineUnavailable, InvalidRequest
from tests.contract.inference.session_client import chat, open_session
from tests.fakes_engine import EDGE_TOKEN, ScriptedEngine, start_inference

NO_ROLE = pb.ChatRequest(model="muh-chat", messages=[pb.Message()])


async def until(condition: Callable[[], object], timeout: float = 5.0) -> None:
    """Polls a condition with a deadline."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110  what is waited for says nothing when it happens
            await asyncio.sleep(0.002)


async def test_a_generation_is_prepared_then_goes_then_finishes_with_exact_counts() -> None:
    async with (
        start_inference(ScriptedEngine("Hel", "lo", "!", prompt_tokens=7)) as running,
        open_session(running.address, EDGE_TOKEN) as edge,
    ):
        answer = await edge.answer()
        assert answer.prepared == pb.Prepared(prompt_tokens=7, max_tokens=2041)
        assert (answer.text(), answer.finish_reason()) == ("Hello!", "STOP")
        assert answer.finished == pb.Finished(prompt_tokens=7, output_tokens=3)
        assert answer.tokens == 3


async def test_the_first_message_is_a_welcome_that_tells_the_load() -> None:
    async with (
        start_inference(ScriptedEngine("x")) as running,
        open_session(running.address, EDGE_TOKEN, hello=False) as edge,
    ):
        welcome = await edge.hello()
        assert welcome.load == pb.Load(waiting=0, running=0)


async def test_a_stream_that_does_not_begin_with_hello_is_refused() -> None:
    async with (
        start_inference(ScriptedEngine("x")) as running,
        open_session(running.address, EDGE_TOKEN, hello=False) as edge,
    ):
        await edge.send(1, cancel=pb.Cancel())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await edge.call.read()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_nothing_is_generated_before_go() -> None:
    engine = ScriptedEngine("a", "b")
    async with start_inference(engine) as running, open_session(running.address, EDGE_TOKEN) as edge:
        number = await edge.prepare(chat())
        assert (await edge.event(number)).WhichOneof("event") == "prepared"
        assert engine.tokens_made == 0
        await edge.go(number, 1)
        events = await edge.to_end(number)
        assert events[-1].finished.output_tokens == 1
        assert engine.max_tokens == [1]


async def test_go_never_asks_the_engine_for_more_than_the_context_leaves() -> None:
    engine = ScriptedEngine("a", prompt_tokens=2000)
    async with start_inference(engine) as running, open_session(running.address, EDGE_TOKEN) as edge:
        await edge.answer(max_tokens=100_000)
        assert engine.max_tokens == [48]


async def test_cancel_ends_with_the_tokens_generated_so_far_and_stops_the_engine() -> None:
    engine = ScriptedEngine(*"abcdefgh")
    pause = engine.pause_after(3)
    async with start_inference(engine) as running, open_session(running.address, EDGE_TOKEN) as edge:
        number = await edge.start()
        await pause.reached()
        await edge.cancel(number)
        events = await edge.to_end(number)
        assert events[-1].finished.output_tokens == 3
        assert events[-2].delta.finish_reason == pb.FINISH_REASON_CANCELLED
        await engine.wait_stopped()
        assert running.registry.load.read().running == 0


async def test_cancel_before_go_finishes_with_no_output() -> None:
    async with (
        start_inference(ScriptedEngine("a", prompt_tokens=5)) as running,
        open_session(running.address, EDGE_TOKEN) as edge,
    ):
        number = await edge.prepare(chat())
        await edge.event(number)
        await edge.cancel(number)
        assert (await edge.event(number)).finished == pb.Finished(prompt_tokens=5)


async def test_cancel_in_the_same_message_as_prepare_is_answered_too() -> None:
    async with (
        start_inference(ScriptedEngine("a")) as running,
        open_session(running.address, EDGE_TOKEN) as edge,
    ):
        commands = [
            pb.Command(generation_id=9, prepare=pb.Prepare(request=chat())),
            pb.Command(generation_id=9, cancel=pb.Cancel()),
        ]
        await edge.call.write(pb.SessionRequest(commands=pb.Commands(commands=commands)))
        assert (await edge.event(9)).WhichOneof("event") == "finished"


async def test_drop_is_answered_by_nothing() -> None:
    engine = ScriptedEngine("a")
    async with start_inference(engine) as running, open_session(running.address, EDGE_TOKEN) as edge:
        number = await edge.prepare(chat())
        await edge.event(number)
        await edge.send(number, drop=pb.Drop())
        await edge.answer()
        assert edge.nothing_for(number)
        assert engine.tokens_made == 1


async def test_one_generation_that_fails_leaves_the_others_alone() -> None:
    engine = ScriptedEngine(*"abc")
    pause = engine.pause_after(2)
    async with start_inference(engine) as running, open_session(running.address, EDGE_TOKEN) as edge:
        first = await edge.start()
        await pause.reached()
        engine.fail_after(1, RuntimeError("a secret of ours"))
        failed = (await edge.answer()).failed
        assert failed is not None
        assert (failed.reason, failed.output_tokens) == (pb.Failed.REASON_INTERNAL, 1)
        assert "secret" not in failed.message
        engine.fail_after(None)
        pause.resume()
        assert (await edge.to_end(first))[-1].finished.output_tokens == 3


async def test_a_dead_engine_fails_its_generation_with_the_tokens_it_had_given() -> None:
    engine = ScriptedEngine(*"abc")
    engine.fail_after(2, EngineUnavailable("the worker died"))
    async with start_inference(engine) as running, open_session(running.address, EDGE_TOKEN) as edge:
        failed = (await edge.answer()).failed
        assert failed is not None
        assert (failed.reason, failed.output_tokens) == (pb.Failed.REASON_ENGINE_UNAVAILABLE, 2)


async def test_an_engine_that_is_down_refuses_at_once_and_the_list_says_so() -> None:
    engine = ScriptedEngine("a")
    engine.ready = False
    async with start_inference(engine) as running, open_session(running.address, EDGE_TOKEN) as edge:
        failed = (await edge.answer()).failed
        assert failed is not None
        assert failed.reason == pb.Failed.REASON_ENGINE_UNAVAILABLE
        models = await edge.peer.call(edge.stub.ListModels, pb.ListModelsRequest(), timeout=5)
        assert {model.ready for model in models.models} == {False}


async def test_a_refused_prompt_names_its_field() -> None:
    engine = ScriptedEngine("a")
    engine.fail_prepare(InvalidRequest("that name is taken", param="tools[0].function.name"))
    async with start_inference(engine) as running, open_session(running.address, EDGE_TOKEN) as edge:
        failed = (await edge.answer()).failed
        assert failed == pb.Failed(
            reason=pb.Failed.REASON_INVALID_REQUEST, message="that name is taken", param="tools[0].function.name"
        )


@pytest.mark.parametrize(
    ("request_", "reason", "param"),
    [
        (chat(model="gpt-17"), pb.Failed.REASON_MODEL_UNKNOWN, ""),
        (pb.ChatRequest(model="muh-chat"), pb.Failed.REASON_INVALID_REQUEST, "messages"),
        (chat(temperature=2.5), pb.Failed.REASON_INVALID_REQUEST, "temperature"),
        (chat(choices=9), pb.Failed.REASON_INVALID_REQUEST, "n"),
        (
            pb.ChatRequest(model="muh-chat", messages=[pb.Message()]),
            pb.Failed.REASON_INVALID_REQUEST,
            "messages[0].role",
        ),
        (chat("word " * 3000), pb.Failed.REASON_CONTEXT_TOO_LONG, "messages"),
    ],
)
async def test_a_bad_request_fails_alone_with_its_reason(request_: pb.ChatRequest, reason: int, param: str) -> None:
    async with start_inference(ScriptedEngine("a")) as running, open_session(running.address, EDGE_TOKEN) as edge:
        failed = (await edge.answer(request_)).failed
        assert failed is not None
        assert (failed.reason, failed.param) == (reason, param)
        assert (await edge.answer()).finished is not None


async def test_the_deadline_ends_a_generation_that_hangs() -> None:
    engine = ScriptedEngine("a", "b")
    engine.pause_after(1)
    async with start_inference(engine) as running, open_session(running.address, EDGE_TOKEN) as edge:
        number = await edge.prepare(chat(), deadline={"nanos": 50_000_000})
        await edge.event(number)
        await edge.go(number)
        failed = (await edge.to_end(number))[-1].failed
        assert (failed.reason, failed.output_tokens) == (pb.Failed.REASON_DEADLINE_EXCEEDED, 1)
        await engine.wait_stopped()


async def test_a_full_queue_refuses_at_once_and_says_when_to_come_back() -> None:
    engine = ScriptedEngine(*"ab", slots=1)
    pause = engine.pause_after(1)
    async with start_inference(engine, queue_limit=1) as running, open_session(running.address, EDGE_TOKEN) as edge:
        first = await edge.start()
        await pause.reached()
        second = await edge.start()
        await until(lambda: running.registry.load.read().waiting == 1)
        failed = (await edge.answer()).failed
        assert failed is not None
        assert (failed.reason, failed.retry_after.seconds) == (pb.Failed.REASON_OVERLOADED, 1)
        pause.resume()
        assert (await edge.to_end(first))[-1].finished.output_tokens == 2
        assert (await edge.to_end(second))[-1].finished.output_tokens == 2


async def test_the_load_is_told_when_it_changes() -> None:
    engine = ScriptedEngine(*"ab")
    pause = engine.pause_after(1)
    async with start_inference(engine) as running, open_session(running.address, EDGE_TOKEN) as edge:
        number = await edge.start()
        await pause.reached()
        await until(lambda: edge.loads and edge.loads[-1].running == 1)
        pause.resume()
        await edge.to_end(number)
        await until(lambda: edge.loads[-1].running == 0)


async def test_a_broken_stream_stops_all_its_generations() -> None:
    engine = ScriptedEngine(*"abc")
    async with start_inference(engine) as running:
        async with open_session(running.address, EDGE_TOKEN) as edge:
            for _ in range(3):
                pause = engine.pause_after(1)
                await edge.start()
                await pause.reached()
        await until(lambda: engine.stopped == 3 and running.registry.load.read().running == 0)


async def test_several_generations_share_messages() -> None:
    engine = ScriptedEngine(*"abcdefghij" * 20, slots=16)
    async with start_inference(engine) as running, open_session(running.address, EDGE_TOKEN) as edge:
        answers = await asyncio.gather(*(edge.answer(max_tokens=200) for _ in range(16)))
        assert {answer.tokens for answer in answers} == {200}
        assert edge.messages < 16 * 200


async def test_a_reader_that_stops_reading_makes_the_engine_wait_and_loses_nothing() -> None:
    token = "x" * 20_000
    engine = ScriptedEngine(*[token] * 1000)
    async with (
        start_inference(engine) as running,
        open_session(running.address, EDGE_TOKEN, hello=False) as edge,
    ):
        hello = pb.SessionHello(session_id=b"s" * 16)
        await edge.call.write(pb.SessionRequest(hello=hello))
        await edge.send(1, prepare=pb.Prepare(request=chat()))
        await edge.send(1, go=pb.Go(max_tokens=1000))
        made = -1
        while made != engine.tokens_made:  # until it makes no more
            made = engine.tokens_made
            for _ in range(20):
                await asyncio.sleep(0.005)
        assert made < 700
        tokens = 0
        while tokens < 1000:
            response = await asyncio.wait_for(edge.call.read(), 10)
            tokens += sum(event.delta.tokens for event in response.events.events)
        assert tokens == 1000


async def test_the_same_generation_id_twice_ends_both() -> None:
    engine = ScriptedEngine("a", "b")
    pause = engine.pause_after(1)
    async with start_inference(engine) as running, open_session(running.address, EDGE_TOKEN) as edge:
        number = await edge.start()
        await pause.reached()
        await edge.send(number, prepare=pb.Prepare(request=chat()))
        assert (await edge.to_end(number))[-1].failed.reason == pb.Failed.REASON_INVALID_REQUEST
        await engine.wait_stopped()


async def test_a_draining_replica_says_so_lets_what_runs_finish_and_then_ends_the_stream() -> None:
    engine = ScriptedEngine("a", "b")
    pause = engine.pause_after(1)
    async with start_inference(engine) as running, open_session(running.address, EDGE_TOKEN) as edge:
        number = await edge.start()
        await pause.reached()
        stopping = asyncio.create_task(running.server.stop())
        await asyncio.wait_for(edge.draining.wait(), 5)
        pause.resume()
        assert (await edge.to_end(number))[-1].finished.output_tokens == 2
        await asyncio.wait_for(stopping, 5)


async def test_tool_calls_and_logprobs_cross_whole() -> None:
    engine = ScriptedEngine("hm", tool_calls=[("get_weather", '{"city": "Lisbon"}')])
    async with start_inference(engine) as running, open_session(running.address, EDGE_TOKEN) as edge:
        answer = await edge.answer(chat(logprobs=True))
        calls = [call for delta in answer.deltas for call in delta.tool_calls]
        assert [(call.index, call.id, call.name, call.arguments) for call in calls] == [
            (0, "call_0", "get_weather", ""),
            (0, "", "", '{"city": "Lisbon"}'),
        ]
        assert (answer.finish_reason(), answer.tokens) == ("TOOL_CALLS", 3)
        assert answer.deltas[0].logprobs[0].token == "hm"
