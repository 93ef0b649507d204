"""An engine over several targets: one is chosen, and before the first output another takes over when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from servicekit.clock import Clock
from services.inference import metrics
from services.inference.domain.chat import ChatRequest
from services.inference.domain.engine import Delta, Prepared, Prompt, Sink, Usage
from services.inference.domain.errors import EngineDied, EngineUnavailable, InvalidRequest, TargetFailed
from services.inference.engines.routed.budget import MOST_ATTEMPTS, RetryBudget, backoff
from services.inference.engines.routed.choosing import Routes
from services.inference.engines.routed.route import Route
from services.inference.engines.sinks import Passing

LEAST_BUDGET = 10  # retries that even a small engine may save up


class RoutedEngine:
    """Implements services/inference/domain/engine.py over a model's targets."""

    def __init__(
        self,
        model: str,
        routes: Sequence[Route],
        clock: Clock,
        random: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.model = model
        self.routes = Routes(routes)
        self.clock = clock
        self.random = random
        self.sleep = sleep
        metrics.TARGET_RETRIES.labels(model)  # told as 0 from the start, so that the first one is an increase
        self.budget = RetryBudget(max(LEAST_BUDGET, sum(route.engine.slots for route in routes)))

    @property
    def context_length(self) -> int:
        """The largest of the targets'."""
        return max(route.engine.context_length for route in self.routes.all)

    @property
    def ready(self) -> bool:
        return self.routes.ready

    @property
    def slots(self) -> int:
        return self.routes.slots

    async def prepare(self, request: ChatRequest) -> RoutedPrompt:
        """See domain/engine.py."""
        tried: list[Route] = []
        failure = EngineUnavailable("none of the model's targets is healthy")
        while (route := self.routes.for_preparing(tried, request.account)) is not None:
            tried.append(route)
            try:
                return RoutedPrompt(self, request, route, await route.engine.prepare(request))
            except EngineUnavailable as error:
                route.failed(error, request.account)
                route.count(outcome_of(error))
                if isinstance(error, EngineDied):  # another target's might die too
                    raise
                failure = error
        raise failure

    async def close(self) -> None:
        """Stops all targets."""
        await asyncio.gather(*(route.engine.close() for route in self.routes.all))


@dataclass
class RoutedPrompt:
    """A prompt that one target has counted. Another that generates it counts it again."""

    engine: RoutedEngine
    request: ChatRequest
    route: Route
    prompt: Prompt

    @property
    def prepared(self) -> Prepared:
        """As the first target counted. Another that answers counts for itself (Usage)."""
        return self.prompt.prepared

    async def generate(self, max_tokens: int, sink: Sink, *, implied: bool = False) -> Usage:
        """See domain/engine.py."""
        engine, choices = self.engine, self.request.sampling.choices
        engine.budget.request()
        tried: list[Route] = []
        while True:
            route = await engine.routes.take(choices, tried, self.route, self.request.account)
            attempt = Attempt(engine, route, self.request, sink)
            try:
                usage = await self._generate(route, max_tokens, attempt, implied)
                attempt.answered()
                return usage
            except EngineUnavailable as error:
                attempt.failed(error)
                tried.append(route)
                stays = isinstance(error, EngineDied) or _is_of_the_request(error)
                last = attempt.started or stays or len(tried) >= MOST_ATTEMPTS
                if last or not engine.budget.take():
                    raise
            except InvalidRequest:
                attempt.refused()
                raise
            finally:
                attempt.end()
            metrics.TARGET_RETRIES.labels(engine.model).inc()
            await engine.sleep(backoff(len(tried), engine.random()))

    async def _generate(self, route: Route, max_tokens: int, sink: Sink, implied: bool) -> Usage:
        prompt = self.prompt if route is self.route else await route.engine.prepare(self.request)
        most = min(max_tokens, prompt.prepared.max_tokens)
        return await prompt.generate(most, sink, implied=implied)


class Attempt(Passing):
    """One request to one target: occupies it, and reports to its health and the metrics how it went, once."""

    def __init__(self, engine: RoutedEngine, route: Route, request: ChatRequest, below: Sink) -> None:
        super().__init__(below)
        self._engine = engine
        self._route = route
        self._choices = request.sampling.choices
        self._account = request.account
        self._probes = route.health.enter(request.account)
        self._sent = engine.clock.monotonic()
        self._outcome = "cancelled"

    def on_deltas(self, deltas: Sequence[Delta]) -> None:
        """See Sink."""
        if not self.started:
            self.answered()
        self.below.on_deltas(deltas)

    def answered(self) -> None:
        """Output came."""
        if not self.started:
            self.started, self._outcome = True, "answered"
            self._route.succeeded(self._account)
            self._route.observe_first(self._engine.clock.monotonic() - self._sent)

    def refused(self) -> None:
        """The request is wrong: the target works."""
        self._outcome = "refused"
        self._route.succeeded(self._account)

    def failed(self, error: EngineUnavailable) -> None:
        """The target did not answer as it should."""
        self._outcome = outcome_of(error)
        if _is_of_the_request(error):
            self._route.succeeded(self._account)
        else:
            self._route.failed(error, self._account)

    def end(self) -> None:
        """Whatever came of it."""
        for breaker in self._probes:
            breaker.leave()
        self._route.count(self._outcome)
        self._engine.routes.release(self._route, self._choices)


def _is_of_the_request(error: EngineUnavailable) -> bool:
    return isinstance(error, TargetFailed) and error.healthy


def outcome_of(error: EngineUnavailable) -> str:
    """A fixed word for metrics."""
    return error.outcome if isinstance(error, TargetFailed) else "failed"
