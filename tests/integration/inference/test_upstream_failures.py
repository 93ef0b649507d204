"""The upstream engine against servers that fail in every way: what the client is told, and when."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from services.inference.domain.errors import ContextTooLong, EngineUnavailable, InvalidRequest, Overloaded
from services.inference.engines.upstream.refusals import UNTOLD
from tests.engine_steps import steps_of
from tests.integration.inference.upstream_client import HELLO, ask, run, serving
from tests.upstreams import (
    Play,
    end,
    endless,
    hang_up,
    silence,
    status,
    stream,
    text,
)


@pytest.mark.parametrize(
    ("play", "detail"),
    [
        (status(500), "answered 500"),
        (status(404), "answered 404"),
        (status(302, Location="http://127.0.0.1:1/"), "answered 302"),
        (status(401, {"error": {"message": "the key sk-canary is wrong"}}), r"refuses our key \(401\)"),
        (status(403), r"refuses our key \(403\)"),
        (status(200, {"choices": []}), "not a stream"),
        (hang_up, "broke the connection"),
        (stream(b"data: {nonsense\n\n", done=False), "not JSON"),
        (stream(b"data: [1, 2]\n\n", done=False), "another form"),
        (stream({"choices": [{"index": 9, "delta": {"content": "x"}}]}), "not asked for"),
        (stream(b"data: " + b"x" * 2_000_000, done=False), "larger than 1,048,576 bytes"),
        (stream({"error": {"message": "secret reason", "code": 500}}), "answered 500"),
        (stream({"error": {"message": "secret reason"}}), "ended the answer with an error"),
        (stream(done=False), "cut off"),
        (stream(end("abort")), "broke the answer off"),
    ],
)
async def test_what_is_the_upstreams_fault_is_unavailable_and_tells_no_secret(
    play: Play, detail: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(play) as (_, engine):
        with pytest.raises(EngineUnavailable, match=detail) as caught:
            await run(engine)
    told = caught.value.message + capsys.readouterr().out
    assert "canary" not in told
    assert "secret" not in told


async def test_a_key_that_is_refused_is_an_error_in_the_log_that_names_the_target(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with serving(status(401), name="provider") as (_, engine):
        with pytest.raises(EngineUnavailable):
            await run(engine)
    (line, *_) = [line for line in capsys.readouterr().out.splitlines() if "upstream_refuses_key" in line]
    assert "error" in line
    assert "provider" in line


@pytest.mark.parametrize(
    ("body", "message", "param"),
    [
        ({"error": {"message": "temperature is odd", "param": "temperature"}}, "temperature is odd", "temperature"),
        ({"error": {"message": "a\nb\x00" + "c" * 900, "param": "x y"}}, "a b " + "c" * 496, ""),
        ({"detail": "no such tool"}, "no such tool", ""),
        ({"detail": [{"loc": ["body", "seed"], "msg": "too big"}, {"msg": "odd"}]}, "body.seed: too big; odd", ""),
        ({"error": "odd"}, "odd", ""),
        ({"error": {"error": {"message": "deep"}}}, "deep", ""),
        ({"error": {"message": {"detail": "deeper"}}}, "deeper", ""),
        ({"error": {"message": '{"error": {"message": "in a text"}}'}}, "in a text", ""),
        ({"error": {"message": "Provider returned error", "metadata": {"raw": "x"}}}, "Provider returned error", ""),
        ({"message": "at the top", "param": "n"}, "at the top", "n"),
        ({"object": "error", "message": "vLLM's old form", "code": 400}, "vLLM's old form", ""),
        ({"errors": ["one", {"message": "two"}]}, "one; two", ""),
        (["in a list"], "in a list", ""),
        (b"plain text", "plain text", ""),
        ({"error": {"message": None, "code": 7}}, UNTOLD, ""),
        (b"", UNTOLD, ""),
        (b"<html><body>nginx", UNTOLD, ""),
        (b"Traceback (most recent call last):\n  File", UNTOLD, ""),
        (b"[" * 60_000, UNTOLD, ""),
    ],
)
async def test_a_400_stays_the_clients_with_a_bounded_message(body: Any, message: str, param: str) -> None:
    async with serving(status(400, body)) as (server, engine):
        for _ in range(5):  # and is no reason to leave the target alone
            with pytest.raises(InvalidRequest) as caught:
                await run(engine)
            assert (caught.value.message, caught.value.param) == (message, param)
    assert len(server.requests) == 5, "a 400 is not repeated"


@pytest.mark.parametrize(
    "error",
    [
        {"message": "no such key: gsk_canary_of_a_key"},
        {"message": "no such key: Bearer gsk_canar…"},
        {"message": "odd", "param": "canary_of_a"},
        {"message": "the organisation acme-research is unknown"},
    ],
)
async def test_a_400_that_repeats_our_key_or_our_headers_is_told_without_its_words(error: dict[str, str]) -> None:
    headers = (("X-Organisation", "acme-research"),)
    for play in (status(400, {"error": error}), stream({"error": {**error, "code": 400}})):
        async with serving(play, key="gsk_canary_of_a_key", headers=headers) as (_, engine):
            with pytest.raises(InvalidRequest) as caught:
                await run(engine)
            assert (str(caught.value), caught.value.param) == (UNTOLD, "")


@pytest.mark.parametrize("code", [413, 422])
async def test_what_else_is_the_clients_mistake_says_why_too(code: int) -> None:
    async with serving(status(code, {"detail": [{"loc": ["body", "n"], "msg": "at most 4"}]})) as (_, engine):
        with pytest.raises(InvalidRequest, match=r"body\.n: at most 4"):
            await run(engine)


@pytest.mark.parametrize(
    ("body", "limit"),
    [
        ({"error": {"message": "odd", "code": "context_length_exceeded"}}, 2048),
        ({"error": {"message": "This model's maximum context length is 1024 tokens. However, you asked for 9"}}, 1024),
        ({"error": {"type": "exceed_context_size_error", "message": "too large", "n_ctx": 512}}, 512),
        ({"object": "error", "message": "max_tokens=99 cannot be greater than max_model_len=64", "code": 400}, 64),
        ({"detail": "The input (900 tokens) is longer than the model's context length (768 tokens)."}, 768),
    ],
)
async def test_an_upstreams_context_error_is_ours_with_our_figures(body: Any, limit: int) -> None:
    for play in (status(400, body), stream({"error": {"code": 400, "message": "context window"}})):
        async with serving(play) as (_, engine):
            with pytest.raises(ContextTooLong) as caught:
                await run(engine)
        assert f"{limit} tokens" in caught.value.message
        assert caught.value.reason == "CONTEXT_TOO_LONG"
        limit = 2048


async def test_a_reason_tells_nothing_of_where_the_upstream_is_and_what_keys_there_are() -> None:
    async with serving(status(400)) as (server, engine):
        secrets = [
            server.url,
            f"127.0.0.1:{server.port}",
            "http://10.0.3.7/v1",
            "vllm-0.vllm.models.svc.cluster.local:8000",
            "/usr/lib/python3/site-packages/vllm/api.py",
            "sk-proj-abcdefghijkl",
            "org-Abc123def456",
            "gsk_x7Xz9QpL2mN4vB6kJ8hG",
            "0123456789abcdef0123456789abcdef",
        ]
        said = " and ".join(f"odd {secret}" for secret in secrets)
        server.play(status(400, {"message": said}))
        with pytest.raises(InvalidRequest) as caught:
            await run(engine)
    assert caught.value.message.count("odd") == len(secrets)
    assert not [secret for secret in secrets if secret in caught.value.message]
    assert set(caught.value.message.split()) <= {"odd", "and", "…", "……", "sk-…"}


async def test_a_429_alone_is_overloaded_until_the_time_that_the_upstream_names() -> None:
    async with serving(status(429, Retry_After="7")) as (server, engine):
        for _ in range(2):
            with pytest.raises(Overloaded) as caught:
                await run(engine)
            assert caught.value.retry_after == pytest.approx(7, abs=1)
    assert len(server.requests) == 1
    assert engine.ready


async def test_a_request_that_is_too_large_for_any_minute_is_the_clients_and_pauses_nobody() -> None:
    reason = "Request too large for m on tokens per min (TPM): Limit 10000, Requested 20000."
    async with serving(status(429, {"error": {"message": reason}}, Retry_After="3600")) as (server, engine):
        with pytest.raises(InvalidRequest, match="Request too large"):
            await run(engine)
        server.play(stream(*HELLO))
        await run(engine)


@pytest.mark.parametrize(
    ("play", "what"),
    [(silence, "first"), (stream(done=False, hold=True), "first"), (stream(HELLO[0], done=False, hold=True), "first")],
    ids=["before the headers", "after the headers", "after the role"],
)
async def test_a_first_token_that_does_not_come_ends_in_time(play: Play, what: str) -> None:
    async with serving(play, first_token_timeout=0.05) as (server, engine):
        with pytest.raises(EngineUnavailable, match=f"the {what} token did not come"):
            await run(engine)
        await server.left()


async def test_a_stream_that_stands_still_ends_in_time_after_what_it_gave() -> None:
    async with serving(stream(text("x"), done=False, hold=True), token_timeout=0.05) as (server, engine):
        prompt = await engine.prepare(ask())
        async with aclosing(steps_of(prompt, 10)) as steps:
            (delta,) = await anext(steps)
            with pytest.raises(EngineUnavailable, match="the next token did not come"):
                await anext(steps)
        await server.left()
    assert delta.text == "x"
    assert len(server.requests) == 1, "nothing is repeated after the first token"


@pytest.mark.parametrize("play", [silence, stream(text("x"), done=False, hold=True), endless])
async def test_leaving_closes_the_upstreams_connection_at_once(play: Play) -> None:
    async with serving(play) as (server, engine):
        prompt = await engine.prepare(ask())

        async def consume() -> None:
            async with aclosing(steps_of(prompt, 100_000)) as steps:
                async for _ in steps:
                    pass

        task = asyncio.create_task(consume())
        async with asyncio.timeout(5):
            while not server.requests:  # noqa: ASYNC110  the server says nothing when it is asked
                await asyncio.sleep(0.002)
        started = asyncio.get_running_loop().time()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await server.left()
        assert asyncio.get_running_loop().time() - started < 5, "0.25 s is promised; a busy machine has room here"
    assert engine.routes.all[0].outstanding == 0
