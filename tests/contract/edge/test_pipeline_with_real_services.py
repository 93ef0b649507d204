"""The pipeline with the real auth, quota and inference: only the engine is scripted, only the processes are one."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from muhgpt.auth.v1 import auth_pb2
from muhgpt.quota.v1 import quota_pb2
from services.edge.endpoints.errors import to_api_error
from services.edge.peers.errors import Failure, Refused
from services.edge.peers.quota.rate_window import Limit
from tests.fakes_engine import ScriptedEngine
from tests.worlds.in_process.auth import TOKENS
from tests.worlds.in_process.pipeline import Collected, collect, reasons_of, text_of, until
from tests.worlds.in_process.platform import InProcess, start_in_process

WORDS = [f"w{number} " for number in range(100)]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[InProcess]:
    async with start_in_process(tmp_path, engine=ScriptedEngine(*WORDS), credits=0, drain_timeout=0.2) as world:
        yield world


async def test_parallel_answers_leave_books_that_agree_with_their_usage_to_the_credit(world: InProcess) -> None:
    await world.grant(100_000)
    world.engine.slots = 20
    answers = await asyncio.gather(*(world.open() for _ in range(20)))
    for batches in await asyncio.gather(*(collect(answer) for answer in answers)):
        assert text_of(batches) == "".join(WORDS)
    assert await world.charged() == 20 * (5 + 3 * 100)


@pytest.mark.parametrize("output", [1, 30, 63, 64, 65, 99])
async def test_the_last_credits_buy_exactly_the_tokens_that_they_pay(world: InProcess, output: int) -> None:
    await world.grant(5 + 3 * output + 2)
    batches = await collect(await world.open())
    assert text_of(batches) == "".join(WORDS[:output])
    assert reasons_of(batches) == ["length"]
    assert await world.charged() == 5 + 3 * output


async def test_parallel_answers_share_a_small_balance_and_never_overdraw_it(world: InProcess) -> None:
    await world.grant(600)
    world.engine.slots = 20
    outcomes = await asyncio.gather(*(_spend(world) for _ in range(8)))
    assert await world.charged() == sum(outcomes)
    assert 0 < sum(outcomes) <= 600


async def _spend(world: InProcess) -> int:
    """Credits that one answer cost by its usage; 0 when it was refused for want of credits."""
    try:
        answer = await world.open()
    except Failure as error:
        if to_api_error(error).status != 402:
            raise
        return 0
    usage = (await collect(answer))[-1].usage
    assert usage is not None
    return usage.prompt_tokens + 3 * usage.completion_tokens if usage.completion_tokens else 0


async def test_a_client_that_leaves_pays_what_was_generated_within_its_hold(world: InProcess) -> None:
    await world.grant(100_000)
    pause = world.engine.pause_after(20)
    answer = await world.open()
    await pause.reached()
    sink = Collected()
    reading = asyncio.create_task(answer.deliver(sink))
    await until(lambda: sink.deltas == 20)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await answer.aclose()
    await world.engine.wait_stopped()
    assert await world.charged() == 5 + 3 * 20


async def test_revoking_a_key_ends_its_running_answer_before_the_operator_is_told(world: InProcess) -> None:
    await world.grant(100_000)
    pause = world.engine.pause_after(20)
    answer = await world.open()
    await pause.reached()
    revoke = auth_pb2.RevokeKeyRequest(key_id=world.key_id)
    response = await asyncio.wait_for(world.call("auth", "RevokeKey", revoke), 1)
    assert response.key.state == auth_pb2.Key.STATE_REVOKED
    with pytest.raises(Failure) as caught:
        await collect(answer)
    assert to_api_error(caught.value).code == "key_revoked"
    with pytest.raises(Failure) as caught:
        await world.open()
    assert to_api_error(caught.value).status == 401


async def test_the_sixty_first_request_of_a_minute_is_a_429_with_the_time_to_wait(world: InProcess) -> None:
    await world.grant(1_000_000)
    for _ in range(60):
        await (await world.open()).aclose()
    with pytest.raises(Failure) as caught:
        await world.open()
    assert to_api_error(caught.value).status == 429
    assert isinstance(caught.value, Refused)
    assert caught.value.limit is Limit.ACCOUNT
    assert caught.value.window is not None
    assert (caught.value.window.limit, caught.value.window.remaining) == (60, 0)
    assert 0 < int(to_api_error(caught.value).headers["retry-after"]) <= 60
    await _settled(world)


async def _settled(world: InProcess) -> None:
    await until(lambda: not world.pipeline.unfinished_holds)


async def test_an_edge_that_dies_after_25_delivered_tokens_has_told_quota_of_them(world: InProcess) -> None:
    """What quota knows as delivered is charged when the session lapses; only the first 100 ms may be free."""
    await world.grant(100_000)
    pause = world.engine.pause_after(25)
    answer = await world.open()
    reader = asyncio.create_task(collect(answer))
    await pause.reached()
    request = quota_pb2.GetChargeRequest(hold_id=bytes.fromhex(answer.charge_id))
    async with asyncio.timeout(1.0):
        while (await world.call("quota", "GetCharge", request)).delivered_tokens != 25:  # noqa: ASYNC110  quota tells nobody
            await asyncio.sleep(0.01)
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    await answer.aclose()


@pytest.mark.parametrize("final", [3, 5, 8])
async def test_a_whole_answer_costs_what_its_engine_counted_in_the_end(world: InProcess, final: int) -> None:
    await world.grant(100_000)
    world.engine.final_prompt_tokens = final
    batch = (await collect(await world.open(streamed=False)))[-1]
    assert batch.usage is not None
    assert batch.usage.prompt_tokens == final
    assert batch.written is not None
    batch.written()
    assert await world.charged() == final + 3 * batch.usage.completion_tokens
    (charge,) = (
        await world.call("quota", "ListCharges", quota_pb2.ListChargesRequest(account_id=world.account_id))
    ).charges
    assert (charge.unconfirmed, charge.uncollected_credits, charge.prompt_tokens) == (False, 0, final)


async def muhgpt(world: InProcess, *arguments: str) -> str:
    """What a command of the operator prints."""
    addresses = {f"MUHGPT_CLI_{name.upper()}_ADDRESS": world.address(name) for name in ("auth", "quota")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "muhgpt_cli.main", *arguments),
        env={**os.environ, **addresses, "MUHGPT_CLI_OPERATOR_TOKEN": TOKENS.operator},
        stdout=asyncio.subprocess.PIPE,
    )
    stdout, _ = await process.communicate()
    assert process.returncode == 0
    return stdout.decode()


async def test_an_operator_sees_what_clients_that_leave_cost_and_forgives_it(world: InProcess) -> None:
    await world.grant(100_000)
    assert "No losses" in await muhgpt(world, "losses")
    pause = world.engine.pause_after(0)
    opening = asyncio.create_task(world.open())
    await pause.reached()
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    await _settled(world)
    document = json.loads(await muhgpt(world, "losses", "--json"))
    (loss,) = document["losses"]
    assert (loss["account_id"], loss["abandoned"], loss["total"], loss["forgiven"]) == (world.account_id, 5, 5, 0)
    assert "@" in loss["email"]
    assert not document["more"]
    assert loss["email"] in await muhgpt(world, "losses")
    forgiven = json.loads(await muhgpt(world, "losses", "--forgive", loss["email"], "--json"))
    assert forgiven["forgiven"] == 5
    of_account = json.loads(await muhgpt(world, "losses", "--account", loss["email"], "--json"))
    assert [each["forgiven"] for each in of_account["losses"]] == [5]
