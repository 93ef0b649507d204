"""A few processes that parse bodies, shared fairly among accounts."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass

from servicekit.observability.logging import get_logger
from services.edge.http.errors import ApiError
from services.edge.http.limits import RequestLimits
from services.edge.http.parsing import metrics
from services.edge.http.parsing.process import Answer, ParserProcess

log = get_logger(__name__)

MIB = 1024 * 1024
MAX_WAITING = 256  # bodies of all accounts; their bytes are bounded by http/bodies.py
MAX_WAITING_PER_ACCOUNT = 16
TRIES = 2  # a process that died may have died of something else; a body that ends two is to blame


@dataclass(frozen=True, slots=True)
class PoolNumbers:
    """The settings. Times in seconds, sizes in bytes."""

    processes: int = 2
    timeout: float = 10.0  # for one body
    memory: int = 256 * MIB  # of one process


@dataclass(eq=False, slots=True)
class _Job:
    body: bytes | bytearray
    account_id: str
    format: int  # its place among the pool's
    answer: asyncio.Future[Answer]


class BodyUnreadable(Exception):
    """A body ended the processes that tried it, or took too long. `seconds` were spent on it."""

    def __init__(self, seconds: float) -> None:
        super().__init__("the body could not be parsed")
        self.seconds = seconds


class ParserPool:
    """Accounts take turns, and one account has at most all processes but one (of several) at a time.

    Processes start with start(), else when they are first needed. A job that its client left is finished all the
    same, so that leaving cannot cost the pool a process.
    """

    def __init__(self, limits: RequestLimits, formats: Sequence[str], numbers: PoolNumbers | None = None) -> None:
        """`formats` are the names of the formats that the processes can read."""
        self._numbers = numbers or PoolNumbers()
        self._formats = {name: index for index, name in enumerate(formats)}
        self._all = [ParserProcess(self._numbers.memory, limits, formats) for _ in range(self._numbers.processes)]
        self._idle = self._all.copy()
        self._at_once = max(1, self._numbers.processes - 1)
        self._waiting: OrderedDict[str, deque[_Job]] = OrderedDict()
        self._running: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def pids(self) -> list[int]:
        """The process ids of those that run."""
        return [pid for process in self._all if (pid := process.pid) is not None]

    def start(self) -> None:
        """Starts all in the background, so that the first large body need not wait for one."""
        while self._idle:
            self._keep(self._warm(self._idle.pop()))

    async def parse(self, body: bytes | bytearray, account_id: str, form: str) -> Answer:
        """What a process found. Raises ApiError 429 and 503 for a full queue, 503 when no process can be started, and
        BodyUnreadable."""
        self._check_room(account_id)
        job = _Job(body, account_id, self._formats[form], asyncio.get_running_loop().create_future())
        self._waiting.setdefault(account_id, deque()).append(job)
        metrics.WAITING.inc()
        self._dispatch()
        try:
            return await job.answer
        except asyncio.CancelledError:
            self._withdraw(job)
            raise

    async def close(self) -> None:
        """Ends all processes."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for process in self._all:
            process.kill()

    def _check_room(self, account_id: str) -> None:
        if len(self._waiting.get(account_id, ())) >= MAX_WAITING_PER_ACCOUNT:
            raise ApiError.too_many_uploads()
        if sum(len(jobs) for jobs in self._waiting.values()) >= MAX_WAITING:
            raise ApiError.no_room()

    def _dispatch(self) -> None:
        while self._idle and (job := self._next()) is not None:
            self._running[job.account_id] = self._running.get(job.account_id, 0) + 1
            self._keep(self._work(self._idle.pop(), job))

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _warm(self, process: ParserProcess) -> None:
        try:
            await process.start()
        except (OSError, EOFError, TimeoutError) as error:  # the first body tries again
            log.error("body_parser_not_started", cause=type(error).__name__)
        finally:
            self._idle.append(process)
            self._dispatch()

    def _next(self) -> _Job | None:
        """The oldest job of the account whose turn it is; that account is the last in line then."""
        for account_id, jobs in self._waiting.items():
            if self._running.get(account_id, 0) < self._at_once:
                job = jobs.popleft()
                metrics.WAITING.dec()
                del self._waiting[account_id]
                if jobs:
                    self._waiting[account_id] = jobs
                return job
        return None

    def _withdraw(self, job: _Job) -> None:
        jobs = self._waiting.get(job.account_id)
        if jobs is not None and job in jobs:
            jobs.remove(job)
            metrics.WAITING.dec()
            if not jobs:
                del self._waiting[job.account_id]

    async def _work(self, process: ParserProcess, job: _Job) -> None:
        try:
            answer = await self._tried(process, job.body, job.format)
            if not job.answer.done():
                job.answer.set_result(answer)
        except (ApiError, BodyUnreadable) as error:
            if not job.answer.done():
                job.answer.set_exception(error)
        finally:
            job.answer.cancel()  # only while closing; no effect on one that has its result
            self._idle.append(process)
            self._running[job.account_id] -= 1
            if not self._running[job.account_id]:
                del self._running[job.account_id]
            self._dispatch()

    async def _tried(self, process: ParserProcess, body: bytes | bytearray, form: int) -> Answer:
        timeout = self._numbers.timeout
        for _ in range(TRIES):
            await _started(process.start)
            try:
                async with asyncio.timeout(timeout):
                    return await process.ask(body, form)
            except TimeoutError:
                metrics.TIMED_OUT.inc()
                log.warning("body_parser_killed", cause=f"no answer within {timeout:g} s", bytes=len(body))
                raise BodyUnreadable(timeout) from None
            except (OSError, EOFError, ValueError) as error:
                metrics.DIED.inc()
                log.warning("body_parser_died", cause=type(error).__name__, bytes=len(body))
        raise BodyUnreadable(1.0)


async def _started(start: Callable[[], Awaitable[None]]) -> None:
    try:
        await start()
    except (OSError, EOFError, TimeoutError) as error:
        log.error("body_parser_not_started", cause=type(error).__name__)
        raise ApiError.no_room() from None
