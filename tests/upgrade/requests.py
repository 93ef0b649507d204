"""What clients send beside the load: a request of every kind that both versions serve, and every kind of refusal."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from tests.faults.load import PLENTY
from tests.pictures import data_uri, picture, written
from tests.worlds.cluster import Cluster

TIMEOUT = 90.0  # seconds, on a busy machine
WEATHER = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 8}}, "required": ["city"]}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Ulm"}'}}


def tool(**fields: object) -> dict[str, object]:
    """A function, as clients declare it."""
    return {"type": "function", "function": {"name": "weather", "parameters": WEATHER, **fields}}


FORCED = {"type": "function", "function": {"name": "weather"}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "place", "schema": WEATHER, "strict": True}}
# Names and what is sent beside the model, a message and max_tokens.
SERVED: dict[str, dict[str, Any]] = {
    "plain": {},
    "without max_tokens": {"max_tokens": None, "stop": ["e"]},
    "streamed": {"stream": True, "stream_options": {"include_usage": True}},
    "three choices": {"n": 3},
    "three choices, streamed": {"n": 3, "stream": True, "stream_options": {"include_usage": True}},
    "sampling": {"temperature": 0.7, "top_p": 0.9, "seed": 7, "presence_penalty": 0.5, "frequency_penalty": -0.5},
    "log probabilities": {"logprobs": True, "top_logprobs": 3},
    "who asks": {"user": "ada"},
    "tool that may be called": {"tools": [tool()]},
    "tool, strict": {"tools": [tool(strict=True)], "max_tokens": 60},
    "tool, not strict": {"tools": [tool(strict=False)], "parallel_tool_calls": False},
    "tool, forced": {"tools": [tool(strict=True)], "tool_choice": FORCED, "max_tokens": 60},
    "tool, forced and streamed": {"tools": [tool()], "tool_choice": "required", "stream": True, "max_tokens": 60},
    "tool's answer": {
        "tools": [tool()],
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "12 degrees"},
        ],
    },
    "schema": {"response_format": SCHEMA, "max_tokens": 60},
    "JSON": {"response_format": {"type": "json_object"}, "max_tokens": 60},
}
LONG = "word " * 20_000
EYES = [{"type": "image_url", "image_url": {"url": data_uri(written(picture()))}}]
# Names, what is sent, and the status and code of the answer.
REFUSED: dict[str, tuple[dict[str, Any], int, str | None]] = {
    "context too small": ({"messages": [{"role": "user", "content": LONG}]}, 400, "context_length_exceeded"),
    "no such model": ({"model": "none-such"}, 404, "model_not_found"),
    "not valid": ({"temperature": 9}, 400, None),
}


@dataclass
class Found:
    """How many requests were made, and what was wrong with them."""

    requests: int = 0
    problems: list[str] = field(default_factory=list)


async def every_kind(cluster: Cluster, found: Found) -> None:
    """Sends each kind once to each edge, each from an account of its own, and compares answers with receipts."""
    async with httpx.AsyncClient(timeout=TIMEOUT) as http:
        for edge in cluster.edges:
            address = f"http://{cluster.address(edge)}"
            for name, fields in SERVED.items():
                await _served(cluster, http, address, name, fields, found)
            for name, (fields, status, code) in REFUSED.items():
                await _refused(cluster, http, address, name, fields, status, code, found)
            await _refused_money(cluster, http, address, found)
            await _reads(cluster, http, address, found)
            await _revoked(cluster, http, address, found)


def body(fields: dict[str, Any]) -> dict[str, Any]:
    """A request with these fields."""
    whole = {"model": "muh-chat", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 12, **fields}
    return {name: value for name, value in whole.items() if value is not None}


async def _post(http: httpx.AsyncClient, address: str, key: str, fields: dict[str, Any]) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    return await http.post(f"{address}/v1/chat/completions", json=body(fields), headers=headers)


async def _served(
    cluster: Cluster, http: httpx.AsyncClient, address: str, name: str, fields: dict[str, Any], found: Found
) -> None:
    account = await cluster.office.account(PLENTY)
    response = await _post(http, address, account.key, fields)
    found.requests += 1
    if response.status_code != 200 or b'"error"' in response.content:
        found.problems.append(f"{name}: {response.status_code} {response.text[:300]}")
        return
    await cluster.office.until_held(account, held=False)
    charges = await cluster.office.charges(account)
    balance, _ = await cluster.office.money(account)
    if len(charges) != 1 or charges[0].state != charges[0].STATE_SETTLED or not charges[0].credits:
        found.problems.append(f"{name}: not charged once: {charges}")
        return
    usage = _usage(response)
    paid = (charges[0].prompt_tokens, charges[0].output_tokens)
    if usage is not None and usage != paid:
        found.problems.append(f"{name}: told {usage}, paid {paid}")
    if balance != account.credits - charges[0].credits:
        found.problems.append(f"{name}: balance {balance} after a charge of {charges[0].credits}")


def _usage(response: httpx.Response) -> tuple[int, int] | None:
    if response.headers["content-type"].startswith("application/json"):
        usage = response.json()["usage"]
    else:
        events = [line[6:] for line in response.content.split(b"\n") if line.startswith(b"data: {")]
        usage = next((each["usage"] for each in map(orjson.loads, events) if each.get("usage")), None)
    return (usage["prompt_tokens"], usage["completion_tokens"]) if usage else None


async def _refused(
    cluster: Cluster,
    http: httpx.AsyncClient,
    address: str,
    name: str,
    fields: dict[str, Any],
    status: int,
    code: str | None,
    found: Found,
) -> None:
    account = await cluster.office.account(PLENTY)
    _expect(name, await _post(http, address, account.key, fields), status, code, found)


async def _refused_money(cluster: Cluster, http: httpx.AsyncClient, address: str, found: Found) -> None:
    poor = await cluster.office.account(0)
    _expect("no credits", await _post(http, address, poor.key, {}), 402, "insufficient_credits", found)
    slow = await cluster.office.account(PLENTY, per_minute=1)
    _expect("first of a minute", await _post(http, address, slow.key, {}), 200, None, found)
    _expect("second of a minute", await _post(http, address, slow.key, {}), 429, "rate_limit_exceeded", found)


async def _reads(cluster: Cluster, http: httpx.AsyncClient, address: str, found: Found) -> None:
    account = await cluster.office.account(PLENTY)
    headers = {"authorization": f"Bearer {account.key}"}
    _expect("before reading", await _post(http, address, account.key, {}), 200, None, found)
    for path in ("models", "models/muh-chat", "usage", "usage/charges"):
        _expect(path, await http.get(f"{address}/v1/{path}", headers=headers), 200, None, found)


async def _revoked(cluster: Cluster, http: httpx.AsyncClient, address: str, found: Found) -> None:
    account = await cluster.office.account(PLENTY)
    _expect("before revoking", await _post(http, address, account.key, {}), 200, None, found)
    await cluster.office.revoke(account)
    async with asyncio.timeout(TIMEOUT):
        _expect("after revoking", await _post(http, address, account.key, {}), 401, "invalid_api_key", found)


def _expect(name: str, response: httpx.Response, status: int, code: str | None, found: Found) -> None:
    found.requests += 1
    told = response.json().get("error") or {} if response.status_code >= 400 else {}
    if response.status_code != status or (code is not None and told.get("code") != code):
        found.problems.append(f"{name}: expected {status} {code}, got {response.status_code} {response.text[:300]}")
