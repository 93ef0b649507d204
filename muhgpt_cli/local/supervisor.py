"""Keeps the services running: starts them in order, restarts what crashes, stops them in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from muhgpt_cli.local.service import START_FAILED, ServiceFailed, ServiceProcess
from servicekit.clock import Clock
from servicekit.process.backoff import Backoff

MAX_DEATHS = 3
DEATHS_WITHIN = 30.0  # seconds
FIRST_PAUSE, MAX_PAUSE = 0.1, 1.0  # seconds before a restart, doubled with each quick death
STOP_MARGIN = 10.0  # seconds beyond the drain time-out until SIGKILL


class Supervisor:
    """`backends` are started together, then the edge; they are stopped after it, so that streams drain.

    `tell` takes one sentence for people whenever something changes; `changed` is called after a restart.
    """

    def __init__(
        self,
        backends: list[ServiceProcess],
        edge: ServiceProcess,
        *,
        drain_timeout: float,
        clock: Clock,
        tell: Callable[[str], None],
    ) -> None:
        self._backends = backends
        self._edge = edge
        self._patience = drain_timeout + STOP_MARGIN
        self._clock = clock
        self.tell = tell
        self.changed: Callable[[], None] = lambda: None

    async def start_backends(self) -> None:
        """Returns when all serve. Raises ServiceFailed as soon as one cannot."""
        await _all(*(self._start(service) for service in self._backends))

    async def start_edge(self) -> None:
        """Returns when the edge listens. Raises ServiceFailed."""
        await self._start(self._edge)

    async def watch(self) -> None:
        """Restarts what crashes, without end.

        Raises ServiceFailed when one died for good: it cannot start, or it died three times within 30 s.
        """
        await _all(*(self._keep(service) for service in (*self._backends, self._edge)))

    async def stop(self) -> None:
        """Ends everything: the edge drains, then the others go, which serve nobody any more."""
        for together in ([self._edge], self._backends):
            for service in together:
                if service.running:
                    self.tell(f"stopping {service.name}")
            await asyncio.gather(*(service.stop(self._patience) for service in together))

    def kill(self) -> None:
        """Ends everything at once."""
        for service in (self._edge, *self._backends):
            service.kill()

    async def _start(self, service: ServiceProcess) -> None:
        self.tell(f"starting {service.name}")
        await service.start()
        self.tell(f"{service.name} serves at {service.address}")

    async def _keep(self, service: ServiceProcess) -> None:
        deaths: deque[float] = deque(maxlen=MAX_DEATHS)
        backoff, started = Backoff(FIRST_PAUSE, MAX_PAUSE, DEATHS_WITHIN), self._clock.monotonic()
        while True:
            code = await service.ended()
            now = self._clock.monotonic()
            deaths.append(now)
            recent = [death for death in deaths if now - death < DEATHS_WITHIN]
            if code == START_FAILED:
                raise ServiceFailed(service, "cannot run:")
            if len(recent) == MAX_DEATHS:
                raise ServiceFailed(service, f"died {MAX_DEATHS} times within {DEATHS_WITHIN:.0f} s ({_cause(code)}):")
            self.tell(f"{service.name} died ({_cause(code)}); starting it again")
            await asyncio.sleep(backoff.pause(now - started))
            started = self._clock.monotonic()
            await self._restart(service)

    async def _restart(self, service: ServiceProcess) -> None:
        try:
            await service.start()
        except ServiceFailed as failed:
            if failed.exit_code in (None, START_FAILED):
                raise
            return  # it died again: the next look at it counts that
        self.tell(f"{service.name} serves again at {service.address}")
        self.changed()


def _cause(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


async def _all(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Runs them together; the first failure cancels the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in coroutines:
                group.create_task(coroutine)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
