"""Keeps one worker running: starts it, watches it, restarts it when it dies or stops answering."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from servicekit.clock import Clock
from servicekit.errors import StartupError
from servicekit.observability.logging import get_logger
from servicekit.process.backoff import Backoff
from services.inference import metrics
from services.inference.domain.errors import EngineUnavailable
from services.inference.engines.llama.client import WorkerClient
from services.inference.engines.llama.process import Worker, WorkerConfig

log = get_logger(__name__)

DEATH_PATIENCE = 1.0  # seconds until a worker's death is known after a call to it failed


@dataclass(frozen=True)
class Patience:
    """How long to wait for what, in seconds."""

    first_restart: float = 0.1  # doubles with each failure in a row …
    last_restart: float = 10.0  # … up to this
    steady_after: float = 60.0  # a worker that lived this long starts the doubling anew
    watch_every: float = 1.0
    stall: float = 30.0  # a worker that does not answer for so long is killed


class Supervisor:
    """`client()` talks to the worker that runs now."""

    def __init__(self, name: str, config: WorkerConfig, clock: Clock, patience: Patience | None = None) -> None:
        self._name = name
        self._config = config
        self._clock = clock
        self._patience = patience or Patience()
        self._worker: Worker | None = None
        self._client: WorkerClient | None = None
        self._task: asyncio.Task[None] | None = None
        self._backoff = Backoff(self._patience.first_restart, self._patience.last_restart, self._patience.steady_after)
        self._running = asyncio.Event()  # there is a client
        self._lost = asyncio.Event()  # there is none any more
        metrics.WORKER_RESTARTS.labels(name)  # told as 0 from the start, so that the first one is an increase

    async def start(self) -> None:
        """Starts the first worker. Raises StartupError when it cannot be: then restarting would not help."""
        await self._launch()
        self._task = asyncio.create_task(self._keep())
        self._task.add_done_callback(self._stopped_keeping)

    @property
    def up(self) -> bool:
        """Whether a worker answers now."""
        return self._client is not None

    @property
    def pid(self) -> int | None:
        """The worker's process id, None while there is none."""
        return self._worker.pid if self._worker else None

    def client(self) -> WorkerClient:
        """The way to the running worker. Raises EngineUnavailable at once while there is none."""
        if self._client is None:
            raise EngineUnavailable(f"the worker of {self._name} is being restarted")
        return self._client

    async def wait_for_client(self, timeout: float) -> WorkerClient:
        """The way to the running worker, after at most so many seconds in which one is restarted. Raises
        EngineUnavailable."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._running.wait()
        return self.client()

    async def died(self, client: WorkerClient) -> bool:
        """Whether the worker that this client talked to is gone, which is known a moment after its connections end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DEATH_PATIENCE):
                while self._client is client:
                    self._lost.clear()
                    await self._lost.wait()
        return self._client is not client

    async def close(self) -> None:
        """Stops watching and stops the worker."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._retire(Worker.stop)

    def _stopped_keeping(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            log.critical("supervisor_failed", model=self._name, exc_info=error)

    async def _launch(self) -> None:
        started = self._clock.monotonic()
        self._worker = await Worker.start(self._config)
        self._client = WorkerClient(self._worker.address, self._worker.key, self._config.http_threads - 1)
        self._running.set()
        metrics.WORKER_UP.labels(self._name).set(1)
        seconds = round(self._clock.monotonic() - started, 3)
        log.info("worker_started", model=self._name, pid=self._worker.pid, seconds=seconds)

    async def _retire(self, end: Callable[[Worker], Awaitable[None]]) -> None:
        """Takes worker and client out of use and ends both; what still reads from it ends with EngineUnavailable."""
        worker, self._worker = self._worker, None
        client, self._client = self._client, None
        self._running.clear()
        self._lost.set()
        metrics.WORKER_UP.labels(self._name).set(0)
        if worker is not None:
            await end(worker)
        if client is not None:
            await client.close()

    async def _keep(self) -> None:
        while True:
            born = self._clock.monotonic()
            cause = await self._until_bad()
            lived = self._clock.monotonic() - born
            log.error("worker_lost", model=self._name, cause=cause)
            await self._retire(Worker.kill)
            await self._restart(lived)

    async def _until_bad(self) -> str:
        assert self._worker is not None
        died = asyncio.create_task(self._worker.wait())
        stalled = asyncio.create_task(self._until_stalled())
        try:
            done, _ = await asyncio.wait({died, stalled}, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            died.cancel()
            stalled.cancel()

    async def _until_stalled(self) -> str:
        client = self.client()
        while await client.answers(self._patience.stall):  # noqa: ASYNC110  polling is what a watchdog does
            await asyncio.sleep(self._patience.watch_every)
        return f"no answer within {self._patience.stall:g} s"

    async def _restart(self, lived: float) -> None:
        while True:
            await asyncio.sleep(self._backoff.pause(lived))
            lived = 0.0
            try:
                await self._launch()
            except (StartupError, OSError) as error:
                log.error("worker_not_restarted", model=self._name, cause=str(error))
            else:
                metrics.WORKER_RESTARTS.labels(self._name).inc()
                return
