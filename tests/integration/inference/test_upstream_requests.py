"""What an upstream is asked: only what the client said, in the way that the server needs to be asked for it."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import Any

import pytest

from services.inference.domain.chat import (
    ChatRequest,
    FormatKind,
    ResponseFormat,
    Sampling,
    Tool,
    ToolChoice,
    ToolMode,
)
from services.inference.domain.engine import Delta, FinishReason, Usage, Withheld
from services.inference.domain.errors import ContextTooLong, EngineUnavailable, InvalidRequest
from services.inference.engines.routed.engine import RoutedEngine
from tests.engine_steps import steps_of
from tests.fakes import FakeClock
from tests.fakes_engine import upstream_route
from tests.integration.inference.upstream_client import HELLO, ask, counted, run, said, serving
from tests.upstreams import Asked, Play, chunk, encoded, end, status, stream, text, upstream, usage

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
LOOK = Tool("look", parameters=json.dumps(SCHEMA))


def with_tools(choice: ToolChoice | None = None, *tools: Tool, **fields: Any) -> ChatRequest:
    if choice is not None:
        fields["tool_choice"] = choice
    return ChatRequest("muh-chat", ask().messages, tools=tools or (LOOK, Tool("wait")), **fields)


def calling(*calls: tuple[str, Any], reason: str = "tool_calls") -> Play:
    pieces = [
        {"index": index, "id": f"c{index}", "function": {"name": name, "arguments": arguments}}
        for index, (name, arguments) in enumerate(calls)
    ]
    return stream(*([chunk({"tool_calls": pieces})] if pieces else [text("no")]), end(reason), usage(7, 9))


async def sent(
    request: ChatRequest, play: Play | None = None, *, implied: bool = False, **fields: Any
) -> dict[str, Any]:
    async with serving(play or stream(*HELLO), **fields) as (server, engine):
        await run(engine, request, implied=implied)
    return [asked.body for asked in server.requests if asked.path == "/v1/chat/completions"][-1]


async def test_what_belongs_to_tools_is_sent_only_when_the_client_sent_it() -> None:
    body = await sent(with_tools())
    assert "tool_choice" not in body
    assert "parallel_tool_calls" not in body
    body = await sent(with_tools(ToolChoice(ToolMode.AUTO), parallel_tool_calls=True))
    assert (body["tool_choice"], body["parallel_tool_calls"]) == ("auto", True)
    assert (await sent(with_tools(parallel_tool_calls=False)))["parallel_tool_calls"] is False


@pytest.mark.parametrize("server", ["vllm", "sglang", "llama.cpp"])
async def test_a_server_of_ones_own_is_given_no_tools_that_must_not_be_called(server: str) -> None:
    none = with_tools(ToolChoice(ToolMode.NONE), parallel_tool_calls=False)
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & set(await sent(none, server=server))
    assert (await sent(none))["tool_choice"] == "none"


@pytest.mark.parametrize("choice", [ToolChoice(ToolMode.REQUIRED), ToolChoice(ToolMode.FUNCTION, "look")])
@pytest.mark.parametrize("strict", [None, False, True])
async def test_vllm_is_asked_to_hold_a_forced_call_to_its_schema(choice: ToolChoice, strict: bool | None) -> None:
    tool = Tool("look", parameters=json.dumps(SCHEMA), strict=strict)
    body = await sent(with_tools(choice, tool, Tool("wait")), calling(("look", '{"a":1}')), server="vllm")
    look, wait = (tool["function"] for tool in body["tools"])
    assert look == {"name": "look", "parameters": SCHEMA, "strict": True}
    if choice.mode is ToolMode.REQUIRED:
        assert wait == {"name": "wait", "parameters": {"type": "object", "properties": {}}, "strict": True}
    else:
        assert wait == {"name": "wait"}


async def test_a_server_that_says_what_it_is_is_asked_in_its_own_way_though_the_list_does_not_say() -> None:
    models = {"data": [{"id": "served-name", "owned_by": "vllm"}]}
    forced = with_tools(ToolChoice(ToolMode.FUNCTION, "look"))
    body = await sent(forced, calling(("look", '{"a":1}')), models=models)
    assert body["tools"][0]["function"]["strict"] is True
    assert "stream_options" in body
    assert "tools" not in await sent(with_tools(ToolChoice(ToolMode.NONE)), models=models)
    models["data"][0]["owned_by"] = "organization-owner"
    assert "strict" not in (await sent(forced, calling(("look", '{"a":1}')), models=models))["tools"][0]["function"]


async def test_strict_is_passed_on_as_it_was_said() -> None:
    tools = [Tool("a", strict=True), Tool("b", strict=False), Tool("c")]
    body = await sent(with_tools(None, *tools))
    assert [tool["function"].get("strict") for tool in body["tools"]] == [True, False, None]


@pytest.mark.parametrize(
    "calls",
    [
        [("look", '"just a text"')],
        [("look", '{"a":"1"}')],
        [("look", "{}")],
        [("look", "[1]")],
        [("look", "not JSON")],
        [("look", '{"a":NaN}')],
        [("look", '{"a":1}'), ("look", '{"b":1}')],
        [("other", '{"a":1}')],
        [],
    ],
)
@pytest.mark.parametrize("server", ["vllm", "openai"])
async def test_a_forced_call_that_does_not_fit_is_the_upstreams_failure_and_never_seen(
    calls: list[tuple[str, str]], server: str
) -> None:
    async with serving(calling(*calls), server=server) as (_, engine):
        for _ in range(6):  # and is no reason to leave the target alone: the next client's call may fit
            with pytest.raises(EngineUnavailable):
                await run(engine, with_tools(ToolChoice(ToolMode.FUNCTION, "look")))
        assert engine.ready


@pytest.mark.parametrize("mode", [ToolChoice(ToolMode.REQUIRED), ToolChoice(ToolMode.FUNCTION, "look")])
@pytest.mark.parametrize("reason", ["stop", "tool_calls"])
async def test_a_forced_call_that_fits_comes_whole_with_its_tokens(mode: ToolChoice, reason: str) -> None:
    pieces = ['{"a"', ":", " 1}"]
    answer = [chunk({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "look", "arguments": ""}}]})]
    answer += [chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}) for piece in pieces]
    async with serving(stream(*answer, end(reason), usage(7, 12))) as (_, engine):
        deltas, total = await run(engine, with_tools(mode))
    (delta,) = deltas
    assert [(call.id, call.name, call.arguments) for call in delta.tool_calls] == [("c1", "look", '{"a": 1}')]
    assert (delta.finish_reason, delta.tokens, total) == (FinishReason.TOOL_CALLS, 12, Usage(7, 12))


async def test_a_forced_call_that_takes_long_says_early_that_it_has_begun() -> None:
    clock, more = FakeClock(), asyncio.Event()
    first = chunk({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "look", "arguments": '{"a"'}}]})
    rest = chunk({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]})

    async def play(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await stream(first, done=False)(asked, writer)
        await writer.drain()
        clock.advance(11)
        writer.write(encoded(rest, done=False))
        await more.wait()
        writer.write(encoded(end("tool_calls"), usage(7, 12)))

    async with upstream(play) as server:
        engine = RoutedEngine("muh-chat", [upstream_route(server.url, clock=clock)], clock, lambda: 0.0)
        prompt = await engine.prepare(with_tools(ToolChoice(ToolMode.REQUIRED)))
        async with aclosing(steps_of(prompt, 50)) as answer:
            steps = (step async for step in answer if not isinstance(step, Withheld))
            assert await anext(steps) == [Delta(0, "", 0)]
            more.set()
            (delta,) = await anext(steps)  # type: ignore[misc]
        await engine.close()
    assert [call.arguments for call in delta.tool_calls] == ['{"a":1}']


async def test_arguments_that_are_a_text_with_the_object_in_it_are_that_object() -> None:
    async with serving(calling(("look", json.dumps('{"a":1}')))) as (_, engine):
        deltas, _ = await run(engine, with_tools(ToolChoice(ToolMode.REQUIRED)))
    assert [call.arguments for delta in deltas for call in delta.tool_calls] == ['{"a":1}']


async def test_a_forced_call_that_a_limit_cut_is_passed_on_as_cut() -> None:
    async with serving(calling(("look", '{"a":'), reason="length")) as (_, engine):
        deltas, _ = await run(engine, with_tools(ToolChoice(ToolMode.REQUIRED)))
    assert deltas[-1].finish_reason is FinishReason.LENGTH
    assert [call.arguments for delta in deltas for call in delta.tool_calls] == ['{"a":']


@pytest.mark.parametrize(
    "part",
    [
        {"not": {"const": 1}},
        {"if": {}, "then": {}},
        {"type": "array", "uniqueItems": True},
        {"type": "object", "dependentRequired": {"x": ["y"]}},
        {"anyOf": [{"type": "string", "format": "byte"}]},
        {"type": "object", "minProperties": 1},
    ],
)
async def test_vllm_holds_a_schema_with_strict_or_the_request_is_refused_with_the_keyword(part: dict[str, Any]) -> None:
    words = ("not", "if", "uniqueItems", "dependentRequired", "format", "minProperties")
    keyword = next(word for word in words if word in str(part))
    schema = json.dumps({"type": "object", "properties": {"a": part}})
    strict = ResponseFormat(FormatKind.JSON_SCHEMA, "x", schema, strict=True)
    loose = ResponseFormat(FormatKind.JSON_SCHEMA, "x", schema)
    async with serving(stream(*HELLO), server="vllm") as (server, engine):
        with pytest.raises(InvalidRequest, match=keyword):
            await run(engine, ChatRequest("muh-chat", ask().messages, response_format=strict))
        with pytest.raises(InvalidRequest, match=keyword):
            await run(engine, with_tools(None, Tool("t", parameters=schema, strict=True)))
        assert not [asked for asked in server.requests if asked.path.endswith("completions")]
        await run(engine, ChatRequest("muh-chat", ask().messages, response_format=loose))
    told = server.requests[-1].body["response_format"]["json_schema"]["schema"]["properties"]["a"]
    refused = {"uniqueItems", "minProperties", "format"}
    assert (keyword in str(told)) is (keyword not in refused), "what vLLM cannot compile is left to the model"


async def test_other_servers_are_sent_the_schema_as_it_is() -> None:
    schema = json.dumps({"type": "object", "properties": {"a": {"not": {}, "uniqueItems": True}}})
    for strict in (True, False):
        form = ResponseFormat(FormatKind.JSON_SCHEMA, "x", schema, strict=strict)
        body = await sent(ChatRequest("muh-chat", ask().messages, response_format=form))
        assert body["response_format"]["json_schema"]["schema"] == json.loads(schema)


async def test_several_choices_at_temperature_0_are_one_of_vllms_repeated_and_paid_once() -> None:
    answer = [text("Hel"), text("lo"), end(), usage(7, 2)]
    async with serving(stream(*answer), server="vllm") as (server, engine):
        deltas, total = await run(engine, ask(choices=3, temperature=0.0))
    assert "n" not in server.requests[-1].body
    assert [said(deltas, choice) for choice in range(3)] == ["Hello"] * 3
    reasons = [(delta.choice, delta.finish_reason) for delta in deltas if delta.finish_reason]
    assert reasons == [(choice, FinishReason.STOP) for choice in range(3)]
    assert (total, counted(deltas)) == (Usage(7, 2), 2)
    assert (await sent(ask(choices=2, temperature=0.5), stream(end(), end(index=1)), server="vllm"))["n"] == 2


@pytest.mark.parametrize("known", [True, False])
async def test_choices_that_a_server_does_not_give_are_asked_for_again(known: bool) -> None:
    fields: dict[str, Any] = {"unsupported": frozenset({"n"})} if known else {}
    async with serving(stream(text("Hello"), end(), usage(7, 2), done=False), **fields) as (server, engine):
        deltas, total = await run(engine, ask(choices=3, seed=5))
    assert [asked.body.get("n") for asked in server.requests] == ([] if known else [3]) + [None] * (3 if known else 2)
    assert [asked.body.get("seed") for asked in server.requests] == [5, 6, 7]
    assert [said(deltas, choice) for choice in range(3)] == ["Hello"] * 3
    assert [delta.choice for delta in deltas if delta.finish_reason] == [0, 1, 2]
    assert (total, counted(deltas)) == (Usage(7, 6), 6)


@pytest.mark.parametrize(
    "problem",
    [
        "n must be 1 when using greedy sampling, got 3.",
        "'n' : number must be at most 1",
        "Only one completion choice is allowed: n > 1 is not supported",
        {"param": "n", "message": "odd"},
    ],
)
@pytest.mark.parametrize("temperature", [0.0, 0.7, None])
async def test_a_server_that_refuses_several_choices_is_asked_for_one_at_a_time(
    problem: Any, temperature: float | None
) -> None:
    async def play(asked: Asked, writer: asyncio.StreamWriter) -> None:
        refusal = status(400, {"error": problem if isinstance(problem, dict) else {"message": problem}})
        await (refusal if "n" in asked.body else stream(*HELLO))(asked, writer)

    async with serving(play) as (server, engine):
        deltas, total = await run(engine, ask(choices=3, temperature=temperature))
    assert [said(deltas, choice) for choice in range(3)] == ["Hello"] * 3
    assert len(server.requests) == (2 if temperature == 0 else 4)
    assert total == (Usage(7, 2) if temperature == 0 else Usage(7, 6))


async def test_a_server_that_ignores_logprobs_is_found_out_and_then_not_asked() -> None:
    async with serving(stream(*HELLO)) as (server, engine):
        for _ in range(2):
            with pytest.raises(InvalidRequest) as caught:
                await run(engine, ask(logprobs=True))
            assert caught.value.param == "logprobs"
        assert len(server.requests) == 1
        assert said((await run(engine))[0]) == "Hello"
    async with serving(stream(*HELLO), unsupported=frozenset({"logprobs"})) as (server, engine):
        with pytest.raises(InvalidRequest):
            await engine.prepare(ask(logprobs=True))
        assert not server.requests


async def test_fields_that_the_list_calls_unsupported_are_not_sent_and_stop_is_held_to_here() -> None:
    request = ChatRequest(
        "muh-chat", ask().messages, sampling=Sampling(seed=3, stop=("lo",)), hints={"user": "u", "verbosity": "low"}
    )
    async with serving(stream(*HELLO), unsupported=frozenset({"seed", "stop", "user"})) as (server, engine):
        deltas, _ = await run(engine, request)
    assert not {"seed", "stop", "user"} & set(server.requests[0].body)
    assert server.requests[0].body["verbosity"] == "low"
    assert said(deltas) == "Hel"


HINTS = {"reasoning_effort": "low", "verbosity": "low", "service_tier": "flex", "prompt_cache_key": "k"}
HINTS |= {"prompt_cache_retention": "24h", "safety_identifier": "s", "user": "u"}


@pytest.mark.parametrize(
    ("server", "passed"),
    [
        ("openai", HINTS),
        ("vllm", {"reasoning_effort": "low"}),
        ("sglang", {"reasoning_effort": "low"}),
        ("llama.cpp", {}),
    ],
)
async def test_hints_are_passed_on_where_the_server_takes_them(server: str, passed: dict[str, str]) -> None:
    body = await sent(ChatRequest("muh-chat", ask().messages, hints=HINTS), server=server)
    assert {name: value for name, value in body.items() if name in HINTS} == passed


async def test_a_limit_that_nobody_asked_for_is_not_sent_and_held_all_the_same() -> None:
    assert "max_tokens" not in await sent(ask(), implied=True)
    assert (await sent(ask(), implied=False))["max_tokens"] == 100
    assert (await sent(ask(), implied=True, max_output_tokens=64))["max_tokens"] == 64
    long = [text("word "), *[text("word ", timings={"predicted_n": number}) for number in range(2, 50)], end()]
    async with serving(stream(*long)) as (_, engine):
        deltas, total = await run(engine, most=10, implied=True)
    assert counted(deltas) == total.output_tokens == 10
    assert deltas[-1].finish_reason is FinishReason.LENGTH


MODELS = {"data": [{"id": "another", "max_model_len": 16}, {"id": "served-name", "max_model_len": 1024}]}


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        (MODELS, 1024),
        ({"data": [{"id": "whatever", "context_length": 512}]}, 512),
        ({"data": [{"id": "m", "meta": {"n_ctx_train": 256}}]}, 256),
        ({"data": [{"id": "served-name", "max_model_len": 99_999}]}, 2048),
        ({"data": [{"id": "served-name", "max_model_len": "many"}]}, 2048),
        ({"data": [{"id": "a", "max_model_len": 64}, {"id": "b", "max_model_len": 64}]}, 2048),
        ({"data": None}, 2048),
        ([], 2048),
        (None, 2048),
    ],
)
async def test_the_smaller_context_wins_where_the_server_reports_its_own(
    models: Any, expected: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(stream(*HELLO), models=models) as (server, engine):
        prompt = await engine.prepare(ask())
        assert engine.context_length == expected
        assert prompt.prepared.max_tokens <= expected
        assert server.gets == ["/v1/models"]
    assert ("context_shortened" in capsys.readouterr().out) is (expected < 2048)


async def test_what_an_error_quotes_of_one_client_shortens_no_other_clients_context() -> None:
    """A client's own words stand in many a 400."""
    clock = FakeClock()
    async with upstream(status(400, {"error": {"message": "reasoning_effort: odd 'max_model_len=20'"}})) as server:
        engine = RoutedEngine("muh-chat", [upstream_route(server.url, clock=clock)], clock, lambda: 0.0)
        for _ in range(3):
            with pytest.raises(InvalidRequest):
                await run(engine)
        assert engine.context_length == 2048
        server.models = {"data": [{"id": "served-name", "max_model_len": 512}]}  # it was started anew with less
        clock.advance(60)
        with pytest.raises(InvalidRequest):
            await run(engine)
        server.play(stream(*HELLO))
        await run(engine)
        assert engine.context_length == 512
        await engine.close()


async def test_a_limit_above_what_the_server_has_is_asked_for_again_as_what_is_left() -> None:
    async def play(asked: Asked, writer: asyncio.StreamWriter) -> None:
        most = asked.body.get("max_tokens", 0)
        problem = {"error": {"message": f"max_tokens={most} cannot be greater than max_model_len=1024", "code": 400}}
        await (stream(*HELLO) if most < 1024 else status(400, problem))(asked, writer)

    async with serving(play) as (server, engine):
        deltas, _ = await run(engine, most=1500)
        assert said(deltas) == "Hello"
        await run(engine, most=900)
    assert [asked.body["max_tokens"] < 1024 for asked in server.requests] == [False, True, True]
    async with serving(status(400, {"error": {"message": "max_model_len=64"}})) as (server, engine):
        with pytest.raises(ContextTooLong, match="64 tokens"):
            await run(engine, ask("x" * 400))
