"""Counting prompts for upstreams: framings and chat templates, and the processes that count what is long."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from services.inference.domain import spent
from services.inference.domain.chat import ChatRequest, Message, Role, Tool, ToolCall
from services.inference.domain.errors import ContextTooLong, Overloaded
from services.inference.engines.upstream.request import chat_body
from services.inference.engines.upstream.tokens.counter import PromptTokens, TokenCounter
from services.inference.engines.upstream.tokens.processes import CannotCount, CountingProcesses
from tests.byte_tokenizer import written
from tests.integration.inference.upstream_client import HELLO, serving
from tests.upstreams import stream

COUNTS = json.loads((Path(__file__).parents[2] / "token_counts" / "counts.json").read_text())
FRAMING = COUNTS["framing"]
TOOL = Tool("look", "Looks around.", '{"type":"object","properties":{"at":{"type":"string","enum":["a","b"]}}}')


@pytest.fixture
async def processes() -> AsyncIterator[CountingProcesses]:
    counting = CountingProcesses()
    yield counting
    await counting.close()


def ask(*messages: Message, account: str = "ada", **fields: Any) -> ChatRequest:
    return ChatRequest("muh-chat", messages, account=account, **fields)


def user(text: str, **fields: Any) -> Message:
    return Message(Role.USER, (text,), **fields)


def sent(tool: Tool) -> list[dict[str, Any]]:
    """As an upstream is given it."""
    tools: list[dict[str, Any]] = chat_body(ask(user("x"), tools=(tool,)), "m")["tools"]
    return tools


@pytest.mark.parametrize("name", ["o200k_base", "cl100k_base"])
async def test_a_chat_counts_as_openai_frames_it(name: str, processes: CountingProcesses) -> None:
    counter = TokenCounter(name, processes, None)
    for text, tokens in COUNTS["texts"].items():
        framed = FRAMING["message"] + COUNTS["texts"]["user"][name] + tokens[name] + FRAMING["reply"]
        assert await counter.count(ask(user(text))) == PromptTokens(framed, estimated=False)
        named = framed + FRAMING["name"] + COUNTS["texts"]["user"][name]
        assert (await counter.count(ask(user(text, name="user")))).tokens == named


async def test_a_long_prompt_is_counted_in_a_process_and_gives_the_same(processes: CountingProcesses) -> None:
    counter = TokenCounter("o200k_base", processes, None)
    for count in (1000, 200_000):
        assert (await counter.count(ask(user("hello " * count)))).tokens == count + 1 + 7
    assert len(processes.pids) == 2, "one for long ones, one for those that must not wait for them"


async def test_without_a_tokenizer_the_count_is_o200k_bases_and_says_that_it_is_an_estimate(
    processes: CountingProcesses,
) -> None:
    assert await TokenCounter("", processes, None).count(ask(user("hi there"))) == PromptTokens(9, estimated=True)


async def test_tools_and_earlier_calls_count_as_estimates(processes: CountingProcesses) -> None:
    counter = TokenCounter("o200k_base", processes, None)
    plain = await counter.count(ask(user("hi there")))
    with_tools = await counter.count(ask(user("hi there")), sent(TOOL))
    # The Cookbook: 7 a function, 3 for properties and 3 for each, -3 for an enum and 3 for each value, 12 at the end.
    texts = len(["look", ":L", "ooks", " around"]) + len(["at", ":string", ":"]) + len(["a", "b"])
    assert with_tools == PromptTokens(plain.tokens + 7 + 3 + 3 - 3 + 6 + 12 + texts, estimated=True)
    called = Message(Role.ASSISTANT, (), tool_calls=(ToolCall("c1", "look", '{"at":"a"}'),))
    assert (await counter.count(ask(user("hi there"), called))).estimated


async def test_a_hostile_schema_is_counted_and_harms_nothing(processes: CountingProcesses) -> None:
    counter = TokenCounter("o200k_base", processes, None)
    deep = '{"properties":{"a":' * 200 + "{}" + "}}" * 200
    odd = ["{}", '{"properties":[]}', '{"properties":{"a":1,"b":{"enum":{},"type":[]},"c":null}}', deep]
    for parameters in odd:
        assert (await counter.count(ask(user("hi")), sent(Tool("t", "", parameters)))).tokens > 20


async def test_a_tokenizer_json_counts_what_its_template_renders(tmp_path: Path, processes: CountingProcesses) -> None:
    template = "{% for m in messages %}{{ m.role }}:{{ m.content }}{{ eos_token }}{% endfor %}{{ tools | tojson }}"
    counter = TokenCounter(written(tmp_path, template), processes, None)
    assert await counter.count(ask(user("hé"))) == PromptTokens(len("user:hé".encode()) + 1 + 4, estimated=False)
    tool = '[{"type": "function", "function": {"name": "t<", "description": null, "parameters": {"a": "é"}}}]'
    counted = await counter.count(ask(user("x<|end|>")), sent(Tool("t<", "", '{"a":"é"}')))
    assert counted == PromptTokens(len("user:x") + 2 + len(tool.encode()), estimated=False)


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('no') }}",
        "{{ messages[0].content.nothing.at.all }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
    ],
    ids=["refuses", "fails", "escapes", "changes its input"],
)
async def test_a_template_that_refuses_leaves_an_estimate(
    tmp_path: Path, template: str, processes: CountingProcesses
) -> None:
    counter = TokenCounter(written(tmp_path, template), processes, None)
    assert (await counter.count(ask(user("hello " * 100)))).estimated


async def test_a_template_that_never_ends_is_ended_and_the_next_prompt_is_counted(tmp_path: Path) -> None:
    loop = "{% for i in range(9999) %}" * 3 + "{% endfor %}" * 3
    path = written(tmp_path, "{% if messages[0].content == 'loop' %}" + loop + "{% endif %}ok")
    processes = CountingProcesses(timeout=1.0)
    try:
        counter = TokenCounter(path, processes, None)
        stuck = asyncio.create_task(counter.count(ask(user("loop"))))
        assert await counter.count(ask(user("x"), account="eve")) == PromptTokens(2, estimated=False)
        assert (await stuck).estimated
    finally:
        await processes.close()


async def test_memory_that_a_template_asks_for_is_bounded(tmp_path: Path, processes: CountingProcesses) -> None:
    path = written(
        tmp_path, "{% if messages[0].content == 'grow' %}{{ 'x' * (4000000000 * messages | length) }}{% endif %}ok"
    )
    counter = TokenCounter(path, processes, None)
    assert (await counter.count(ask(user("grow")))).estimated
    assert await counter.count(ask(user("x"))) == PromptTokens(2, estimated=False)


async def test_a_process_that_dies_is_started_again(processes: CountingProcesses) -> None:
    counter = TokenCounter("o200k_base", processes, None)
    for _ in range(2):
        assert (await counter.count(ask(user("hello " * 1000)))).tokens == 1008
        (pid,) = processes.pids
        os.kill(pid, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(pid)], timeout=5)
    assert (await counter.count(ask(user("hello " * 1000)))).tokens == 1008


async def test_clients_that_leave_cost_no_process_and_nobody_elses_turn(processes: CountingProcesses) -> None:
    counter = TokenCounter("o200k_base", processes, None)
    await counter.count(ask(user("hello " * 1000)))
    (pid,) = processes.pids
    for _ in range(20):
        leaving = [asyncio.create_task(counter.count(ask(user("hello " * 4000), account="mallory"))) for _ in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
    assert (await counter.count(ask(user("hello " * 1000)))).tokens == 1008
    assert processes.pids == [pid]


async def test_closing_ends_a_count_that_runs(tmp_path: Path) -> None:
    path = written(tmp_path, "{% for i in range(9999) %}" * 3 + "{% endfor %}" * 3)
    processes = CountingProcesses()
    running = asyncio.create_task(TokenCounter(path, processes, None).count(ask(user("x"))))
    async with asyncio.timeout(20):
        while not processes.pids:  # noqa: ASYNC110  nothing else says that it has begun
            await asyncio.sleep(0.01)
        await processes.close()
        assert (await running).estimated
    assert processes.pids == []


async def test_what_counting_costs_is_reported_with_a_refusal() -> None:
    async with serving(stream(*HELLO), tokenizer="o200k_base") as (_, engine):
        with pytest.raises(ContextTooLong) as caught, spent.reported():
            await engine.prepare(ask(user("hello " * 100_000)))
    assert float(caught.value.metadata[spent.SPENT]) > 10.0


async def test_accounts_take_turns_and_too_many_are_refused(processes: CountingProcesses) -> None:
    counter, done = TokenCounter("o200k_base", processes, None), []

    async def count(account: str) -> None:
        await counter.count(ask(user("hello " * 1000), account=account))
        done.append(account)

    crowd = [asyncio.create_task(count("mallory")) for _ in range(257)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await count("mallory")
    crowd[-1].cancel()
    await asyncio.gather(crowd[-1], return_exceptions=True)
    await count("ada")
    assert done.count("mallory") <= 2
    await asyncio.gather(*crowd[:-1])


async def test_an_upstreams_key_in_the_environment_is_not_the_processes(
    processes: CountingProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXAMPLE_API_KEY", "sk-canary")
    await processes.count("ada", "o200k_base", {"messages": [], "tools": [], "schema": ""})
    assert not any("canary" in value for pid in processes.pids for value in psutil.Process(pid).environ().values())


async def test_a_tokenizer_that_is_gone_is_said_to_be(processes: CountingProcesses) -> None:
    with pytest.raises(CannotCount):
        await processes.count("ada", "/nowhere/tokenizer.json", {"messages": [], "tools": [], "schema": ""})


async def test_what_others_do_while_a_request_waits_for_the_server_is_not_its_cost() -> None:
    """It waits for what the server says of its context."""

    async def work() -> None:
        while True:
            until = time.thread_time() + 0.03
            while time.thread_time() < until:
                pass
            await asyncio.sleep(0)

    async with serving(stream(*HELLO), tokenizer="o200k_base") as (_, engine):
        working = asyncio.create_task(work())
        with pytest.raises(ContextTooLong) as caught, spent.reported():
            await engine.prepare(ask(user("1 " * 1200)))  # counted in place
        working.cancel()
    assert float(caught.value.metadata[spent.SPENT]) < 100
