"""Bodies that take long are parsed in other processes, which may die, hang or be busy; only the sender is affected."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from servicekit.clock import SystemClock
from services.edge.endpoints.chat.parsed import CHAT_BODY, parse_chat
from services.edge.http.errors import ApiError
from services.edge.http.limits import Limits, Sender
from services.edge.http.parsing.parser import BodyParser
from services.edge.http.parsing.pool import PoolNumbers

MIB = 1024 * 1024
USER = {"role": "user", "content": "Hello"}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "QUJD" * 100_000}}
LARGE = json.dumps({"messages": [{"role": "user", "content": [PICTURE]}], "stream": True, "model": "m"}).encode()
PART = {"type": "text", "text": ""}
PARTS = json.dumps({"messages": [{"role": "user", "content": [PART] * 2048}] * 100}).encode()
MANY_PARTS = json.dumps({"messages": [{"role": "user", "content": [PART] * 2048}] * 381}).encode()
WRONG = json.dumps({"messages": [USER], "modalities": [1] * 2_500_000}).encode()
LOOP_SECONDS = 0.1  # of CPU; most of it is handing megabytes to a socket

Start = Callable[..., BodyParser]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    started: list[BodyParser] = []

    def begin(limits: Limits | None = None, **numbers: Any) -> BodyParser:
        started.append(BodyParser(limits or Limits(SystemClock()), [CHAT_BODY], PoolNumbers(**numbers)))
        return started[-1]

    yield begin
    for parser in started:
        await parser.close()


async def refusal(parser: BodyParser, body: bytes, account_id: str = "a") -> ApiError:
    with pytest.raises(ApiError) as raised:
        await parser.parse(body, account_id, CHAT_BODY)
    return raised.value


async def test_a_large_body_arrives_as_a_small_one_would(start: Start) -> None:
    parser = start()
    assert await parser.parse(LARGE, "a", CHAT_BODY) == parse_chat(LARGE, Limits(SystemClock()).request)
    assert len(parser.pids) == 1


@pytest.mark.parametrize(
    ("body", "param"),
    [(PARTS, "messages[2].content"), (MANY_PARTS, None), (WRONG, "modalities[0]")],
    ids=["parts", "more", "list"],
)
async def test_a_hostile_body_costs_the_event_loop_nothing_and_is_charged_to_its_sender(
    start: Start, body: bytes, param: str | None
) -> None:
    limits = Limits(SystemClock())
    parser = start(limits)
    await parser.parse(LARGE, "other", CHAT_BODY)  # a process is there
    began = time.thread_time()
    error = await refusal(parser, body)
    assert time.thread_time() - began < LOOP_SECONDS
    assert (error.status, error.param) == (400, param)
    while limits.spending.refused_until(Sender.account("a")) is None:
        await refusal(parser, body)
    assert limits.spending.refused_until(Sender.account("other")) is None


async def test_a_coding_agents_body_is_parsed_in_place(start: Start) -> None:
    parser = start()
    properties = {f"p{i}": {"type": "string", "description": "lorem, ipsum " * 5} for i in range(8)}
    schema = {"type": "object", "properties": properties, "required": ["p1"]}
    tools = [{"type": "function", "function": {"name": f"f{i}", "parameters": schema}} for i in range(30)]
    turns: list[dict[str, Any]] = []
    for number in range(45):
        code = json.dumps({"code": "x = [1, 2]\n" * 20})
        call = {"id": f"c{number}", "type": "function", "function": {"name": "f1", "arguments": code}}
        turns += [
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": call["id"], "content": "line, of (text)\n" * 40},
        ]
    body = json.dumps({"messages": [USER, *turns], "tools": tools, "stream": True}).encode()
    assert 80_000 < len(body) < 256 * 1024
    await parser.parse(body, "a", CHAT_BODY)
    assert parser.pids == []


async def test_a_parser_that_is_killed_under_a_body_is_replaced(start: Start) -> None:
    parser = start()
    await parser.parse(LARGE, "a", CHAT_BODY)
    (pid,) = parser.pids
    os.kill(pid, signal.SIGKILL)
    assert (await parser.parse(LARGE, "a", CHAT_BODY)).form.stream
    assert parser.pids != [pid]


async def test_a_body_that_takes_too_much_memory_is_its_senders_400(start: Start) -> None:
    parser = start(memory=96 * MIB, processes=1)
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "QUJD" * 5_000_000}}
    huge = json.dumps({"messages": [{"role": "user", "content": [picture]}]}).encode()
    error = await refusal(parser, huge)
    assert (error.status, error.code) == (400, "body_unreadable")
    assert (await parser.parse(LARGE, "b", CHAT_BODY)).form.stream


async def test_a_body_that_takes_too_long_is_its_senders_400(start: Start) -> None:
    limits = Limits(SystemClock())
    parser = start(limits, timeout=0.001, processes=1)
    error = await refusal(parser, WRONG)
    assert (error.status, error.code) == (400, "body_unreadable")


async def test_accounts_take_turns(start: Start) -> None:
    parser = start(processes=1)
    order: list[str] = []

    async def send(account_id: str) -> None:
        await parser.parse(LARGE, account_id, CHAT_BODY)
        order.append(account_id)

    greedy = [asyncio.create_task(send("greedy")) for _ in range(12)]
    await asyncio.sleep(0)
    await asyncio.gather(*(send(name) for name in ("b", "c")), *greedy)
    assert set(order[:4]) >= {"b", "c"}


async def test_one_account_leaves_a_process_to_others(start: Start) -> None:
    parser = start(processes=2)
    greedy = [asyncio.create_task(parser.parse(LARGE, "greedy", CHAT_BODY)) for _ in range(8)]
    await asyncio.gather(*greedy)
    assert len(parser.pids) == 1


async def test_the_queue_of_an_account_is_bounded(start: Start) -> None:
    parser = start(processes=1)
    tasks = [asyncio.create_task(parser.parse(LARGE, "greedy", CHAT_BODY)) for _ in range(40)]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    refused = [result for result in results if isinstance(result, ApiError)]
    assert {error.status for error in refused} == {429}
    assert 16 <= len(results) - len(refused) < 40


async def test_a_client_that_leaves_costs_the_pool_no_process(start: Start) -> None:
    parser = start(processes=1)
    await parser.parse(LARGE, "a", CHAT_BODY)
    before = parser.pids
    for _ in range(5):
        task = asyncio.create_task(parser.parse(LARGE, "a", CHAT_BODY))
        await asyncio.sleep(0)
        task.cancel()
    assert (await parser.parse(LARGE, "b", CHAT_BODY)).form.stream
    assert parser.pids == before


async def test_a_parser_has_no_secret_and_no_file_of_the_edge(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUHGPT_INTERNAL_TOKEN", "secret")
    parser = start()
    await parser.parse(LARGE, "a", CHAT_BODY)
    (pid,) = parser.pids
    process = psutil.Process(pid)
    assert not any(name.startswith("MUHGPT") for name in process.environ())
    assert process.open_files() == []
    assert process.net_connections("inet") == []


async def test_a_parser_does_not_outlive_its_edge(tmp_path: Path) -> None:
    script = tmp_path / "edge.py"
    script.write_text(
        "import asyncio, sys\n"
        "from servicekit.clock import SystemClock\n"
        "from services.edge.endpoints.chat.parsed import CHAT_BODY\n"
        "from services.edge.http.limits import Limits\n"
        "from services.edge.http.parsing.parser import BodyParser\n"
        "async def main():\n"
        "    parser = BodyParser(Limits(SystemClock()), [CHAT_BODY])\n"
        "    await parser.parse(sys.stdin.buffer.read(), 'a', CHAT_BODY)\n"
        "    print(*parser.pids, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    edge = await asyncio.create_subprocess_exec(
        sys.executable, str(script), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert edge.stdin is not None
    assert edge.stdout is not None
    edge.stdin.write(LARGE)
    edge.stdin.close()
    parser = psutil.Process(int(await asyncio.wait_for(edge.stdout.readline(), 30)))
    edge.kill()
    await edge.wait()
    gone, _ = await asyncio.to_thread(psutil.wait_procs, [parser], 10)
    assert gone == [parser]
