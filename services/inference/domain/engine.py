"""What every engine is, and what it hands over while it generates."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from servicekit.errors import DomainError
from services.inference.domain.chat import ChatRequest


class FinishReason(enum.Enum):
    """Why a choice ended."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CANCELLED = "cancelled"
    CONTENT_FILTER = "content_filter"


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of one tool call. `id` and `name` are set on its first piece only."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token's log probability and its rivals'."""

    token: str
    utf8: bytes
    logprob: float
    top: tuple[TokenLogprob, ...] = ()


@dataclass(slots=True)
class Delta:
    """New output of one choice.

    `text` holds whole characters and may be empty; `tokens` is how many output tokens it stands for, by the engine's
    own count; `finish_reason` is set on the choice's last delta. Not frozen: this is the one object made per token.
    """

    choice: int
    text: str
    tokens: int
    tool_calls: tuple[ToolCallDelta, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What is charged at the end: the engine's own counts. `estimated`: one of them had to be guessed here.

    `output_tokens` may be below the sum of the deltas' when these had to be estimated on the way; never above.
    `cached_tokens` is how much of the prompt came from a cache, `reasoning_tokens` how much of the output is not shown;
    None: the engine does not say.
    """

    prompt_tokens: int
    output_tokens: int
    estimated: bool = False
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """The prompt was counted; `max_tokens` is what the context leaves for one choice, at least 1.

    `estimated`: it is a guess, or what the answer takes will be one unless the engine's own count comes in the end.
    Exact or not, Usage may differ, in both directions.
    """

    prompt_tokens: int
    max_tokens: int
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """All choices have ended. `output_tokens` is the engine's own count: the sum of the deltas' tokens, unless an
    upstream's running count had to be estimated and was too high. The rest is as in Usage."""

    prompt_tokens: int
    output_tokens: int
    estimated: bool = False
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The generation ended with an error after `output_tokens`."""

    error: DomainError
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Withheld:
    """`output_tokens` were generated so far, of all choices, and are given out once they are checked."""

    output_tokens: int


Event = Prepared | Delta | Withheld | Finished | Failed


class Source(Protocol):
    """What an answer is read from."""

    def pause(self) -> None:
        """Reads no more for now: what it brought cannot be sent on as fast as it comes."""
        ...

    def resume(self) -> None:
        """Reads again."""
        ...


class Sink(Protocol):
    """Takes an answer as it comes. Its methods are plain functions, called on the event loop, that return at once."""

    def on_deltas(self, deltas: Sequence[Delta]) -> None:
        """What came together. All of it is taken, also while the sources are paused."""
        ...

    def on_withheld(self, output_tokens: int) -> None:
        """So many tokens were generated so far, of all choices, and are given out once they are checked."""
        ...

    def attach(self, source: Source) -> None:
        """From now on `source` brings the answer, or a part of it; paused at once where the sink is full."""
        ...

    def detach(self, source: Source) -> None:
        """It has ended."""
        ...


class Prompt(Protocol):
    """A checked, rendered and counted request, ready to be generated once."""

    @property
    def prepared(self) -> Prepared:
        """Its counts."""
        ...

    async def generate(self, max_tokens: int, sink: Sink, *, implied: bool = False) -> Usage:
        """Pushes what the engine gives into `sink`, never more than max_tokens a choice; returns its counts at the end.

        Withheld comes before the first output only. Nothing is awaited for each token: parsers call the sink.

        `implied`: nobody asked for that limit, so another server need not be told of it.

        Cancelling it stops the engine at once. Raises EngineUnavailable; InvalidRequest before the first delta.
        """
        ...


class Engine(Protocol):
    """Runs one model. Safe for concurrent use; the caller keeps to `slots` choices at a time."""

    @property
    def ready(self) -> bool:
        """Whether a request sent now would be answered."""
        ...

    @property
    def context_length(self) -> int:
        """Tokens of prompt and answer together; shrinks when another server reports less than the list says."""
        ...

    @property
    def slots(self) -> int:
        """How many choices it generates at once; may change while it runs."""
        ...

    async def prepare(self, request: ChatRequest) -> Prompt:
        """Checks the request, renders and counts its prompt; generates nothing.

        Raises InvalidRequest, ImageNotSupported, ContextTooLong, EngineUnavailable.
        """
        ...

    async def close(self) -> None:
        """Stops what the engine runs. Safe to call more than once."""
        ...
