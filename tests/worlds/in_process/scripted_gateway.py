"""The pipeline's stand-in at its border: answers as a script says, and remembers what was asked of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from services.edge.peers.auth.principals import Principal
from services.edge.peers.errors import Failure
from services.edge.peers.quota.rate_window import RateWindow
from services.edge.peers.quota.reports import AccountUsage, ReceiptPage
from services.edge.serving.answer import Batch, Delta, Sink, Usage
from services.edge.serving.errors import (
    CredentialFault,
    CredentialInvalid,
    ModelNotAllowed,
    ModelUnknown,
    TooManyAnswers,
)
from services.edge.serving.gateway import Caller, ModelInfo
from services.edge.serving.order import AnswerOrder

KEY = "mghp_test"
ALIASES = ("muh-chat", "gpt-3.5-turbo", "gpt-4o-mini", "gpt-4o")
Step = Batch | Exception | Callable[[], Awaitable[None]]


def text_answer(*words: str, prompt: int = 7) -> list[Step]:
    """A batch a word, then the end with its usage."""
    steps: list[Step] = [Batch([Delta(0, word)]) for word in words]
    return [*steps, Batch([Delta(0, "", finish_reason="stop")]), Batch([], Usage(prompt, len(words)))]


class ScriptedAnswer:
    """Plays steps: a batch is delivered, an error raised, a callable awaited."""

    model = "muh-chat"

    charge_id = "00" * 16

    def __init__(self, steps: Sequence[Step], window: RateWindow, max_tokens: int) -> None:
        self.window = window
        self.max_tokens = max_tokens
        self.yielded = 0
        self.closed = asyncio.Event()
        self._steps = steps

    async def deliver(self, sink: Sink) -> Batch:
        takes_more = asyncio.Event()
        sink.when_ready(takes_more.set)
        for step in self._steps:
            if isinstance(step, Batch):
                while not sink.ready:
                    takes_more.clear()
                    await takes_more.wait()
                self.yielded += 1
                if step.usage is not None:
                    return step
                sink.write(step.deltas)
            elif isinstance(step, Exception):
                raise step
            else:
                await step()
        raise RuntimeError("the script has no end")

    async def aclose(self) -> None:
        self.closed.set()


@dataclass
class ScriptedGateway:
    """Set `steps`, or an error for any of the calls."""

    steps: Sequence[Step] = field(default_factory=lambda: text_answer("Hello", " there"))
    open_error: Exception | None = None
    authenticate_error: Failure | None = None
    usage_error: Failure | None = None
    before_first_token: Callable[[], Awaitable[None]] | None = None
    allowed: frozenset[str] = frozenset()
    ready: bool = True
    serving: bool = True
    window: RateWindow = field(default_factory=lambda: RateWindow(60, 59, 60.0))
    opened: list[AnswerOrder] = field(default_factory=list)
    most_at_once: int = 0
    _at_once: int = 0
    look_up_gate: asyncio.Event | None = None
    looked_up: list[str | None] = field(default_factory=list)
    uploads: list[Callable[[Failure], None]] = field(default_factory=list)
    answers: list[ScriptedAnswer] = field(default_factory=list)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    days: list[tuple[str, str]] = field(default_factory=list)
    charges_answer: ReceiptPage = field(default_factory=ReceiptPage)
    charge_pages: list[tuple[int, str]] = field(default_factory=list)
    usage_answer: AccountUsage = field(default_factory=lambda: AccountUsage(0, 0, 0, 0))

    def remembered(self, authorization: str | None) -> Caller | None:
        if authorization == f"Bearer {KEY}" and self.authenticate_error is None:
            return self._caller("acct_1")
        return None

    async def authenticate(self, authorization: str | None) -> Caller:
        self.looked_up.append(authorization)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            if self.look_up_gate is not None:
                await self.look_up_gate.wait()
            await asyncio.sleep(0)
            return self._found(authorization)
        finally:
            self._at_once -= 1

    async def over(self, count: int) -> None:
        """Until more keys than this were looked up."""
        async with asyncio.timeout(10):
            while len(self.looked_up) <= count:  # noqa: ASYNC110  (requests come when they do)
                await asyncio.sleep(0.005)

    def _found(self, authorization: str | None) -> Caller:
        if self.authenticate_error is not None:
            raise self.authenticate_error
        if authorization is not None and authorization.startswith(f"Bearer {KEY}_"):
            return self._caller(authorization.removeprefix(f"Bearer {KEY}_"))  # other accounts, by their ids
        raise CredentialInvalid(CredentialFault.KEY)

    @contextmanager
    def uploading(self, caller: Caller, end: Callable[[Failure], None]) -> Iterator[None]:
        if len(self.uploads) >= caller.principal.max_open_streams:
            raise TooManyAnswers(caller.principal.max_open_streams)
        self.uploads.append(end)
        try:
            yield
        finally:
            self.uploads.remove(end)

    def _caller(self, account_id: str) -> Caller:
        return Caller(Principal(account_id, "key_1", 1, 1, 60, 10, None, self.allowed, None, None), b"\0" * 32)

    def models(self, caller: Caller) -> list[ModelInfo]:
        return [self._info(alias) for alias in ALIASES if not self.allowed or alias in self.allowed]

    def resolve(self, caller: Caller, alias: str) -> ModelInfo:
        if alias not in ALIASES:
            raise ModelUnknown(alias)
        if self.allowed and alias not in self.allowed:
            raise ModelNotAllowed(alias)
        return self._info(alias)

    async def open(self, caller: Caller, order: AnswerOrder) -> ScriptedAnswer:
        self.opened.append(order)
        if self.open_error is not None:
            raise self.open_error
        if self.before_first_token is not None:
            self.waiting.set()
            try:
                await self.before_first_token()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        self.answers.append(ScriptedAnswer(self.steps, self.window, order.max_tokens or 1000))
        return self.answers[-1]

    async def usage(self, caller: Caller, start_day: str, end_day: str) -> AccountUsage:
        self.days.append((start_day, end_day))
        if self.usage_error is not None:
            raise self.usage_error
        return self.usage_answer

    async def charges(self, caller: Caller, limit: int, after: str) -> ReceiptPage:
        self.charge_pages.append((limit, after))
        return self.charges_answer

    @staticmethod
    def _info(alias: str) -> ModelInfo:
        return ModelInfo(alias, "muh-chat", 1_700_000_000, "muhgpt", 2048, True, False, True, True)
