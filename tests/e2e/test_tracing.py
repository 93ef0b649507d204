"""Traces over the real processes: one tree for one chat, parents continued, and nothing of what is not sampled."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.otlp import Collector, collector
from tests.worlds.processes import Account, Platform, running

CHAIN = {
    ("muhgpt-edge", "authenticate"): "POST /v1/chat/completions",
    ("muhgpt-edge", "prepare"): "POST /v1/chat/completions",
    ("muhgpt-edge", "reserve"): "POST /v1/chat/completions",
    ("muhgpt-edge", "generate"): "POST /v1/chat/completions",
    ("muhgpt-edge", "settle"): "POST /v1/chat/completions",
    ("muhgpt-auth", "muhgpt.auth.v1.Auth/Authenticate"): "authenticate",
    ("muhgpt-inference", "inference prepare"): "prepare",
    ("muhgpt-quota", "quota reserve"): "reserve",
    ("muhgpt-inference", "inference generate"): "generate",
    ("muhgpt-quota", "quota settle"): "settle",
}


@pytest.fixture(scope="module")
def collecting() -> Iterator[Collector]:
    with collector() as collecting:
        yield collecting


@pytest.fixture(scope="module", params=[1, pytest.param(2, marks=pytest.mark.long)], ids=["one worker", "two workers"])
def traced(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, collecting: Collector
) -> Iterator[Platform]:
    data = tmp_path_factory.mktemp("traced") / "data"
    with running(data, "--workers", str(request.param), env=collecting.environment) as platform:
        yield platform


def chat(platform: Platform, key: str, **options: object) -> httpx.Response:
    """One short chat; `options` are headers with _ for -, but `stream` is the field."""
    stream = options.pop("stream", False)
    body = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 8, "stream": stream}
    headers = {"authorization": f"Bearer {key}", **{name.replace("_", "-"): str(v) for name, v in options.items()}}
    return httpx.post(f"{platform.base_url}/chat/completions", json=body, headers=headers, timeout=60)


def complete(spans: list[tuple[str, Span]]) -> bool:
    """Every span of a chat has come."""
    return {(service, span.name) for service, span in spans} >= set(CHAIN)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_spans_of_one_chat_form_one_tree_across_the_services(
    traced: Platform, collecting: Collector, stream: bool
) -> None:
    account, trace_id, caller = traced.account(), secrets.token_hex(16), secrets.token_hex(8)
    answer = chat(traced, account.key, stream=stream, traceparent=f"00-{trace_id}-{caller}-01")
    assert answer.status_code == 200, answer.text
    collecting.until(lambda _: complete(collecting.trace(trace_id)) and len(collecting.trace(trace_id)) > len(CHAIN))
    spans = collecting.trace(trace_id)
    by_id = {span.span_id: span.name for _, span in spans}
    found = {(service, span.name): by_id.get(span.parent_span_id) for service, span in spans}
    root = found.pop(("muhgpt-edge", "POST /v1/chat/completions"))
    assert root is None
    assert found == CHAIN
    assert len(spans) == len(CHAIN) + 1
    request = next(span for _, span in spans if span.name.startswith("POST"))
    assert request.parent_span_id.hex() == caller
    attributes = {each.key: each.value for each in request.attributes}
    assert attributes["http.response.status_code"].int_value == 200
    assert attributes["muhgpt.request_id"].string_value == answer.headers["x-request-id"]


def test_without_a_parent_a_trace_begins_at_the_edge(traced: Platform, collecting: Collector) -> None:
    answer = chat(traced, traced.account().key)
    spans = collecting.until(lambda spans: any(of(answer, span) for _, span in spans))
    root = next(span for _, span in spans if of(answer, span))
    assert root.parent_span_id == b""


def test_what_is_not_sampled_is_not_exported(traced: Platform, collecting: Collector) -> None:
    account, trace_id = traced.account(), secrets.token_hex(16)
    silent = chat(traced, account.key, traceparent=f"00-{trace_id}-{secrets.token_hex(8)}-00")
    assert silent.status_code == 200
    told = chat(traced, account.key)  # spans of a process leave in order: once these are here, none is under way
    collecting.until(lambda spans: any(of(told, span) for _, span in spans))
    trace_of_told = next(span.trace_id.hex() for _, span in collecting.until(lambda _: True) if of(told, span))
    collecting.until(lambda _: len({service for service, _ in collecting.trace(trace_of_told)}) >= 3)
    assert collecting.trace(trace_id) == []


def test_a_parent_that_makes_no_sense_is_ignored(traced: Platform, collecting: Collector) -> None:
    key = traced.account().key
    answer = chat(traced, key, traceparent="00-nonsense", tracestate="vendor=canary", baggage="a=canary")
    assert answer.status_code == 200
    spans = collecting.until(lambda spans: any(of(answer, span) for _, span in spans))
    assert next(span for _, span in spans if of(answer, span)).trace_state == ""


def test_a_refused_request_says_so_in_its_trace(traced: Platform, collecting: Collector) -> None:
    poor: Account = traced.account(credits=0)
    answer = chat(traced, poor.key)
    assert answer.status_code == 402
    spans = collecting.until(lambda spans: any(of(answer, span) for _, span in spans))
    trace_id = next(span.trace_id.hex() for _, span in spans if of(answer, span))
    collecting.until(lambda _: "quota reserve" in {span.name for _, span in collecting.trace(trace_id)})
    refused = next(span for _, span in collecting.trace(trace_id) if span.name == "quota reserve")
    assert refused.status.message == "insufficient_credits"


@pytest.mark.long
def test_a_platform_whose_collector_is_away_serves_and_stops(tmp_path: Path) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_BSP_SCHEDULE_DELAY": "50"}
    with running(tmp_path / "data", env=environment) as platform:
        assert chat(platform, platform.account().key).status_code == 200
        assert platform.stop() == 0


def of(answer: httpx.Response, span: Span) -> bool:
    """The edge's own span of this request."""
    return any(
        each.key == "muhgpt.request_id" and each.value.string_value == answer.headers["x-request-id"]
        for each in span.attributes
    )
