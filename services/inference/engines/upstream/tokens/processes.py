"""The processes that count prompts: one for those that take long, one for all others, which never wait for these."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from servicekit.observability.logging import get_logger
from servicekit.process.child import Child
from services.inference.domain import spent
from services.inference.domain.fair_queue import Admission

log = get_logger(__name__)

LONG = 128 * 1024  # bytes of a task; at up to 0.7 µs a byte the others take less than 100 ms
TIMEOUT = 10.0  # seconds for one count; on a machine that is short of CPU a new process would not be faster
QUEUE_LIMIT = 256  # tasks that may wait, of each kind
TRIES = 2  # a process that died may have died of something else
INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "LD_LIBRARY_PATH")  # no key of an upstream among them


class CannotCount(Exception):
    """No process gave a count. The argument is a fixed word, for the log."""


class CountingProcesses:
    """Counts conversations in processes that are started when they are first needed, and again when they died."""

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self._short = _Lane(timeout)
        self._long = _Lane(timeout)

    async def count(self, account: str, tokenizer: str, conversation: dict[str, Any]) -> tuple[int, bool]:
        """Tokens, and whether they are an estimate; accounts take turns.

        Raises CannotCount, and Overloaded when too many wait.
        """
        try:
            task = orjson.dumps({"tokenizer": tokenizer, "conversation": conversation})
        except TypeError:
            raise CannotCount("too_deep") from None
        lane = self._long if len(task) > LONG else self._short
        answer = await lane.ask(account, task)
        spent.add(answer["seconds"])
        if error := answer.get("error"):
            raise CannotCount(error)
        return int(answer["tokens"]), bool(answer["estimated"])

    @property
    def pids(self) -> list[int]:
        """The process ids of those that run."""
        return [pid for lane in (self._short, self._long) if (pid := lane.pid) is not None]

    async def close(self) -> None:
        """Ends them. Safe to call more than once."""
        await asyncio.gather(self._short.close(), self._long.close())


class _Lane:
    """One process and those that wait for it."""

    def __init__(self, timeout: float) -> None:
        self._process = Child("services.inference.engines.upstream.tokens.worker", environment=INHERITED)
        self._timeout = timeout
        self._turns = Admission(1, QUEUE_LIMIT)
        self._started: set[asyncio.Task[dict[str, Any]]] = set()
        self._closed = False

    @property
    def pid(self) -> int | None:
        """Its process id, None while it does not run."""
        return self._process.pid

    async def ask(self, account: str, work: bytes) -> dict[str, Any]:
        """The answer, in its turn. What has begun runs to its end though the caller has left: that costs no process."""
        task = asyncio.create_task(self._in_turn(account, work))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_forget)
            if task not in self._started:
                task.cancel()
            raise

    async def _in_turn(self, account: str, work: bytes) -> dict[str, Any]:
        task = asyncio.current_task()
        assert task is not None
        async with self._turns.slot(account, 1):
            self._started.add(task)
            try:
                return await self._try(work)
            finally:
                self._started.discard(task)

    async def _try(self, work: bytes) -> dict[str, Any]:
        for _ in range(TRIES):
            if self._closed:
                break
            try:
                await self._process.start()
                async with asyncio.timeout(self._timeout):
                    answer, _ = await self._process.ask({"size": len(work)}, work)
                    return answer
            except TimeoutError:
                spent.add(self._timeout)
                log.warning("token_counter_killed", cause=f"no answer within {self._timeout:g} s")
                raise CannotCount("timeout") from None
            except (OSError, EOFError, ValueError) as error:
                if not self._closed:
                    log.warning("token_counter_died", cause=type(error).__name__)
        raise CannotCount("died")

    async def close(self) -> None:
        """Ends the process; callers that still wait get CannotCount."""
        self._closed = True
        await self._process.kill()
        await asyncio.gather(*self._started, return_exceptions=True)


def _forget(task: asyncio.Task[dict[str, Any]]) -> None:
    if not task.cancelled():
        task.exception()
