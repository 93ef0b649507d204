"""/openapi.json is true: schemathesis finds nothing, and what the description allows the real edge takes."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from common.reasons import Reason
from servicekit.clock import SystemClock
from services.edge.app import make_fastapi
from services.edge.endpoints.access import Platform
from services.edge.endpoints.chat.validation import parse_chat_request
from services.edge.endpoints.endpoint import COMPONENTS
from services.edge.http.limits import LimitNumbers, Limits
from services.edge.peers.errors import GenerationFailed
from services.edge.serving.answer import Batch, Delta, TokenLogprob, ToolCallDelta, Usage
from tests.worlds.in_process.http_edge import Edge, StartEdge
from tests.worlds.in_process.scripted_gateway import KEY, ScriptedGateway, Step, text_answer

CHAT = "/v1/chat/completions"
EXAMPLES = 40  # a route
HELLO = {"messages": [{"role": "user", "content": "Hello"}]}

# Rules that no JSON Schema can say make some described requests 400s; test_what_is_described_is_taken looks at those
# of chat. The days of usage are compared with today.
CONFIG = """
reports.directory = "{directory}"
generation.database = "none"
[[operations]]
include-name = "POST /v1/chat/completions"
checks.positive_data_acceptance.enabled = false
[[operations]]
include-name = "GET /v1/usage"
checks.positive_data_acceptance.enabled = false
"""


async def described(edge: Edge) -> dict[str, Any]:
    document: dict[str, Any] = (await edge.client.get("/openapi.json")).json()
    return document


async def test_the_description_is_encoded_once_and_costs_no_more_than_any_small_answer(edge: Edge) -> None:
    async def cost(path: str) -> float:
        began = time.process_time()
        for _ in range(40):
            assert (await edge.client.get(path)).status_code == 200
        return time.process_time() - began

    first = (await edge.client.get("/openapi.json")).content
    assert (await edge.client.get("/openapi.json")).content == first
    assert min([await cost("/openapi.json") for _ in range(3)]) < 5 * min([await cost("/healthz") for _ in range(3)])


@pytest.mark.slow
async def test_schemathesis_finds_nothing(start_edge: StartEdge, tmp_path: Path) -> None:
    edge = await start_edge(reads=10**9, numbers=LimitNumbers(unauthorized_per_minute=10**6))
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG.format(directory=tmp_path))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "--no-color"),
        *("run", f"{edge.url}/openapi.json", "--header", f"Authorization: Bearer {KEY}"),
        *("--phases", "coverage,fuzzing,stateful", "--max-examples", str(EXAMPLES)),
        *("--generation-deterministic", "--suppress-health-check", "all", "--output-sanitize", "false"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=tmp_path,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 110)
    text = said.decode()
    assert process.returncode == 0, text[-6000:]
    assert "Tested: 7" in text, text
    assert len(edge.gateway.opened) > EXAMPLES / 2


def chat_bodies() -> Any:
    """Bodies that the description allows."""
    app = make_fastapi(Platform(ScriptedGateway(), SystemClock(), 600, Limits(SystemClock())))
    schema = schemathesis.openapi.from_dict(app.openapi())
    return schema[CHAT]["POST"].as_strategy().map(lambda case: case.body)


def within_the_rules(body: dict[str, Any]) -> dict[str, Any]:
    """The body with what no JSON Schema can say put right."""
    fitting = {**body, "messages": [_fitting_message(message) for message in body["messages"]]}
    fitting["messages"] = [turn for message in fitting["messages"] for turn in _with_answers(message)]
    if fitting.get("max_tokens") is not None:
        fitting["max_completion_tokens"] = None
    for index, tool in enumerate(fitting.get("tools") or ()):
        tool["function"]["name"] = f"f{index}"
    if isinstance(fitting.get("tool_choice"), dict):
        fitting["tool_choice"]["function"]["name"] = "f0"
    return dict(_whole_numbers(fitting))


def _fitting_message(message: dict[str, Any]) -> dict[str, Any]:
    for part in message["content"] if isinstance(message.get("content"), list) else ():
        if part["type"] == "image_url":
            part["image_url"]["url"] = "https://example.com/cat.png"
    for index, call in enumerate(message.get("tool_calls") or ()):
        call["id"] = f"call_{index}"
    return message


def _with_answers(message: dict[str, Any]) -> list[dict[str, Any]]:
    if message["role"] == "tool":
        asking = {"role": "assistant", "tool_calls": [_call(message["tool_call_id"])]}
        return [asking, message]
    calls = message.get("tool_calls") or ()
    return [message, *({"role": "tool", "content": "x", "tool_call_id": call["id"]} for call in calls)]


def _call(id: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}}


def _whole_numbers(value: Any) -> Any:
    """5.0 is an integer to JSON Schema; to OpenAI, and so to us, it is none."""
    if isinstance(value, dict):
        return {key: _whole_numbers(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@pytest.fixture
def no_collection() -> Iterator[None]:
    """hypothesis parses the sources of lambdas, which Python 3.11 cannot while its garbage is collected (gh-106905)."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collection")
@settings(
    max_examples=80,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(chat_bodies())
def test_what_is_described_is_taken(body: dict[str, Any]) -> None:
    parse_chat_request(json.dumps(within_the_rules(body)).encode())


async def test_the_description_names_every_route_error_and_header(edge: Edge) -> None:
    document = await described(edge)
    paths = {CHAT, "/v1/models", "/v1/models/{model}", "/v1/usage", "/v1/usage/charges"}
    assert set(document["paths"]) == paths | {"/healthz", "/readyz"}
    post = document["paths"][CHAT]["post"]
    errors = {"400", "401", "402", "403", "404", "408", "413", "415", "429", "431", "500", "502", "503"}
    assert set(post["responses"]) == {"200"} | errors
    assert post["security"] == [{"ApiKey": []}]
    assert document["components"]["securitySchemes"]["ApiKey"]["scheme"] == "bearer"
    assert "x-muhgpt-max-tokens" in post["responses"]["200"]["headers"]
    assert "retry-after" in post["responses"]["429"]["headers"]
    for path in paths:
        for operation in document["paths"][path].values():
            assert operation["security"] == [{"ApiKey": []}]
            assert "422" not in operation["responses"]


async def test_every_reference_in_the_description_leads_somewhere(edge: Edge) -> None:
    document = await described(edge)
    used = _references(document)
    for reference in used:
        _, _, kind, name = reference.split("/")
        assert name in document["components"][kind], reference
    unused = {f"{COMPONENTS}{name}" for name in document["components"]["schemas"]} - used
    assert unused == set()


def _references(value: Any) -> set[str]:
    parts = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    own = {value["$ref"]} if isinstance(value, dict) and isinstance(value.get("$ref"), str) else set()
    return own.union(*map(_references, parts))


def answers() -> dict[str, list[Step]]:
    token = TokenLogprob("a", b"a", -0.5, (TokenLogprob("b", b"b", float("-inf")),))
    call = [
        Batch([Delta(0, "", tool_calls=(ToolCallDelta(0, "call_1", "f", ""),))]),
        Batch([Delta(0, "", tool_calls=(ToolCallDelta(0, "", "", "{}"),))]),
        Batch([Delta(0, "", finish_reason="tool_calls")], Usage(5, 9)),
    ]
    likely: list[Step] = [Batch([Delta(0, "a", logprobs=(token,))]), *text_answer("b")]
    return {
        "text": list(text_answer("a", "b")),
        "calls": list(call),
        "logprobs": likely,
        "broken": [Batch([Delta(0, "a")]), GenerationFailed(Reason.ENGINE_UNAVAILABLE)],
    }


@pytest.mark.parametrize("kind", list(answers()))
@pytest.mark.parametrize("include_usage", [False, True])
async def test_every_event_of_a_stream_is_as_described(start_edge: StartEdge, kind: str, include_usage: bool) -> None:
    edge = await start_edge(ScriptedGateway(steps=answers()[kind]))
    options = {"stream": True, "logprobs": kind == "logprobs", "stream_options": {"include_usage": include_usage}}
    answer = await edge.client.post(CHAT, json={**HELLO, **options})
    events = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert (events[-1] == "[DONE]") is (kind != "broken")
    document = await described(edge)
    chunk, error = (_validator(document, name) for name in ("ChatCompletionChunk", "ErrorBody"))
    for event in events[:-1]:
        chunk.validate(json.loads(event))
    if kind == "broken":
        error.validate(json.loads(events[-1]))


async def test_a_stream_is_described_as_events(start_edge: StartEdge) -> None:
    edge = await start_edge(ScriptedGateway(steps=answers()["text"]))
    document = await described(edge)
    media = document["paths"][CHAT]["post"]["responses"]["200"]["content"]["text/event-stream"]
    described_event = jsonschema_rs.Draft202012Validator({**media["schema"], "components": document["components"]})
    answer = await edge.client.post(CHAT, json={**HELLO, "stream": True})
    for event in filter(None, answer.text.split("\n\n")):
        described_event.validate({"event": "message", "data": event.removeprefix("data: ")})
    assert not described_event.is_valid("data: {}")


@pytest.mark.parametrize("kind", ["text", "calls", "logprobs"])
async def test_a_whole_answer_is_as_described(start_edge: StartEdge, kind: str) -> None:
    edge = await start_edge(ScriptedGateway(steps=answers()[kind]))
    answer: httpx.Response = await edge.client.post(CHAT, json={**HELLO, "logprobs": kind == "logprobs"})
    _validator(await described(edge), "ChatCompletion").validate(answer.json())


def _validator(document: dict[str, Any], name: str) -> Any:
    """Of one component; what the component does not name must not be sent."""
    components = {key: _closed(schema) for key, schema in document["components"]["schemas"].items()}
    return jsonschema_rs.validator_for(
        {"$ref": f"{COMPONENTS}{name}", "components": {"schemas": components}}, validate_formats=True
    )


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "additionalProperties": False} if "properties" in schema else schema
