"""Hostile bodies and stalled connections against the whole platform: nobody dies, nothing grows, others are served."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import statistics
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.chat_strategies import BODIES, PARTS
from tests.hostile_bodies import hostile_bodies
from tests.worlds.processes import Platform, running

pytestmark = pytest.mark.long  # tests/hostile holds G13 in every run

CHAT = "/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 8}
# Long and the same at any temperature: what a client gets that does not read.
LIST = {"type": "array", "items": {"type": "integer", "maximum": 9, "minimum": 0}, "minItems": 4096}
FLOOD = {
    "messages": [{"role": "user", "content": "Count."}],
    "stream": True,
    "response_format": {"type": "json_schema", "json_schema": {"name": "list", "schema": LIST}},
}
AGAIN = 2  # times that a request is repeated which was told to come back
OVERLOADED = (503, "engine_overloaded")
STALLED = 60
ROOM = 160 * 1024 * 1024  # bytes that a process may have grown by: allocators keep what they had at their peak


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform with short patience for stalled clients, and without the engine's cache, whose growth is wanted."""
    impatient = {
        f"MUHGPT_EDGE_{name}_TIMEOUT": seconds for name, seconds in (("HEADER", "4"), ("BODY", "4"), ("WRITE", "4"))
    }
    env = {**impatient, "MUHGPT_INFERENCE_LLAMA_PROMPT_CACHE_MIB": "0"}
    with running(tmp_path_factory.mktemp("hostile") / "data", env=env) as platform:
        yield platform


@contextlib.asynccontextmanager
async def user(platform: Platform) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody with a key and no limit to speak of."""
    key = platform.account(credits=10**9, per_minute=100_000).key
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    async with httpx.AsyncClient(base_url=platform.base_url, headers=headers, timeout=60) as client:
        yield client


def processes(platform: Platform) -> dict[int, psutil.Process]:
    """All of the platform's, by their ids."""
    parent = psutil.Process(platform.process.pid)
    return {process.pid: process for process in (parent, *parent.children(recursive=True))}


def memory(platform: Platform) -> dict[int, int]:
    """Resident bytes of each process."""
    return {pid: process.memory_info().rss for pid, process in processes(platform).items()}


def assert_flat(before: dict[int, int], after: dict[int, int]) -> None:
    assert set(before) == set(after), "no process died or was started"
    grown = {pid: after[pid] - before[pid] for pid in before if after[pid] - before[pid] > ROOM}
    assert grown == {}


async def usual(client: httpx.AsyncClient, count: int = 15) -> float:
    """The median time of a normal request, in seconds."""
    times = []
    for _ in range(count):
        answer = await client.post(CHAT, json=HELLO)
        assert answer.status_code == 200
        times.append(answer.elapsed.total_seconds())
    return statistics.median(times)


def outcome(answer: httpx.Response) -> tuple[int, Any]:
    return answer.status_code, answer.json()["error"]["code"] if answer.status_code != 200 else None


@pytest.mark.slow
async def test_hundreds_of_hostile_bodies_cost_nobody_else_anything(own: Platform) -> None:
    bodies = hostile_bodies()
    assert len(bodies) >= 300
    async with user(own) as hostile, user(own) as other:
        speed, before = await usual(other), memory(own)
        turn = asyncio.Semaphore(3)

        async def send(name: str, body: bytes) -> tuple[int, Any]:
            async with turn:
                answer = await hostile.post(CHAT, content=body)
                for _ in range(AGAIN):
                    if answer.status_code != 503:
                        break  # 503: the machine was too busy, and says that the same may go better in a moment
                    await asyncio.sleep(float(answer.headers.get("retry-after", 0.05)))
                    answer = await hostile.post(CHAT, content=body)
            kind = outcome(answer)
            assert kind[0] in (200, 400, 404, 413) or kind == OVERLOADED, f"{name}: {answer.text[:500]}"
            return kind

        outcomes = Counter(await asyncio.gather(*(send(name, body) for name, body in bodies.items())))
        assert {status for status, _ in outcomes} >= {200, 400}
        assert outcomes[OVERLOADED] < len(bodies) / 10
        assert_flat(before, memory(own))
        assert await usual(other) < 5 * speed + 0.05


async def stall(platform: Platform, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that sends this and neither reads nor sends any more."""
    host, _, port = platform.base_url.removeprefix("http://").removesuffix("/v1").rpartition(":")
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=sock, limit=1024)
    writer.write(data)
    return reader, writer


async def everything(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server closes or cuts the connection."""
    read = b""
    with contextlib.suppress(ConnectionError):  # cut; what counts is that it ended
        while data := await asyncio.wait_for(reader.read(65536), 30):
            read += data
    return read


@pytest.mark.slow
async def test_sixty_stalled_connections_are_cut_and_cost_nobody_else_anything(own: Platform) -> None:
    async with user(own) as hostile, user(own) as other:
        speed, before = await usual(other), memory(own)
        body = json.dumps(FLOOD).encode()
        head = (
            f"POST /v1{CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Authorization: {hostile.headers['authorization']}\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode()
        kinds = {"half a header": head[:-20], "half a body": head + body[:-20], "not reading": head + body}
        stalled = {kind: [await stall(own, data) for _ in range(STALLED // len(kinds))] for kind, data in kinds.items()}
        assert await usual(other) < 8 * speed + 0.5, "while they stall; twenty floods share the engine with it"
        ends = {
            kind: await asyncio.gather(*(everything(reader) for reader, _ in each)) for kind, each in stalled.items()
        }
        for kind in ("half a header", "half a body"):
            assert all(end.startswith(b"HTTP/1.1 408 ") for end in ends[kind]), kind
        assert all(end.startswith(b"HTTP/1.1 200 ") and b"[DONE]" not in end for end in ends["not reading"])
        assert_flat(before, memory(own))
        assert await usual(other) < 5 * speed + 0.05
        for _, writer in (connection for each in stalled.values() for connection in each):
            writer.close()


TEXTS = st.text(max_size=40) | st.sampled_from(["<|im_end|>", "<tool_call>", "\0", "{{ x }}", "\u202e"])
TURNS = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["system", "user", "assistant"]),
        "content": TEXTS | st.lists(PARTS, min_size=1, max_size=3),
    }
)
SCHEMAS = st.recursive(
    st.sampled_from([{"type": "string"}, {"type": "integer"}, {"type": "boolean"}, {"enum": [1, "a", None]}, {}, True]),
    lambda inner: (
        st.fixed_dictionaries({"type": st.just("array"), "items": inner, "maxItems": st.integers(-1, 5)})
        | st.builds(lambda parts: {"anyOf": parts}, st.lists(inner, max_size=3))
        | st.builds(
            lambda parts: {"type": "object", "properties": parts, "required": list(parts)},
            st.dictionaries(TEXTS, inner, max_size=3),
        )
    ),
    max_leaves=8,
)
LIKELY = st.fixed_dictionaries(
    {"messages": st.lists(TURNS, min_size=1, max_size=4), "max_tokens": st.integers(1, 12)},
    optional={
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0, 1),
        "frequency_penalty": st.floats(-2, 2),
        "presence_penalty": st.floats(-2, 2),
        "seed": st.integers(-(2**63), 2**63 - 1),
        "n": st.integers(1, 8),
        "logprobs": st.booleans(),
        "stream": st.booleans(),
        "stop": st.lists(TEXTS, max_size=4),
        "logit_bias": st.dictionaries(st.integers(0, 99_999).map(str), st.integers(-100, 100), max_size=5),
        "tool_choice": st.sampled_from(["none", "auto", "required"]),
        "tools": st.builds(
            lambda schema: [{"type": "function", "function": {"name": "f", "parameters": schema}}], SCHEMAS
        ),
        "response_format": st.sampled_from([{"type": "text"}, {"type": "json_object"}])
        | st.builds(lambda schema: {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}, SCHEMAS),
    },
)


@pytest.fixture(scope="module")
def fuzzer(own: Platform) -> Iterator[tuple[Platform, httpx.Client, set[int]]]:
    key = own.account(credits=10**9, per_minute=100_000).key
    with httpx.Client(base_url=own.base_url, headers={"authorization": f"Bearer {key}"}, timeout=60) as client:
        yield own, client, set(processes(own))


@pytest.mark.slow
@settings(max_examples=250, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(LIKELY | LIKELY | BODIES)
def test_whatever_is_sent_is_answered_or_refused_by_workers_that_live_on(
    fuzzer: tuple[Platform, httpx.Client, set[int]], body: Any
) -> None:
    platform, client, pids = fuzzer
    answer = client.post(CHAT, content=json.dumps(body), headers={"content-type": "application/json"})
    if answer.headers["content-type"].startswith("text/event-stream"):
        assert answer.text.endswith("data: [DONE]\n\n"), answer.text
    else:
        assert answer.status_code in (200, 400, 404) or outcome(answer) == OVERLOADED, answer.text
    assert set(processes(platform)) == pids
