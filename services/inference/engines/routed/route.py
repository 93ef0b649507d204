"""One target of a model, with what is known of its health and load."""

from __future__ import annotations

from collections.abc import Callable

from servicekit.clock import Clock
from servicekit.observability.logging import get_logger
from services.inference import metrics
from services.inference.domain.engine import Engine
from services.inference.domain.errors import EngineUnavailable, TargetFailed
from services.inference.engines.routed.breaker import State
from services.inference.engines.routed.health import Health

log = get_logger(__name__)

LONGEST_RETRY_AFTER = 3600.0  # seconds that a target may ask to be left alone


class Route:
    """Health, load and counts of a target. `outstanding` counts choices that it generates now."""

    def __init__(
        self,
        model: str,
        name: str,
        engine: Engine,
        clock: Clock,
        random: Callable[[], float],
        *,
        weight: int = 1,
        order: int = 1,
    ) -> None:
        self.name = name
        self.engine = engine
        self.weight = weight
        self.order = order
        self.outstanding = 0
        self.picked = 0
        self.health = Health(clock, random)
        self._model = model
        self._clock = clock
        self._paused_until = 0.0
        metrics.TARGET_CIRCUIT.labels(model, name).set_function(lambda: self.health.state.value)

    def open(self, account: str = "") -> bool:
        """Left alone because it failed: for all, or also for this account."""
        return self.health.open(account) or not self.engine.ready

    @property
    def pause(self) -> float:
        """Seconds for which it asked not to be called; 0 when it did not."""
        return max(0.0, self._paused_until - self._clock.monotonic())

    def usable(self, account: str) -> bool:
        """A request of this account may be sent now."""
        return self.engine.ready and self.health.allows(account) and not self.pause

    def has_room(self, choices: int) -> bool:
        """Whether so many choices more keep within its slots; more choices than slots take all of them."""
        return self.outstanding + min(choices, self.engine.slots) <= self.engine.slots

    def load(self, choices: int) -> float:
        """What it would have to do for its weight with so many choices more."""
        return (self.outstanding + choices) / self.weight

    def succeeded(self, account: str) -> None:
        """It answered a request of this account."""
        was = self.health.state
        self.health.succeeded(account)
        if was is not State.CLOSED and self.health.state is State.CLOSED:
            log.info("target_back", model=self._model, target=self.name)

    def failed(self, error: EngineUnavailable, account: str) -> None:
        """It did not answer as it should; a target that asked for a pause is not ill."""
        if isinstance(error, TargetFailed) and error.pause is not None:
            pause = min(error.pause, LONGEST_RETRY_AFTER)
            self._paused_until = self._clock.monotonic() + pause
            log.warning("target_paused", model=self._model, target=self.name, seconds=pause)
            return
        was = self.health.state
        self.health.failed(account, reached=not isinstance(error, TargetFailed) or error.outcome != "connect")
        log.warning("target_failed", model=self._model, target=self.name, detail=error.message)
        if was is not State.OPEN and self.health.state is State.OPEN:
            log.error("target_left_alone", model=self._model, target=self.name)

    def count(self, outcome: str) -> None:
        """A request to it ended so."""
        metrics.TARGET_REQUESTS.labels(self._model, self.name, outcome).inc()

    def observe_first(self, seconds: float) -> None:
        """How long its first output took."""
        metrics.TARGET_FIRST_TOKEN.labels(self._model, self.name).observe(seconds)
