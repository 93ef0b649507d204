"""How many tokens a prompt takes, before anything is held for it: asked of the upstream, or an upper bound."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import orjson

from servicekit.logging import get_logger
from services.inference.domain.chat import ChatRequest
from services.inference.domain.errors import TargetFailed
from services.inference.engines.upstream.client import UpstreamClient

log = get_logger(__name__)

TIMEOUT = 5.0  # seconds for a count; after that the bound will do
AT_ONCE = 16
# What templates write around a message, a call and a tool, and once a prompt (a default system message, rules of how to
# call), in tokens. Generous: what is held too much comes back, what is held too little is never paid.
A_MESSAGE, A_CALL, A_TOOL, A_PROMPT = 16, 32, 64, 256
BYTES_A_TOKEN = 4  # likely, for what the context leaves; an upstream says itself what does not fit


@dataclass(frozen=True)
class PromptCount:
    """`most`: the count, or an upper bound when not `exact`; `likely`: what the context is thought to lose."""

    most: int
    likely: int
    exact: bool = False


class PromptCounter:
    """Counts prompts for one upstream. `server` is one of the model list's SERVERS."""

    def __init__(self, client: UpstreamClient, base_url: str, server: str, image_tokens: int, target: str) -> None:
        self._client = client
        self._root = base_url.removesuffix("/v1")
        self._base_url = base_url
        self._image_tokens = image_tokens
        self._target = target
        self._ask = {"vllm": self._ask_vllm, "llama.cpp": self._ask_llama}.get(server)
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def count(self, request: ChatRequest, body: dict[str, Any]) -> PromptCount:
        """Raises TargetFailed when the upstream cannot be reached; whatever else goes wrong, the bound is taken."""
        if self._ask is not None:
            try:
                async with self._turn:
                    tokens = await self._ask(request, body)
                if tokens is not None and tokens > 0:
                    return PromptCount(tokens, tokens, exact=True)
            except TargetFailed as error:
                if error.outcome == "connect":
                    raise
            except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
                pass
            log.warning("prompt_not_counted", target=self._target)
        return self.bound(request)

    def bound(self, request: ChatRequest) -> PromptCount:
        """No tokenizer makes more tokens than a text has bytes; images by the list's image_tokens."""
        text = calls = images = 0
        for message in request.messages:
            text += len(message.text.encode()) + len(message.name.encode()) + len(message.tool_call_id)
            text += sum(len((call.name + call.arguments + call.id).encode()) for call in message.tool_calls)
            calls += len(message.tool_calls)
            images += sum(not isinstance(part, str) for part in message.content)
        # Templates write schemas with spaces and line breaks of their own.
        tools = sum(len((tool.name + tool.description).encode()) + 3 * len(tool.parameters) for tool in request.tools)
        format_ = 3 * len(request.response_format.schema)  # which some servers show to the model
        around = A_PROMPT + A_MESSAGE * len(request.messages) + A_CALL * calls + A_TOOL * len(request.tools)
        seen = images * self._image_tokens
        return PromptCount(text + tools + format_ + around + seen, (text + tools + format_) // BYTES_A_TOKEN + seen)

    async def _ask_vllm(self, request: ChatRequest, body: dict[str, Any]) -> int | None:
        """vLLM's /tokenize renders a conversation; of an image it counts only the place."""
        asked: dict[str, Any] = {name: body[name] for name in ("model", "messages", "tools") if name in body}
        answer = await self._post(f"{self._root}/tokenize", {**asked, "add_generation_prompt": True})
        if answer is None:
            return None
        images = sum(not isinstance(part, str) for message in request.messages for part in message.content)
        return int(answer["count"]) + images * self._image_tokens

    async def _ask_llama(self, request: ChatRequest, body: dict[str, Any]) -> int | None:
        """llama.cpp counts a whole request, images too; an older one renders and tokenizes texts."""
        answer = await self._post(f"{self._root}/v1/chat/completions/input_tokens", body)
        if answer is not None:
            return int(answer["input_tokens"])
        if request.has_images:
            return None
        rendered = await self._post(f"{self._root}/apply-template", body)
        if rendered is None:
            return None
        text = {"content": rendered["prompt"], "add_special": True, "parse_special": True}
        tokenized = await self._post(f"{self._root}/tokenize", text)
        return None if tokenized is None else len(tokenized["tokens"])

    async def _post(self, url: str, body: dict[str, Any]) -> Any:
        """The answer's JSON; None when there is none to be had this way."""
        status, data = await self._client.post(url, orjson.dumps(body), TIMEOUT)
        return orjson.loads(data) if status == 200 else None
