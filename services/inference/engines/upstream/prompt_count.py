"""How many tokens a prompt takes, before anything is held for it: counted here, or asked of the upstream.

A target's own tokenizer (`tokenizer:` in the model list) counts here. Without one a server that can count is asked;
what no server counts is estimated.
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from servicekit.observability.logging import get_logger
from services.inference.domain.chat import ChatRequest
from services.inference.domain.errors import TargetFailed
from services.inference.engines.upstream.client import UpstreamClient
from services.inference.engines.upstream.tokens.counter import PromptTokens, TokenCounter

log = get_logger(__name__)

TIMEOUT = 5.0  # seconds for a count; after that it is counted here
AT_ONCE = 16


class PromptCounter:
    """Counts prompts for one upstream. `server` is one of the model list's SERVERS."""

    def __init__(self, client: UpstreamClient, base_url: str, server: str, counter: TokenCounter, target: str) -> None:
        self._client = client
        self._root = base_url.removesuffix("/v1")
        self._base_url = base_url
        self._counter = counter
        self._target = target
        asks = {"vllm": self._ask_vllm, "llama.cpp": self._ask_llama}
        self._ask = asks.get(server) if counter.estimates else None
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def count(self, request: ChatRequest, body: dict[str, Any]) -> PromptTokens:
        """Raises TargetFailed when the upstream cannot be reached, Overloaded when too many wait to be counted here."""
        if self._ask is not None:
            try:
                async with self._turn:
                    counted = await self._ask(request, body)
                if counted is not None and counted.tokens > 0:
                    return counted
            except TargetFailed as error:
                if error.outcome == "connect":
                    raise
            except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
                pass
            log.warning("prompt_not_counted", target=self._target)
        return await self._counter.count(request, body.get("tools", ()))

    async def _ask_vllm(self, request: ChatRequest, body: dict[str, Any]) -> PromptTokens | None:
        """vLLM's /tokenize renders a conversation; of an image it counts only the place."""
        asked: dict[str, Any] = {name: body[name] for name in ("model", "messages", "tools") if name in body}
        answer = await self._post(f"{self._root}/tokenize", {**asked, "add_generation_prompt": True})
        if answer is None:
            return None
        images = self._counter.count_images(request)
        return PromptTokens(int(answer["count"]) + images, images > 0, images)

    async def _ask_llama(self, request: ChatRequest, body: dict[str, Any]) -> PromptTokens | None:
        """llama.cpp counts a whole request, images too; an older one renders and tokenizes texts."""
        answer = await self._post(f"{self._root}/v1/chat/completions/input_tokens", body)
        if answer is not None:
            return PromptTokens(int(answer["input_tokens"]), False)
        if request.has_images:
            return None
        rendered = await self._post(f"{self._root}/apply-template", body)
        if rendered is None:
            return None
        text = {"content": rendered["prompt"], "add_special": True, "parse_special": True}
        tokenized = await self._post(f"{self._root}/tokenize", text)
        return None if tokenized is None else PromptTokens(len(tokenized["tokens"]), False)

    async def _post(self, url: str, body: dict[str, Any]) -> Any:
        """The answer's JSON; None when there is none to be had this way."""
        status, data = await self._client.post(url, orjson.dumps(body), TIMEOUT)
        return orjson.loads(data) if status == 200 else None
