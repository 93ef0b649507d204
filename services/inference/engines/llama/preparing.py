"""Has the worker render and count prompts, a few at a time, and finds out under which request a worker died."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from servicekit.clock import Clock
from servicekit.observability.logging import get_logger
from services.inference.domain import spent
from services.inference.domain.chat import ChatRequest
from services.inference.domain.errors import EngineDied, EngineUnavailable
from services.inference.domain.fair_queue import Admission
from services.inference.engines.llama.client import WorkerClient
from services.inference.engines.llama.supervisor import Supervisor
from services.inference.engines.llama.suspects import Suspects

log = get_logger(__name__)

T = TypeVar("T")

PREPARING_AT_ONCE = 4  # prompts rendered and counted at a time; more would take the worker's threads from the streams
PREPARING_OF_ONE = PREPARING_AT_ONCE - 1  # … of one account, so that another's need not wait for them
MAX_PREPARING = 4096  # that may wait for it, as many as one edge's session can bring
RESTART_PATIENCE = 2.0  # seconds that a request waits for the worker's successor


class Preparing:
    """The line before one engine's worker. Accounts take turns."""

    def __init__(self, supervisor: Supervisor, suspects: Suspects, clock: Clock) -> None:
        self._clock = clock
        self._supervisor = supervisor
        self._suspects = suspects
        self._line = Admission(PREPARING_AT_ONCE, MAX_PREPARING, most_of_one=PREPARING_OF_ONE)
        self._under_way: dict[WorkerClient, set[object]] = {}

    async def run(self, request: ChatRequest, work: Callable[[WorkerClient], Awaitable[T]]) -> T:
        """What `work` makes with the worker.

        One that others ran beside when the worker died is tried once more, alone. Raises what `work` does, Overloaded,
        InvalidRequest for a request under which workers died twice, and EngineDied for the first time.
        """
        if not self._suspects.check(request):
            try:
                return await self._once(request, work, alone=False)
            except _PerhapsAnother:
                pass
        return await self._once(request, work, alone=True)

    async def _once(self, request: ChatRequest, work: Callable[[WorkerClient], Awaitable[T]], *, alone: bool) -> T:
        async with self._line.slot(request.account, PREPARING_AT_ONCE if alone else 1):
            client = await self._supervisor.wait_for_client(RESTART_PATIENCE)
            under_way = self._under_way.setdefault(client, set())
            under_way.add(me := object())
            try:
                with worker_time(self._supervisor.pid, self._clock):
                    made = await work(client)
            except EngineUnavailable:
                if await self._supervisor.died(client):
                    # Those that were under way with it stay in their set: who asks last must see them too.
                    self._under_way.pop(client, None)
                    raise self._blamed(request, client, others=len(under_way) > 1) from None
                self._done(client, under_way, me)
                raise
            except BaseException:
                self._done(client, under_way, me)
                raise
            self._done(client, under_way, me)
            self._suspects.works(request)
            return made

    def _done(self, client: WorkerClient, under_way: set[object], me: object) -> None:
        under_way.discard(me)
        if not under_way:
            self._under_way.pop(client, None)

    def _blamed(self, request: ChatRequest, client: WorkerClient, *, others: bool) -> EngineUnavailable:
        """Raises InvalidRequest."""
        log.warning("worker_died_under_request", others=others)
        self._suspects.died(request, client.address)
        return _PerhapsAnother() if others else EngineDied("the worker died while it prepared this request")


class _PerhapsAnother(EngineDied):
    """The worker died while it prepared several."""

    def __init__(self) -> None:
        super().__init__("the worker died while it prepared this request and others")


@contextmanager
def worker_time(pid: int | None, clock: Clock) -> Iterator[None]:
    """Counts what the worker's process computes meanwhile to the request, at most the time that passes.

    Other requests' work is in it too, so it is an upper bound, near the truth where the worker is not busy.
    """
    began, before = clock.monotonic(), _cpu_time(pid)
    try:
        yield
    finally:
        passed, computed = clock.monotonic() - began, _cpu_time(pid) - before
        spent.add(min(passed, computed) if computed > 0 else passed)


def _cpu_time(pid: int | None) -> float:
    """Seconds that a process has computed (clock_getcpuclockid(3), as Linux numbers these clocks); 0: unknown."""
    try:
        return time.clock_gettime((~pid << 3) | 2) if pid is not None else 0.0
    except OSError:
        return 0.0
