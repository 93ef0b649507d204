"""What the pipeline gives to the HTTP side: an admitted answer, as events.

The pipeline (pipeline.py) talks to auth, quota and inference; the HTTP side (routes, SSE, JSON) knows only this file.
Every delta may be shown to the client when the sink gets it: what it stands for is covered by the hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from services.edge.peers.quota.rate_window import RateWindow

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of one tool call; id and name are set on its first piece only."""

    index: int
    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token's log probability and its rivals'."""

    token: str
    utf8: bytes
    logprob: float
    top: tuple[TokenLogprob, ...] = ()


@dataclass(slots=True)
class Delta:
    """New output of one choice. finish_reason is set on the choice's last delta."""

    choice: int
    text: str
    tool_calls: tuple[ToolCallDelta, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of the whole answer, the sum over its choices; exactly what was charged."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None = None  # of the prompt; None: the engine does not say
    reasoning_tokens: int | None = None  # of the completion, not shown


@dataclass(slots=True)
class Batch:
    """Deltas that had queued when the client could take more; in order. Never empty but for the last.

    `usage` is set on the last batch only, and by then the charge is committed (or its replay is guaranteed).
    `written` is set on the last batch of an answer that is sent whole: to be called when its last byte has left this
    process, or when nobody will read it any more. Until then its charge is given back should this process die.
    """

    deltas: list[Delta] = field(default_factory=list)
    usage: Usage | None = None
    written: Callable[[], None] | None = None


class Sink(Protocol):
    """Where the HTTP side takes an answer's deltas, by plain functions that never wait."""

    @property
    def ready(self) -> bool:
        """Whether it takes more. While it does not, deltas wait in the answer, within bounds."""
        ...

    def when_ready(self, look: Callable[[], None]) -> None:
        """Calls `look` whenever it takes more again."""
        ...

    def write(self, deltas: list[Delta]) -> None:
        """Takes deltas, in order; never none. When it returns they count as written to the client."""
        ...


class Answer(Protocol):
    """One admitted request whose first output is at hand.

    Between opening and the last batch the client may go away: then the HTTP side calls aclose(), which stops the engine
    and leaves the settlement to the quota stream's own task. aclose() after the last batch does nothing.
    """

    model: str  # the alias that was asked
    max_tokens: int  # per choice, after clipping to what the account can pay
    window: RateWindow
    charge_id: str  # its receipt's id, for the log

    async def deliver(self, sink: Sink) -> Batch:
        """Hands output to the sink as it comes, and returns the last batch, the one with usage. Called once.

        Raises a Failure when the answer fails midway, and whatever the sink raises.
        """
        ...

    async def aclose(self) -> None:
        """Ends the answer early. Safe to call at any time and more than once; never raises."""
        ...
