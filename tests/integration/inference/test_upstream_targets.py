"""A model over several upstreams: who is asked, who takes over, who is left alone and tried again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from servicekit.clock import SystemClock
from services.inference.domain.chat import ChatRequest, Message, Role, Sampling
from services.inference.domain.engine import Delta, Usage
from services.inference.domain.errors import EngineUnavailable, InvalidRequest, Overloaded
from services.inference.engines.routed.breaker import FAILURES
from services.inference.engines.routed.budget import MOST_ATTEMPTS
from services.inference.engines.routed.engine import RoutedEngine
from tests.engine_steps import steps_of
from tests.fakes import FakeClock
from tests.fakes_engine import upstream_route
from tests.upstreams import (
    Asked,
    Play,
    Upstream,
    end,
    hang_up,
    silence,
    status,
    stream,
    text,
    usage,
)

GOOD = stream(text("ok"), end(), usage(7, 1))


@asynccontextmanager
async def routed(*plays: Play, clock: Any = None, **fields: Any) -> AsyncIterator[tuple[list[Upstream], RoutedEngine]]:
    """Targets 0, 1, …; a field's value may be a list with one for each."""
    clock = clock or FakeClock()
    async with asyncio.TaskGroup() as group:
        servers = [Upstream(play) for play in plays]
        for server in servers:
            group.create_task(server.start())

    def own(index: int) -> dict[str, Any]:
        return {name: value[index] if isinstance(value, list) else value for name, value in fields.items()}

    routes = [
        upstream_route(server.url, clock=clock, name=str(index), **own(index)) for index, server in enumerate(servers)
    ]
    engine = RoutedEngine("muh-chat", routes, clock, lambda: 0.0)
    try:
        yield servers, engine
    finally:
        await engine.close()
        for server in servers:
            await server.kill()


async def answer(engine: RoutedEngine, choices: int = 1, said: str = "Hello!", account: str = "") -> str:
    sampling = Sampling(choices=choices)
    request = ChatRequest("muh-chat", (Message(Role.USER, (said,)),), sampling=sampling, account=account)
    told = ""
    prompt = await engine.prepare(request)
    async with asyncio.timeout(20), aclosing(steps_of(prompt, 100)) as steps:
        async for step in steps:
            if isinstance(step, Usage):
                return told
            told += "".join(delta.text for delta in step)
    raise AssertionError("no usage at the end")


def asked(servers: list[Upstream]) -> list[int]:
    return [len(server.requests) for server in servers]


@pytest.mark.parametrize("bad", [status(500), status(503), status(401), hang_up, stream(end("abort"))])
async def test_another_target_takes_over_before_the_first_token(bad: Play) -> None:
    async with routed(bad, GOOD, order=[1, 2]) as (servers, engine):
        assert await answer(engine) == "ok"
        assert asked(servers) == [1, 1]


async def test_a_target_that_cannot_be_reached_is_passed_over() -> None:
    async with routed(GOOD, GOOD, order=[1, 2]) as (servers, engine):
        await servers[0].kill()
        assert await answer(engine) == "ok"
        assert asked(servers) == [0, 1]


async def test_a_first_token_that_is_late_is_another_targets_turn() -> None:
    async with routed(silence, GOOD, order=[1, 2], first_token_timeout=0.03) as (servers, engine):
        assert await answer(engine) == "ok"
        await servers[0].left()


async def test_a_400_is_nobody_elses_turn() -> None:
    async with routed(status(400), GOOD, order=[1, 2]) as (servers, engine):
        with pytest.raises(InvalidRequest):
            await answer(engine)
        assert asked(servers) == [1, 0]


async def test_nothing_is_repeated_after_the_first_token() -> None:
    async with routed(stream(text("x"), done=False), GOOD, order=[1, 2]) as (servers, engine):
        with pytest.raises(EngineUnavailable, match="cut off"):
            await answer(engine)
        assert asked(servers) == [1, 0]


async def test_a_target_that_asked_for_a_pause_is_not_asked_before_its_end() -> None:
    clock = FakeClock()
    async with routed(status(429, Retry_After="30"), GOOD, order=[1, 2], clock=clock) as (servers, engine):
        assert await answer(engine) == "ok"
        servers[0].play(GOOD)
        clock.advance(29)
        await answer(engine)
        assert asked(servers) == [1, 2]
        clock.advance(1.1)
        await answer(engine)
        assert asked(servers) == [2, 2]


async def test_when_all_asked_for_a_pause_the_client_is_told_the_shortest() -> None:
    async with routed(status(429, Retry_After="30"), status(429, Retry_After="20")) as (_, engine):
        with pytest.raises(Overloaded) as caught:
            await answer(engine)
        assert caught.value.retry_after == 20


async def test_a_target_that_fails_is_left_alone_and_one_probe_brings_it_back() -> None:
    clock = FakeClock()
    async with routed(status(500), GOOD, order=[1, 2], clock=clock) as (servers, engine):
        for _ in range(8):
            assert await answer(engine) == "ok"
        assert asked(servers) == [5, 8], "after five failures in a row"
        clock.advance(1.01)
        assert await answer(engine) == "ok"
        assert asked(servers) == [6, 9], "a probe that fails costs its request nothing"
        clock.advance(1.5)
        await answer(engine)
        assert asked(servers) == [6, 10], "the second pause is longer"
        servers[0].play(GOOD)
        clock.advance(0.6)
        await answer(engine)
        await answer(engine)
        assert asked(servers) == [8, 10]


async def test_while_a_probe_is_under_way_nobody_else_is_sent_there() -> None:
    clock = FakeClock()
    async with routed(status(500), GOOD, order=[1, 2], clock=clock) as (servers, engine):
        for _ in range(FAILURES):
            await answer(engine)
        clock.advance(2)
        servers[0].play(silence)
        probe = asyncio.create_task(answer(engine))
        async with asyncio.timeout(5):
            while len(servers[0].requests) < FAILURES + 1:  # noqa: ASYNC110  the server says nothing when it is asked
                await asyncio.sleep(0.002)
        assert await answer(engine) == "ok"
        assert len(servers[0].requests) == FAILURES + 1
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)
        servers[0].play(GOOD)
        await answer(engine)
        assert len(servers[0].requests) == FAILURES + 2, "a probe that its client gave up has said nothing"


async def test_when_all_are_down_it_is_unavailable_and_not_ready_until_the_pause_is_over() -> None:
    clock = FakeClock()
    async with routed(status(500), status(500), clock=clock) as (servers, engine):
        for _ in range(2 * FAILURES):
            with pytest.raises(EngineUnavailable):
                await answer(engine)
        assert not engine.ready
        before = asked(servers)
        with pytest.raises(EngineUnavailable, match="none of the model's targets is healthy"):
            await answer(engine)
        assert asked(servers) == before
        clock.advance(1.1)
        assert engine.ready


async def test_one_request_is_tried_a_few_times_at_most() -> None:
    async with routed(*[status(500)] * 6) as (servers, engine):
        with pytest.raises(EngineUnavailable):
            await answer(engine)
        assert sum(asked(servers)) == MOST_ATTEMPTS


async def test_retries_stay_within_a_tenth_of_the_requests_once_what_was_saved_is_used() -> None:
    """The failing target answers now and then, so that no circuit opens."""
    count = 0

    async def flaky(asked: Asked, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        await (GOOD if count % 2 == 0 else status(500))(asked, writer)

    async with routed(flaky, slots=1) as (_, engine):
        failed = 0
        for _ in range(100):
            try:
                await answer(engine)
            except EngineUnavailable:
                failed += 1
        retries = count - 100
        assert failed > 0
        assert 10 <= retries <= 10 + 100 * 0.1


async def test_the_least_loaded_for_its_weight_gets_the_next_request() -> None:
    go = asyncio.Event()

    async def wait(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        await GOOD(asked, writer)

    async with routed(wait, wait, weight=[3, 1], slots=8) as (servers, engine):
        running = [asyncio.create_task(answer(engine)) for _ in range(8)]
        async with asyncio.timeout(5):
            while sum(asked(servers)) < 8:  # noqa: ASYNC110  the servers say nothing when they are asked
                await asyncio.sleep(0.002)
        assert asked(servers) == [6, 2]
        go.set()
        await asyncio.gather(*running)
        assert [route.outstanding for route in engine.routes.all] == [0, 0]


async def test_a_later_order_is_for_failures_not_for_load() -> None:
    go = asyncio.Event()

    async def wait(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        await GOOD(asked, writer)

    async with routed(wait, GOOD, order=[1, 2], slots=[2, 50]) as (servers, engine):
        assert engine.slots == 2
        running = [asyncio.create_task(answer(engine)) for _ in range(5)]
        async with asyncio.timeout(5):
            while asked(servers)[0] < 2:  # noqa: ASYNC110  the servers say nothing when they are asked
                await asyncio.sleep(0.002)
        assert asked(servers) == [2, 0], "what has no room waits"
        go.set()
        await asyncio.gather(*running)
        assert asked(servers) == [5, 0]


async def test_with_the_first_order_down_the_slots_are_the_next_ones() -> None:
    async with routed(status(500), GOOD, order=[1, 2], slots=[2, 50]) as (_, engine):
        for _ in range(FAILURES):
            await answer(engine)
        assert engine.slots == 50


async def test_killing_the_preferred_upstream_under_load_fails_nothing_that_had_not_begun_to_stream() -> None:
    """And traffic returns to it; the clock is the machine's."""

    async def slow(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.02)
        await GOOD(asked, writer)

    failures: list[tuple[bool, str]] = []
    stop = asyncio.Event()

    async def client(engine: RoutedEngine) -> None:
        while not stop.is_set():
            begun = False
            prompt = await engine.prepare(ChatRequest("muh-chat", (Message(Role.USER, ("Hello!",)),)))
            try:
                async with aclosing(steps_of(prompt, 100)) as steps:
                    async for step in steps:
                        begun = begun or not isinstance(step, Usage)
            except EngineUnavailable as error:
                failures.append((begun, error.message))

    async with routed(slow, slow, order=[1, 2], slots=16, clock=SystemClock()) as (servers, engine):
        clients = [asyncio.create_task(client(engine)) for _ in range(12)]
        async with asyncio.timeout(30):
            while asked(servers)[0] < 60:  # noqa: ASYNC110  the servers say nothing when they are asked
                await asyncio.sleep(0.005)
            await servers[0].kill()
            while asked(servers)[1] < 100:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            before = asked(servers)[0]
            await servers[0].start()
            async with asyncio.timeout(10):  # 5 s are promised; a busy machine has room here
                while asked(servers)[0] < before + 20:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
        stop.set()
        await asyncio.gather(*clients)
    assert [failure for failure in failures if not failure[0]] == []


async def test_a_count_of_the_prompt_that_cannot_be_right_is_not_believed_whoever_answers() -> None:
    big = stream(text("ok"), end(), usage(5000, 1))
    async with routed(status(500), big, order=[1, 2]) as (_, engine):
        prompt = await engine.prepare(ChatRequest("muh-chat", (Message(Role.USER, ("Hello!",)),)))
        assert prompt.prepared.estimated
        deltas: list[Delta] = []
        async for step in steps_of(prompt, 10):
            if isinstance(step, Usage):
                assert (step.prompt_tokens, step.estimated) == (prompt.prepared.prompt_tokens, True)
            else:
                deltas += step
        assert sum(delta.tokens for delta in deltas) == 1


async def poisoned(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """A server that fails at one client's words and answers all others."""
    await (status(500) if asked.body["messages"][0]["content"] == "poison" else GOOD)(asked, writer)


async def test_what_one_account_alone_makes_fail_keeps_no_other_account_away() -> None:
    clock = FakeClock()
    async with routed(poisoned, clock=clock) as (servers, engine):
        for _ in range(4 * FAILURES):
            with pytest.raises(EngineUnavailable):
                await answer(engine, said="poison", account="acct_evil")
        sent = len(servers[0].requests)
        with pytest.raises(EngineUnavailable, match="none of the model's targets is healthy"):
            await answer(engine, account="acct_evil")
        assert len(servers[0].requests) == sent, "its own requests are not sent there for a while"
        assert await answer(engine, account="acct_good") == "ok"
        assert engine.ready
        clock.advance(2)
        assert await answer(engine, account="acct_evil") == "ok"


async def test_what_several_accounts_meet_is_the_targets_illness() -> None:
    async with routed(status(500), GOOD, order=[1, 2]) as (servers, engine):
        for number in range(FAILURES):
            await answer(engine, account=f"acct_{number % 2}")
        assert asked(servers) == [FAILURES, FAILURES]
        await answer(engine, account="acct_new")
        assert asked(servers) == [FAILURES, FAILURES + 1]


async def test_a_target_that_cannot_be_reached_is_left_alone_for_all_whoever_finds_it() -> None:
    async with routed(GOOD, GOOD, order=[1, 2]) as (servers, engine):
        await servers[0].kill()
        for _ in range(FAILURES):
            await answer(engine, account="acct_1")
        assert engine.routes.all[0].open()
