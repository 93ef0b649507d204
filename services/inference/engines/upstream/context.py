"""What an upstream's list of models says of it: how much context it has, and which server it is."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Iterator
from typing import Any

from servicekit.clock import Clock
from servicekit.observability.logging import get_logger
from services.inference.domain.errors import TargetFailed
from services.inference.engines.upstream.client import UpstreamClient
from services.inference.engines.upstream.values import count, items, mapping, parse

log = get_logger(__name__)

TIMEOUT = 5.0  # seconds for the server's answer
PATIENCE = 1.0  # seconds that a request waits for it
RETRY_INTERVAL = 30.0  # seconds after a server that could not be asked
MIN_CONTEXT = 16  # tokens; a smaller number is no context
# vLLM's and SGLang's, OpenRouter's and others', LM Studio's; llama.cpp's are in `meta`.
FIELDS = ("max_model_len", "context_length", "context_window", "max_context_length", "n_ctx", "n_ctx_train")


# `owned_by`, as these servers write it, and what the model list calls them.
OWNERS = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llama.cpp"}


class Context:
    """The context of one target in tokens (`listed`: the model list's), and what kind of server it calls itself."""

    def __init__(
        self, client: UpstreamClient, base_url: str, model: str, listed: int, clock: Clock, target: str
    ) -> None:
        self.tokens = listed
        self.server = ""
        self._client = client
        self._base_url = base_url
        self._model = model
        self._clock = clock
        self._target = target
        self._next_look = 0.0  # monotonic; inf when the server has answered
        self._looked = 0.0  # monotonic, when the server has answered last
        self._looking: asyncio.Task[None] | None = None

    def look(self) -> None:
        """Asks the server, once. One that cannot be asked is asked again with later requests."""
        if self._looking is None and self._clock.monotonic() >= self._next_look:
            self._looking = asyncio.create_task(self._look())

    def look_again(self) -> None:
        """The server found a request too long: it may have less context than before.

        What its error says is not learnt from: it may quote the client's own words.
        """
        if self._next_look == math.inf and self._clock.monotonic() >= self._looked + RETRY_INTERVAL:
            self._next_look = 0.0
        self.look()

    async def settled(self) -> None:
        """Waits a little for an answer that is under way."""
        self.look()
        if self._looking is not None:
            await asyncio.wait({self._looking}, timeout=PATIENCE)

    def reported(self, tokens: int) -> None:
        """The server says that it has so much. The smaller number wins."""
        if MIN_CONTEXT <= tokens < self.tokens:
            log.warning("context_shortened", target=self._target, wanted=self.tokens, reported=tokens)
            self.tokens = tokens

    async def close(self) -> None:
        """Stops asking."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _look(self) -> None:
        try:
            status, body = await self._client.get(f"{self._base_url}/models", TIMEOUT)
            self._looked = self._clock.monotonic()
            self._next_look = math.inf if status < 500 else self._clock.monotonic() + RETRY_INTERVAL
            if status == 200:
                with contextlib.suppress(ValueError):
                    for model in _models(parse(body), self._model):
                        self.server = OWNERS.get(str(model.get("owned_by")).lower(), self.server)
                        for tokens in _contexts(model):
                            self.reported(tokens)
        except TargetFailed:
            self._next_look = self._clock.monotonic() + RETRY_INTERVAL
        finally:
            self._looking = None


def _models(body: Any, model: str) -> list[dict[str, Any]]:
    """What the list of a server's models says of this one; of the only one, whatever it is called."""
    models = [mapping(each) for each in items(mapping(body).get("data"))]
    return [each for each in models if each.get("id") == model] or (models if len(models) == 1 else [])


def _contexts(model: dict[str, Any]) -> Iterator[int]:
    for fields in (model, mapping(model.get("meta"))):
        yield from (tokens for field in FIELDS if (tokens := count(fields.get(field))))
