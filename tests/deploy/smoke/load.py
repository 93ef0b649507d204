"""Streams chats without pause and tells what came of each: runs beside the platform, with httpx and nothing of ours.

It is passed to `python -c` in the operator's pod, so it stands alone. stdin: a line of JSON {"base_url", "keys"}, then
any line to stop it. stdout: a line `streaming` when every seat had an answer, and at the end one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import httpx

# The shipped model never ends by itself when it may not say a control token: it goes on to max_tokens.
ENDLESS = {str(token): -100 for token in range(8)}
MAX_TOKENS = 400
WHOLE = 4  # one answer in so many is not streamed
PATIENCE = 120.0  # seconds without a byte
ATTEMPTS = 3  # at a request that was refused before its first token, as the official SDKs do
PAUSE = 0.5  # seconds before the next


async def main() -> None:
    """One seat for each key; each asks again when its last answer has ended."""
    lines = asyncio.get_running_loop()
    config = json.loads(await lines.run_in_executor(None, sys.stdin.readline))
    stopping, answered = asyncio.Event(), asyncio.Event()
    requests: list[dict[str, Any]] = []
    waiting = set(config["keys"])

    async def seat(key: str) -> None:
        while not stopping.is_set():
            requests.append(await ask(config["base_url"], key, whole=len(requests) % WHOLE == 0))
            waiting.discard(key)
            if not waiting:
                answered.set()

    async with asyncio.TaskGroup() as group:
        for key in config["keys"]:
            group.create_task(seat(key))
        await answered.wait()
        print("streaming", flush=True)  # noqa: T201
        await lines.run_in_executor(None, sys.stdin.readline)
        stopping.set()
    print(json.dumps(requests))  # noqa: T201


async def ask(base_url: str, key: str, *, whole: bool) -> dict[str, Any]:
    """One request on a connection of its own, so that it goes where new connections go."""
    told: dict[str, Any] = {"key": key, "whole": whole, "began": time.time(), "tokens": 0, "refused": []}
    body = {
        "model": "muh-chat",
        "messages": [{"role": "user", "content": "Count to a thousand."}],
        "max_tokens": MAX_TOKENS,
        "stream": not whole,
        "logprobs": True,  # one entry a token, however many tokens a chunk carries
        "logit_bias": ENDLESS,
    }
    for attempt in range(ATTEMPTS):
        told["problem"] = None
        status = await attempt_once(base_url, key, body, told)
        if status != 503:
            break
        told["refused"].append(told["problem"])
        if attempt < ATTEMPTS - 1:
            await asyncio.sleep(PAUSE)
    told["ended"] = time.time()
    return told


async def attempt_once(base_url: str, key: str, body: dict[str, Any], told: dict[str, Any]) -> int:
    """The status; 0 when the connection failed."""
    headers = {"authorization": f"Bearer {key}"}
    try:
        async with (
            httpx.AsyncClient(timeout=PATIENCE, trust_env=False) as client,
            client.stream("POST", f"{base_url}/chat/completions", json=body, headers=headers) as answer,
        ):
            if answer.status_code != 200:
                told["problem"] = f"HTTP {answer.status_code}: {(await answer.aread()).decode()}"
            else:
                await (read_stream if body["stream"] else read_whole)(answer, told)
            return answer.status_code
    except httpx.HTTPError as error:
        told["problem"] = f"{type(error).__name__}: {error}"
        return 0


async def read_whole(answer: httpx.Response, told: dict[str, Any]) -> None:
    """An answer in one piece."""
    document = json.loads(await answer.aread())
    told["tokens"] = len(document["choices"][0]["logprobs"]["content"])
    told["usage"] = document["usage"]


async def read_stream(answer: httpx.Response, told: dict[str, Any]) -> None:
    """Server-sent events; a stream that ends without [DONE], or with an error, was broken."""
    async for line in answer.aiter_lines():
        if line == "data: [DONE]":
            return
        if not line.startswith("data: "):
            continue
        chunk = json.loads(line.removeprefix("data: "))
        if "error" in chunk:
            told["problem"] = f"broken after {told['tokens']} tokens: {chunk['error']}"
            return
        for choice in chunk["choices"]:
            told["tokens"] += len((choice.get("logprobs") or {}).get("content") or [])
        told["usage"] = chunk.get("usage") or told.get("usage")
    told["problem"] = f"the stream ended after {told['tokens']} tokens without [DONE]"


if __name__ == "__main__":
    asyncio.run(main())
