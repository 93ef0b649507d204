"""What an upstream's engine counts with: its tokenizer, or o200k_base as an estimate where none is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servicekit.observability.logging import get_logger
from services.inference.domain import spent
from services.inference.domain.chat import ChatRequest
from services.inference.engines.upstream.tokens.conversation import pictures_of, size_of, to_conversation
from services.inference.engines.upstream.tokens.encodings import BUNDLED, load_encoding
from services.inference.engines.upstream.tokens.openai_framing import frame, image_tokens
from services.inference.engines.upstream.tokens.processes import CannotCount, CountingProcesses
from services.inference.engines.upstream.tokens.running_count import RunningCount
from services.inference.engines.upstream.tokens.template import ChatTemplate, read_template

log = get_logger(__name__)

DEFAULT = "o200k_base"
IN_PLACE = 4096  # characters that are counted on the event loop: 0.5 ms, 1 ms where they take three bytes each
BYTES_A_TOKEN = 4  # where even the processes fail


@dataclass(frozen=True)
class PromptTokens:
    """How many a prompt has. `estimated`: there is a guess in it, or it is another model's count.

    `of_images` of them are those of images, which differ most between models.
    """

    tokens: int
    estimated: bool
    of_images: int = 0


class TokenCounter:
    """Counts for one target. `tokenizer` is one of BUNDLED, the path of a tokenizer.json, or empty: an estimate."""

    def __init__(self, tokenizer: str, processes: CountingProcesses, image_tokens: int | None) -> None:
        """`image_tokens`: what an image takes, None for OpenAI's rule. Raises OSError and ValueError."""
        self._tokenizer = tokenizer or DEFAULT
        self._encoding = load_encoding(self._tokenizer)
        if self._tokenizer not in BUNDLED:
            ChatTemplate(*read_template(Path(self._tokenizer)))  # fails now rather than at each request
        self._processes = processes
        self._image_tokens = image_tokens
        self.estimates = not tokenizer

    async def count(self, request: ChatRequest, tools: Sequence[dict[str, Any]] = ()) -> PromptTokens:
        """The prompt's tokens. `tools`: as they are sent (request.py). Raises Overloaded when too many wait."""
        size = size_of(request)
        if size <= IN_PLACE and self._tokenizer in BUNDLED:
            with spent.counted():
                framed = frame(to_conversation(request, tools), self._tokenizer)
                tokens, estimated = framed.tokens + self._encoding.count_all(framed.texts), framed.estimated
        else:
            tokens, estimated = await self._count_elsewhere(to_conversation(request, tools), request.account, size)
        images = self.count_images(request)
        return PromptTokens(max(1, tokens + images), bool(estimated or self.estimates or images), images)

    def count_images(self, request: ChatRequest) -> int:
        """What its images take, by the list's image_tokens or by OpenAI's rule; an estimate either way."""
        return sum(self._image_tokens or image_tokens(*size) for size in pictures_of(request))

    def running(self) -> RunningCount:
        """A count of text that is still coming."""
        return RunningCount(self._encoding)

    async def _count_elsewhere(self, conversation: dict[str, Any], account: str, size: int) -> tuple[int, bool]:
        try:
            return await self._processes.count(account, self._tokenizer, conversation)
        except CannotCount as error:
            log.warning("prompt_not_counted", tokenizer=self._tokenizer, cause=str(error))
            return size // BYTES_A_TOKEN, True
