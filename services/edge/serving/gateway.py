"""What the endpoints ask of serving: pipeline.py answers, or in tests a script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from services.edge.peers.auth.principals import Principal
from services.edge.peers.errors import Failure
from services.edge.peers.quota.reports import AccountUsage, ReceiptPage
from services.edge.serving.answer import Answer
from services.edge.serving.order import AnswerOrder


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request: what auth says of the key, and the key's digest."""

    principal: Principal
    key_digest: bytes


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One alias that clients may ask for. `created` is Unix seconds, `context_length` prompt and output tokens."""

    alias: str
    model: str
    created: int
    owned_by: str
    context_length: int
    supports_tools: bool
    supports_vision: bool
    supports_json: bool
    ready: bool


class Gateway(Protocol):
    """The platform behind the routes. Every method raises Failures and nothing else on purpose."""

    @property
    def ready(self) -> bool:
        """Whether this edge is to be sent requests: it served once, and is not draining."""
        ...

    @property
    def serving(self) -> bool:
        """Whether requests would be served now."""
        ...

    def remembered(self, authorization: str | None) -> Caller | None:
        """The caller when its key is known here; None when auth must be asked. Raises Unauthenticated, Unavailable."""
        ...

    async def authenticate(self, authorization: str | None) -> Caller:
        """Whose key the Authorization header holds. Raises Unauthenticated, Unavailable."""
        ...

    def uploading(self, caller: Caller, end: Callable[[Failure], None]) -> AbstractContextManager[object]:
        """In the block a body of this caller is arriving: it counts as an open answer, and `end` is called with an
        error when it must end early (its key is revoked, the edge stops). Raises TooManyAnswers."""
        ...

    def models(self, caller: Caller) -> Sequence[ModelInfo]:
        """The models that the caller may use. Raises ModelsUnknown when inference never told any."""
        ...

    def resolve(self, caller: Caller, alias: str) -> ModelInfo:
        """One of them. Raises ModelUnknown, ModelNotAllowed, ModelsUnknown."""
        ...

    async def open(self, caller: Caller, order: AnswerOrder) -> Answer:
        """Admits a request and waits for its first output. Raises a Failure when there is none."""
        ...

    async def usage(self, caller: Caller, start_day: str, end_day: str) -> AccountUsage:
        """Consumption in UTC days, both inclusive, as YYYY-MM-DD. Raises QueryRefused, Unavailable."""
        ...

    async def charges(self, caller: Caller, limit: int, after: str) -> ReceiptPage:
        """Receipts, newest first, older than the one with the id `after`. Raises QueryRefused, Unavailable."""
        ...
